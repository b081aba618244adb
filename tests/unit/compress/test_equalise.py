"""Channels are rescaled and centred; what the network computes stays."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper

from edgetransfer.compress.equalise import centre, equalise, find_groups
from edgetransfer.compress.layout import find_layers, find_layout
from edgetransfer.compress.observe import watch_channels
from edgetransfer.compress.posttraining import separate

SEEDS = range(4)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def uneven(rng, *shape):
    """Weights whose output channels are of very different size."""
    weights = rng.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5
    return (weights * 10.0 ** rng.uniform(-1.5, 0, (shape[0], *[1] * (len(shape) - 1)))).astype("f")


def random_network(build, seed, pads=(0, 0, 0, 0)):
    """Stem, inverted residual with a depthwise convolution, residual, pooling, a product.

    `pads` are those of the convolution behind the sum.
    """
    rng = np.random.default_rng(seed)
    width, wide = int(rng.integers(4, 9)), int(rng.integers(8, 17))
    bounded = ("Clip", "zero six") if seed % 2 else ("Relu", "")

    def active(name):
        return node(bounded[0], f"{name} {bounded[1]}", f"{name}.a")

    nodes = [
        node("Conv", "input stem.w stem.b", "stem", pads=[1] * 4, strides=[2, 2]),
        active("stem"),
        node("Conv", "stem.a up.w up.b", "up"),
        active("up"),
        node("Conv", "up.a deep.w deep.b", "deep", pads=[1] * 4, group=wide),
        active("deep"),
        node("Conv", "deep.a down.w down.b", "down"),
        node("Conv", "down up2.w up2.b", "up2"),
        active("up2"),
        node("Conv", "up2.a down2.w down2.b", "down2"),
        node("Add", "down down2", "sum"),
        node("Conv", "sum last.w last.b", "last", pads=list(pads)),
        node("Relu", "last", "last.a"),
        node("GlobalAveragePool", "last.a", "pooled"),
        node("Flatten", "pooled", "features"),
        node("Gemm", "features head.w head.b", "logits", transB=1),
    ]
    shapes = {
        "stem": (width, 3, 3, 3),
        "up": (wide, width, 1, 1),
        "deep": (wide, 1, 3, 3),
        "down": (width, wide, 1, 1),
        "up2": (wide, width, 1, 1),
        "down2": (width, wide, 1, 1),
        "last": (wide, width, 2, 2),
        "head": (4, wide),
    }
    constants = {f"{name}.w": uneven(rng, *shape) for name, shape in shapes.items()}
    constants |= {
        f"{name}.b": rng.normal(size=shape[0]).astype("f") / 2 for name, shape in shapes.items()
    }
    constants |= {"zero": np.float32(0), "six": np.float32(6)}
    return build(nodes, constants, ["batch", 3, 12, 12])


def opened(model):
    found = ir.from_proto(model)
    separate(found.graph)
    return found, list(find_layers(found.graph)), find_layout(found.graph)


def largest_and_smallest(channels):
    extreme = np.maximum(channels.low.abs().numpy(), channels.high.abs().numpy())
    alive = extreme[extreme > 0]
    return alive.max() / alive.min()


@pytest.fixture
def images():
    return np.random.default_rng(5).normal(size=(16, 3, 12, 12)).astype(np.float32)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_function_stays(build, batches, images, run, seed):
    model = random_network(build, seed)
    found, layers, layout = opened(model)
    wanted = run(model, input=images)
    moved = centre(
        found.graph, layers, watch_channels(found.graph, layout.points, batches(images)())
    )
    assert moved > 0
    got = run(ir.to_proto(found), input=images)
    assert np.abs(got - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())
    for _ in range(2):
        seen = watch_channels(found.graph, layout.points, batches(images)())
        changed = equalise(found.graph, layers, seen)
    assert changed > 0
    got = run(ir.to_proto(found), input=images)
    assert np.abs(got - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("seed", SEEDS)
def test_channels_become_more_alike(build, batches, images, seed):
    found, layers, layout = opened(random_network(build, seed))
    names = [each.output.name for each in layers[:-1]]

    def unlike():
        seen = watch_channels(found.graph, layout.points, batches(images)())
        return sum(np.log(largest_and_smallest(seen[name])) for name in names)

    before = unlike()
    equalise(found.graph, layers, watch_channels(found.graph, layout.points, batches(images)()))
    assert unlike() < 0.7 * before


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_seen_follows_the_network(build, batches, images, seed):
    """Nothing has to be run anew to see the channels of a network that was changed."""
    found, layers, layout = opened(random_network(build, seed))
    seen = watch_channels(found.graph, layout.points, batches(images)())
    assert centre(found.graph, layers, seen) > 0
    for _ in range(2):
        equalise(found.graph, layers, seen)
    anew = watch_channels(found.graph, layout.points, batches(images)())
    for name, each in anew.items():
        for told in ("low", "high"):
            torch.testing.assert_close(
                getattr(seen[name], told), getattr(each, told), rtol=1e-4, atol=1e-5
            )
        for told in ("mean", "square"):
            got, wanted = (getattr(of, told) / each.count for of in (seen[name], each))
            torch.testing.assert_close(got, wanted, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_second_time_changes_little(build, batches, images, seed):
    found, layers, layout = opened(random_network(build, seed))
    sizes = []
    for _ in range(4):
        seen = watch_channels(found.graph, layout.points, batches(images)())
        sizes.append(sum(np.log(largest_and_smallest(seen[e.output.name])) for e in layers[:-1]))
        equalise(found.graph, layers, seen)
    steps = np.abs(np.diff(sizes))
    assert steps[-1] < 0.5 * steps[0]


def test_linear_tensors_lose_their_means(build, batches, images):
    found, layers, layout = opened(random_network(build, 1))
    seen = watch_channels(found.graph, layout.points, batches(images)())
    means = [float((seen["down"].mean / seen["down"].count).abs().max())]
    centre(found.graph, layers, seen)
    after = watch_channels(found.graph, layout.points, batches(images)())
    means.append(float((after["down"].mean / after["down"].count).abs().max()))
    assert means[0] > 0.05
    assert means[1] < 1e-4
    for name in ("stem.a", "up2.a", "last.a"):  # what is clipped is not moved
        assert float(after[name].high.max()) == pytest.approx(float(seen[name].high.max()), 1e-4)


def test_means_do_not_move_behind_padding(build, batches, images):
    """There zeros mean nothing seen, and a bias cannot make up for the mean in the corners."""
    found, layers, layout = opened(random_network(build, 1, pads=(0, 1, 1, 0)))
    seen = watch_channels(found.graph, layout.points, batches(images)())
    assert centre(found.graph, layers, seen) == 0


def groups_of(model, array, batches):
    found, layers, layout = opened(onnx.shape_inference.infer_shapes(model))
    seen = watch_channels(found.graph, layout.points, batches(array)())
    groups = find_groups(found.graph, layers, seen)
    return [{each.name for each in group.tensors} for group in groups]


def test_which_tensors_are_tied(network, pictures, batches):
    groups = groups_of(network, pictures[:8], batches)
    assert {"expand", "expand.a"} in groups
    assert {"depthwise", "depthwise.a"} in groups
    assert {"stem", "stem.a", "project", "sum", "features"} in groups
    assert not any({"input", "logits"} & group for group in groups)


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh", "HardSwish"])
def test_nothing_is_scaled_through_what_is_not_homogeneous(build, batches, images, kind):
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", "input w0 b0", "first"),
        node(kind, "first", "first.a"),
        node("Conv", "first.a w1 b1", "logits"),
    ]
    constants = {"w0": uneven(rng, 6, 3, 1, 1), "b0": np.ones(6, "f")}
    constants |= {"w1": uneven(rng, 4, 6, 1, 1), "b1": np.ones(4, "f")}
    model = build(nodes, constants, ["batch", 3, 12, 12], ("batch", 4, 12, 12))
    assert groups_of(model, images, batches) == []


def test_an_output_of_the_graph_keeps_its_scale(build, batches, images):
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", "input w0 b0", "logits"),
        node("Conv", "logits w1 b1", "unused"),
    ]
    constants = {"w0": uneven(rng, 4, 3, 1, 1), "b0": np.ones(4, "f")}
    constants |= {"w1": uneven(rng, 4, 4, 1, 1), "b1": np.ones(4, "f")}
    model = build(nodes, constants, ["batch", 3, 12, 12], ("batch", 4, 12, 12))
    assert groups_of(model, images, batches) == []


def test_channels_that_reach_the_bound_of_a_clip_keep_their_scale(build, batches, run):
    """A quiet channel may be amplified below 6; one that is clipped must stay."""
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", "input w0 b0", "first"),
        node("Clip", "first zero six", "first.a"),
        node("Conv", "first.a w1 b1", "logits"),
    ]
    weights = rng.normal(size=(6, 3, 1, 1)).astype("f")
    weights[0] *= 20
    weights[1] *= 0.01
    constants = {"w0": weights, "b0": np.zeros(6, "f"), "zero": np.float32(0), "six": np.float32(6)}
    constants |= {"w1": uneven(rng, 4, 6, 1, 1), "b1": np.ones(4, "f")}
    model = build(nodes, constants, ["batch", 3, 8, 8], ("batch", 4, 8, 8))
    images = rng.normal(size=(8, 3, 8, 8)).astype("f")
    found, layers, layout = opened(model)
    seen = watch_channels(found.graph, layout.points, batches(images)())
    assert float(seen["first.a"].high[0]) == 6.0
    assert equalise(found.graph, layers, seen) == 1
    scaled = layers[0].weights()
    np.testing.assert_allclose(scaled[0], weights[0], rtol=1e-6)
    assert np.abs(scaled[1]).max() > 3 * np.abs(weights[1]).max()
    wanted, got = run(model, input=images), run(ir.to_proto(found), input=images)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_dead_channels_do_no_harm(build, batches, images, run):
    model = random_network(build, 2)
    found, layers, layout = opened(model)
    stem = layers[0]
    weights, bias = stem.weights().copy(), stem.bias.const_value.numpy().copy()
    weights[0], bias[0] = 0, -1
    stem.weight.const_value = ir.tensor(weights, name=stem.weight.name)
    stem.bias.const_value = ir.tensor(bias, name=stem.bias.name)
    wanted = run(ir.to_proto(found), input=images)
    for change in (centre, equalise):
        change(found.graph, layers, watch_channels(found.graph, layout.points, batches(images)()))
    got = run(ir.to_proto(found), input=images)
    assert np.abs(got - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())
