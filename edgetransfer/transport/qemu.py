"""Runs the agent on an emulated processor, with what lies prepared for it below the cache."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.agent.environment import architecture
from edgetransfer.bundle.files import digest_of, digest_of_value, read_json, write_json, writing
from edgetransfer.errors import StageError, UnsupportedError
from edgetransfer.spec import catalogue
from edgetransfer.spec.catalogue import default_cache
from edgetransfer.transport import debian, local
from edgetransfer.transport.outcome import ran
from edgetransfer.transport.place import ALL_ACTIONS, TIMED_ACTIONS, Place
from edgetransfer.transport.wheels import pip_download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.target import EmulatedProcessor, Sysroot
    from edgetransfer.transport.job import Job

WORD = "qemu"
FOLDER = "sysroots"
_LAYOUT = 1
"""Of a prepared folder: raised when what lies where changes."""
_RECORD = "prepared.json"
_PROGRAMS = "bin"
_RUNTIME = ("onnxruntime", "numpy")
_TRIAL = "import numpy, onnxruntime; print(onnxruntime.__version__, numpy.__version__)"


@dataclass(frozen=True)
class Emulation:
    """An emulated processor; without a folder of a guest's files this machine's own Python runs."""

    preview: EmulatedProcessor
    program: Path
    emulator_version: str
    folder: Path | None

    def command(self) -> tuple[str, ...]:
        """Return what starts Python on the emulated processor."""
        start = [str(self.program), "-cpu", self.preview.emulator.cpu]
        if self.folder is None or self.preview.sysroot is None:
            return (*start, sys.executable)
        root = self.folder / "root"
        libraries = [str(root / each) for each in self.preview.sysroot.library_folders]
        # Told to the guest only: the emulator itself may be a program that loads libraries.
        start += ["-L", str(root), "-E", f"LD_LIBRARY_PATH={':'.join(libraries)}"]
        return (*start, str(root / "usr" / "bin" / f"python{self.preview.sysroot.python}"))

    def environment(self) -> dict[str, str]:
        """Return the guest's environment: little of this machine's, which names its own kernels."""
        words = f"{self.preview.emulator.program} {self.emulator_version}"
        told = {
            "EDGETRANSFER_EMULATOR": f"{words}, -cpu {self.preview.emulator.cpu}",
            **local.ALWAYS,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONNOUSERSITE": "1",
        }
        if self.folder is None:
            chosen_for_host = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}
            mine = local.clean_environment(os.environ)
            return {k: v for k, v in mine.items() if k not in chosen_for_host} | told
        kept = {k: v for k, v in os.environ.items() if k in {"PATH", "TMPDIR"}}
        return {**kept, **told, "LANG": "C.UTF-8", "PYTHONPATH": str(self.folder / "site")}


@dataclass(frozen=True)
class Qemu(Place):
    """An emulated processor, as a place."""

    where: str
    agent: Path
    prepared: Emulation
    emulated = True
    actions = ALL_ACTIONS - TIMED_ACTIONS

    def do(self, job: Job, out: Path, progress: Progress) -> Mapping[str, Any]:
        """Do one job in a fresh process of the emulator."""
        if job.action not in self.actions:
            raise StageError(
                "no times are taken on an emulated processor: they say nothing of any device",
                where=self.where,
                fix="time on the device itself, or on this machine (local)",
            )
        emulation = self.prepared.command(), self.prepared.environment()
        return local.run(self.agent, job, out, progress=progress, emulation=emulation)


@contextmanager
def connect(address: str, agent: Path) -> Iterator[Qemu]:
    """Give an emulated processor of the catalogue that is prepared."""
    preview = catalogue.preview(address)
    check_host(preview)
    prepared = find(preview, default_cache())
    if prepared is None:
        raise UnsupportedError(
            "the emulated processor is not prepared",
            where=f"{WORD}:{address}",
            fix=f"edgetransfer doctor --prepare {WORD}:{address}",
        )
    yield Qemu(f"{WORD}:{address}", agent, prepared)


def check_host(preview: EmulatedProcessor) -> None:
    """Raise an UnsupportedError where this machine cannot emulate the processor.

    QEMU's user mode is Linux only; and without files for the guest, it runs this machine's own
    programs, which are of one architecture.
    """
    found = None
    if platform.system() != "Linux":
        found = platform.system()
    elif preview.sysroot is None and architecture() != preview.arch:
        found = architecture()
    if found is not None:
        raise UnsupportedError(
            "the processor cannot be emulated on this machine",
            where=f"{WORD}:{preview.name}",
            found=found,
            expected="Linux" + ("" if preview.sysroot else f" on {preview.arch}"),
        )


def folder_of(preview: EmulatedProcessor, cache: Path) -> Path:
    """Return where a processor is prepared: another recipe, or another runtime, another folder."""
    runtimes = {name: version(name) for name in _RUNTIME}
    asked = preview.model_dump(mode="json", exclude={"evidence": True, "sysroot": {"wheels"}})
    recipe = {"layout": _LAYOUT, "preview": asked, "runtimes": runtimes}
    return cache / FOLDER / f"{preview.name}-{digest_of_value(recipe)[:16]}"


def find(preview: EmulatedProcessor, cache: Path) -> Emulation | None:
    """Return a processor that is prepared, or that needs nothing but the emulator of the system."""
    folder = folder_of(preview, cache)
    is_prepared = (folder / _RECORD).is_file()
    # Where it lies is known, and never read: what a file names is not started.
    own = folder / _PROGRAMS / preview.emulator.program
    own_serves = is_prepared and os.access(own, os.X_OK)
    found = (own, _version_of(own)) if own_serves else _system_emulator(preview)
    if found is None or (preview.sysroot is not None and not is_prepared):
        return None
    return Emulation(preview, *found, folder if preview.sysroot else None)


def _system_emulator(preview: EmulatedProcessor) -> tuple[Path, str] | None:
    """Return the system's emulator and its version where it is new enough."""
    wanted = preview.emulator
    for name in (wanted.program, f"{wanted.program}-static"):
        found = shutil.which(name)
        if found is not None:
            told = _version_of(Path(found))
            if told and int(told.split(".")[0]) >= wanted.min_version:
                return Path(found), told
    return None


def _version_of(program: Path) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\d+(?:\.\d+)*)", done.stdout)
    return found[1] if found else ""


def prepare(preview: EmulatedProcessor, cache: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Fetch what a processor needs, try it, and move it to its place whole; tell of each step.

    Returned is what was prepared: paths, versions, bytes, seconds, 0 where it was there. SpecError
    where the system has no source of Debian's packages, StageError where it fails.
    """
    folder = folder_of(preview, cache)
    if (folder / _RECORD).is_file() and find(preview, cache) is not None:
        return {**read_json(folder / _RECORD), "folder": str(folder), "seconds": 0}
    start = time.monotonic()
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as name:
            unready = Path(name) / "whole"
            unready.mkdir()
            record = _fill(preview, unready, Path(name), tell)
            size = sum(each.lstat().st_size for each in unready.rglob("*") if each.is_file())
            record |= {"bytes": size, "seconds": round(time.monotonic() - start, 1)}
            write_json(unready / _RECORD, record)
            shutil.rmtree(folder, ignore_errors=True)
            unready.rename(folder)
        for older in folder.parent.glob(f"{preview.name}-*"):
            if older != folder and older.name.rpartition("-")[0] == preview.name:
                shutil.rmtree(older, ignore_errors=True)
    return {**record, "folder": str(folder)}


def _fill(
    preview: EmulatedProcessor, unready: Path, room: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Fetch emulator, packages and wheels into `unready`, and try them."""
    wheels: dict[str, str] = {}
    program, emulator_version = _emulator(preview, unready, room / "emulator", tell)
    if preview.sysroot is not None:
        guest = preview.sysroot
        tell(f"{len(guest.packages)} packages of {guest.suite} for {guest.architecture}")
        mirror, apart = debian.system_mirror(), _new(room / "guest")
        files = debian.fetch(guest.packages, guest.suite, guest.architecture, mirror, apart)
        debian.unpack(files, _new(unready / "root"))
        if guest.wheel_platforms:
            tell(" and ".join(f"{name} {version(name)}" for name in _RUNTIME))
            wheels = _wheels(guest, _new(room / "wheels"), unready / "site")
    tell("a first run")
    inside = program.is_relative_to(unready)
    prepared = Emulation(preview, program, emulator_version, unready if preview.sysroot else None)
    runtimes = _try(prepared)
    return {
        "name": preview.name,
        "program": str(program.relative_to(unready) if inside else program),
        "emulator_version": emulator_version,
        "runtimes": runtimes,
        "wheels": wheels,
    }


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _emulator(
    preview: EmulatedProcessor, unready: Path, room: Path, tell: Callable[[str], None]
) -> tuple[Path, str]:
    """Take the system's emulator where it is new enough, else that of Debian's package.

    The package holds those of every processor, so it is kept beside what is prepared.
    """
    found = _system_emulator(preview)
    if found is not None:
        return found
    wanted = preview.emulator
    tell(f"{wanted.program} of {wanted.suite}")
    kept = room.parent.parent / f"qemu-user-{wanted.suite}.deb"
    if not kept.is_file():
        here, mirror = debian.own_architecture(), debian.system_mirror()
        (file,) = debian.fetch(
            ("qemu-user",), wanted.suite, here, mirror, _new(room), with_dependencies=False
        )
        file.replace(kept)
    program = _new(unready / _PROGRAMS) / wanted.program
    debian.unpack_one(kept, f"usr/bin/{wanted.program}", program)
    return program, _version_of(program)


def _wheels(guest: Sysroot, room: Path, site: Path) -> dict[str, str]:
    """Fetch wheels of the versions that are installed here, and unpack them to a folder.

    Returned are their digests, by their names: held against the preview's of those versions.
    """
    asked = pip_download(str(room), guest.python, guest.wheel_platforms)
    command = [sys.executable, "-m", *asked, "--quiet"]
    pins = [f"{name}=={version(name)}" for name in _RUNTIME]
    if guest.wheels.keys() >= set(pins):  # else what the index says of them has to do
        hashed = [f"{pin} --hash=sha256:{guest.wheels[pin]}\n" for pin in pins]
        (room / "wheels.txt").write_text("".join(hashed), encoding="utf-8")
        command += ["--require-hashes", "-r", str(room / "wheels.txt")]
    else:
        command += pins
    failed = partial(
        StageError,
        "pip could not fetch the guest's runtime",
        where="doctor --prepare",
        fix="see that pip works on this machine, then run the same command again",
    )
    ran(command, failed)
    found = sorted(room.glob("*.whl"))
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    return {wheel.name: digest_of(wheel) for wheel in found}


def _try(prepared: Emulation) -> Mapping[str, str]:
    """Load the runtime on the emulated processor and return its versions."""
    failed = partial(
        StageError,
        "the runtime does not load on the emulated processor",
        where=f"qemu:{prepared.preview.name}",
        expected=f"{prepared.preview.emulator.program} can run onnxruntime",
    )
    said = ran([*prepared.command(), "-c", _TRIAL], failed, env=prepared.environment())
    return dict(zip(_RUNTIME, said.split(), strict=True))
