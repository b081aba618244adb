"""Layers that are left in float are in float as the runtime gets them, and as they were."""

import numpy as np
import onnx
from onnx import helper

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.spec.target import Int8Scheme

EXAMPLES = 20


def test_layers_left_in_float_are_as_they_were(plain, sqnr_db, resident):
    one = plain.keeping_float({"depthwise.w"})
    found = resident(one.graph())
    assert (found.int8_conv, found.float_conv) == (3, 1)
    assert sqnr_db(one.graph()) > 30
    none = plain.keeping_float({each.name for each in plain.layout.layers})
    assert sqnr_db(none.graph()) > 80
    assert resident(none.graph()).int8_conv == 0


def test_products_that_the_runtime_would_round_are_not_left_in_float(build, quantised_from):
    rng = np.random.default_rng(7)
    nodes, source = [], "input"
    for place in range(3):
        name = "logits" if place == 2 else f"h{place}"
        taken = [source, f"w{place}", f"b{place}"]
        nodes.append(helper.make_node("Gemm", taken, [name], name=f"g{place}", transB=1))
        if place < 2:
            nodes.append(helper.make_node("Relu", [name], [f"{name}.a"], name=f"r{place}"))
        source = f"{name}.a"
    shapes = {f"w{place}": (4, 4) for place in range(3)} | {f"b{place}": (4,) for place in range(3)}
    constants = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    made = quantised_from(
        build(nodes, constants, ["batch", 4]), rng.normal(size=(32, 4)).astype(np.float32)
    )
    assert [each.name for each in made.keeping_float({"w1"}).layout.layers] == ["w0", "w1", "w2"]
    assert [each.name for each in made.keeping_float({"w2"}).layout.layers] == ["w0", "w1"]


def test_convolutions_left_in_float_before_a_clip_that_stays(
    network, pictures, quantised_from, tmp_path
):
    scheme = Int8Scheme(symmetric_activation=True)
    made = quantised_from(network, pictures[:EXAMPLES], scheme, equalised=False)
    kinds = made.keeping_float({"depthwise.w"}).graph()
    weights = {each.name: each.data_type for each in kinds.graph.initializer}
    assert weights["depthwise.w"] == onnx.TensorProto.FLOAT
    OnnxSession(kinds.SerializeToString(), optimised_to=str(tmp_path / "optimised.onnx"))
    stored = onnx.load(tmp_path / "optimised.onnx").graph.initializer
    sizes = {tuple(each.dims): each.data_type for each in stored if len(each.dims) == 4}
    assert sizes[(16, 1, 3, 3)] == onnx.TensorProto.FLOAT
