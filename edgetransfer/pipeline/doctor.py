"""Looks at a place and says what it has, what each target would need, and how to fix it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgetransfer.agent.runtimes import version_of
from edgetransfer.errors import EdgeTransferError, SpecError
from edgetransfer.measure.target_match import other_machine
from edgetransfer.pipeline.stage.reporter import Reporter, telling
from edgetransfer.spec import catalogue
from edgetransfer.transport import qemu
from edgetransfer.transport.browser import runtime as browser_runtime
from edgetransfer.transport.job import Job
from edgetransfer.transport.place import connect

if TYPE_CHECKING:
    from edgetransfer.spec.target import Runtime, TargetSpec

State = Literal["ready", "lacks", "another device", "export only"]
BROWSER = "browser"
_LITTLE_MIB = 512
"""With less memory or disk, a benchmark of a small network may fail."""
_HOT_C = 75.0
_FILES = {"ir_version": "files up to IR version", "opset": "operators up to set"}
_GOVERNOR = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


@dataclass(frozen=True)
class Finding:
    """What is amiss or absent, and the command that mends it, where one does."""

    what: str
    fix: str | None = None


@dataclass(frozen=True)
class TargetRow:
    """How one target stands to a place; what is lacking, or how to do without it."""

    name: str
    title: str
    state: State
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class PreviewRow:
    """One emulated processor, as ``--on`` takes it; `why` says why it cannot be had here."""

    where: str
    title: str
    prepared: bool
    emulator: str | None
    why: str | None


@dataclass(frozen=True)
class Examination:
    """All that was found."""

    where: str
    environment: Mapping[str, Any]
    capabilities: Mapping[str, Any] | None
    findings: tuple[Finding, ...]
    targets: tuple[TargetRow, ...]
    previews: tuple[PreviewRow, ...]


def examine(where: str, targets: Sequence[str], cache: Path) -> Examination:
    """Ask the agent at a place, and hold the targets against what it tells.

    SpecError where there is no such place or target, StageError where the agent does not run.
    """
    specs = [catalogue.target(name) for name in targets or catalogue.names("targets")]
    with tempfile.TemporaryDirectory() as folder, connect(where) as place:
        told = place.run(Job("describe"), Path(folder))
    environment, capabilities = told["environment"], told.get("capabilities")
    previews = tuple(_preview(name, cache) for name in catalogue.names("targets/previews"))
    ready = frozenset(row.where for row in previews if row.prepared)
    rows = tuple(row_of(spec, environment, capabilities, ready) for spec in specs)
    findings = findings_of(environment, capabilities)
    return Examination(where, environment, capabilities, findings, rows, previews)


def findings_of(
    environment: Mapping[str, Any], capabilities: Mapping[str, Any] | None
) -> tuple[Finding, ...]:
    """Say what is amiss at a place, whatever it is built for."""
    found = []
    loads = environment.get("import") or {}
    if loads.get("loads") is False:
        install = "python3 -m pip install onnxruntime numpy"
        found.append(Finding(str(loads.get("why")), install))
    if not environment.get("emulator"):
        found += [Finding(warning, _cure(warning)) for warning in environment.get("warnings", ())]
        heat = (environment.get("conditions") or {}).get("temperatures_c") or {}
        hot = {sensor: told for sensor, told in heat.items() if told >= _HOT_C}
        found += [Finding(f"{each} tells {told:.0f} °C: let it cool") for each, told in hot.items()]
    for key, what in (("free_memory_mib", "memory"), ("free_disk_mib", "disk")):
        free = (capabilities or {}).get(key)
        if free is not None and free < _LITTLE_MIB:
            found.append(Finding(f"only {free} MiB of {what} are free"))
    return tuple(found)


def _cure(warning: str) -> str | None:
    """Return the command for a warning of the agent's `environment.warnings`."""
    if warning.startswith("frequency governor"):
        return f"echo performance | sudo tee {_GOVERNOR}"
    if "other work is running" in warning or "waited for a core" in warning:
        return "ps -eo pid,pcpu,comm --sort=-pcpu | head"
    return None


def row_of(
    spec: TargetSpec,
    environment: Mapping[str, Any],
    capabilities: Mapping[str, Any] | None,
    prepared: frozenset[str],
) -> TargetRow:
    """Hold one target against a place.

    `prepared` are emulated processors that can be used; without `capabilities` nothing loads.
    """
    arch, flags = str(environment.get("arch")), frozenset(environment.get("isa") or ())
    if spec.detect:
        try:
            spec = catalogue.resolve(spec.name, arch, flags)
        except SpecError as error:
            return TargetRow(spec.name, spec.title, "lacks", (Finding(str(error)),))
    elif other_machine(spec, environment):
        state: State = "export only" if spec.export_only else "another device"
        return TargetRow(spec.name, spec.title, state, _without_device(spec, prepared))
    lacks = _lacking(spec.runtime, environment, capabilities) if spec.runtime else ()
    if spec.export_only:
        return TargetRow(spec.name, spec.title, "export only", ())
    return TargetRow(spec.name, spec.title, "lacks" if lacks else "ready", lacks)


def _without_device(spec: TargetSpec, prepared: frozenset[str]) -> tuple[Finding, ...]:
    """Say how to come to a target's numbers before there is a device."""
    on = spec.preview.on
    if not on:
        return ()
    if on.startswith(f"{qemu.WORD}:") and on not in prepared:
        return (Finding(f"{on} is not prepared", f"edgetransfer doctor --prepare {on}"),)
    return (Finding(f"numbers on {on}", f"edgetransfer bench BUNDLE --on {on}"),)


def _lacking(
    runtime: Runtime, environment: Mapping[str, Any], capabilities: Mapping[str, Any] | None
) -> tuple[Finding, ...]:
    takes = capabilities or {}
    pip = f"python3 -m pip install '{runtime.package}>={runtime.min_version}'"
    install = runtime.install or pip
    others: Mapping[str, str | None] = environment.get("other_runtimes") or {}
    own = runtime.provider in (environment.get("providers") or ())
    if not own and runtime.provider not in others:
        return (Finding(f"no {runtime.provider} there", install),)
    told = str(environment.get("runtime") or "").rpartition(" ")[2]
    version = told if own else others[runtime.provider]
    if version is not None and version_of(version) < version_of(runtime.min_version):
        what = f"{runtime.package} {version} there, older than {runtime.min_version}"
        return (Finding(what, runtime.update or install),)
    wanted = {"ir_version": runtime.ir_version, "opset": runtime.opset} if own else {}
    return tuple(
        Finding(f"takes {_FILES[key]} {takes[key]}, not {least}", install)
        for key, least in wanted.items()
        if takes.get(key, least) < least
    )


def _preview(name: str, cache: Path) -> PreviewRow:
    preview = catalogue.preview(name)
    where = f"{qemu.WORD}:{name}"
    try:
        qemu.check_host(preview)
    except EdgeTransferError as error:
        return PreviewRow(where, preview.title, False, None, str(error).partition("\n")[0])
    found = qemu.find(preview, cache)
    told = None if found is None else f"{preview.emulator.program} {found.emulator_version}"
    return PreviewRow(where, preview.title, found is not None, told, None)


def prepare(places: Sequence[str], cache: Path, reporter: Reporter) -> list[dict[str, Any]]:
    """Prepare emulated processors, and the runtime of browsers; return what each took.

    They are named as ``--on`` takes them: ``qemu:NAME``, ``browser``. SpecError of a place that
    needs no preparing, or is not known; UnsupportedError where it cannot be emulated on this
    machine; StageError where something could not be fetched, or does not run.
    """
    previews, done, known = [], [], catalogue.names("targets/previews")
    for where in places:
        if where == BROWSER:
            with telling(reporter, f"prepare {BROWSER}") as line:
                folder = browser_runtime.prepare()
                line.summary = browser_runtime.PACKAGE
            done.append({"where": BROWSER, "folder": str(folder)})
            continue
        word, _, name = where.partition(":")
        if word != qemu.WORD:
            raise SpecError(
                "nothing has to be prepared there",
                where="--prepare",
                found=repr(where),
                expected=", ".join((BROWSER, *(f"{qemu.WORD}:{each}" for each in known))),
            )
        previews.append(catalogue.preview(name))
        qemu.check_host(previews[-1])
    for preview in previews:
        with telling(reporter, f"prepare {preview.name}") as line:
            steps: list[str] = []
            record = qemu.prepare(preview, cache, steps.append)
            line.reused = record["seconds"] == 0
            size = f"{record['bytes'] / 2**20:.0f} MiB"
            runtimes = ", ".join(f"{k} {v}" for k, v in record["runtimes"].items())
            line.summary = f"{size}, {runtimes}, emulator {record['emulator_version']}"
        done.append({"where": f"{qemu.WORD}:{preview.name}", **record})
    return done
