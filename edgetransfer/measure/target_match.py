"""Decides from what the agent saw whether a place is the target, and of which kind it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from edgetransfer.agent.runtimes import CPU, version_of

if TYPE_CHECKING:
    from edgetransfer.measure.gates import Gate
    from edgetransfer.spec.target import TargetSpec

OF_THE_DEVICE = frozenset(
    (
        *("contract", "integrity", "preprocessing", "fusion", "device", "determinism"),
        *("residency", "latency", "performance", "rebuild"),
    )
)
"""Gates that speak of the machine they were run on: elsewhere they cannot pass."""
_OS = {
    "linux": "Linux",
    "android": "Android",
    "ios": "iOS",
    "macos": "macOS",
    "windows": "Windows",
    "browser": "a browser",
}


@dataclass(frozen=True)
class Standing:
    """What a measurement at a place may say of the target, and in words why not all.

    ``target``: all. ``numbers``: all but times, for the processor is emulated. ``preview``: nothing
    for certain.
    """

    kind: Literal["target", "numbers", "preview"]
    why: tuple[str, ...] = ()

    @property
    def is_target(self) -> bool:
        """Whether times count."""
        return self.kind == "target"

    @property
    def proves(self) -> bool:
        """Whether there can be a PASS: on the target, or on its processor, emulated."""
        return not self.why


ON_TARGET = Standing("target")


def stand(
    target: TargetSpec,
    told: Mapping[str, Any],
    session: Mapping[str, Any] | None = None,
    *,
    emulated: bool = False,
) -> Standing:
    """Decide what a place may say of a target.

    A class of machines is any machine with its instructions. A board is known by what it calls
    itself (device tree, DMI), another kind of device by its system, its GPU or its execution
    provider. What was not seen is not taken for granted. `told` is ``environment`` as the agent
    told it, the session what the one that was judged ran on (``provider``, ``nodes``, ``runtime``,
    ``gpu``, ``compute_capability``): before there was one, what only it could tell is left open.
    The transport says whether it emulates processor or accelerator.
    """
    software = other_software(target, told, session)
    if emulated or told.get("emulator"):
        if software or (told.get("os_family") == "browser") != ("browser" in target.device.os):
            return Standing("preview", software or other_machine(target, told))
        return Standing("numbers", _other_processor(target, told))
    machine = other_machine(target, told) or _other_gpu(target, session)
    why = machine or software
    return Standing("preview", why) if why else ON_TARGET


def other_machine(target: TargetSpec, told: Mapping[str, Any]) -> tuple[str, ...]:
    """Say why a machine is not the target whatever software it has, in words."""
    return _other_kind(target, told) or _other_flags(target, told) or _other_board(target, told)


def _other_kind(target: TargetSpec, told: Mapping[str, Any]) -> tuple[str, ...]:
    """Compare system and architecture."""
    system, arch = told.get("os_family"), told.get("arch")
    seen, wanted = [], []
    if system not in target.device.os:
        seen.append("a system that was not told" if system is None else _OS.get(system, system))
        wanted.append(" or ".join(_OS[each] for each in target.device.os))
    if system == "browser" and seen:
        host = f" on {told['os']}" if told.get("os") else ""
        runs = "the system's" if target.runtime is None else target.runtime.name
        return (f"measured in a browser{host}, the target runs {runs} on {wanted[0]}",)
    if target.isa is not None and arch != target.isa.arch:
        seen.append(str(arch or "an architecture that was not told"))
        wanted.append(target.isa.arch)
    if not seen:
        return ()
    return (f"measured on {' '.join(seen)}, the target is {' '.join(wanted)}",)


def _other_flags(target: TargetSpec, told: Mapping[str, Any]) -> tuple[str, ...]:
    """Compare instruction sets of one architecture."""
    if target.isa is None:
        return ()
    isa, flags = target.isa, frozenset(told.get("isa") or ())
    lacking = [flag for flag in isa.all_of if flag not in flags]
    surplus = [flag for flag in isa.none_of if flag in flags]
    on = f"measured on {isa.arch}"
    found = []
    if lacking:
        found.append(f"{on} without {' and '.join(lacking)}, which the target has")
    if isa.any_of and flags.isdisjoint(isa.any_of):
        found.append(f"{on} without {' or '.join(isa.any_of)}, one of which the target has")
    if surplus:
        found.append(f"{on} with {' and '.join(surplus)}, which the target has not")
    return tuple(found)


def _other_board(target: TargetSpec, told: Mapping[str, Any]) -> tuple[str, ...]:
    """Compare what a machine calls itself."""
    names, board = tuple(told.get("identity") or ()), target.device.board
    if not board:
        itself = f"; this machine calls itself {names[0]}" if names else ""
        unknown = (
            "the target's file names nothing that its device could be known by (board under "
            f"[device]){itself}"
        )
        return () if _is_known(target) else (unknown,)
    if not names:
        return (
            "what board this is was not seen (it shows neither a device tree nor DMI), the target "
            f"is {board[0]}",
        )
    if _names(board, names):
        return ()
    return (f"measured on {names[0]}, the target is {board[0]}",)


def _is_known(target: TargetSpec) -> bool:
    """Tell whether something beside its instructions tells the target from other machines."""
    device, runtime = target.device, target.runtime
    return (
        target.device_class
        or target.detect
        or bool(device.gpu or device.compute_capability)
        or (runtime is not None and runtime.provider != CPU)
        or set(device.os).isdisjoint(("linux", "macos", "windows"))
    )


def _names(wanted: Sequence[str], told: Sequence[str]) -> bool:
    """Tell whether one of the names is said, as whole words.

    >>> _names(["Raspberry Pi 5"], ["Raspberry Pi 5 Model B Rev 1.0"])
    True
    >>> _names(["Raspberry Pi 5"], ["Raspberry Pi 500 Rev 1.0"])
    False
    """
    return any(
        re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", each, re.IGNORECASE)
        for name in wanted
        for each in told
    )


def _other_gpu(target: TargetSpec, session: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Compare the GPU that the session ran on."""
    device = target.device
    if session is None or not (device.gpu or device.compute_capability):
        return ()
    name, capability = session.get("gpu"), session.get("compute_capability")
    if device.gpu and not _names(device.gpu, [str(name or "")]):
        return (f"measured on the GPU {name or 'not told'}, the target has {device.gpu[0]}",)
    if device.compute_capability and str(capability) not in device.compute_capability:
        wanted = " or ".join(device.compute_capability)
        seen = capability or "not told"
        return (f"measured on a GPU of compute capability {seen}, the target has {wanted}",)
    return ()


def other_software(
    target: TargetSpec, told: Mapping[str, Any], session: Mapping[str, Any] | None
) -> tuple[str, ...]:
    """Say why the runtime is not the target's: its name, version, or the provider that ran."""
    runtime = target.runtime
    if runtime is None:
        return ()
    name, version = _runtime(target, told, session)
    if name != runtime.name:
        return (f"measured with {name}, the target runs {runtime.name}",)
    if version is not None and version_of(version) < version_of(runtime.min_version):
        least = runtime.min_version
        return (f"measured with {name} {version}, the target runs {least} or newer",)
    return _other_provider(runtime.provider, told, session)


def _runtime(
    target: TargetSpec, told: Mapping[str, Any], session: Mapping[str, Any] | None
) -> tuple[str, str | None]:
    """Return name and version of the runtime that ran, or would run."""
    assert target.runtime is not None
    wanted, others = target.runtime, told.get("other_runtimes") or {}
    if session is None and wanted.provider in others:
        return wanted.name, others[wanted.provider]
    said = (session or {}).get("runtime") or told.get("runtime")
    if said is None:
        return "no runtime", None
    name, _, version = str(said).partition(" ")
    return "tensorrt" if name.startswith("tensorrt") else name, version.partition(",")[0] or None


def _other_provider(
    wanted: str, told: Mapping[str, Any], session: Mapping[str, Any] | None
) -> tuple[str, ...]:
    if session is None:
        there = {*(told.get("providers") or (wanted,)), *(told.get("other_runtimes") or ())}
        return () if wanted in there else (f"the runtime there has no {wanted}",)
    used = session.get("provider")
    if used is None and wanted != CPU:
        return (f"which execution provider ran was not told, the target's is {wanted}",)
    if used not in (wanted, None):
        return (f"the sessions ran on {used}, the target's run on {wanted}",)
    nodes = session.get("nodes") or {wanted: 1}
    if not nodes.get(wanted):
        others = ", ".join(sorted(nodes))
        return (f"no operator ran on {wanted}, all on {others}",)
    return ()


def _other_processor(target: TargetSpec, told: Mapping[str, Any]) -> tuple[str, ...]:
    """Say why an emulated processor does not compute what the target does."""
    if target.isa is None or told.get("os_family") == "browser":
        return ()
    if told.get("arch") != target.isa.arch:
        return (f"emulated {told.get('arch')}, the target is {target.isa.arch}",)
    found = () if target.preview.any_flags else _other_flags(target, told)
    return tuple(each.replace("measured on", "emulated", 1) for each in found)


def as_preview(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """Return gates of a run elsewhere: none decides, and none that speaks of the device passes."""

    def shown(gate: Gate) -> Gate:
        if gate.name not in OF_THE_DEVICE or gate.status not in ("PASS", "INCONCLUSIVE"):
            return replace(gate, decides=False)
        told = gate.message.removeprefix(f"{gate.name}: ")
        message = f"{gate.name}: not run on the target; on the machine of the preview: {told}"
        return replace(gate, decides=False, status="NOT RUN", message=message)

    return tuple(map(shown, gates))


_VNNI = frozenset({"avx512_vnni", "avx_vnni"})
PROMISED = ("x86_64 with VNNI", "x86_64 without VNNI", "arm64", "wasm32")
"""Kinds of processor that ``portable-exact`` stands for: each adds 8-bit products its own way."""


def kind_of(environment: Mapping[str, Any]) -> str:
    """Name the kind of integer kernels that a machine has.

    >>> kind_of({"arch": "x86_64", "isa": ["avx2"]}), kind_of({"arch": "arm64", "isa": []})
    ('x86_64 without VNNI', 'arm64')
    """
    arch = str(environment.get("arch"))
    if arch != "x86_64":
        return arch
    return f"{arch} with{'out' if _VNNI.isdisjoint(environment.get('isa', ())) else ''} VNNI"


def told_portability(record: Mapping[str, Any]) -> str:
    """Say it in one line.

    >>> told_portability({"portable_exact": False, "kinds": {"arm64": {"bit_equal": True}}})
    'the same bits on arm64; not shown yet on x86_64 with VNNI, x86_64 without VNNI, wasm32'
    """
    kinds = record["kinds"]
    found = {
        "the same bits on": [kind for kind, row in kinds.items() if row["bit_equal"]],
        "other bits on": [kind for kind, row in kinds.items() if not row["bit_equal"]],
        "not shown yet on": [kind for kind in PROMISED if kind not in kinds],
    }
    promise = "portable-exact: " if record["portable_exact"] else ""
    return promise + "; ".join(f"{told} {', '.join(of)}" for told, of in found.items() if of)
