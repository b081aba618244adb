"""G1, G2, G4, G7 and G12: the same numbers there, after a step, in other threads and builds."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from edgetransfer.measure.gates.gate import Gate, apart, held, not_run
from edgetransfer.measure.plain import Missing
from edgetransfer.measure.stats.proportions import clopper_pearson_lower

if TYPE_CHECKING:
    from edgetransfer.measure.proofs import Export, Rebuilds, Repeats, TensorParity, Twice

ROUNDING = 1e-5
"""Over the range of an output: what another order of float sums may move them by."""


def determinism(proof: Repeats | Missing) -> Gate:
    """FAIL where a run does not repeat itself, or threads or batch move the outputs.

    The same run has to give the same bits. Another number of threads or another batch may add
    floats in another order; where activations are scaled by the batch they are in, only the
    decisions have to stay.
    """
    if isinstance(proof, Missing):
        return not_run("determinism", proof.reason)
    wrong = [
        f"the {variant} gave other bits when run again"
        for variant, same in proof.repeated.items()
        if not same
    ]
    kept = [f"the same bits twice on {proof.examples} examples"] if not wrong else []
    for name, twice in proof.varied.items():
        if isinstance(twice, Missing):
            kept.append(f"{name}: {twice.reason}")
        elif _agree(twice, dynamic=proof.dynamic):
            kept.append(f"{name}: {_told(twice)}")
        else:
            wrong.append(f"{name}: {_told(twice)}")
    told = "; ".join(wrong or kept)
    return held("determinism", not wrong, told, (len(wrong), 0, "deviations"))


def rebuild(proof: Rebuilds | Missing) -> Gate:
    """Warns where engines that were built from one file decide differently."""
    if isinstance(proof, Missing):
        return not_run("rebuild", proof.reason, decides=False)
    message = (
        f"{proof.flips} of {proof.examples} decisions differ among {proof.builds} builds of the "
        "engine"
    )
    if proof.flips:
        message += ": keep the engine that was measured"
    return held("rebuild", not proof.flips, message, (proof.flips, 0, "flips"), decides=False)


def _agree(twice: Twice, *, dynamic: bool) -> bool:
    return twice.equal or (twice.flips == 0 and (dynamic or twice.relative <= ROUNDING))


def _told(twice: Twice) -> str:
    if twice.equal:
        return f"the same bits on {twice.examples} examples"
    return (
        f"{twice.flips} of {twice.examples} decisions differ, outputs by {twice.relative:.1e} "
        "of their range"
    )


MAX_LEVELS, MEAN_LEVELS = 2.0, 0.25
"""Of 255: what the largest and the mean difference of a prepared picture may be."""
EXPORT_RELATIVE, EXPORT_COSINE = 1e-3, 0.9999
FUSED_DB, FUSED_FLIPS = 30.0, 0.005
"""How near the runtime's integer kernels have to come to the same arithmetic in float."""


def preprocessing(proof: TensorParity | Missing) -> Gate:
    """FAIL where pictures are prepared otherwise there than for the training."""
    if isinstance(proof, Missing):
        return not_run("preprocessing", proof.reason)
    largest, mean = proof.max_levels, proof.mean_levels
    same = largest <= MAX_LEVELS and mean <= MEAN_LEVELS
    message = (
        f"{proof.examples} pictures prepared there differ from the training's by "
        f"{apart(largest, MAX_LEVELS, 2)} of 255 levels at most (mean {mean:.3f}), "
        f"{MAX_LEVELS:g} (mean {MEAN_LEVELS:g}) allowed"
    )
    return held("preprocessing", same, message, (largest, MAX_LEVELS, "levels"))


def export(proof: Export | Missing) -> Gate:
    """FAIL where the exported graph does not compute what the network computes."""
    if isinstance(proof, Missing):
        return not_run("export", proof.reason)
    relative = proof.max_abs / proof.range
    same = relative <= EXPORT_RELATIVE and proof.min_cosine >= EXPORT_COSINE and not proof.flips
    flipped = "" if proof.flips is None else f", {proof.flips} decisions changed"
    message = (
        f"the graph gives the network's outputs within {relative:.1e} of their range on "
        f"{proof.examples} examples (smallest cosine {proof.min_cosine:.6f}{flipped}), "
        f"{EXPORT_RELATIVE:g} allowed"
    )
    return held("export", same, message, (relative, EXPORT_RELATIVE, "of range"))


def fusion(proof: Twice | Missing) -> Gate:
    """Warns where integer kernels give other outputs than the same arithmetic in float.

    Without graph optimisation the runtime executes Q and DQ as written, in float, and integer
    products that are written out in float; with it, integer kernels. Far apart they are where
    kernels saturate, or an optimisation changes the graph.
    """
    if isinstance(proof, Missing):
        return not_run("fusion", proof.reason, decides=False)
    value, n, flips = proof.sqnr_db, proof.examples, proof.flips
    near = value >= FUSED_DB and clopper_pearson_lower(flips, n) <= FUSED_FLIPS
    told = f"{apart(value, FUSED_DB)} dB" if isfinite(value) else "no noise at all"
    message = (
        f"{told} between the runtime's own kernels and the same arithmetic unfused, "
        f"{flips} of {n} decisions differ; at least {FUSED_DB:g} dB is usual"
    )
    if not near:
        message += (
            ": kernels that saturate, or an optimisation that changes the graph; build with the "
            "target of that processor's class (edgetransfer targets), or --precision fp32"
        )
    return held("fusion", near, message, (value, FUSED_DB, "dB"), decides=False)
