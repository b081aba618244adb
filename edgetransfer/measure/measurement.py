"""One measurement, raw, and what measuring asks of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from edgetransfer.measure.drift import Decision, Drift
from edgetransfer.measure.proofs import UNPROVEN, Proofs
from edgetransfer.measure.target_match import ON_TARGET, Standing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgetransfer.agent.outputs import Outputs
    from edgetransfer.measure.agreement import OnHost
    from edgetransfer.measure.gates import Gate
    from edgetransfer.measure.sample import Sample
    from edgetransfer.measure.speed.latency import Samples
    from edgetransfer.spec.budget import Budget


Shape = tuple[int | str, ...]


def fits(wanted: Mapping[str, Shape], found: Mapping[str, tuple[int, ...]]) -> bool:
    """Tell whether outputs are those of a task.

    >>> fits({"boxes": ("found", 4)}, {"boxes": (7, 4)}), fits({"logits": (3,)}, {"logits": (4,)})
    (True, False)
    """
    return list(wanted) == list(found) and all(
        len(shape) == len(found[name])
        and all(isinstance(a, str) or a == b for a, b in zip(shape, found[name], strict=True))
        for name, shape in wanted.items()
    )


@dataclass(frozen=True)
class Timing:
    """Samples of both variants, timed in the same interleaved blocks."""

    reference: Samples
    candidate: Samples


@dataclass(frozen=True)
class Measurement:
    """One measurement of one candidate against its float reference.

    What is a mapping goes into the report as it is; None where nobody looked.

    Args:
        labels: in the order of the outputs; none where the task has none.
        reference, candidate: outputs, float32 [N, ...] by name.
        truth: [N], as the task reads labels; None where the examples have none.
        precision: of the candidate: "fp32", "fp16" or "w8a8".
        groups: columns [N] of metadata to report by.
        core, end_to_end: times of core.onnx, and of model.onnx from RGB.
        residency: {"float_conv": int, "int8_conv": int, "float_ops": [names]}, after the
            runtime's own optimisation.
        soundness: whether a random network would do as well; its warnings, and those of
            `adaptation` (what moving to the device's pictures brought), become gates that do not
            decide.
        labelling: labels that are probably wrong, and what more would give.
        on_host: the candidate on the build host, where this was measured on another device.
        formats: outputs of the network for other runtimes, by the runtime.
        recorded: how the shipped model did on the test set of its build.
        names: keys of the examples, [N], where the report may show some; empty where it may not.
        identical: whether candidate and reference are the same file.
        verify_with: what verifies the target, in words, where this does not.
    """

    task: Judge
    target: str
    labels: tuple[str, ...]
    reference: Outputs
    candidate: Outputs
    truth: NDArray[Any] | None
    budget: Budget
    metric: str = "top1"
    seed: int = 0
    precision: str = "w8a8"
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    core: Timing | None = None
    end_to_end: Timing | None = None
    reference_bytes: int = 0
    candidate_bytes: int = 0
    residency: Mapping[str, Any] | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    validity: Mapping[str, Any] = field(default_factory=dict)
    formats: Mapping[str, Outputs] = field(default_factory=dict)
    ladder: Sequence[Mapping[str, Any]] = ()
    soundness: Mapping[str, Any] | None = None
    adaptation: Mapping[str, Any] | None = None
    labelling: Mapping[str, Any] | None = None
    choice: Mapping[str, Any] | None = None
    on_host: OnHost | None = None
    proofs: Proofs = UNPROVEN
    sample: Sample | None = None
    notes: tuple[str, ...] = ()
    names: Sequence[str] = ()
    recorded: Mapping[str, Any] | None = None
    identical: bool = False
    standing: Standing = ON_TARGET
    verify_with: str = ""

    def __post_init__(self) -> None:
        if not fits(self.task.outputs(self.labels), self.reference.shapes):
            msg = f"{len(self.labels)} labels, but outputs of shapes {self.reference.shapes}"
            raise ValueError(msg)

    def violations(self) -> tuple[str, ...]:
        """Return why the times are not to be trusted, nothing where they are."""
        if self.validity.get("valid", True):
            return ()
        return tuple(self.validity.get("violations", ())) or ("the run was not valid",)


@dataclass(frozen=True)
class TrialInput:
    """What is known of a candidate before the test set is touched.

    Outputs have M rows, the labelled examples first; `truth` is theirs, [N], N <= M. The latency is
    the p90 on the target, None where there is no valid one; `test_examples` will judge the final
    artefact, the metric chooses, and the seed is that of every bootstrap.
    """

    reference: Outputs
    candidate: Outputs
    truth: NDArray[Any]
    latency_ms: float | None
    bytes: int
    test_examples: int
    untimed: str = "not timed"
    metric: str = "top1"
    seed: int = 0


@dataclass(frozen=True)
class TaskTrial:
    """What a task says of a candidate before the test set is touched.

    How much of the metric it loses on labelled examples, None without any; the task's own limits
    that are missed, in words, and by which share of the limit; why the test set would not decide
    whether the loss is under its limit, empty where it would; and what the ladder's record says of
    it.
    """

    lost_pp: float | None = None
    missed: Sequence[tuple[str, float]] = ()
    doubt: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskGates:
    """The gates of a task, in the order of the report.

    What the candidate loses against the floats, how far outputs move beyond what they decide, how
    good the shipped model is by itself, and that no part of the examples pays for the others.
    """

    loss: tuple[Gate, ...] = ()
    values: tuple[Gate, ...] = ()
    merit: tuple[Gate, ...] = ()
    parts: tuple[Gate, ...] = ()


class Judged(Protocol):
    """What a task found in the outputs of both models, and in labels where there are any."""

    def gates(self) -> TaskGates:
        """Hold it against the budget."""

    def written(self) -> Mapping[str, Any]:
        """Return the task's blocks of ``report.json``; what is in ``numeric`` joins that block."""


class Judge(Decision, Protocol):
    """What measuring asks of a task, whose name stands in recipe, manifest and report.

    `claims` names its gates that say how good the candidate is.
    """

    name: str
    claims: frozenset[str]

    def outputs(self, labels: Sequence[str]) -> Mapping[str, Shape]:
        """Return one example's shape of each output, in the model's order; a word is any size."""

    def examine(self, raw: Measurement, drift: Drift) -> Judged:
        """Compute the statistics of a measurement."""

    def hold(self, tried: TrialInput, budget: Budget, drift: Drift) -> TaskTrial:
        """Hold a finite candidate against the limits of the task, before the test set is touched.

        A loss is missed by its estimate, not by its bounds, which a validation set is too small
        for.
        """
