"""Trained integers: they start as they were given, gradients reach all, noise goes down."""

from dataclasses import replace
from itertools import cycle

import numpy as np
import onnx
import pytest
import torch

from edgetransfer.compress.encoding import Codes, grid_over
from edgetransfer.compress.execution import Execution
from edgetransfer.compress.posttraining import QuantisedGraph
from edgetransfer.compress.training import (
    QAT,
    ROUNDING,
    FakeQuantised,
    FreeWeights,
    LearnedGrid,
    LearnedRounding,
    rank_layers,
    round_through,
    train,
)

EXAMPLES = 20
KINDS = [FreeWeights, LearnedRounding]


def student_of(quantised, kind):
    return FakeQuantised(quantised.model.graph, quantised.layout, quantised.encoding, kind)


@pytest.fixture
def feeds(pictures):
    return {"input": torch.from_numpy(pictures[:8])}


def same(one, other):
    assert one.weights.keys() == other.weights.keys()
    for name, codes in one.weights.items():
        np.testing.assert_array_equal(codes.codes, other.weights[name].codes)
        np.testing.assert_array_equal(codes.scale, other.weights[name].scale)
    assert one.biases.keys() == other.biases.keys()
    for name, bias in one.biases.items():
        np.testing.assert_array_equal(bias, other.biases[name])
    assert one.grids.keys() == other.grids.keys()
    for name, grid in one.grids.items():
        assert grid == replace(other.grids[name], scale=pytest.approx(grid.scale, rel=1e-5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", ["quantised", "plain"])
def test_untrained_it_is_what_it_was_given(request, kind, start):
    quantised = request.getfixturevalue(start)
    same(student_of(quantised, kind).encoding(), quantised.encoding)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_weights_biases_and_scales(quantised, feeds, kind):
    student = student_of(quantised, kind)
    wanted = Execution(quantised.model.graph).run(feeds)[0]
    (student(feeds)[0] - wanted).square().sum().backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_tensors_can_be_seen_on_the_way(quantised, feeds):
    seen = {"features": torch.zeros(())}
    student_of(quantised, FreeWeights)(feeds, seen)
    grid = quantised.encoding.grids["features"]
    assert seen["features"].shape == (8, 8)
    torch.testing.assert_close(grid.round(seen["features"]), seen["features"])


def test_rounding_has_the_gradient_of_not_rounding():
    x = torch.tensor([0.4, 1.6], requires_grad=True)
    (round_through(x) * torch.tensor([2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [2.0, 3.0]


def test_a_grid_does_not_grow_over_the_clip_before_it():
    grid = grid_over(0.0, 6.0, "u8", symmetric=False)
    learned = LearnedGrid(grid, 6.0)
    with torch.no_grad():
        learned.log_scale += 1.0
    assert learned.grid().bounds[1] == pytest.approx(6.0)
    free = LearnedGrid(grid, np.inf)
    with torch.no_grad():
        free.log_scale += 1.0
    assert free.grid().bounds[1] == pytest.approx(6.0 * np.e)


def test_learned_rounding_stays_beside_the_codes_it_was_given(plain):
    student = student_of(plain, LearnedRounding)
    with torch.no_grad():
        for place, each in enumerate(student.weights):
            each.shift += 9.0 * (-1) ** place
    moved = 0
    for name, codes in student.encoding().weights.items():
        off = codes.codes.astype(int) - plain.encoding.weights[name].codes
        assert np.abs(off).max() <= 1
        moved += np.abs(off).sum()
    assert moved > 0


def noise_of(quantised, encoding, pictures):
    student = FakeQuantised(quantised.model.graph, quantised.layout, encoding, FreeWeights)
    feeds = {"input": torch.from_numpy(pictures)}
    with torch.no_grad():
        error = student(feeds)[0] - Execution(quantised.model.graph).run(feeds)[0]
    return float((error - error.mean(dim=1, keepdim=True)).square().sum())


def noise_of_features(quantised, pictures):
    """What the loss has for the tensor before the last layer."""
    feeds, name = {"input": torch.from_numpy(pictures)}, "features"
    wanted, got = {}, {name: None}
    with torch.no_grad():
        Execution(quantised.model.graph).run(feeds, lambda n, t: wanted.setdefault(n, t))
        student_of(quantised, FreeWeights)(feeds, got)
    error = got[name] - wanted[name]
    return float(error.square().sum() / wanted[name].square().sum())


def coarse(quantised, factor):
    """The same network with every activation's step wider."""
    grids = {
        name: grid_over(0.0, 255 * factor * grid.scale, "u8", symmetric=False)
        if grid.zero_point == 0
        else replace(grid, scale=factor * grid.scale)
        for name, grid in quantised.encoding.grids.items()
    }
    return replace(quantised, encoding=replace(quantised.encoding, grids=grids))


@pytest.mark.parametrize(
    "course",
    [
        replace(QAT, steps=60, rate=1e-3, scale_rate=2e-2),
        replace(ROUNDING, steps=80, scale_rate=2e-2),
    ],
)
def test_training_lowers_the_noise(plain, pictures, course):
    start = coarse(plain, 4.0)
    told = []

    def batches():
        parts = torch.from_numpy(pictures[:EXAMPLES]).split(10)
        return cycle([{"input": part} for part in parts])

    encoding, losses = train(
        start.model.graph,
        start.layout,
        start.encoding,
        batches,
        course,
        progress=lambda *line: told.append(line),
    )
    assert len(losses) == course.steps
    assert told == [(step + 1, course.steps) for step in range(course.steps)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    unseen = pictures[EXAMPLES:]
    before, after = (noise_of(start, each, unseen) for each in (start.encoding, encoding))
    assert after < 0.8 * before
    again, same_losses = train(start.model.graph, start.layout, start.encoding, batches, course)
    assert same_losses == losses
    same(again, encoding)


def test_few_steps_are_done_where_there_is_little_time(plain, pictures):
    course = replace(QAT, seconds=0.0)
    batches = lambda: cycle([{"input": torch.from_numpy(pictures[:4])}])  # noqa: E731
    _, losses = train(plain.model.graph, plain.layout, plain.encoding, batches, course)
    assert len(losses) == 3  # what it takes to know how long one takes


def test_outputs_in_proportion_are_ranked_and_trained_as_one(
    network, plain, pictures, batches, quantised_from
):
    two = onnx.ModelProto()
    two.CopyFrom(network)
    two.graph.node.append(onnx.helper.make_node("Mul", ["logits", "six"], ["louder"]))
    two.graph.output.add().CopyFrom(two.graph.output[0])
    two.graph.output[1].name = "louder"
    made = quantised_from(two, pictures[:EXAMPLES], equalised=False)
    assert [each.name for each in made.graph().graph.output] == ["logits", "louder"]
    one, both = (dict(rank_layers(each, batches(pictures[:8])())) for each in (plain, made))
    assert both == pytest.approx(one, rel=1e-3)
    course = replace(QAT, steps=2)

    def endless():
        return cycle([{"input": torch.from_numpy(pictures[:4])}])

    single, double = (
        train(each.model.graph, each.layout, each.encoding, endless, course)[1][0]
        for each in (plain, made)
    )
    features = noise_of_features(plain, pictures[:4])
    assert double - features == pytest.approx(2 * (single - features), rel=1e-3)


@pytest.mark.parametrize("name", ["expand.w", "project.w"])
def test_a_broken_layer_is_ranked_first(plain, pictures, batches, name):
    codes = plain.encoding.weights[name]
    broken = Codes(np.sign(codes.codes).astype(np.int8), codes.scale * 40)
    weights = {**plain.encoding.weights, name: broken}
    spoilt = QuantisedGraph(plain.model, plain.layout, replace(plain.encoding, weights=weights))
    told = []
    ranked = rank_layers(spoilt, batches(pictures[:EXAMPLES])(), lambda *line: told.append(line))
    assert ranked[0][0] == name
    assert ranked[0][1] > 0.9
    assert sorted(each for each, _ in ranked) == sorted(plain.encoding.weights)
    assert [share for _, share in ranked] == sorted((s for _, s in ranked), reverse=True)
    assert told == [(done, 5) for done in range(1, 6)]
