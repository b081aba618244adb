"""Fetches Debian's adbd, the real daemon of a phone, for the tests of the transport `adb`.

It is unpacked below the cache, and nothing is installed.
"""

import platform
import sys
import tempfile
from pathlib import Path

from edgetransfer.spec.catalogue import default_cache
from edgetransfer.transport import debian

SUITE = "trixie"
"""The first with an adbd; its own loader and libraries come along."""


def main() -> None:
    """Fetch and unpack it, unless it is there."""
    root = default_cache() / "adbd"
    if (root / "usr/lib/android-sdk/platform-tools/adbd").is_file():
        print(root)
        return
    if platform.machine() != "x86_64":
        sys.exit("the tests start adbd by the loader of x86_64")
    root.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as room:
        mirror = debian.system_mirror()
        packages = debian.fetch(("adbd",), SUITE, "amd64", mirror, Path(room))
        debian.unpack(packages, root)
        size = sum(file.stat().st_size for file in packages)
    print(f"{root}: {len(packages)} packages, {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
