"""The gates: each holds one thing that was found against its limit, as pure functions of values."""

from edgetransfer.measure.gates.gate import Gate, Status, held, not_run
from edgetransfer.measure.gates.outputs import finite, flips, flips_needed, sqnr
from edgetransfer.measure.gates.proofs import (
    contract,
    determinism,
    export,
    fusion,
    integrity,
    preprocessing,
    rebuild,
)
from edgetransfer.measure.gates.runtime import MIB, latency, performance, residency, size

__all__ = [
    "MIB",
    "Gate",
    "Status",
    "contract",
    "determinism",
    "export",
    "finite",
    "flips",
    "flips_needed",
    "fusion",
    "held",
    "integrity",
    "latency",
    "not_run",
    "performance",
    "preprocessing",
    "rebuild",
    "residency",
    "size",
    "sqnr",
]
