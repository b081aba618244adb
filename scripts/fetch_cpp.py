"""Fetches what the C++ of the Linux kit is compiled against: headers of ONNX Runtime, and of stb.

Usage: fetch_cpp.py FOLDER. They are Debian's (0.7 MB); the library is that of the installed wheel,
which runs programs that older headers were compiled into. A part that is there is kept.
"""

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from edgetransfer.transport import debian

PACKAGES, SUITE = ("libonnxruntime-dev", "libstb-dev"), "trixie"
"""The first release with ONNX Runtime."""
LINKED = ("libonnxruntime.so", "libonnxruntime.so.1")
"""The names that a linker and a loader look for."""


def main() -> None:
    """Lay out the folders include and lib."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "include").exists():
        with tempfile.TemporaryDirectory(dir=folder) as room:
            headers(Path(room)).rename(folder / "include")
    (folder / "lib").mkdir(exist_ok=True)
    for name in LINKED:
        link = folder / "lib" / name
        link.unlink(missing_ok=True)
        link.symlink_to(library())


def headers(room: Path) -> Path:
    """Fetch and unpack both packages; return the folder of their headers."""
    packages = debian.fetch(
        PACKAGES,
        SUITE,
        debian.own_architecture(),
        debian.system_mirror(),
        room,
        with_dependencies=False,
    )
    root = room / "root"
    root.mkdir()
    debian.unpack(packages, root)
    return root / "usr" / "include"


def library() -> Path:
    """Return the library that the wheel of ONNX Runtime carries."""
    found = find_spec("onnxruntime")
    assert found is not None  # the core of edgetransfer depends on it
    (file,) = (Path(str(found.origin)).parent / "capi").glob("libonnxruntime.so.*")
    return file


if __name__ == "__main__":
    main()
