"""What proves that the right thing was measured: values, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.drift import Decision, farthest, worst_sqnr_db
from edgetransfer.measure.plain import Missing

if TYPE_CHECKING:
    from edgetransfer.agent.outputs import Outputs

UNSEEN = Missing("not looked at in this run")
NO_ENGINE = Missing("only TensorRT builds an engine on the device")


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
        """Write it as people do."""
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


@dataclass(frozen=True)
class TensorParity:
    """How far tensors prepared there are from those of the training, in levels of 8 bits."""

    max_levels: float
    mean_levels: float
    examples: int


@dataclass(frozen=True)
class Export:
    """What the trace stage proved; `flips` is None in bundles that did not count them."""

    max_abs: float
    range: float
    min_cosine: float
    examples: int
    flips: int | None = None


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
    def examples(self) -> int:
        """How many examples both ran."""
        return self.first.examples

    @property
    def equal(self) -> bool:
        """Whether every bit is the same."""
        return self.first.digest() == self.second.digest()

    @property
    def relative(self) -> float:
        """Largest difference over the range of an output of the first."""
        _, difference, span = farthest(self.first, self.second)
        return difference / span if np.isfinite(difference) else np.inf


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


@dataclass(frozen=True)
class IntendedPrecision:
    """Convolutions of the bundle's core.onnx: in integers, and in float on purpose, by name."""

    int8_conv: int
    float_conv: tuple[str, ...]


@dataclass(frozen=True)
class Rebuilds:
    """Engines built from the same file, and decisions among which they differ."""

    builds: int
    examples: int
    flips: int


@dataclass(frozen=True)
class Proofs:
    """All of them; what a run did not look at is `Missing`, with the reason.

    Of G0 (`contract`: interfaces and versions, `integrity`: files), G1, G2, G4 (the candidate's
    outputs without and with the runtime's graph optimisation), G7, G8 (what is in float on purpose)
    and G12.
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


def tensor_parity(here: NDArray[Any], there: NDArray[Any], level: NDArray[Any]) -> TensorParity:
    """Compare tensors [N, 3, h, w] of here and there; 1 of 255 moves a channel by `level` [3]."""
    apart = np.abs(there.astype(np.float64) - here) / level.reshape(1, -1, 1, 1)
    return TensorParity(float(apart.max()), float(apart.mean()), len(here))
