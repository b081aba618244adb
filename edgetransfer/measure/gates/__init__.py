"""The gates: each holds one thing that was found against its limit, as pure functions of values."""

from edgetransfer.measure.gates.classes import calibration, classes
from edgetransfer.measure.gates.contract import contract, integrity
from edgetransfer.measure.gates.gate import Gate, Status, held, not_run
from edgetransfer.measure.gates.limits import MIB, accuracy, latency, size
from edgetransfer.measure.gates.logits import finite, flips, flips_needed, kl, sqnr
from edgetransfer.measure.gates.merit import (
    FLOORS,
    chance,
    floors,
    recorded,
    transfer,
    written_record,
)
from edgetransfer.measure.gates.parity import determinism, export, fusion, preprocessing, rebuild
from edgetransfer.measure.gates.runtime import performance, residency

__all__ = [
    "FLOORS",
    "MIB",
    "Gate",
    "Status",
    "accuracy",
    "calibration",
    "chance",
    "classes",
    "contract",
    "determinism",
    "export",
    "finite",
    "flips",
    "flips_needed",
    "floors",
    "fusion",
    "held",
    "integrity",
    "kl",
    "latency",
    "not_run",
    "performance",
    "preprocessing",
    "rebuild",
    "recorded",
    "residency",
    "size",
    "sqnr",
    "transfer",
    "written_record",
]
