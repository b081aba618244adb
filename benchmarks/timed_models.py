"""Small networks for benchmarks of the timing itself: made here, the same every time.

It does not time them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = 24
SIDE = 28


def convolutions(file: Path, layers: int) -> Path:
    """Write a chain of equal 3 x 3 convolutions: 21 layers are 5 % more work than 20."""
    rng = np.random.default_rng(0)
    shape = (CHANNELS, CHANNELS, 3, 3)
    spread = np.sqrt(2 / (9 * CHANNELS))
    nodes, weights, last = [], [], "x"
    for layer in range(layers):
        weight = (spread * rng.normal(size=shape)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        last = f"r{layer}"
    nodes.append(helper.make_node("ReduceMean", [last], ["y"], axes=[2, 3], keepdims=0))
    return _write(file, nodes, weights, [1, CHANNELS, SIDE, SIDE])


def product(file: Path) -> Path:
    """Write one small matrix product: a model that takes as long as the runtime's own part."""
    weight = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return _write(file, [node], [numpy_helper.from_array(weight, "w")], [1, 16])


def inputs(file: Path, shape: list[int], count: int = 8) -> str:
    """Write examples of a shape, stacked."""
    rows = np.random.default_rng(1).normal(size=(count, *shape[1:])).astype(np.float32)
    np.save(file, rows)
    return str(file)


def _write(file: Path, nodes: list[object], weights: list[TensorProto], shape: list[int]) -> Path:
    graph = helper.make_graph(
        nodes,
        "timed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializer=weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    save(model, file)
    return file
