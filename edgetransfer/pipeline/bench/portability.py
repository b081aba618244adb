"""Keeps, beside a bundle, on which processors it was proven to compute the very same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.files import write_json
from edgetransfer.bundle.readers import read_portability
from edgetransfer.measure.study.portability import PROMISED, kind_of

if TYPE_CHECKING:
    from edgetransfer.bundle.opened import Bundle

SCHEMA = "edgetransfer.portability/1"
FILE = "portability.json"


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
