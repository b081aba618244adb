"""Post-training quantisation in one go: close to float by every recipe, and clear when it fails."""

from functools import partial

import numpy as np
import pytest
from onnx import helper

from edgetransfer.compress import stream
from edgetransfer.compress.posttraining import CalibrationBatches, quantise
from edgetransfer.errors import DataError, StageError
from edgetransfer.spec.catalogue import CalibrationRecipe, calibration_recipe, names
from edgetransfer.spec.target import Int8Scheme

EXAMPLES = 20
METHODS = ("auto", "minmax", "moving", "percentile", "entropy", "mse")


@pytest.mark.parametrize("method", METHODS)
def test_every_way_to_find_ranges(network, pictures, quantised_from, sqnr_db, method, capsys):
    model = quantised_from(network, pictures[:EXAMPLES], method=method, keep=99.9).graph()
    assert sqnr_db(model) > 22
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", names("calibration/recipes"))
def test_shipped_recipes_work(network, pictures, batches, sqnr_db, tmp_path, name):
    source = batches(pictures[:EXAMPLES])
    calibration = CalibrationBatches(source, EXAMPLES, tmp_path)
    made = quantise(network, Int8Scheme(), calibration_recipe(name), calibration)
    assert sqnr_db(made.graph()) > 25


def test_the_percentile_reaches_the_ranges(network, pictures, quantised_from, sqnr_db):
    whole, cut = (
        quantised_from(network, pictures[:EXAMPLES], method="percentile", keep=keep).graph()
        for keep in (100, 70)
    )
    assert sqnr_db(whole) > sqnr_db(cut) + 10


def test_rounding_in_second_order_and_corrected_biases_pay(network, pictures, plain, sqnr_db):
    """The same grids with weights rounded to the nearest and biases as they were."""
    from dataclasses import replace

    from edgetransfer.compress.encoding import Codes

    weights, biases = {}, {}
    for layer in plain.layout.layers:
        numbers = layer.weights()
        scale = np.abs(numbers).reshape(len(numbers), -1).max(axis=1) / 127
        wide = scale.reshape(-1, *(1,) * (numbers.ndim - 1))
        codes = np.rint(numbers / wide).astype(np.int8)
        weights[layer.name] = Codes(codes, scale.astype(np.float32))
        biases[layer.name] = layer.bias.const_value.numpy()
    nearest = replace(plain, encoding=replace(plain.encoding, weights=weights, biases=biases))
    assert sqnr_db(plain.graph()) > sqnr_db(nearest.graph())


def test_ranges_are_found_on_all_and_weights_on_a_few(network, pictures, tmp_path, batches):
    asked = {"fitted": 0, "rest": 0}

    def counted(name, array):
        def make():
            asked[name] += 1
            return batches(array)()

        return make

    calibration = CalibrationBatches(
        counted("fitted", pictures[:8]), 8, tmp_path, counted("rest", pictures[8:])
    )
    recipe = CalibrationRecipe(name="minmax", method="minmax")
    told = []
    made = quantise(
        network, Int8Scheme(), recipe, calibration, progress=lambda *line: told.append(line)
    )
    assert asked == {"fitted": 2, "rest": 1}
    assert made.encoding.grids["input"].bounds == pytest.approx(
        (pictures.min(), pictures.max()), abs=0.05
    )
    layers = len(made.layout.layers)
    assert told == [(done, layers) for done in range(layers + 1)]


def test_what_waited_on_the_disk_is_swept_up(network, pictures, tmp_path, batches, monkeypatch):
    source = batches(pictures[:8])
    recipe = CalibrationRecipe(name="minmax", method="minmax")
    monkeypatch.setattr(stream, "WAITING_SHARE", 2**60)
    quantise(network, Int8Scheme(), recipe, CalibrationBatches(source, 8, tmp_path))
    assert not list(tmp_path.iterdir())


def test_what_waits_in_files_is_what_waits_in_memory(
    network, pictures, tmp_path, batches, monkeypatch
):
    source = batches(pictures[:24])
    recipe = CalibrationRecipe(name="minmax", method="minmax")
    made, files = [], []
    save = np.save

    def saved(written, file, array):
        written.append(file)
        save(file, array)

    for share in (1, 2**60):  # all of the memory, and none of it
        monkeypatch.setattr(stream, "WAITING_SHARE", share)
        folder = tmp_path / str(share)
        folder.mkdir()
        monkeypatch.setattr(stream.np, "save", partial(saved, written := []))
        calibration = CalibrationBatches(source, 24, folder)
        made.append(quantise(network, Int8Scheme(), recipe, calibration).encoding)
        files.append(len(written))
    assert files[0] == 0
    assert files[1] > 0
    for name, codes in made[0].weights.items():
        np.testing.assert_array_equal(codes.codes, made[1].weights[name].codes)
    for name, bias in made[0].biases.items():
        np.testing.assert_array_equal(bias, made[1].biases[name])


def test_nothing_that_could_run_in_integers(build, quantised_from):
    nodes = [
        helper.make_node("Relu", ["input"], ["active"]),
        helper.make_node("Softmax", ["active"], ["logits"]),
    ]
    with pytest.raises(StageError) as caught:
        quantised_from(build(nodes, {}, ["batch", 4]), np.zeros((2, 4), np.float32))
    assert str(caught.value) == (
        "quantise: the network has no layer that could run in integers\n"
        "  found: Relu, Softmax\n"
        "  expected: a convolution or matrix product with constant weights\n"
        "  fix: build with --precision fp32 to ship it in float"
    )


@pytest.mark.parametrize("equalised", [True, False])
def test_examples_that_are_not_finite(network, pictures, quantised_from, equalised):
    broken = pictures[:EXAMPLES].copy()
    broken[3, 0, 0, 0] = np.nan
    with pytest.raises(StageError) as caught:
        quantised_from(network, broken, equalised=equalised)
    assert str(caught.value) == (
        "tensor input: the float network gives NaN or Inf on the calibration examples\n"
        "  found: values from nan to nan\n"
        "  fix: check the network and its preprocessing in float first"
    )


def test_an_example_that_cannot_be_prepared_is_told_as_it_is(network, tmp_path):
    def broken():
        raise DataError("the picture cannot be read", where="a.png")
        yield

    recipe = CalibrationRecipe(name="minmax", method="minmax")
    with pytest.raises(DataError, match=r"^a\.png: the picture cannot be read$"):
        quantise(network, Int8Scheme(), recipe, CalibrationBatches(broken, 8, tmp_path))


def test_nothing_to_calibrate_on(network, tmp_path):
    recipe = CalibrationRecipe(name="minmax", method="minmax")
    nothing = CalibrationBatches(lambda: iter(()), 0, tmp_path)
    with pytest.raises(StageError):
        quantise(network, Int8Scheme(), recipe, nothing)


PRODUCTS = {
    "bias of one number": [("MatMul", "input w"), ("Add", "o0 one")],
    "row of biases": [("Gemm", "input w row")],
    "one bias for all": [("Gemm", "input w one")],
    "no bias": [("Gemm", "input w")],
    "bias first": [("MatMul", "input w"), ("Add", "b o0")],
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_biases_of_products_in_all_their_forms(build, quantised_from, run, name):
    rng = np.random.default_rng(0)
    parts = PRODUCTS[name]
    nodes = [
        helper.make_node(
            kind, taken.split(), ["logits" if i == len(parts) - 1 else f"o{i}"], name=f"n{i}"
        )
        for i, (kind, taken) in enumerate(parts)
    ]
    constants = {"w": rng.normal(size=(6, 4)), "b": rng.normal(size=4)}
    constants |= {"row": rng.normal(size=(1, 4)), "one": rng.normal(size=1)}
    used = set(" ".join(taken for _, taken in parts).split())
    constants = {k: array.astype("f") for k, array in constants.items() if k in used}
    model = build(nodes, constants, ["batch", 6])
    examples = rng.normal(size=(32, 6)).astype("f")
    made = quantised_from(model, examples)
    wanted, got = run(model, input=examples), run(made.graph(), input=examples)
    assert np.abs(wanted - got).max() < 0.05 * np.abs(wanted).max()


def test_factors_of_a_product_are_in_its_constants(build, quantised_from, run):
    rng = np.random.default_rng(0)
    node = helper.make_node("Gemm", ["input", "w", "b"], ["logits"], "n", alpha=0.5, beta=3.0)
    constants = {"w": rng.normal(size=(6, 4)).astype("f"), "b": rng.normal(size=4).astype("f")}
    model = build([node], constants, ["batch", 6])
    examples = rng.normal(size=(32, 6)).astype("f") + 2
    made = quantised_from(model, examples)
    (layer,) = made.layout.layers
    np.testing.assert_allclose(layer.weights(), constants["w"].T * 0.5)
    assert not layer.node.attributes.keys() & {"alpha", "beta"}
    wanted, got = run(model, input=examples), run(made.graph(), input=examples)
    assert np.abs(wanted - got).max() < 0.05 * np.abs(wanted).max()
    assert np.abs((wanted - got).mean(axis=0)).max() < 0.01


def test_what_a_layer_gives_is_seen_before_a_relu_overwrites_it(build, quantised_from, run):
    """Another layer takes the sum, and only later a Relu does, in its place."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["input", "w0", "b0"], ["sum"], "first"),
        helper.make_node("Gemm", ["sum", "w1", "b1"], ["side"], "second"),
        helper.make_node("Relu", ["sum"], ["relu"], "relu"),
        helper.make_node("Add", ["side", "relu"], ["logits"], "both"),
    ]
    constants = {"w0": (8, 8), "b0": (8,), "w1": (8, 8), "b1": (8,)}
    constants = {k: rng.normal(size=shape).astype("f") for k, shape in constants.items()}
    model = build(nodes, constants, ["batch", 8], ["batch", 8])
    examples = rng.normal(size=(64, 8)).astype("f")
    made = quantised_from(model, examples)
    wanted, got = run(model, input=examples), run(made.graph(), input=examples)
    assert 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()) > 30


def test_a_bias_that_two_products_share(build, quantised_from, run):
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["input", "w0"], ["first"], name="m0"),
        helper.make_node("Add", ["first", "b"], ["hidden"], name="a0"),
        helper.make_node("MatMul", ["hidden", "w1"], ["second"], name="m1"),
        helper.make_node("Add", ["second", "b"], ["logits"], name="a1"),
    ]
    constants = {"w0": (4, 4), "w1": (4, 4), "b": (4,)}
    constants = {k: rng.normal(size=shape).astype("f") for k, shape in constants.items()}
    model = build(nodes, constants, ["batch", 4])
    examples = rng.normal(size=(32, 4)).astype("f")
    made = quantised_from(model, examples)
    layers = made.layout.layers
    assert layers[0].bias.name != layers[1].bias.name
    wanted, got = run(model, input=examples), run(made.graph(), input=examples)
    assert np.abs(wanted - got).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("factors", [{"alpha": 0.125}, {"beta": 0.25}, {"alpha": 3.0, "beta": 2.0}])
def test_factors_of_a_product_are_part_of_its_numbers(build, quantised_from, run, factors):
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["input", "w", "b"], ["hidden"], **factors),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w", "b"], ["logits"], **factors),
    ]
    constants = {"w": rng.normal(size=(8, 8)).astype("f"), "b": rng.normal(size=8).astype("f")}
    model = build(nodes, constants, ["batch", 8], ["batch", 8])
    examples = rng.normal(size=(32, 8)).astype("f")
    made = quantised_from(model, examples)
    assert not any({"alpha", "beta"} & {*layer.node.attributes} for layer in made.layout.layers)
    wanted, got = run(model, input=examples), run(made.graph(), input=examples)
    assert np.abs(wanted - got).max() < 0.05 * np.abs(wanted).max()
    assert np.abs((wanted - got).mean(axis=0)).max() < 0.005 * np.abs(wanted).max()


def test_two_products_with_nothing_between(build, quantised_from, run):
    rng = np.random.default_rng(0)
    names = (("input", "w0", "b0", "hidden"), ("hidden", "w1", "b1", "logits"))
    nodes = [helper.make_node("Gemm", [*each[:3]], [each[3]]) for each in names]
    constants = {"w0": (8, 8), "b0": (8,), "w1": (8, 4), "b1": (4,)}
    constants = {k: rng.normal(size=shape).astype("f") for k, shape in constants.items()}
    constants["b0"] += 20  # a mean that is moved behind
    model = build(nodes, constants, ["batch", 8])
    examples = rng.normal(size=(32, 8)).astype("f")
    got = run(quantised_from(model, examples).graph(), input=examples)
    wanted = run(model, input=examples)
    assert np.abs(wanted - got).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("behind", ["Gemm", "Reshape"])
def test_a_product_taken_before_its_activation_too(build, quantised_from, run, behind):
    """What waited of it was a view of what the Relu then rectified in its place: 25 to 8 dB."""
    rng = np.random.default_rng(0)
    taken = {
        "Gemm": [helper.make_node("Gemm", ["first", "w1", "b1"], ["second"])],
        "Reshape": [
            helper.make_node("Reshape", ["first", "shape"], ["same"]),
            helper.make_node("Relu", ["first"], ["active"]),
            helper.make_node("Gemm", ["same", "w1", "b1"], ["second"]),
        ],
    }[behind]
    relu = [helper.make_node("Relu", ["first"], ["active"])] if behind == "Gemm" else []
    nodes = [
        helper.make_node("Gemm", ["input", "w0", "b0"], ["first"]),
        *(*taken, *relu),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["third"]),
        helper.make_node("Add", ["second", "third"], ["logits"]),
    ]
    constants = {f"w{i}": rng.normal(size=(8, 8)).astype("f") for i in range(3)}
    constants |= {f"b{i}": rng.normal(size=8).astype("f") for i in range(3)}
    constants |= {"shape": np.array([-1, 8])} if behind == "Reshape" else {}
    model = build(nodes, constants, ["batch", 8], ["batch", 8])
    examples = rng.normal(size=(32, 8)).astype("f")
    wanted = run(model, input=examples)
    got = run(quantised_from(model, examples).graph(), input=examples)
    assert np.abs(wanted - got).max() < 0.05 * np.abs(wanted).max()


def test_outputs_and_inputs_that_are_left_out(build, quantised_from, run):
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["input", "w0", "b0"], ["first"]),
        helper.make_node("Transpose", ["first"], ["steps"], perm=[2, 0, 1]),
        helper.make_node("LSTM", ["steps", "w", "r"], ["", "last"], hidden_size=4),
        helper.make_node("Squeeze", ["last", "axis"], ["state"]),
        helper.make_node("Clip", ["state", "", "most"], ["clipped"]),
        helper.make_node("MatMul", ["clipped", "w1"], ["second"]),
        helper.make_node("Clip", ["second", "", "most"], ["low"]),
        helper.make_node("Tanh", ["low"], ["bent"]),
        helper.make_node("MatMul", ["bent", "w2"], ["logits"]),
    ]
    shapes = {"w0": (6, 3, 1), "b0": (6,), "w": (1, 16, 6), "r": (1, 16, 4)}
    shapes |= {"w1": (4, 4), "w2": (4, 4)}
    constants = {k: rng.normal(size=shape).astype("f") / 2 for k, shape in shapes.items()}
    constants |= {"axis": np.array([0]), "most": np.float32(0.5)}
    model = build(nodes, constants, ["batch", 3, 5])
    examples = rng.normal(size=(32, 3, 5)).astype("f")
    got = run(quantised_from(model, examples).graph(), input=examples)
    wanted = run(model, input=examples)
    assert np.abs(wanted - got).max() < 0.1 * np.abs(wanted).max()
