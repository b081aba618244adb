"""A small residual network, prepared examples for it, and a network of matrix products."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.compress.layout import find_layout
from edgetransfer.compress.posttraining import CalibrationBatches, quantise, separate
from edgetransfer.graph.census import residency
from edgetransfer.graph.hosted import open_here
from edgetransfer.spec.catalogue import CalibrationRecipe
from edgetransfer.spec.target import Int8Scheme

EXAMPLES = 20


def model_of(nodes, constants, inputs, output=("batch", 4)):
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, output)
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, [output], initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


@pytest.fixture(scope="session")
def network():
    """Four convolutions, one of them depthwise, ReLU6 and an addition, as in MobileNetV2.

    The channels of the depthwise one are of very different size, as after folded batch norms.
    """
    generator = np.random.default_rng(0)

    def he(*shape):
        return (generator.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32)

    def conv(source, name, **attributes):
        return helper.make_node(
            "Conv", [source, f"{name}.w", f"{name}.b"], [name], name=name, **attributes
        )

    def relu6(source):
        return helper.make_node("Clip", [source, "zero", "six"], [f"{source}.a"])

    nodes = [
        *(conv("input", "stem", pads=[1] * 4, strides=[2, 2]), relu6("stem")),
        *(conv("stem.a", "expand"), relu6("expand")),
        *(conv("expand.a", "depthwise", pads=[1] * 4, group=16), relu6("depthwise")),
        conv("depthwise.a", "project"),
        helper.make_node("Add", ["stem.a", "project"], ["sum"]),
        helper.make_node("ReduceMean", ["sum", "space"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "head.w", "head.b"], ["logits"], transB=1),
    ]
    shapes = {
        "stem": (8, 3, 3, 3),
        "expand": (16, 8, 1, 1),
        "depthwise": (16, 1, 3, 3),
        "project": (8, 16, 1, 1),
        "head": (4, 8),
    }
    weights = {f"{name}.w": he(*shape) for name, shape in shapes.items()}
    biases = {f"{name}.b": 0.3 * he(shape[0], 2)[:, 0] for name, shape in shapes.items()}
    weights["depthwise.w"] *= np.logspace(-1.5, 0.5, 16, dtype=np.float32).reshape(16, 1, 1, 1)
    numbers = {"zero": np.float32(0), "six": np.float32(6), "space": np.array([2, 3])}
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])
    return model_of(nodes, {**weights, **biases, **numbers}, [picture])


@pytest.fixture(scope="session")
def products():
    """Token ids -> embeddings -> two matrix products -> mean over the tokens."""
    generator = np.random.default_rng(1)
    shapes = {"table": (50, 32), "w1": (32, 64), "w2": (64, 4)}
    constants = {k: generator.normal(size=v).astype(np.float32) for k, v in shapes.items()}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "w1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "w2"], ["tokens"]),
        helper.make_node("ReduceMean", ["tokens", "axis"], ["logits"], keepdims=0),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    return model_of(nodes, {**constants, "axis": np.array([1])}, [ids])


@pytest.fixture(scope="session")
def pictures():
    return np.random.default_rng(2).normal(size=(2 * EXAMPLES, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def build():
    """Make a model from nodes, constants and the shape of its input; see `model_of`."""

    def make(nodes, constants, shape, output=("batch", 4)):
        given = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
        return model_of(nodes, constants, [given], output)

    return make


@pytest.fixture(scope="session")
def opened():
    """Open a model as `quantise` does: graph with weights untied, and its layout."""

    def make(model):
        found = ir.from_proto(model)
        separate(found.graph)
        return found, find_layout(found.graph)

    return make


@pytest.fixture(scope="session")
def batches():
    """Return what makes batches of 8 of one array, anew at every call."""

    def of(array, name="input"):
        return lambda: iter({name: part} for part in torch.from_numpy(array).split(8))

    return of


@pytest.fixture(scope="session")
def quantised_from(tmp_path_factory, batches):
    """Quantise a model with the examples of an array."""

    def make(model, array, scheme=None, method="auto", **options):
        return quantise(
            model,
            scheme or Int8Scheme(),
            CalibrationRecipe(name=method, method=method, percentile=options.pop("keep", 99.999)),
            CalibrationBatches(batches(array), len(array), tmp_path_factory.mktemp("waiting")),
            **options,
        )

    return make


@pytest.fixture(scope="session")
def quantised(network, pictures, quantised_from):
    """`network` with its channels equalised."""
    return quantised_from(network, pictures[:EXAMPLES])


@pytest.fixture(scope="session")
def plain(network, pictures, quantised_from):
    """`network` with its channels as they are."""
    return quantised_from(network, pictures[:EXAMPLES], equalised=False)


@pytest.fixture
def run():

    def one(model, **inputs):
        return open_here(model).run(inputs)[0]

    return one


@pytest.fixture
def sqnr_db(network, pictures, run):
    """Signal to noise of a model's logits on pictures that it was not calibrated on."""

    def decibels(model):
        reference = run(network, input=pictures[EXAMPLES:])
        noise = run(model, input=pictures[EXAMPLES:]) - reference
        signal, noise = (rows - rows.mean(axis=1, keepdims=True) for rows in (reference, noise))
        with np.errstate(divide="ignore"):  # no noise at all: inf
            return 10 * np.log10((signal**2).sum() / (noise**2).sum())

    return decibels


@pytest.fixture
def resident(tmp_path):
    """Count what runs in int8 after the runtime's own optimiser."""

    def count(model):
        target = tmp_path / "optimised.onnx"
        OnnxSession(model.SerializeToString(), optimised_to=str(target))
        return residency(onnx.load(target))

    return count
