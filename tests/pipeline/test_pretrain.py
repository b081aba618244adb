"""A start learnt over episodes: written as a folder, opened again, gone on with after a kill."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from edgetransfer.backbone import sources
from edgetransfer.cli.commands import app
from edgetransfer.errors import EdgeTransferError
from edgetransfer.tasks.classification import pretrain as pretraining

SMALL = ("--ways", "3", "--shots", "2", "--queries", "3")


@pytest.fixture(scope="module")
def pretrain(pictures, cache):
    def run(out, *more):
        command = ["pretrain", str(pictures), "--cache", str(cache), "--out", str(out)]
        return CliRunner().invoke(app, [*command, *SMALL, *more], catch_exceptions=False)

    return run


@pytest.fixture(scope="module")
def started(pretrain, tmp_path_factory):
    out = tmp_path_factory.mktemp("start") / "maml"
    told = pretrain(out, "--method", "maml", "--episodes", "3", "--json").stdout
    return out, json.loads(told)


def test_the_folder_opens_and_tells_what_made_it(started):
    out, card = started
    assert json.loads((out / "card.json").read_text()) == card
    assert (card["meta"]["method"], card["meta"]["episodes"]) == ("maml", 3)
    assert card["source"]["backbone"] == "builtin:tiny-64"
    assert not {"validation_top1", "classifier_top1"} & set(card)
    backbone = sources.load(sources.locate(str(out)), "image")
    assert (backbone.feature_dim, backbone.classifier) == (768, None)
    assert sorted(each.name for each in out.iterdir()) == ["card.json", "model.safetensors"]


def test_fewshot_fits_it_as_it_was_learnt(started, pictures, cache):
    out, _ = started
    command = ["fewshot", str(pictures), "--cache", str(cache), "--backbone", str(out), "--json"]
    asked = (*SMALL, "--episodes", "4")
    told = json.loads(CliRunner().invoke(app, [*command, *asked], catch_exceptions=False).stdout)
    assert [each["head"] for each in told["scores"]] == ["prototypes", "regression", "adapted"]


def test_a_stopped_run_goes_on_to_the_same_weights(pretrain, tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "SAVED_EVERY", 2)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    pretrain(whole, "--episodes", "5")
    step, done = pretraining.MetaTraining.step, []

    def killed(self, *given):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(step(self, *given))
        return done[-1]

    with monkeypatch.context() as patched:
        patched.setattr(pretraining.MetaTraining, "step", killed)
        assert pretrain(stopped, "--episodes", "5").exit_code != 0
    assert [each.name for each in stopped.iterdir()] == ["training.safetensors"]
    with pytest.raises(EdgeTransferError) as caught:
        pretrain(stopped, "--episodes", "5", "--seed", "9")
    assert str(caught.value) == (
        f"--out {stopped}: it holds an unfinished run with other options or data\n"
        "  fix: name another folder, or delete this one"
    )
    pretrain(stopped, "--episodes", "5")
    one, other = (load_file(each / "model.safetensors") for each in (whole, stopped))
    for name, weights in one.items():
        np.testing.assert_array_equal(weights, other[name])


def test_more_shots_than_there_are_pictures_are_refused(pretrain, tmp_path):
    with pytest.raises(EdgeTransferError) as caught:
        pretrain(tmp_path / "out", "--shots", "30")
    assert str(caught.value) == (
        "too few classes with enough examples for an episode\n"
        "  found: 0 of 3 classes have 33 examples (30 shots and 3 queries)\n"
        "  expected: 3\n"
        "  fix: take fewer --ways, --shots or --queries"
    )
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_left_alone(pretrain, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(EdgeTransferError) as caught:
        pretrain(tmp_path)
    assert str(caught.value) == (
        f"--out {tmp_path}: the folder is not empty\n  fix: name another folder"
    )
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_a_card_without_its_weights_is_refused(tmp_path):
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(EdgeTransferError) as caught:
        sources.load(sources.locate(str(tmp_path)), "image")
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{tmp_path}/card.json: input_size: Field required; width: ")
