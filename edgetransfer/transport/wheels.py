"""Which wheels a device needs: the line that brings them to this machine, and whether they fit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from edgetransfer.errors import SpecError

PACKAGES = ("numpy", "onnxruntime")
MACHINES = ("x86_64", "aarch64")
"""What ONNX Runtime has wheels for, on Linux."""
GLIBC = (2, 28)
"""The oldest that they run on."""
_LAST: Mapping[tuple[int, int], Mapping[str, str]] = {
    (3, 9): {"onnxruntime": "1.19.2", "numpy": "2.0.2"},
    (3, 10): {"onnxruntime": "1.23.2", "numpy": "2.2.6"},
}
"""The last releases for Pythons that newer ones have left behind."""
_PLATFORMS = ("manylinux2014", "manylinux_2_27", "manylinux_2_28")
"""pip takes exactly these: it adds no older ones by itself."""


def pip_download(folder: str, python: str, platforms: Sequence[str]) -> list[str]:
    """Return the command that brings wheels of another machine here, without what is wanted."""
    words = ["pip", "download", "--dest", folder, "--no-deps", "--only-binary=:all:"]
    words += ["--python-version", python]
    words += ["--implementation", "cp", "--abi", "cp" + python.replace(".", "")]
    return words + [word for platform in platforms for word in ("--platform", platform)]


@dataclass(frozen=True)
class WheelTarget:
    """What wheels have to fit: a Python and the system below it."""

    python: tuple[int, int]
    system: str
    machine: str
    bits: int
    libc: str

    def obstacle(self) -> str | None:
        """Say why there can be no wheels, or None.

        >>> WheelTarget((3, 11), "Linux", "aarch64", 32, "glibc 2.36").obstacle()
        'ONNX Runtime has no wheels for a 32-bit system: install a 64-bit one, or ...'
        """
        if self.system != "Linux":
            return f"on {self.system}, install them there: pip install {' '.join(PACKAGES)}"
        debian = "use Debian 13 and its python3-onnxruntime"
        if self.bits == 32:
            return (
                "ONNX Runtime has no wheels for a 32-bit system: install a 64-bit one, or " + debian
            )
        if self.machine not in MACHINES:
            return f"ONNX Runtime has no wheels for {self.machine}: {debian}"
        found = re.fullmatch(r"glibc (\d+)\.(\d+).*", self.libc)
        if found is None:
            return "ONNX Runtime has no wheels for a system without glibc (Alpine): use another"
        if (int(found[1]), int(found[2])) < GLIBC:
            return "ONNX Runtime needs glibc 2.28 or newer: install a newer system"
        return None

    def download(self, folder: str) -> str:
        """Return the command that brings the wheels to this machine."""
        pins = _LAST.get(self.python) or {package: version(package) for package in PACKAGES}
        platforms = [f"{platform}_{self.machine}" for platform in _PLATFORMS]
        words = pip_download(folder, ".".join(map(str, self.python)), platforms)
        return shlex.join([*words, *(f"{package}=={pins[package]}" for package in PACKAGES)])

    def misfit(self, wheel: str) -> str | None:
        """Say why a wheel does not fit, by its name, or None.

        >>> pi = WheelTarget((3, 11), "Linux", "aarch64", 64, "glibc 2.36")
        >>> pi.misfit("numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl")
        'it is for manylinux_2_27_x86_64.manylinux_2_28_x86_64, the device is Linux aarch64'
        >>> pi.misfit("numpy-2.4.6-cp313-cp313-manylinux_2_27_aarch64.whl")
        'it is for cp313, the device has Python 3.11'
        >>> pi.misfit("flatbuffers-25.9-py2.py3-none-any.whl")
        """
        try:
            _, _, _, tags = parse_wheel_filename(wheel)
        except InvalidWheelFilename:
            return "its name does not say for what it is"
        short = f"cp{self.python[0]}{self.python[1]}"
        usable = {
            (tag.interpreter, tag.abi)
            for tag in (
                *cpython_tags(self.python, [short], ["any"]),
                *compatible_tags(self.python, short, ["any"]),
            )
        }
        if not any((tag.interpreter, tag.abi) in usable for tag in tags):
            python = ".".join(sorted({tag.interpreter for tag in tags}))
            return f"it is for {python}, the device has Python {self.python[0]}.{self.python[1]}"
        system = {"Linux": "linux", "Darwin": "macosx"}.get(self.system, self.system)
        platforms = sorted({tag.platform for tag in tags})
        ends = (self.machine, "universal2")
        if not any(each == "any" or (system in each and each.endswith(ends)) for each in platforms):
            return f"it is for {'.'.join(platforms)}, the device is {self.system} {self.machine}"
        return None


def fitting(folder: Path, wanted: WheelTarget) -> tuple[Path, ...]:
    """Return the wheels of a folder; SpecError where a needed one lacks, or one does not fit."""
    found = tuple(sorted(folder.glob("*.whl")))
    names = {wheel.name.partition("-")[0] for wheel in found}
    lacking = [package for package in PACKAGES if package not in names]
    again = f"rm -r {shlex.quote(str(folder))}; {wanted.download(str(folder))}"
    if lacking:
        raise SpecError(
            "the wheels are not complete",
            where=f"--wheels {folder}",
            found=", ".join(wheel.name for wheel in found) or "no .whl file",
            expected=" and ".join(PACKAGES),
            fix=wanted.download(str(folder)),
        )
    for wheel in found:
        reason = wanted.misfit(wheel.name)
        if reason:
            raise SpecError(
                "the wheel does not fit the device", where=str(wheel), found=reason, fix=again
            )
    return found
