"""One way of moving what is fitted to the device's pictures: a stage of its own each."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.measure.stats.intervals import area
from edgetransfer.pipeline.fit.trace import proving_batch, traced
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.tasks.classification.fit.probe import FittedNetwork, group_index, read_head
from edgetransfer.tasks.classification.head.linear_heads import Known
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.tasks.classification.head.shift import (
    batch_norms,
    domain_scores,
    fit_alignment,
    most_pictures,
    renormalise,
    weigh,
)
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from torch import Tensor

    from edgetransfer.backbone.model import LinearHead
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress

Array = np.ndarray[Any, Any]
_STATISTICS = "norms.safetensors"


@dataclass(frozen=True)
class ShiftSetting:
    """What every method starts from: `plain` was fitted without adaptation.

    `device` are labelled examples of the device, and `features` those of its unlabelled ones.
    """

    run: Run
    manifest: Manifest
    plain: FittedNetwork
    device: tuple[Example, ...]
    features: StageResult
    shift: StageResult


@dataclass(frozen=True)
class ShiftResult:
    """What one method made in its stage, which for none is that of the setting's head."""

    setting: ShiftSetting
    way: str
    kept: StageResult

    def head(self) -> LinearHead:
        """Return the head that goes with it."""
        return read_head(self.setting.plain.kept if self.way == "norms" else self.kept)

    def decide(self) -> Array:
        """Return what it decides about the labelled examples of the device, int [N]."""
        opened, device = self.setting.plain.opened, self.setting.device
        made = self.kept if self.way == "norms" else opened.features_of(device)
        decided: Array = self.head().logits(np.load(made.file("features.npy"))).argmax(axis=1)
        return decided

    def fitted(self) -> FittedNetwork:
        """Return the network to ship."""
        plain = self.setting.plain
        record, network = {**plain.record, "adapted": self.way}, plain.opened.backbone.network
        if self.way == "norms":
            network = copy.deepcopy(network)
            network.load_state_dict(load_tensors(self.kept.file(_STATISTICS)), strict=False)
        fitted = Classifier(network, self.head()).eval()
        return replace(plain, network=fitted, kept=self.kept, record=record)


def shift_stage(features: StageResult, count: int, device: StageResult, seed: int) -> Stage:
    """Return the stage that asks a classifier which pictures are the device's: ``log_odds.npy``."""
    inputs = {"features": features.key, "train": count, "device": device.key, "seed": seed}

    def make(folder: Path, _: Progress) -> dict[str, Any]:
        labelled = np.load(features.file("features.npy"))[:count]
        theirs = np.load(device.file("features.npy"))
        log_odds = domain_scores(labelled, theirs, seed=seed)
        found = area(log_odds[count:], log_odds[:count])
        np.save(folder / "log_odds.npy", log_odds[:count])
        return {**asdict(found), "labelled": count, "device": len(theirs)}

    return Stage("shift", inputs, make)


def move(setting: ShiftSetting, way: str) -> ShiftResult:
    """Run the stage of one method."""
    run, train = setting.run, setting.manifest.fitted
    inputs = {
        "way": way,
        "head": setting.plain.kept.key,
        "shift": setting.shift.key,
        "unlabelled": setting.features.key,
        "truth": setting.manifest.label_index(train).tolist(),
        "device": content_of(setting.device),
        "seed": run.recipe.seed,
    }
    make, told = partial(METHODS[way], setting), partial(_told, way)
    stage = Stage(f"adapt-{way}", inputs, make, told, packages=("timm", "transformers"))
    return ShiftResult(setting, way, run.keep(stage, f"adapt {way}"))


def _told(way: str, facts: Mapping[str, Any]) -> str:
    if way == "reweight":
        effective, labelled = facts["effective"], facts["labelled"]
        return f"{labelled} labelled pictures weigh as much as {effective:.0f} equal ones"
    if way == "align":
        return f"labelled features moved by {facts['moved']:.2f} of their spread"
    return f"{facts['layers']} batch norms set by {facts['pictures']} pictures"


def _reweight(setting: ShiftSetting, folder: Path, _: Progress) -> dict[str, Any]:
    weights = weigh(np.load(setting.shift.file("log_odds.npy")))
    rows, looks = _labelled(setting)
    _fit(setting, folder, rows, looks, weights.values)
    return {
        "labelled": len(weights.values),
        "effective": weights.effective,
        "exponent": weights.exponent,
        "largest": float(weights.values.max()),
    }


def _align(setting: ShiftSetting, folder: Path, _: Progress) -> dict[str, Any]:
    rows, looks = _labelled(setting)
    device = np.load(setting.features.file("features.npy"))
    alignment = fit_alignment(rows, device)
    _fit(setting, folder, alignment.move(rows), None if looks is None else alignment.move(looks))
    moved = np.linalg.norm(alignment.towards - alignment.mean)
    return {"moved": float(moved / np.sqrt(rows.var(axis=0).sum()))}


def _norms(setting: ShiftSetting, folder: Path, _: Progress) -> dict[str, Any]:
    opened, train = setting.plain.opened, setting.manifest.fitted
    (one,) = opened.prepare.prepare(train[0]).values()
    most = most_pictures(*one.shape[2:])
    unlabelled = setting.plain.unlabelled
    labelled, device = (_some(setting, each, most) for each in (train, unlabelled))
    network = renormalise(opened.backbone.network, labelled, device)
    names = {id(module): name for name, module in network.named_modules()}
    layers = batch_norms(network)
    kept = {
        f"{names[id(layer)]}.{name}": layer.get_buffer(name).contiguous()
        for layer in layers
        for name in ("running_mean", "running_var")
    }
    save_tensors(kept, folder / _STATISTICS)
    if setting.device:
        graph = traced(network, proving_batch(setting.manifest, opened.prepare))[0]
        np.save(folder / "features.npy", run_over(graph, opened.prepare, setting.device))
    return {"layers": len(layers), "pictures": len(device)}


METHODS = {"reweight": _reweight, "align": _align, "norms": _norms}


def _labelled(setting: ShiftSetting) -> tuple[Array, Array | None]:
    """Return features of the training pictures, and of other looks at them."""
    manifest, opened = setting.manifest, setting.plain.opened
    looks = opened.looks(manifest)
    rows = np.load(opened.features(manifest).file("features.npy"))[: len(manifest.fitted)]
    return rows, None if looks is None else np.load(looks.file("looks.npy"))


def _fit(
    setting: ShiftSetting,
    folder: Path,
    rows: Array,
    looks: Array | None,
    weights: Array | None = None,
) -> None:
    """Fit a head as the probe stage does."""
    recipe, train = setting.run.recipe, setting.manifest.fitted
    groups, truth = group_index(recipe.data.split_by, train), setting.manifest.label_index(train)
    known = Known(groups, looks, setting.plain.opened.backbone.classifier, weights)
    probe = fit_probe(rows, truth, known=known, metric=recipe.metric, seed=recipe.seed)
    save_file(asdict(probe.head), folder / "head.safetensors")


def _some(setting: ShiftSetting, examples: Sequence[Example], most: int) -> Tensor:
    """Return prepared pictures, a seeded part where there are more than one pass takes."""
    order = np.random.default_rng(setting.run.recipe.seed).permutation(len(examples))[:most]
    prepare = setting.plain.opened.prepare
    batch = prepare.join([prepare.prepare(examples[place]) for place in sorted(order)])
    (array,) = batch.values()
    return torch.from_numpy(array)
