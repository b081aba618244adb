"""G7 and G12: the same question gets the same answer, whatever the threads, batch and build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetransfer.measure.gates.gate import Gate, Status, not_run
from edgetransfer.measure.plain import Missing

if TYPE_CHECKING:
    from edgetransfer.measure.proofs import Rebuilds, Repeats, Twice

ROUNDING = 1e-5
"""Over the range of the logits: what another order of float sums may move them by."""


def determinism(proof: Repeats | Missing) -> Gate:
    """FAIL where a run does not repeat itself, or threads or batch move the logits.

    The same run has to give the same bits. Another number of threads or another batch may add
    floats in another order; where activations are scaled by the batch they are in, only the
    decisions have to stay.
    """
    if isinstance(proof, Missing):
        return not_run("determinism", "G7", proof.reason, decides=True)
    wrong = [
        f"the {variant} gave other bits when run again"
        for variant, same in proof.repeated.items()
        if not same
    ]
    held = [f"the same bits twice on {proof.examples} examples"] if not wrong else []
    for name, twice in proof.varied.items():
        if isinstance(twice, Missing):
            held.append(f"{name}: {twice.reason}")
        elif _agree(twice, dynamic=proof.dynamic):
            held.append(f"{name}: {_told(twice)}")
        else:
            wrong.append(f"{name}: {_told(twice)}")
    message = f"determinism: {'; '.join(wrong or held)}"
    status: Status = "FAIL" if wrong else "PASS"
    return Gate("determinism", status, True, len(wrong), 0, "deviations", message, code="G7")


def rebuild(proof: Rebuilds | Missing) -> Gate:
    """Warns where engines that were built from one file decide differently."""
    if isinstance(proof, Missing):
        return not_run("rebuild", "G12", proof.reason, decides=False)
    message = (
        f"rebuild: {proof.flips} of {proof.examples} decisions differ among {proof.builds} builds "
        "of the engine"
    )
    status: Status = "FAIL" if proof.flips else "PASS"
    if proof.flips:
        message += ": keep the engine that was measured"
    return Gate("rebuild", status, False, proof.flips, 0, "flips", message, code="G12")


def _agree(twice: Twice, *, dynamic: bool) -> bool:
    return twice.equal or (twice.flips == 0 and (dynamic or twice.relative <= ROUNDING))


def _told(twice: Twice) -> str:
    if twice.equal:
        return f"the same bits on {twice.examples} examples"
    return (
        f"{twice.flips} of {twice.examples} decisions differ, logits by {twice.relative:.1e} "
        "of their range"
    )
