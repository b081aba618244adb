"""What proves that the right thing was measured: values, or why there is none, each with its gate.

G0, G1, G2, G4, G7, G8 and G12: the files that were built ran there, as they should, and give the
same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.agent.runtimes import version_of
from edgetransfer.measure.drift import Decision, farthest, worst_sqnr_db
from edgetransfer.measure.gates import Gate, apart, held, not_run
from edgetransfer.measure.plain import Missing
from edgetransfer.measure.stats.intervals import clopper_pearson_lower

if TYPE_CHECKING:
    from edgetransfer.agent.outputs import Outputs

UNSEEN = Missing("not looked at in this run")
NO_ENGINE = Missing("only TensorRT builds an engine on the device")
TAKES: Mapping[tuple[int, int], tuple[int, int]] = {
    (1, 19): (21, 10),
    (1, 23): (23, 11),
    (1, 24): (25, 13),
    (1, 32): (28, 14),
}
"""Newest opset and file format of releases of ONNX Runtime that were tried
(`shared/design/devices.md` section 0.1); a release between two takes what the older one does."""


@dataclass(frozen=True)
class Port:
    """One input or output of a model; a dimension that is a word may be of any size.

    >>> Port("logits", "float32", ("batch", 2)).fits(Port("logits", "float32", ("N", 2)))
    True
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def fits(self, other: Port) -> bool:
        """Tell whether another model's port can stand in this one's place."""
        same = (self.name, self.dtype, len(self.shape))
        return same == (other.name, other.dtype, len(other.shape)) and all(
            mine == theirs or isinstance(mine, str)
            for mine, theirs in zip(self.shape, other.shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Contract:
    """What the bundle promises of its models, and what the runtime there found in them.

    Promised are inputs and outputs of each file, by the preprocessing and the labels; the opset is
    the newest among the files, `oldest` the release of the runtime that the target promises, if it
    does; `loads` says whether a child process there could import it, None where none was started.
    """

    promised: Mapping[str, Sequence[Port]]
    found: Mapping[str, Sequence[Port]]
    opset: int
    ir_version: int
    runtime: str
    oldest: str | None = None
    loads: bool | None = None
    why_not: str = ""

    def too_new(self) -> list[str]:
        """Say what the oldest runtime that the target promises would not read."""
        limits = None if self.oldest is None else takes(self.oldest)
        if limits is None:
            return []
        told = f"the oldest runtime that the target names, {self.oldest}, reads"
        versions = zip(("opset", "IR"), (self.opset, self.ir_version), limits, strict=True)
        return [f"{told} {what} {most} at most" for what, used, most in versions if used > most]


def takes(version: str) -> tuple[int, int] | None:
    """Newest opset and IR that a release of ONNX Runtime reads, None where none was tried.

    >>> takes("1.19.2"), takes("1.25.0"), takes("1.12")
    ((21, 10), (25, 13), None)
    """
    tried = [each for each in TAKES if each <= version_of(version)]
    return TAKES[max(tried)] if tried else None


def contract(proof: Contract | Missing) -> Gate:
    """FAIL where an input or output is not as promised, or the oldest runtime would refuse."""
    if isinstance(proof, Missing):
        return not_run("contract", proof.reason)
    wrong = [
        f"{file} has {', '.join(map(str, found)) or 'nothing'}, "
        f"expected {', '.join(map(str, promised)) or 'nothing'}"
        for file, promised in proof.promised.items()
        for found in [proof.found.get(file, ())]
        if len(promised) != len(found) or not all(map(Port.fits, promised, found))
    ]
    wrong += proof.too_new()
    wrong += [proof.why_not] if proof.loads is False else []
    ports = sum(len(each) for each in proof.promised.values())
    kept = f"{ports} inputs and outputs of {len(proof.promised)} files are as promised"
    version = f"opset {proof.opset}, IR {proof.ir_version}, opened by {proof.runtime}"
    version += ", which a child process imports" if proof.loads else ""
    told = f"{'; '.join(wrong) or kept} ({version})"
    return held("contract", not wrong, told, (len(wrong), 0, "mismatches"))


WHOLE_TOLERANCE = 1e-3
"""Largest difference between model.onnx and core.onnx, over the range of the outputs."""


@dataclass(frozen=True)
class Integrity:
    """Whether what ran there is what was built here.

    Of each file the SHA-256 here and there; the largest difference of outputs between model.onnx
    and core.onnx there, on the tensors that were prepared there, of the output that differs most
    over its range; that range; and by how much quantising moved a number of it at most, where the
    runtime may compute the two files that differently, 0 elsewhere.
    """

    digests: Mapping[str, tuple[str, str]]
    whole_max_abs: float
    whole_range: float
    examples: int
    quantising_max_abs: float = 0.0


def integrity(proof: Integrity | Missing) -> Gate:
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
    return held("integrity", not wrong, "; ".join(wrong) or kept, (len(wrong), 0, "mismatches"))


MAX_LEVELS, MEAN_LEVELS = 2.0, 0.25
"""Of 255: what the largest and the mean difference of a prepared picture may be."""


@dataclass(frozen=True)
class TensorParity:
    """How far tensors prepared there are from those of the training, in levels of 8 bits."""

    max_levels: float
    mean_levels: float
    examples: int


def tensor_parity(here: NDArray[Any], there: NDArray[Any], level: NDArray[Any]) -> TensorParity:
    """Compare tensors [N, 3, h, w] of here and there; 1 of 255 moves a channel by `level` [3]."""
    differ = np.abs(there.astype(np.float64) - here) / level.reshape(1, -1, 1, 1)
    return TensorParity(float(differ.max()), float(differ.mean()), len(here))


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


EXPORT_RELATIVE, EXPORT_COSINE = 1e-3, 0.9999


@dataclass(frozen=True)
class Export:
    """What the trace stage proved; `flips` is None in bundles that did not count them."""

    max_abs: float
    range: float
    min_cosine: float
    examples: int
    flips: int | None = None


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


FUSED_DB, FUSED_FLIPS = 30.0, 0.005
"""How near the runtime's integer kernels have to come to the same arithmetic in float."""


@dataclass(frozen=True)
class Twice:
    """Outputs of the same examples from two runs that ought to agree, and decisions that differ.

    `sqnr_db` is of the second, where the first is right.
    """

    first: Outputs
    second: Outputs
    flips: int
    sqnr_db: float

    @classmethod
    def of(cls, first: Outputs, second: Outputs, decision: Decision) -> Twice:
        """Compare them by what decides."""
        flips = int(np.count_nonzero(decision.changed(first, second)))
        noise = worst_sqnr_db(first, second, shift_invariant=decision.shift_invariant)
        return cls(first, second, flips, noise)

    @property
    def equal(self) -> bool:
        """Whether every bit is the same."""
        return self.first.digest() == self.second.digest()

    @property
    def relative(self) -> float:
        """Largest difference over the range of an output of the first."""
        _, difference, span = farthest(self.first, self.second)
        return difference / span if np.isfinite(difference) else np.inf

    def __str__(self) -> str:
        if self.equal:
            return f"the same bits on {self.first.examples} examples"
        return (
            f"{self.flips} of {self.first.examples} decisions differ, outputs by "
            f"{self.relative:.1e} of their range"
        )


def fusion(proof: Twice | Missing) -> Gate:
    """Warns where integer kernels give other outputs than the same arithmetic in float.

    Without graph optimisation the runtime executes Q and DQ as written, in float, and integer
    products that are written out in float; with it, integer kernels. Far apart they are where
    kernels saturate, or an optimisation changes the graph.
    """
    if isinstance(proof, Missing):
        return not_run("fusion", proof.reason, decides=False)
    value, n, flips = proof.sqnr_db, proof.first.examples, proof.flips
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


ROUNDING = 1e-5
"""Over the range of an output: what another order of float sums may move them by."""


@dataclass(frozen=True)
class Repeats:
    """What was run again: by variant, whether the same run gave the same bits twice.

    `varied` has the candidate's outputs, or why not, by what was changed ("1 and 2 threads"). Where
    `dynamic` activations get their scale from the batch they are in, another batch may change bits.
    """

    repeated: Mapping[str, bool]
    examples: int
    varied: Mapping[str, Twice | Missing] = field(default_factory=dict)
    dynamic: bool = False


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
            continue
        stays = twice.flips == 0 and (proof.dynamic or twice.relative <= ROUNDING)
        (kept if twice.equal or stays else wrong).append(f"{name}: {twice}")
    told = "; ".join(wrong or kept)
    return held("determinism", not wrong, told, (len(wrong), 0, "deviations"))


NAMED = 8
"""Operators named in a message; the report has all."""


@dataclass(frozen=True)
class IntendedPrecision:
    """Convolutions of the bundle's core.onnx: in integers, and in float on purpose, by name."""

    int8_conv: int
    float_conv: tuple[str, ...]


def residency(found: Mapping[str, Any], intended: IntendedPrecision | Missing) -> Gate:
    """FAIL where a convolution that the bundle has in integers runs in float.

    Layers that the ladder left in float on purpose, and all of a model in floats, are as intended.
    `found` is empty where the optimised graph was not looked at.
    """
    if isinstance(intended, Missing) or found.get("float_conv") is None:
        reason = intended.reason if isinstance(intended, Missing) else "the graph was not looked at"
        return not_run("residency", reason)
    wanted, floats, integers = len(intended.float_conv), found["float_conv"], found["int8_conv"]
    surplus, whole = max(0, floats - wanted), floats + integers
    on_purpose = f", {wanted} in float on purpose" if wanted else ""
    message = f"{integers} of {whole} Conv run in int8{on_purpose}"
    if not whole:
        message = "no Conv among the operators"
    elif intended.int8_conv == 0 and not surplus:
        message = f"all {whole} Conv are floats on purpose"
    if surplus:
        names = _surprising(found, intended)
        told = f": {', '.join(names[:NAMED])}" if names else ""
        rest = ", and more" if len(names) > NAMED else ""
        message = f"{surplus} Conv that the bundle has in int8 run in float{told}{rest}"
    return held("residency", not surplus, message, (surplus, 0, "Conv"))


def _surprising(found: Mapping[str, Any], intended: IntendedPrecision) -> list[str]:
    """Names of convolutions in float that are not so on purpose, as far as names were kept."""
    floats = [str(name) for name in found.get("float_ops") or () if "conv" in str(name).lower()]
    named = {each: re.sub(r" \(\w+\)$", "", each.partition(" ")[2]) for each in floats}
    return [each for each in floats if named[each] not in intended.float_conv] or floats


@dataclass(frozen=True)
class Rebuilds:
    """Engines built from the same file, and decisions among which they differ."""

    builds: int
    examples: int
    flips: int


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


@dataclass(frozen=True)
class Proofs:
    """All of them; what a run did not look at is `Missing`, with the reason.

    `fusion` is of the candidate's outputs without and with the runtime's graph optimisation,
    `intended` what is in float on purpose.
    """

    contract: Contract | Missing = UNSEEN
    integrity: Integrity | Missing = UNSEEN
    preprocessing: TensorParity | Missing = UNSEEN
    export: Export | Missing = UNSEEN
    fusion: Twice | Missing = UNSEEN
    repeats: Repeats | Missing = UNSEEN
    intended: IntendedPrecision | Missing = UNSEEN
    rebuilds: Rebuilds | Missing = NO_ENGINE


UNPROVEN = Proofs()
