"""Real engines of a real network, built without a GPU by TensorRT-RTX; none is executed."""

from collections import Counter

import numpy as np
import onnx
import pytest

from edgetransfer.agent.runtimes import Unavailable
from edgetransfer.agent.runtimes.tensorrt.session import layers
from edgetransfer.errors import StageError
from edgetransfer.export.tensorrt import refuse_unfit
from edgetransfer.graph.census import residency_of
from edgetransfer.graph.embed import whole_model
from edgetransfer.graph.hosted import open_here
from edgetransfer.spec.preprocess import ImagePreprocessing
from edgetransfer.spec.target import Int8Scheme

CONVOLUTIONS = 22
FORMS = ("fp32", "fp16", "int8")


@pytest.mark.parametrize("form", FORMS)
def test_every_convolution_computes_in_the_type_of_its_graph(graphs, build, form):
    refuse_unfit(graphs[form])
    built, told = build(graphs[form])
    found = residency_of(layers(told))
    assert len(built.plan) > 100_000
    if form == "int8":
        assert (found.int8_conv, found.float_conv) == (CONVOLUTIONS, 0)
        return
    assert (found.int8_conv, found.float_conv) == (0, CONVOLUTIONS)
    assert Counter(each[-6:] for each in found.float_ops if "convolution" in each) == {
        f"({form})": CONVOLUTIONS
    }


def test_an_engine_of_halves_is_about_half_as_large(graphs, build):
    sizes = [len(build(graphs[form])[0].plan) for form in ("fp32", "fp16")]
    assert 0.45 < sizes[1] / sizes[0] < 0.65


@pytest.mark.parametrize("capability", ["8.0", "8.6", "12.0"])
def test_the_integers_build_for_other_gpus(graphs, build, capability):
    _, told = build(graphs["int8"], capability)
    assert residency_of(layers(told)).int8_conv == CONVOLUTIONS


def test_a_capability_that_it_does_not_know_is_not_there(graphs, build):
    with pytest.raises(Unavailable) as caught:
        build(graphs["fp16"], "8.7")
    assert str(caught.value) == (
        "compute capability 8.7: this TensorRT builds for 7.5, 8.0, 8.6, 8.9, 12.0, 12.1"
    )


def test_unsigned_integers_and_quantised_biases_are_refused_by_both(quantised, build):
    model = quantised(Int8Scheme())
    with pytest.raises(StageError, match="is in int32"):
        refuse_unfit(model)
    with pytest.raises(Unavailable, match=r"^TensorRT does not take "):
        build(model)


def test_preprocessing_is_refused_so_prepared_tensors_are_given(graphs, build):
    contract = ImagePreprocessing(exact=(64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    with pytest.raises(Unavailable, match=r"^TensorRT does not take "):
        build(whole_model(graphs["fp16"], contract))


@pytest.mark.parametrize(("form", "least_db"), [("fp16", 50), ("int8", 15)])
def test_the_graphs_compute_what_the_float_graph_does(graphs, pictures, form, least_db):
    """By ONNX Runtime on the processor, which computes 16-bit floats in 32: the graph, no GPU."""
    wanted, found = (
        open_here(graphs[name]).run({"input": pictures[16:]})[0] for name in ("fp32", form)
    )
    noise = ((found - wanted) ** 2).sum()
    assert 10 * np.log10((wanted**2).sum() / noise) > least_db


def test_the_graphs_are_valid_onnx(graphs):
    for model in graphs.values():
        onnx.checker.check_model(model, full_check=True)
