"""The probe stage: a linear head on cached features, and what the stages of a fit hand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from edgetransfer.backbone.model import LinearHead
from edgetransfer.measure.stats.intervals import wilson
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.tasks.classification.head.linear_heads import Known
from edgetransfer.tasks.classification.head.probe import (
    Probe,
    fit_at,
    fit_probe,
    held,
    temperature,
)
from edgetransfer.tasks.classification.judge.metrics import METRICS

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.tasks.classification.train.layers import Classifier


@dataclass(frozen=True)
class FittedNetwork:
    """A network with what is known of it.

    `kept` is what the last stage left that changed its weights, `probe` what the stage left that
    fitted a head on the frozen backbone. For the manifest are the record of how it was fitted and
    what the probe says of labels (docs/labels.md).
    """

    opened: OpenedBackbone
    network: Classifier
    kept: StageResult
    record: dict[str, Any]
    probe: StageResult
    labels: dict[str, Any] | None = None
    unlabelled: tuple[Example, ...] = ()

    @property
    def frozen(self) -> bool:
        """Whether the backbone is as it came, with a linear head that was fitted on it."""
        return self.kept is self.probe


Array = np.ndarray[Any, Any]
HELD_OUT = "held_out.npy"
"""Logits float32 [N, C] of train, then validation, by fits that had not seen them; else NaN."""

RIGHT_ACCEPTED = 0.95
"""Of right decisions, the share that is accepted: where detectors of what a model does not know are
compared ("FPR at 95 % TPR"; Hendrycks and Gimpel, ICLR 2017)."""
FEWEST = 20
"""Right decisions below which a share of 5 % is none of them."""


def group_index(column: str | None, examples: Sequence[Example]) -> np.ndarray[Any, Any] | None:
    """Return int [N], the group of every example by a metadata column, or None."""
    if column is None:
        return None
    values = [example.metadata.get(column, "") for example in examples]
    index: np.ndarray[Any, Any] = np.unique(values, return_inverse=True)[1]
    return index


def fit_head(
    run: Run, manifest: Manifest, opened: OpenedBackbone
) -> tuple[StageResult, dict[str, Any]]:
    """Fit the probe on cached features; ``held_out.npy`` has logits of what it did not see.

    It is fitted on train and on a validation set that was carved out of it: what it needs to choose
    is chosen by cross-validation. A validation set that was given judges it and is not fitted on.
    """
    features, looks = opened.features(manifest), opened.looks(manifest)
    fitted, metric = manifest.fitted, run.recipe.metric
    truth = manifest.label_index((*fitted, *manifest.given))
    shown = None if looks is None else np.load(looks.file("looks.npy"))
    known = Known(group_index(run.recipe.data.split_by, fitted), shown, opened.backbone.classifier)
    inputs = {
        "features": features.key,
        "truth": truth.tolist(),
        "fitted": [len(manifest.split("train")), len(fitted)],
        "looks": None if looks is None else looks.key,
        "groups": None if known.groups is None else known.groups.tolist(),
        "metric": metric,
        "seed": run.recipe.seed,
    }

    def make(folder: Path, progress: Progress) -> dict[str, Any]:
        rows, count = np.load(features.file("features.npy")), len(fitted)
        probe = fit_probe(
            rows[:count], truth[:count], known=known, metric=metric, seed=run.recipe.seed,
            progress=progress,
        )  # fmt: skip
        save_file(asdict(probe.head), folder / "head.safetensors")
        said = np.concatenate([probe.held_out, probe.head.logits(rows[count:])])
        if not probe.folds:
            _hold_out(said, (rows, truth), (len(manifest.split("train")), count), probe, known)
        np.save(folder / HELD_OUT, said)
        return {
            "method": "probe",
            "strength": probe.strength,
            "folds": probe.folds,
            "looks": 0 if shown is None else len(shown),
            "source_classes": 0 if known.source is None else len(known.source.bias),
            "cross_validated": [
                {"strength": c, "log_loss": loss, "accuracy": right}
                for c, (loss, right) in probe.cross_validated.items()
            ],
            "held_out": _held_out(said, truth, count, metric, probe.folds),
            "fitted_on": f"{count} examples",
        }

    kept = run.keep(Stage("probe", inputs, make, told))
    return kept, kept.record


def _hold_out(
    said: Array, data: tuple[Array, Array], ends: tuple[int, int], probe: Probe, known: Known
) -> None:
    """Put in what a fit on train says of a carved validation set: a class of one has no folds.

    Logits `said` float32 [N, C] are written to, from features [N, D] and labels int [N]; `ends`
    are of train, and of what is fitted on.
    """
    (rows, truth), (train, fitted) = data, ends
    looks = None if known.looks is None else known.looks[:, :train]
    less = replace(known, groups=None, looks=looks)
    head = fit_at(rows[:train], truth[:train], probe.strength, less)
    said[train:fitted] = head.logits(rows[train:fitted])


def _held_out(said: Array, truth: Array, fitted: int, metric: str, folds: int) -> dict[str, Any]:
    """Return what the metric says of a given validation set, or of what was held out of train."""
    given = fitted < len(truth)
    first = fitted if given else 0
    truth, decided = held(said[first:], truth[first:])
    by = "the validation set" if given or not folds else f"{folds} folds"
    found: dict[str, Any] = {"metric": metric, "value": None, "n": len(truth), "by": by}
    if len(truth):
        found["value"] = METRICS[metric](truth, decided, said.shape[1])
    if metric == "top1" and len(truth):
        found["ci95"] = wilson(int((truth == decided).sum()), len(truth))
        found["commonest"] = float(np.bincount(truth).max() / len(truth))
    return found


def told(record: Mapping[str, Any]) -> str:
    """Say how a fit does on what it did not see: the first look at whether the model is any good.

    >>> held = {"metric": "top1", "value": 0.975, "n": 243, "by": "5 folds"}
    >>> told({"held_out": held | {"ci95": (0.947, 0.989), "commonest": 0.543}, "strength": 0.1})
    'held-out top1 0.975 [0.947, 0.989] (5 folds; the commonest class is 0.543), C = 0.1'
    """
    held = record["held_out"]
    strength = f", C = {record['strength']}" if "strength" in record else ""
    if held["value"] is None:
        return f"nothing could be held out{strength}"
    value, by = f"{held['value']:.3f}", held["by"]
    if "ci95" in held:
        value += " [{:.3f}, {:.3f}]".format(*held["ci95"])
        by += f"; the commonest class is {held['commonest']:.3f}"
    return f"held-out {held['metric']} {value} ({by}){strength}"


def read_head(kept: StageResult) -> LinearHead:
    """Read the head that `fit_head` left."""
    return LinearHead(**load_file(kept.file("head.safetensors")))


def confidence(held_out: Array, truth: Array) -> dict[str, Any] | None:
    """Choose a temperature, and the least probability of a decision that is accepted.

    From logits float [N, C] of examples by fits that had not seen them, rows of NaN where there is
    none, and their labels int [N]. The temperature is that of the least log loss (Guo et al. 2017);
    at the threshold `RIGHT_ACCEPTED` of the right decisions are accepted. The record says too how
    many examples there were, and what share of the wrong decisions is rejected. None where there
    are not `FEWEST` right ones.

    >>> logits = np.array([[4.0, 0.0], [0.5, 0.0]] * 40)
    >>> found = confidence(logits, np.array([0, 1] * 40))
    >>> found["n"], found["wrong_rejected"], round(found["threshold"], 2)
    (80, 1.0, 0.93)
    """
    rows = np.isfinite(held_out).all(axis=1)
    logits, labels = held_out[rows].astype(np.float64), truth[rows]
    right = logits.argmax(axis=1) == labels
    if right.sum() < FEWEST:
        return None
    cooled = temperature(logits, labels)
    shares = np.exp((logits - logits.max(axis=1, keepdims=True)) / cooled)
    best = 1 / shares.sum(axis=1)
    threshold = float(np.quantile(best[right], 1 - RIGHT_ACCEPTED, method="lower"))
    wrong = best[~right]
    return {
        "temperature": cooled,
        "threshold": threshold,
        "right_accepted": RIGHT_ACCEPTED,
        "wrong_rejected": float((wrong < threshold).mean()) if len(wrong) else None,
        "n": len(labels),
    }
