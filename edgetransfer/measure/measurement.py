"""One measurement: raw logits, raw times and what is known of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgetransfer.measure.proofs import UNPROVEN, Proofs
from edgetransfer.measure.target_match import ON_TARGET, Standing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgetransfer.measure.agreement import OnHost
    from edgetransfer.measure.sample import Sample
    from edgetransfer.measure.speed.latency import Samples
    from edgetransfer.spec.budget import Budget
    from edgetransfer.spec.words import Metric


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
        reference: float32 [N, C], logits of the reference.
        candidate: float32 [N, C], logits of the candidate.
        truth: int [N], class numbers; None where the examples have no labels.
        seed: of every bootstrap.
        precision: of the candidate: "fp32", "fp16" or "w8a8".
        groups: columns [N] of metadata to report by.
        core: times of core.onnx, None where not timed.
        end_to_end: times of model.onnx from RGB, None where not timed.
        residency: {"float_conv": int, "int8_conv": int, "float_ops": [names]}, after the
            runtime's own optimisation.
        validity: {"valid": bool, "violations": [words]}, and more.
        soundness: whether a random network would do as well; its warnings, and those of
            `adaptation` (what moving to the device's pictures brought), become gates that do not
            decide.
        labelling: labels that are probably wrong, and what more would give.
        on_host: the candidate on the build host, where this was measured on another device.
        proofs: that the right thing was measured; what nobody looked at says so.
        sample: what stands behind the examples; None where nobody counted.
        recorded: how the shipped model did on the test set of its build, see
            `gates.written_record`.
        identical: whether candidate and reference are the same file.
        standing: what a measurement at this place may say of the target.
        verify_with: what verifies the target, in words, where this does not.
    """

    target: str
    labels: tuple[str, ...]
    reference: NDArray[Any]
    candidate: NDArray[Any]
    truth: NDArray[Any] | None
    budget: Budget
    metric: Metric = "top1"
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
    ladder: Sequence[Mapping[str, Any]] = ()
    soundness: Mapping[str, Any] | None = None
    adaptation: Mapping[str, Any] | None = None
    labelling: Mapping[str, Any] | None = None
    choice: Mapping[str, Any] | None = None
    on_host: OnHost | None = None
    proofs: Proofs = UNPROVEN
    sample: Sample | None = None
    notes: tuple[str, ...] = ()
    recorded: Mapping[str, Any] | None = None
    identical: bool = False
    standing: Standing = ON_TARGET
    verify_with: str = ""

    def __post_init__(self) -> None:
        if self.reference.shape[1:] != (len(self.labels),):
            msg = f"{len(self.labels)} labels, but logits of shape {self.reference.shape}"
            raise ValueError(msg)

    def violations(self) -> tuple[str, ...]:
        """Return why the times are not to be trusted, nothing where they are."""
        if self.validity.get("valid", True):
            return ()
        return tuple(self.validity.get("violations", ())) or ("the run was not valid",)
