"""The acceptance test: channels of very different size, which ranges alone cannot quantise."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from sklearn.datasets import load_digits
from torch import nn

CALIBRATED = 96
TRAINED = 1200
FACTOR = 100.0
STEPS = 300
CONVS = ((1, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1))
"""Channels in, channels out, stride."""


@pytest.fixture(scope="module")
def digits():
    """Pictures float32 [N, 1, 8, 8], in random order, and their classes."""
    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (pictures[order].reshape(-1, 1, 8, 8) / 8 - 1).astype(np.float32), labels[order]


def trained(digits, seed):
    """Return weights and biases of four convolutions and a linear layer, trained for seconds."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(a, b, 3, stride, 1) for a, b, stride in CONVS]
    parts = [part for layer in layers for part in (layer, nn.ReLU())]
    network = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    x, y = torch.from_numpy(digits[0][:TRAINED]), torch.from_numpy(digits[1][:TRAINED])
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(0, TRAINED, (48,))
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x[chosen]), y[chosen]).backward()
        optimiser.step()
        decay.step()
    return [
        [each.weight.detach().numpy().copy(), each.bias.detach().numpy().copy()]
        for each in [*layers, network[-1]]
    ]


def made_hard(weights, seed):
    """Multiply one channel of every layer by 100, and divide what the next layer takes of it."""
    rng = np.random.default_rng(seed)
    hard = [[weight.copy(), bias.copy()] for weight, bias in weights]
    for layer, after in pairwise(hard):
        channel = rng.integers(len(layer[1]))
        layer[0][channel] *= FACTOR
        layer[1][channel] *= FACTOR
        after[0][:, channel] /= FACTOR
    return hard


def as_model(build, weights):
    nodes, constants, source = [], {"space": np.array([2, 3])}, "input"
    for place, (_, _, stride) in enumerate(CONVS):
        name = f"conv{place}"
        taken = [source, f"{name}.w", f"{name}.b"]
        nodes.append(
            helper.make_node("Conv", taken, [name], name=name, pads=[1] * 4, strides=[stride] * 2)
        )
        nodes.append(helper.make_node("Relu", [name], [f"{name}.a"], name=f"{name}.relu"))
        source = f"{name}.a"
    nodes.append(helper.make_node("ReduceMean", [source, "space"], ["features"], keepdims=0))
    head = ["features", "head.w", "head.b"]
    nodes.append(helper.make_node("Gemm", head, ["logits"], name="head", transB=1))
    for name, (weight, bias) in zip(
        [*(f"conv{i}" for i in range(4)), "head"], weights, strict=True
    ):
        constants |= {f"{name}.w": weight, f"{name}.b": bias}
    return build(nodes, constants, ["batch", 1, 8, 8], ("batch", 10))


class Reader(CalibrationDataReader):
    def __init__(self, pictures):
        self._rows = iter({"input": pictures[i : i + 1]} for i in range(len(pictures)))

    def get_next(self):
        return next(self._rows, None)


@pytest.mark.parametrize("seed", range(3))
def test_ours_keeps_what_the_default_recipe_loses(
    digits, build, run, quantised_from, tmp_path, seed
):
    pictures, labels = digits
    weights = trained(digits, seed)
    easy, hard = as_model(build, weights), as_model(build, made_hard(weights, seed))

    def points(model):
        logits = run(model, input=pictures[TRAINED:])
        return 100 * np.mean(logits.argmax(axis=1) == labels[TRAINED:])

    calibrated = pictures[:CALIBRATED]
    assert np.abs(run(easy, input=calibrated) - run(hard, input=calibrated)).max() < 1e-4
    assert points(hard) > 90  # chance is 10
    onnx.save(hard, tmp_path / "hard.onnx")  # it spoils a model that is given as such
    quantize_static(tmp_path / "hard.onnx", tmp_path / "theirs.onnx", Reader(calibrated))
    ours = quantised_from(hard, calibrated).graph()
    assert points(hard) - points(tmp_path / "theirs.onnx") > 20
    assert points(hard) - points(ours) < 1
