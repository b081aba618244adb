"""Warns of what makes the transfer itself doubtful; nothing here decides but with `--strict`."""

from __future__ import annotations

from edgetransfer.measure.gates.gate import Gate


def transfer(message: str, measured_pp: float) -> Gate:
    """Warns that this transfer is not sound, see `measure.study.soundness`; it never decides."""
    return Gate("transfer", "FAIL", False, measured_pp, 0.0, "pp", f"transfer: {message}")
