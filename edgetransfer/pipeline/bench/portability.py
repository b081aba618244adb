"""Keeps, beside a bundle, on which processors it was proven to compute the very same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.files import write_json
from edgetransfer.bundle.readers import read_portability

if TYPE_CHECKING:
    from edgetransfer.bundle.opened import Bundle

SCHEMA = "edgetransfer.portability/1"
FILE = "portability.json"
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


def note(
    bundle: Bundle, host: Mapping[str, Any], where: str, report: Mapping[str, Any]
) -> dict[str, Any]:
    """Write down what one measurement showed, beside what others did; return all.

    The bits of `host`, the build host's environment, are the measure.
    """
    held = {"core": bundle.manifest["files"]["core.onnx"], "session": bundle.manifest["session"]}
    found = read_portability(bundle.file(FILE))
    kept = found.get("kinds", {}) if {key: found.get(key) for key in held} == held else {}
    mine = {kind_of(host): {"where": "the build host", "bit_equal": True, "examples": None}}
    agreement = report.get("host_agreement")
    if agreement is not None:
        environment = report["environment"]
        mine[kind_of(environment)] = {
            "where": where,
            "bit_equal": agreement["bit_equal"],
            "examples": agreement["n"],
            "runtime": environment.get("runtime"),
            "measured_at": environment.get("measured_at"),
        }
    kinds = {**kept, **mine}
    exact = all(kinds.get(kind, {}).get("bit_equal") for kind in PROMISED)
    record = {"schema": SCHEMA, **held, "portable_exact": exact, "kinds": kinds}
    write_json(bundle.file(FILE), record)
    return record


def told(record: Mapping[str, Any]) -> str:
    """Say it in one line.

    >>> told({"portable_exact": False, "kinds": {"arm64": {"bit_equal": True}}})
    'the same bits on arm64; not shown yet on x86_64 with VNNI, x86_64 without VNNI, wasm32'
    """
    kinds = record["kinds"]
    same = [kind for kind, row in kinds.items() if row["bit_equal"]]
    other = [kind for kind, row in kinds.items() if not row["bit_equal"]]
    absent = [kind for kind in PROMISED if kind not in kinds]
    parts = [f"the same bits on {', '.join(same)}"] if same else []
    if other:
        parts.append(f"other bits on {', '.join(other)}")
    if absent:
        parts.append(f"not shown yet on {', '.join(absent)}")
    promise = "portable-exact: " if record["portable_exact"] else ""
    return promise + "; ".join(parts)
