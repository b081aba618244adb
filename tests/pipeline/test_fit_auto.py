"""When `--fit auto` fine-tunes, and when it keeps the result: the training itself is not run."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edgetransfer.backbone.head import LinearHead
from edgetransfer.pipeline import finetuning
from edgetransfer.pipeline.reporter import SilentReporter
from edgetransfer.pipeline.training import FittedNetwork
from edgetransfer.transfer.classifier import Classifier
from edgetransfer.transfer.schedule import Machine, Schedule

RUN = SimpleNamespace(reporter=SilentReporter())
MANIFEST = SimpleNamespace(split=lambda _: range(40))
GAIN = {"mean": 0.2, "ci95": [0.05, 0.35], "accuracy": 0.1, "proven": True}


def probe(accuracy):
    head = LinearHead(np.ones((2, 3), np.float32), np.zeros(2, np.float32))
    network = Classifier(nn.Linear(3, 3), head)
    kept = SimpleNamespace(reused=False)
    record = {"method": "probe", "validation_accuracy": accuracy}
    return FittedNetwork(None, network, kept, record)


@pytest.fixture
def tuned(monkeypatch):
    """Let fine-tuning move the head, and come to some gain; counts how often it was asked for."""
    calls = []

    def pretend(gain):
        def finetune(run, manifest, fitted):
            calls.append(fitted)
            if isinstance(gain, Exception):
                raise gain
            with torch.no_grad():
                fitted.network.head.bias.add_(1)
            return replace(fitted, record={"method": "finetune", "gain": gain})

        monkeypatch.setattr(finetuning, "finetune", finetune)
        return calls

    return pretend


def decide(fitted):
    found = finetuning.finetune_if_better(RUN, MANIFEST, fitted)
    return found.record["method"], float(found.network.head.bias.detach()[0]), found.record["why"]


def test_a_proven_gain_is_kept(tuned):
    tuned(GAIN)
    assert decide(probe(0.7)) == (
        "finetune",
        1.0,
        "fine-tuning took 0.200 nats [0.050, 0.350] off the validation loss and changed its "
        "accuracy by +10.0 points",
    )


def test_without_one_the_probe_comes_back_with_its_weights(tuned):
    tuned({**GAIN, "ci95": [-0.01, 0.35], "proven": False})
    assert decide(probe(0.7)) == (
        "probe",
        0.0,
        "fine-tuning took 0.200 nats [-0.010, 0.350] off the validation loss and changed its "
        "accuracy by +10.0 points: no gain that is shown, so the probe is kept",
    )


def test_too_few_errors_are_not_worth_the_time(tuned):
    calls = tuned(GAIN)
    assert decide(probe(35 / 40)) == (
        "probe",
        0.0,
        "the probe errs on 5 of 40 validation examples, so few that fine-tuning could not be "
        "shown to be better",
    )
    assert calls == []


def test_too_little_time_leaves_the_probe(tuned):
    tuned(finetuning.OutOfTimeError(0.5, 2.0, 320))
    assert decide(probe(0.7)) == (
        "probe",
        0.0,
        "fine-tuning does not fit the time: one epoch over 320 examples, with what comes before "
        "it, takes about 2.0 minutes here",
    )


def test_epochs_are_what_is_left_after_the_race():
    schedule, machine = Schedule(12, 1e-3, 32, 0), Machine(1, bf16=False, step_seconds=1.0)
    assert finetuning.fit_epochs(None, schedule, machine, 320) == 12
    assert finetuning.fit_epochs(1.0, schedule, machine, 320) == 6
    assert finetuning.fit_epochs(1.0, schedule, machine, 320, before=30) == 3
    with pytest.raises(finetuning.OutOfTimeError) as caught:
        finetuning.fit_epochs(1.0, schedule, machine, 320, before=80)
    assert str(caught.value) == (
        "--time-budget 1: fine-tuning does not fit the time\n"
        "  found: one epoch over 320 examples, with what comes before it, takes about 1.5 minutes "
        "here\n"
        "  fix: give more time, or build with --fit probe"
    )
