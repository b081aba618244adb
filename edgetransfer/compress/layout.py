"""Decides where a float graph is quantised: at the tensors that the runtime's kernels fuse."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

T = TypeVar("T")
LAYERS = {"Conv", "Gemm", "MatMul"}
CLIPS = {"Relu", "Clip"}
"""Vanish where they follow a node whose output is quantised inside their bounds."""
PASSES = {
    *("Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "Split"),
    *("Squeeze", "Transpose", "Unsqueeze"),
}
"""Give the very integers they take, so both sides share one grid."""
INTEGER = {*("Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid")}
"""Have integer kernels of their own, from grids to another grid."""
ELEMENTWISE = {
    *("Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Softplus", "Tanh"),
    *CLIPS,
}
"""Run in float between two quantised tensors: one number in, one out."""


@dataclass(frozen=True)
class Layer:
    """One node that multiplies by constant weights.

    `input` is one tensor, `weight` an initializer of its own with its output channels on `axis`;
    `bias` is None where it has none, for MatMul that of the Add behind it. `sum` is the output with
    its bias before any activation, `output` what is quantised: behind a Relu or Clip that fuses.
    """

    node: ir.Node
    input: ir.Value
    weight: ir.Value
    bias: ir.Value | None
    axis: int
    sum: ir.Value
    output: ir.Value

    @property
    def name(self) -> str:
        """Name of the weights, which a layer has for itself."""
        return name_of(self.weight)

    def weights(self) -> np.ndarray[Any, Any]:
        """Return the weights with the output channels first, float32 [C, ...]."""
        return np.moveaxis(array_of(self.weight), self.axis, 0)

    @property
    def size(self) -> tuple[int, ...]:
        """Sizes of the weights with the output channels first, (C, ...)."""
        assert self.weight.const_value is not None
        sizes = list(self.weight.const_value.shape.numpy())
        return (sizes.pop(self.axis), *sizes)


@dataclass(frozen=True)
class Layout:
    """Where a graph is quantised.

    Layers are in the order they run; `points` name the tensors that are quantised, in the order
    they come to be; `shares` names, by the tensor behind a node that passes integers on, the one
    before.
    """

    layers: tuple[Layer, ...]
    points: tuple[str, ...]
    shares: dict[str, str]

    def root(self, name: str) -> str:
        """Return the tensor whose grid a tensor has."""
        while name in self.shares:
            name = self.shares[name]
        return name

    def roots(self) -> tuple[str, ...]:
        """Return the tensors that have a grid of their own."""
        return tuple(name for name in self.points if name not in self.shares)


def name_of(value: ir.Value) -> str:
    """Return the name of a tensor, which every tensor of a checked graph has."""
    assert value.name is not None
    return value.name


def array_of(value: ir.Value) -> np.ndarray[Any, Any]:
    """Return the numbers of a constant."""
    assert value.const_value is not None
    numbers: np.ndarray[Any, Any] = value.const_value.numpy()
    return numbers


def attribute(node: ir.Node, name: str, default: T) -> T:
    """Return an attribute, of the type that its default has."""
    found = node.attributes.get(name)
    value: T = default if found is None else found.value
    return value


def add_constant(graph: ir.Graph, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
    """Put a constant into a graph."""
    tensor = ir.tensor(array, name=name)
    kind, shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
    value = ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
    graph.register_initializer(value)
    return value


def users(value: ir.Value) -> list[ir.Node]:
    """Return the nodes that take a tensor, each once."""
    return list(dict.fromkeys(use.node for use in value.uses()))


def find_layout(graph: ir.Graph, floats: Set[str] = frozenset()) -> Layout:
    """Find the layers and the tensors to quantise.

    The graph is clean and each weight used by one node (`posttraining.separate`); `floats` names
    layers to leave in float, by their weights.
    """
    layers = tuple(each for each in find_layers(graph) if each.name not in floats)
    spread = _domain(graph, layers)
    wanted = _wanted(graph, layers, spread)
    points: list[str] = [name_of(each) for each in graph.inputs if each in wanted]
    shares: dict[str, str] = {}
    for node in graph:
        for output in node.outputs:
            if output not in wanted:
                continue
            points.append(name_of(output))
            source = node.inputs[0]
            if node.op_type in PASSES and source in wanted and source is not None:
                shares[name_of(output)] = name_of(source)
    return Layout(layers, tuple(points), shares)


def find_layers(graph: ir.Graph) -> Iterator[Layer]:
    """Yield every node that multiplies by constant weights, in the order they run."""
    for node in graph:
        if node.op_type not in LAYERS or len(node.inputs) < 2:
            continue
        source, weight = node.inputs[:2]
        if source is None or weight is None or not weight.is_initializer():
            continue
        if array_of(weight).dtype != np.float32 or array_of(weight).ndim < 2:
            continue
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        total = node.outputs[0]
        if node.op_type == "MatMul":
            if array_of(weight).ndim != 2:
                continue
            bias, total = added(node)
        elif bias is not None and not bias.is_initializer():
            continue
        yield Layer(node, source, weight, bias, axis_of(node), total, behind_clip(total))


def axis_of(node: ir.Node) -> int:
    """Return the axis of a layer's weights that its output channels lie on."""
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1


def added(node: ir.Node) -> tuple[ir.Value | None, ir.Value]:
    """Return the bias that is added to a matrix product, and the sum."""
    product = node.outputs[0]
    after = users(product)
    if len(after) == 1 and after[0].op_type == "Add":
        weight = node.inputs[1]
        wanted = None if weight is None else array_of(weight).shape[1:]
        for value in after[0].inputs:
            if value is not None and value.is_initializer() and array_of(value).shape == wanted:
                return value, after[0].outputs[0]
    return None, product


def behind_clip(value: ir.Value) -> ir.Value:
    """Return the output of the Relu or Clip that alone takes a tensor, or the tensor itself."""
    after = users(value)
    if len(after) != 1 or after[0].op_type not in CLIPS or value.is_graph_output():
        return value
    bounds = after[0].inputs[1:]
    constant = all(bound is None or bound.const_value is not None for bound in bounds)
    return after[0].outputs[0] if constant else value


def clip_bounds(value: ir.Value) -> tuple[float, float]:
    """Return the bounds that the node before a tensor keeps; a grid within makes it vanish."""
    node = value.producer()
    if node is None or node.op_type not in CLIPS:
        return -np.inf, np.inf
    if node.op_type == "Relu":
        return 0.0, np.inf
    low, high = (*node.inputs[1:], None, None)[:2]
    return (
        -np.inf if low is None else float(array_of(low)),
        np.inf if high is None else float(array_of(high)),
    )


def _domain(graph: ir.Graph, layers: tuple[Layer, ...]) -> set[ir.Value]:
    """Return the tensors that descend from convolutions by nodes that keep or follow a grid.

    Matrix products can give floats at no cost, so what descends from them alone stays float:
    the layer norms and softmaxes of a transformer want floats anyway.
    """
    domain = {each.output for each in layers if each.node.op_type == "Conv"}
    inner = {each.sum for each in layers if each.output is not each.sum}
    for node in graph:
        moving = [each for each in node.inputs if each is not None and each.const_value is None]
        if node.op_type in INTEGER:
            keeps = all(each in domain for each in moving)
        else:
            keeps = (
                node.op_type in PASSES | ELEMENTWISE and moving[:1] != [] and moving[0] in domain
            )
        if keeps and moving and node.outputs[0] not in inner:
            domain.add(node.outputs[0])
    return domain


def _wanted(graph: ir.Graph, layers: tuple[Layer, ...], domain: set[ir.Value]) -> set[ir.Value]:
    """Return the tensors that some integer kernel takes or a convolution must give."""
    wanted = {each.input for each in layers}
    wanted |= {each.output for each in layers if each.node.op_type == "Conv"}
    for node in reversed(graph):
        output = node.outputs[0]
        if node.op_type in INTEGER and output in domain and wanted & {output, behind_clip(output)}:
            wanted.add(behind_clip(output))
            wanted |= {each for each in node.inputs if each is not None and each in domain}
        elif node.op_type in PASSES and output in wanted & domain:
            source = node.inputs[0]
            if source in domain and source is not None and source.producer() is not None:
                wanted.add(source)
    # What only a Relu or Clip takes whose output is quantised needs no grid of its own.
    return {each for each in wanted if behind_clip(each) not in wanted - {each}}
