"""Warns of what makes the transfer itself doubtful; nothing here decides.

It does not ask the questions; `measure.soundness` does.
"""

from __future__ import annotations

from edgetransfer.measure.gates.gate import Gate, Status


def chance(right: float, label: str, share: float) -> Gate:
    """Warns of a float model that does worse than naming the commonest class; it never decides."""
    message = (
        f"the float model is right on {100 * right:.1f} %, and always answering {label!r} would be "
        f"on {100 * share:.1f} %: it learnt nothing that these examples show, or the labels are "
        "not in the order of its outputs"
    )
    status: Status = "FAIL" if right < share else "PASS"
    return Gate("chance", status, False, 100 * right, 100 * share, "%", message)


def transfer(message: str, measured_pp: float) -> Gate:
    """Warns that this transfer is not sound, see `measure.soundness`; it never decides."""
    return Gate("transfer", "FAIL", False, measured_pp, 0.0, "pp", f"transfer: {message}")
