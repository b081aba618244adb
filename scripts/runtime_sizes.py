"""Reads from the packages that kits pin how many bytes of ONNX Runtime an app carries.

Usage: runtime_sizes.py [OUT], by default ``edgetransfer/kits/runtime_sizes.json``. Packages come by
npm and pip; the numbers change when a kit pins another version, and at no other time.
"""

import gzip
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

OUT = Path(__file__).parent.parent / "edgetransfer" / "kits" / "runtime_sizes.json"
ANDROID = "com.github.asus4.onnxruntime@0.4.9"
"""It carries the official onnxruntime-android, and the framework for iOS."""
AAR = "package/Plugins/Android/onnxruntime.aar"
IOS = "package/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/onnxruntime"
WEB, WEB_FILES = "onnxruntime-web@1.30.0", (
    "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
)  # fmt: skip
WHEEL = "onnxruntime==1.32.0"
PLATFORMS = {"x86_64": "manylinux_2_28_x86_64", "arm64": "manylinux_2_28_aarch64"}
Sizes = tuple[int, int]


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        phone = fetched(ANDROID, room)
        found = {
            "android": {"version": "1.29.0", "parts": dict(android(phone, room))},
            "ios": {"version": "1.29.0", "parts": {"arm64, static, before linking": ios(phone)}},
            "web": {"version": WEB.partition("@")[2], "parts": {"WebAssembly": web(room)}},
            "linux": {"version": WHEEL.partition("==")[2], "parts": dict(linux(room))},
        }
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def fetched(package: str, room: Path) -> Path:
    """Let npm fetch a package, and return its archive."""
    before = set(room.glob("*.tgz"))
    subprocess.run(["npm", "pack", "--silent", package], cwd=room, check=True)
    (file,) = {*room.glob("*.tgz")} - before
    return file


def sizes(*contents: bytes) -> Sizes:
    """Return the bytes of some files, and those that they take to download."""
    return sum(map(len, contents)), sum(len(gzip.compress(each, 9)) for each in contents)


def android(phone: Path, room: Path) -> Iterator[tuple[str, Sizes]]:
    """Yield what each ABI of the AAR takes; its classes are shared by all."""
    with tarfile.open(phone) as archive:
        archive.extract(AAR, room, filter="data")
    with zipfile.ZipFile(room / AAR) as aar:
        names = [each for each in aar.namelist() if each.endswith(".so")]
        for abi in sorted({each.split("/")[1] for each in names}):
            yield abi, sizes(*(aar.read(each) for each in names if f"/{abi}/" in each))


def ios(phone: Path) -> Sizes:
    """Return the size of the static library, of which the linker keeps what is used."""
    with tarfile.open(phone) as archive:
        file = archive.extractfile(IOS)
        assert file is not None
        return sizes(file.read())


def web(room: Path) -> Sizes:
    """Return what a page loads beside its own code."""
    with tarfile.open(fetched(WEB, room)) as archive:
        files = [archive.extractfile(f"package/dist/{name}") for name in WEB_FILES]
        return sizes(*(each.read() for each in files if each is not None))


def linux(room: Path) -> Iterator[tuple[str, Sizes]]:
    """Yield what the shared library takes, which is in the wheel for Python too."""
    for arch, platform in PLATFORMS.items():
        folder = room / arch
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
        ]
        subprocess.run(
            [*command, "--platform", platform, "--only-binary", ":all:", WHEEL], check=True
        )
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (each for each in archive.namelist() if "/libonnxruntime.so" in each)
            yield arch, sizes(archive.read(name))


if __name__ == "__main__":
    main()
