"""No label is lost: what is chosen on a carved validation set is fitted on all of them (A13)."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from edgetransfer.data.manifest import Example, Manifest
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.run import Run
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.recipe import recipe_from
from edgetransfer.tasks.classification.fit.finetune import FineTuning, finetune
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, FittedNetwork, fit_head, read_head
from edgetransfer.tasks.classification.head.probe import fit_at, fit_probe
from edgetransfer.tasks.classification.train import choice
from edgetransfer.tasks.classification.train.layers import Classifier

TRAIN, VALIDATION, CLASSES = 48, 12, 3


def examples():
    rng = np.random.default_rng(0)
    count = TRAIN + VALIDATION
    pictures = rng.normal(size=(count, 3, 8, 8)).astype(np.float32)
    labels = np.arange(count) % CLASSES
    pictures[np.arange(count), labels] += 0.6
    return pictures, labels


def manifest_of(*, carved):
    _, labels = examples()
    found = [
        Example(f"{n}", Path(f"{n}.png"), None, "abc"[label],
                "train" if n < TRAIN else "validation", {}, f"{n:064d}")
        for n, label in enumerate(labels)
    ]  # fmt: skip
    return Manifest("image", tuple(found), ("a", "b", "c"), "/nowhere", carved=carved)


class Prepare:
    """Gives the picture that an example's name counts."""

    one_shape = True

    def prepare(self, example):
        return {"input": examples()[0][int(example.key)][None]}


class Opened:
    """A small network with its features, kept."""

    def __init__(self, run):
        self._run = run
        torch.manual_seed(0)
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), pooled).eval()
        self.backbone = SimpleNamespace(network=network, classifier=None)
        self.prepare = Prepare()

    def features(self, _):
        def make(folder, _):
            with torch.no_grad():
                rows = self.backbone.network(torch.from_numpy(examples()[0])).numpy()
            np.save(folder / "features.npy", rows)
            return {}

        return self._run.store.keep(Stage("features", {}, make))

    def looks(self, _):
        return None


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "RACED_STEPS", 4)

    def start(**options):
        recipe = recipe_from({"data": "x", "epochs": 3, **options})
        source = SimpleNamespace(name="small", digest="0")
        return Run(recipe, (), source, Store(tmp_path), SilentReporter())

    return start


def fitted_probe(run, *, carved):
    manifest, opened = manifest_of(carved=carved), Opened(run)
    kept, record = fit_head(run, manifest, opened)
    network = Classifier(opened.backbone.network, read_head(kept)).eval()
    return manifest, FittedNetwork(opened, network, kept, record, kept)


@pytest.mark.parametrize(("carved", "count"), [(True, TRAIN + VALIDATION), (False, TRAIN)])
def test_the_probe_is_fitted_on_a_carved_validation_set_and_not_on_a_given_one(run, carved, count):
    started = run()
    manifest, fitted = fitted_probe(started, carved=carved)
    rows = np.load(fitted.opened.features(manifest).file("features.npy"))
    alone = fit_probe(rows[:count], examples()[1][:count], metric="top1")
    np.testing.assert_allclose(read_head(fitted.kept).weight, alone.head.weight, atol=1e-6)
    assert fitted.record["fitted_on"] == f"{count} examples"
    said = np.load(fitted.kept.file(HELD_OUT))
    assert np.isfinite(said).all()
    by = {True: ("5 folds", TRAIN + VALIDATION), False: ("the validation set", VALIDATION)}
    held = fitted.record["held_out"]
    assert (held["by"], held["n"]) == by[carved]


def test_the_network_is_trained_on_all_labels_for_the_epochs_that_validation_likes(run):
    started = run(fit="finetune")
    manifest, fitted = fitted_probe(started, carved=True)
    tuned = finetune(started, manifest, fitted)
    assert tuned.record["fitted_on"] == (
        "train and the validation set carved out of it: 60 examples"
    )
    length = tuned.record["best_epoch"]
    values = [value for _, value in tuned.record["history"]]
    assert values[length] == max(values)
    assert tuned.record["schedule"]["stop"] == length
    weights = load_file(tuned.kept.file("network.safetensors"))
    assert (weights["head.weight"] != read_head(fitted.kept).weight).any() == (length > 0)
    said = np.load(tuned.kept.file(HELD_OUT))
    assert np.isfinite(said).all(axis=1).tolist() == [False] * TRAIN + [True] * VALIDATION


def test_a_given_validation_set_is_only_judged_on(run):
    started = run(fit="finetune")
    manifest, fitted = fitted_probe(started, carved=False)
    tuned = finetune(started, manifest, fitted)
    assert tuned.record["fitted_on"] == (
        "train: 48 examples; validation chose, and was not fitted on"
    )


def test_every_part_starts_from_a_probe_that_has_not_seen_what_it_holds_out(run):
    started = run()
    manifest, fitted = fitted_probe(started, carved=True)
    tuning = FineTuning(started, manifest, fitted)
    contest = tuning.hold(most=2)
    labels = examples()[1]
    rows = np.load(fitted.opened.features(manifest).file("features.npy"))
    less = partial(fit_at, strength=fitted.record["strength"])
    first = less(rows[:TRAIN], labels[:TRAIN]).logits(rows[TRAIN:])
    np.testing.assert_allclose(contest.held.said[0][0], first, atol=0.15)  # trained in bf16


def test_a_second_run_does_nothing_again(run):
    started = run(fit="finetune")
    found = []
    for _ in range(2):
        manifest, fitted = fitted_probe(started, carved=True)
        found.append(finetune(started, manifest, fitted))
    assert found[1].kept.reused
    assert found[0].record == found[1].record
