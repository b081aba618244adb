"""The faster way to train is found on a copy."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from edgetransfer.errors import SpecError
from edgetransfer.tasks.classification.train import finetune
from edgetransfer.tasks.classification.train.lesson import Schedule
from edgetransfer.transfer import machine_settings
from edgetransfer.transfer.machine_settings import Machine

SCHEDULE = Schedule(epochs=12, learning_rate=0.01, batch_size=8, seed=0)


@pytest.fixture
def cores(monkeypatch):
    """Pretend that torch has two threads, and that an epoch takes so long with one and two."""

    def pretend(seconds, flags=()):
        state = SimpleNamespace(now=0.0, runs=[])

        def train(network, lesson, schedule, way):
            state.runs.append((way, len(lesson.train.labels), schedule.epochs))
            first_time = sum(run[0] == way for run in state.runs) == 1
            state.now += 100.0 if first_time else seconds[way.threads - 1]
            with torch.no_grad():
                network.head.bias.add_(1)

        monkeypatch.setattr(finetune, "finetune", train)
        monkeypatch.setattr(finetune, "time", SimpleNamespace(perf_counter=lambda: state.now))
        monkeypatch.setattr(finetune, "isa_flags", lambda: frozenset(flags))
        monkeypatch.setattr(finetune, "given_threads", lambda: len(seconds))
        return state

    return pretend


@pytest.mark.parametrize(("seconds", "threads"), [((1.0, 4.0), 1), ((4.0, 1.0), 2)])
def test_the_faster_number_of_threads_is_taken(cores, network, examples, seconds, threads):
    state = cores(seconds)
    found = finetune.measure(network(), examples(40), SCHEDULE)
    assert found == Machine(threads, bf16=False, step_seconds=1.0 * 8 / 16, fused=True)
    assert {(rows, epochs) for _, rows, epochs in state.runs} == {(16, 1)}


def test_the_time_of_a_step_is_that_of_a_whole_batch(cores, network, examples):
    cores((3.0,))
    found = finetune.measure(network(), examples(40), replace(SCHEDULE, batch_size=32))
    assert found == Machine(1, bf16=False, step_seconds=6.0, fused=True)  # 16 took 3 s


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(SpecError) as caught:
        machine_settings.device("tpu")
    assert str(caught.value) == (
        "--device tpu: torch cannot train there on this machine\n"
        f"  expected: {' or '.join(machine_settings.devices())}"
    )
    assert machine_settings.device(None) == machine_settings.devices()[0]
    assert machine_settings.device("cpu") == "cpu"


def test_the_network_is_not_touched(cores, network, examples, weights):
    cores((1.0, 2.0))
    classifier = network()
    before = weights(classifier)
    finetune.measure(classifier, examples(5), SCHEDULE)
    assert all(torch.equal(before[name], value) for name, value in weights(classifier).items())


@pytest.mark.parametrize(
    ("flags", "bf16"), [({"avx512_bf16"}, True), ({"bf16", "asimd"}, True), ({"avx2"}, False)]
)
def test_bf16_is_taken_where_the_processor_has_it(cores, network, examples, flags, bf16):
    cores((1.0,), flags)
    assert finetune.measure(network(), examples(5), SCHEDULE).bf16 is bf16
