"""w8a8: every convolution in int8, close to float, the same bytes every time."""

import logging

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgetransfer.compress.qdq import quantise, quiet
from edgetransfer.errors import DataError, StageError
from edgetransfer.spec.catalogue import CalibrationRecipe, calibration_recipe, names, target
from edgetransfer.spec.target import Int8Scheme

EXAMPLES = range(20)
MINMAX = CalibrationRecipe(name="minmax")
SCHEMES = sorted({target(name).int8.model_dump_json() for name in names("targets")})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_convolution_runs_in_int8_for_every_shipped_target(
    network, prepare, sqnr_db, resident, scheme
):
    model = quantise(network, Int8Scheme.model_validate_json(scheme), MINMAX, prepare, EXAMPLES)
    found = resident(model)
    assert (found.int8_conv, found.float_conv, found.float_ops) == (4, 0, ())
    assert sqnr_db(model) > 30


def stored(model, name):
    """The weights of a convolution as they come out of their 8 bits."""
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    scale = constants[f"{name}_scale"].reshape(-1, 1, 1, 1)
    return constants[f"{name}_quantized"] * scale


def test_each_channel_has_a_scale_of_its_own(network, prepare):
    (weight,) = (
        numpy_helper.to_array(each)
        for each in network.graph.initializer
        if each.name == "depthwise.w"
    )
    size = np.abs(weight).max(axis=(1, 2, 3))
    channel, tensor = (
        quantise(network, Int8Scheme(per_channel=each), MINMAX, prepare, EXAMPLES)
        for each in (True, False)
    )
    for model, step in ((channel, size / 127), (tensor, size.max() / 127)):
        error = np.abs(stored(model, "depthwise.w") - weight).max(axis=(1, 2, 3))
        assert (error <= 0.501 * step).all()
    assert size.max() > 50 * size.min()


@pytest.mark.parametrize("scheme", [Int8Scheme(weight="u8"), Int8Scheme(symmetric_activation=True)])
def test_other_layouts_are_close_too(network, prepare, sqnr_db, scheme):
    assert sqnr_db(quantise(network, scheme, MINMAX, prepare, EXAMPLES)) > 25


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_every_way_to_find_ranges(network, prepare, sqnr_db, capsys, method):
    recipe = CalibrationRecipe(name=method, method=method)
    model = quantise(network, Int8Scheme(), recipe, prepare, EXAMPLES)
    assert sqnr_db(model) > 25
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["default", "percentile"])
def test_shipped_recipes_work(network, prepare, sqnr_db, name):
    recipe = calibration_recipe(name)
    assert sqnr_db(quantise(network, Int8Scheme(), recipe, prepare, EXAMPLES)) > 25


def test_the_percentile_reaches_the_calibrator(network, prepare, sqnr_db):
    models = [
        quantise(
            network,
            Int8Scheme(),
            CalibrationRecipe(name="p", method="percentile", percentile=percentile),
            prepare,
            EXAMPLES,
        )
        for percentile in (100, 70)
    ]
    assert sqnr_db(models[0]) > sqnr_db(models[1]) + 10


def test_each_example_is_read_once_and_told_of(network, prepare):
    told = []
    quantise(
        network,
        Int8Scheme(),
        MINMAX,
        prepare,
        EXAMPLES,
        progress=lambda *line: told.append(line),
    )
    assert prepare.asked == list(EXAMPLES)
    assert told == [(done, 20) for done in range(1, 21)]


def test_the_same_bytes_every_time(network, prepare):
    once, again = (quantise(network, Int8Scheme(), MINMAX, prepare, EXAMPLES) for _ in range(2))
    assert once.SerializeToString() == again.SerializeToString()


def test_the_float_graph_stays_and_its_face_is_kept(network, prepare):
    before = onnx.ModelProto()
    before.CopyFrom(network)
    model = quantise(network, Int8Scheme(), MINMAX, prepare, EXAMPLES)
    assert network == before
    assert (model.graph.input, model.graph.output) == (network.graph.input, network.graph.output)
    assert (model.ir_version, model.producer_name) == (10, "edgetransfer")
    onnx.checker.check_model(model, full_check=True)


def test_nothing_to_calibrate_on(network, prepare):
    with pytest.raises(StageError) as caught:
        quantise(network, Int8Scheme(), MINMAX, prepare, [])
    assert str(caught.value) == (
        "quantise: the network could not be quantised\n"
        "  found: No data is collected.\n"
        "  fix: build with --precision fp32 to ship it in float"
    )


def test_an_example_that_cannot_be_prepared_is_told_as_it_is(network):
    def broken(_):
        raise DataError("the picture cannot be read", where="a.png")

    with pytest.raises(DataError, match=r"^a\.png: the picture cannot be read$"):
        quantise(network, Int8Scheme(), MINMAX, broken, EXAMPLES)


def test_quiet_gives_everything_back(capsys):
    level = logging.root.level

    def fail():
        with quiet():
            print("noise")  # noqa: T201
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert logging.root.level == level
    print("after")  # noqa: T201
    assert capsys.readouterr().out == "after\n"
