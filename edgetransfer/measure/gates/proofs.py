"""G0, G1, G2, G4, G7 and G12: the files that were built ran there, and give the same numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isfinite

from edgetransfer.measure import proofs
from edgetransfer.measure.gates.gate import Gate, apart, held, not_run
from edgetransfer.measure.plain import Missing
from edgetransfer.measure.stats.intervals import clopper_pearson_lower

WHOLE_TOLERANCE = 1e-3
"""Largest difference between model.onnx and core.onnx, over the range of the outputs."""
TAKES: Mapping[tuple[int, int], tuple[int, int]] = {
    (1, 19): (21, 10),
    (1, 23): (23, 11),
    (1, 24): (25, 13),
    (1, 32): (28, 14),
}
"""Newest opset and file format of releases of ONNX Runtime that were tried
(`shared/design/devices.md` section 0.1); a release between two takes what the older one does."""


def contract(proof: proofs.Contract | Missing) -> Gate:
    """FAIL where an input or output is not as promised, or the oldest runtime would refuse."""
    if isinstance(proof, Missing):
        return not_run("contract", proof.reason)
    wrong = [
        *(
            f"{file} has {_ports_told(found)}, expected {_ports_told(promised)}"
            for file, promised in proof.promised.items()
            for found in [proof.found.get(file, ())]
            if len(promised) != len(found) or not all(map(proofs.Port.fits, promised, found))
        ),
        *_too_new(proof),
        *([proof.why_not] if proof.loads is False else []),
    ]
    ports = sum(len(each) for each in proof.promised.values())
    kept = f"{ports} inputs and outputs of {len(proof.promised)} files are as promised"
    version = f"opset {proof.opset}, IR {proof.ir_version}, opened by {proof.runtime}"
    version += ", which a child process imports" if proof.loads else ""
    told = f"{'; '.join(wrong) or kept} ({version})"
    return held("contract", not wrong, told, (len(wrong), 0, "mismatches"))


def takes(version: str) -> tuple[int, int] | None:
    """Newest opset and IR that a release of ONNX Runtime reads, None where none was tried.

    >>> takes("1.19.2"), takes("1.25.0"), takes("1.12")
    ((21, 10), (25, 13), None)
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        return None
    release = int(found[1]), int(found[2])
    tried = [each for each in TAKES if each <= release]
    return TAKES[max(tried)] if tried else None


def integrity(proof: proofs.Integrity | Missing) -> Gate:
    """FAIL where a file there is another one, or model.onnx does not give core.onnx's outputs."""
    if isinstance(proof, Missing):
        return not_run("integrity", proof.reason)
    digests = proof.digests.items()
    wrong = [f"{file} is another file there" for file, (mine, its) in digests if mine != its]
    usual = WHOLE_TOLERANCE * max(proof.whole_range, 1.0)
    if not proof.whole_max_abs <= max(usual, proof.quantising_max_abs):
        wrong.append(
            "model.onnx does not give the outputs of core.onnx: they differ by "
            f"{proof.whole_max_abs:.3g} on {proof.examples} examples"
        )
    same = f"{len(digests)} files there have the digests of those here; " if digests else ""
    kept = (
        f"{same}model.onnx gives the outputs of core.onnx within {proof.whole_max_abs:.1e} "
        f"on {proof.examples} examples"
    )
    if proof.whole_max_abs > usual:
        kept += (
            f"; the runtime rounds once what both files round twice, and quantising moved outputs "
            f"by {proof.quantising_max_abs:.1e}"
        )
    told = "; ".join(wrong) or kept
    return held("integrity", not wrong, told, (len(wrong), 0, "mismatches"))


def _too_new(proof: proofs.Contract) -> list[str]:
    """Say what the oldest runtime that the target promises would not read."""
    limits = None if proof.oldest is None else takes(proof.oldest)
    if limits is None:
        return []
    opset, ir_version = limits
    told = f"the oldest runtime that the target names, {proof.oldest}, reads"
    return [
        *([f"{told} opset {opset} at most"] if proof.opset > opset else []),
        *([f"{told} IR {ir_version} at most"] if proof.ir_version > ir_version else []),
    ]


def _ports_told(ports: Sequence[proofs.Port]) -> str:
    return ", ".join(map(str, ports)) or "nothing"


ROUNDING = 1e-5
"""Over the range of an output: what another order of float sums may move them by."""


def determinism(proof: proofs.Repeats | Missing) -> Gate:
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
        elif twice.equal or (twice.flips == 0 and (proof.dynamic or twice.relative <= ROUNDING)):
            kept.append(f"{name}: {_told(twice)}")
        else:
            wrong.append(f"{name}: {_told(twice)}")
    told = "; ".join(wrong or kept)
    return held("determinism", not wrong, told, (len(wrong), 0, "deviations"))


def rebuild(proof: proofs.Rebuilds | Missing) -> Gate:
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


def _told(twice: proofs.Twice) -> str:
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


def preprocessing(proof: proofs.TensorParity | Missing) -> Gate:
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


def export(proof: proofs.Export | Missing) -> Gate:
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


def fusion(proof: proofs.Twice | Missing) -> Gate:
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
