"""Fetches what compiles and runs the iOS kit on Linux: Swift, and the headers of ONNX Runtime.

Usage: fetch_swift.py FOLDER. Swift comes from Debian, 99 packages of 544 MB, unpacked to a root of
its own (2.6 GB); the headers from a package for Unity by npm. A part that is there is kept.
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from edgetransfer.transport import debian

SWIFT = ("swiftlang", "libc6-dev", "libstdc++-14-dev", "g++", "binutils", "coreutils")
SUITE = "trixie"
"""The first release with Swift 6; it compiles the language of 5.9 too."""
RUNTIME = "com.github.asus4.onnxruntime@0.4.9"
"""It carries the official onnxruntime-android 1.29.0, with the headers of its C API."""
AAR = "package/Plugins/Android/onnxruntime.aar"


def main() -> None:
    """Fetch each part that is not there."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in {"headers": headers, "root": swift}.items():
        if not (folder / name).exists():
            with tempfile.TemporaryDirectory(dir=folder) as room:
                make(Path(room)).rename(folder / name)


def swift(room: Path) -> Path:
    """Unpack the compiler, and all that it needs, as the root of a system."""
    packages = debian.fetch(SWIFT, SUITE, debian.own_architecture(), debian.system_mirror(), room)
    root = room / "root"
    debian.unpack(packages, root)
    (root / "lib64").symlink_to("usr/lib64")
    return root


def headers(room: Path) -> Path:
    """Take the headers of the C API out of their package."""
    subprocess.run(["npm", "pack", "--silent", RUNTIME], cwd=room, check=True)
    (file,) = room.glob("*.tgz")
    with tarfile.open(file) as archive:
        archive.extract(AAR, room, filter="data")
    with zipfile.ZipFile(room / AAR) as aar:
        aar.extractall(room, [name for name in aar.namelist() if name.startswith("headers/")])
    return room / "headers"


if __name__ == "__main__":
    main()
