"""Writes an encoding, whatever found it, as Q and DQ where kernels fuse; reads one from a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch

from edgetransfer.compress.encoding import Codes, Encoding, Grid, grid_over
from edgetransfer.compress.layout import (
    CLIPS,
    INTEGER,
    Layer,
    Layout,
    add_constant,
    array_of,
    attribute,
    behind_clip,
    clip_bounds,
    name_of,
    users,
)
from edgetransfer.errors import NumericalError, StageError
from edgetransfer.graph.finished import finished

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from edgetransfer.spec.target import Int8Scheme

Array = np.ndarray[Any, Any]
_RANGES = {np.dtype(np.uint8): (0, 255), np.dtype(np.int8): (-128, 127)}


def read_encoding(
    quantised: onnx.ModelProto, graph: ir.Graph, layout: Layout, scheme: Int8Scheme
) -> Encoding:
    """Return the integers that a Q/DQ graph holds for a float graph it was made from.

    Tensors and layers are found by the names that the float graph, whose layout is given, has for
    them; the codes are to be written in the scheme. StageError where a layer or tensor has none.
    """
    source = _Source(ir.from_proto(quantised).graph)
    values = {name_of(each): each for node in graph for each in node.outputs}
    grids = {name: source.grid(name, values.get(name)) for name in layout.roots()}
    weights = {layer.name: source.weights(layer) for layer in layout.layers}
    biases = {layer.name: source.bias(layer) for layer in layout.layers if layer.bias is not None}
    return Encoding(grids, weights, biases, scheme)


class _Source:
    def __init__(self, graph: ir.Graph) -> None:
        self._quantisers = {
            name_of(node.inputs[0]): node
            for node in graph
            if node.op_type == "QuantizeLinear" and node.inputs[0] is not None
        }
        self._by_output = {name_of(node.outputs[0]): node for node in graph}

    def grid(self, name: str, value: ir.Value | None) -> Grid:
        """Return the grid of a tensor, also where the Clip before it has been dropped."""
        node = self._quantisers.get(name) or self._behind(name)
        producer = None if value is None else value.producer()
        if node is None and producer is not None and producer.op_type in CLIPS:
            before = producer.inputs[0]
            node = None if before is None else self._quantisers.get(name_of(before))
        if node is None:
            raise _lacks("no QuantizeLinear", f"tensor {name}")
        scale, zero = (self._constant(each) for each in node.inputs[1:3])
        if zero.dtype not in _RANGES or scale.size != 1:
            raise _lacks(f"{zero.dtype} with {scale.size} scales", f"tensor {name}")
        low, high = _RANGES[zero.dtype]
        return Grid(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]), low, high)

    def _behind(self, name: str) -> ir.Node | None:
        """Return the Q of a tensor that has its name only behind its DQ: an output of the graph."""
        node = self._by_output.get(name)
        source = None if node is None or node.op_type != "DequantizeLinear" else node.inputs[0]
        return None if source is None else source.producer()

    def _node(self, layer: Layer) -> ir.Node | None:
        """Return a layer's node; its output may have the name of what a Clip behind it gave."""
        for value in (layer.node.outputs[0], layer.output):
            node = self._by_output.get(name_of(value))
            quantiser = self._behind(name_of(value))
            if quantiser is not None and quantiser.inputs[0] is not None:
                node = quantiser.inputs[0].producer()
            if node is not None and node.op_type == layer.node.op_type:
                return node
        return None

    def weights(self, layer: Layer) -> Codes:
        """Return the codes of a layer's weights, output channels first."""
        node = self._node(layer)
        value = None if node is None else node.inputs[1]
        dequantise = None if value is None else value.producer()
        if dequantise is None or dequantise.op_type != "DequantizeLinear":
            raise _lacks("no DequantizeLinear before the weights", f"layer {layer.name}")
        codes, scale = self._codes(dequantise)
        codes = np.moveaxis(codes, layer.axis, 0)
        return Codes(codes, np.broadcast_to(scale.reshape(-1), len(codes)).astype(np.float32))

    def _codes(self, dequantise: ir.Node) -> tuple[Array, Array]:
        """Return symmetric int8 codes, given as they are or as floats that are quantised there."""
        source, scale_value, *rest = dequantise.inputs
        scale = self._constant(scale_value)
        zero = self._constant(rest[0]) if rest and rest[0] is not None else np.zeros_like(scale)
        assert source is not None
        if source.const_value is None:
            producer = source.producer()
            if producer is None or producer.op_type != "QuantizeLinear":
                raise _lacks("weights that are computed", f"node {dequantise.name}")
            floats = self._constant(producer.inputs[0])
            axis = attribute(dequantise, "axis", 1) % floats.ndim
            wide = scale.reshape([-1 if each == axis else 1 for each in range(floats.ndim)])
            return np.clip(np.rint(floats / wide), -127, 127).astype(np.int8), scale
        if zero.any() and len(np.unique(zero)) > 1:
            raise _lacks("several zero points", f"node {dequantise.name}")
        shifted = array_of(source).astype(np.int32) - int(zero.reshape(-1)[0] if zero.size else 0)
        return np.clip(shifted, -127, 127).astype(np.int8), scale

    def bias(self, layer: Layer) -> Array:
        """Return the bias of a layer as floats."""
        assert layer.bias is not None
        node = (
            self._by_output.get(name_of(layer.sum))
            if layer.sum is not layer.node.outputs[0]
            else self._node(layer)
        )
        if node is None:
            raise _lacks("no such node", f"layer {layer.name}")
        constant = [
            each for each in node.inputs if each is not None and each.const_value is not None
        ]
        value = constant[0] if layer.node.op_type == "MatMul" else (*node.inputs, None)[2]
        if value is None:
            return np.zeros_like(array_of(layer.bias))
        if value.const_value is not None:
            return np.asarray(array_of(value), dtype=np.float32)
        dequantise = value.producer()
        assert dequantise is not None
        codes, scale = (self._constant(each) for each in dequantise.inputs[:2])
        return (codes * scale.astype(np.float64)).astype(np.float32)

    def _constant(self, value: ir.Value | None) -> Array:
        if value is None or value.const_value is None:
            raise _lacks("a scale that is computed", "the quantised graph")
        return array_of(value)


def _lacks(found: str, where: str) -> StageError:
    return StageError(
        "the quantised graph cannot be read",
        where=where,
        found=found,
        expected="Q/DQ in 8 bits around the layers of the float graph",
    )


_MIDDLE = 128
"""The zero point of unsigned weights: the same for all, as older runtimes demand of channels."""


def write_qdq(model: ir.Model, layout: Layout, encoding: Encoding) -> onnx.ModelProto:
    """Return the quantised graph; the model given stays as it is.

    Every quantised tensor goes through a pair of Q and DQ once, and all its users take what comes
    out. A Relu or Clip whose bounds the grid behind it keeps anyway is dropped: rounding to the
    grid is what it did. `layout` was found in the float model, and the encoding has grids, weights
    and biases for all of it. NumericalError of a scale that is not finite, or no valid ONNX.
    """
    copy = ir.from_proto(ir.to_proto(model))
    writer = _QdqWriter(copy.graph, encoding)
    for layer in layout.layers:
        writer.layer(layer, layout)
    for name in layout.points:
        writer.point(name, encoding.grids[layout.root(name)])
    for node in list(copy.graph):
        if node.op_type in INTEGER:
            writer.constants(node, layout)
    if encoding.scheme.own_operators:
        _keep_floats(copy.graph)
    copy.graph.sort()
    copy.producer_name = "edgetransfer"
    return finished(ir.to_proto(copy), "quantise")


def layer_constants(layer: Layer, encoding: Encoding, source: Grid) -> dict[str, Array]:
    """Return what the graph holds of a layer whose input has the grid `source`, by name.

    Of its weights, and of a bias that is quantised, the ``_codes``, ``_scale`` and ``_zero``; a
    bias in float has its own name. NumericalError of a scale that is not finite.
    """
    codes, scheme, bias = encoding.weights[layer.name], encoding.scheme, layer.bias
    stored, zero = np.ascontiguousarray(np.moveaxis(codes.codes, 0, layer.axis)), 0
    if scheme.weight == "u8":
        zero = _MIDDLE
        stored = (stored.astype(np.int16) + zero).astype(np.uint8)
    of_weights = codes.scale if scheme.per_channel else codes.scale[0]
    found = _stored(layer.name, stored, of_weights, zero)
    if bias is None:
        return found
    numbers = encoding.biases[layer.name]
    if layer.node.op_type == "MatMul" or not scheme.quantised_bias:  # added in float
        return {**found, name_of(bias): numbers}
    scale = (np.float32(source.scale) * codes.scale).astype(np.float32)
    wide, limits = np.rint(numbers.astype(np.float64) / scale), np.iinfo(np.int32)
    added = np.clip(wide, limits.min, limits.max).astype(np.int32)
    return {**found, **_stored(name_of(bias), added, scale, 0)}


def _stored(name: str, codes: Array, scale: Array | float, zero: int) -> dict[str, Array]:
    scale = np.asarray(scale, dtype=np.float32)
    if not np.isfinite(scale).all():
        raise NumericalError("a scale that is not finite", where="quantise", found=name)
    zeros = np.full(scale.shape, zero, codes.dtype)
    return {f"{name}_codes": codes, f"{name}_scale": scale, f"{name}_zero": zeros}


def _keep_floats(graph: ir.Graph) -> None:
    """Hide convolutions that are to stay in float from the runtime's own quantiser.

    ONNX Runtime (WeightBiasQuantization, a level 1 optimiser) rounds the float weights of every
    Conv between DQ and Q, one scale a tensor: MobileNetV1 fell from 21 to 6 dB by one layer that
    was left in float to do it good. It does not look at its own FusedConv, which is the same.
    """
    for node in graph:
        after = users(behind_clip(node.outputs[0]))
        between = len(after) == 1 and after[0].op_type == "QuantizeLinear"
        weight = node.inputs[1] if node.op_type == "Conv" else None
        if between and weight is not None and weight.is_initializer():
            node.op_type, node.domain = "FusedConv", "com.microsoft"
            graph.opset_imports["com.microsoft"] = 1


class _QdqWriter:
    def __init__(self, graph: ir.Graph, encoding: Encoding) -> None:
        self._graph = graph
        self._encoding = encoding
        self._scheme = encoding.scheme
        self._values = {name_of(each): each for each in graph.inputs}
        self._values |= {name_of(each): each for each in graph.initializers.values()}
        self._values |= {name_of(each): each for node in graph for each in node.outputs}

    def layer(self, layer: Layer, layout: Layout) -> None:
        """Replace the weights and the bias of one layer by their codes."""
        source = self._encoding.grids[layout.root(name_of(layer.input))]
        stored = layer_constants(layer, self._encoding, source)
        axis = layer.axis if self._scheme.per_channel else None
        self._replace(self._values[layer.name], stored, axis=axis)
        if layer.bias is None:
            return
        value = self._values[name_of(layer.bias)]
        if name_of(layer.bias) in stored:
            value.const_value = ir.tensor(stored[name_of(layer.bias)], name=value.name)
        else:
            self._replace(value, stored, axis=0)

    def _replace(
        self, value: ir.Value, stored: Mapping[str, Array], *, axis: int | None = None
    ) -> None:
        """Let the users of a constant take its dequantised codes."""
        name = name_of(value)
        inputs = [
            add_constant(self._graph, f"{name}_{part}", stored[f"{name}_{part}"])
            for part in ("codes", "scale", "zero")
        ]
        attributes = [] if axis is None else [ir.AttrInt64("axis", axis)]
        node = ir.Node("", "DequantizeLinear", inputs, attributes, name=f"{name}_dequantised")
        self._name(node, f"{name}_dequantised", value)
        ir.convenience.replace_all_uses_with(value, node.outputs[0])
        self._graph.initializers.pop(name)
        self._graph.insert_before(self._graph[0], node)

    def _name(self, node: ir.Node, name: str, like: ir.Value) -> None:
        output = node.outputs[0]
        output.name, output.shape, output.type = name, like.shape, like.type

    def point(self, name: str, grid: Grid) -> None:
        """Send one tensor through Q and DQ."""
        if not np.isfinite(grid.scale):
            raise NumericalError("a scale that is not finite", where="quantise", found=name)
        value = self._without_clip(self._values[name], grid)
        kind = np.int8 if grid.low < 0 else np.uint8
        scale = add_constant(self._graph, f"{name}_scale", np.array(grid.scale, dtype=np.float32))
        zero = add_constant(self._graph, f"{name}_zero_point", np.array(grid.zero_point, kind))
        takers = tuple(value.uses())
        quantise = ir.Node("", "QuantizeLinear", [value, scale, zero], name=f"{name}_quantise")
        codes = quantise.outputs[0]
        codes.name, codes.shape = f"{name}_quantised", value.shape
        codes.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(kind)))
        restore = ir.Node("", "DequantizeLinear", [codes, scale, zero], name=f"{name}_dequantise")
        self._name(restore, f"{name}_dequantised", value)
        for node, place in takers:
            node.replace_input_with(place, restore.outputs[0])
        if value.is_graph_output():
            self._graph.outputs[list(self._graph.outputs).index(value)] = restore.outputs[0]
            value.name, restore.outputs[0].name = f"{name}_unquantised", name
        self._graph.extend([quantise, restore])

    def _without_clip(self, value: ir.Value, grid: Grid) -> ir.Value:
        """Take the activation away that a grid makes superfluous; return what it took."""
        node = value.producer()
        if node is None or node.op_type not in CLIPS or value.is_graph_output():
            return value
        source = node.inputs[0]
        low, high = clip_bounds(value)
        least, most = grid.bounds
        inside = least >= low and most <= high * (1 + 1e-6)
        if not inside or source is None or len(source.uses()) > 1 or source.is_graph_output():
            return value
        ir.convenience.replace_all_uses_with(value, source)
        self._graph.remove(node, safe=True)
        return source

    def constants(self, node: ir.Node, layout: Layout) -> None:
        """Quantise the constant operands of an integer kernel."""
        if not any(each.op_type == "QuantizeLinear" for each in users(node.outputs[0])):
            return
        biases = {name_of(each.bias) for each in layout.layers if each.bias is not None}
        for value in node.inputs:
            if value is None or not value.is_initializer() or len(value.uses()) > 1:
                continue
            if name_of(value) in biases:  # of a matrix product, added in float
                continue
            numbers = torch.from_numpy(np.array(array_of(value)))
            low, high = float(numbers.min()), float(numbers.max())
            kind, symmetric = self._scheme.activation, self._scheme.symmetric_activation
            grid = grid_over(low, high, kind, symmetric=symmetric)
            codes = grid.codes(numbers).numpy().astype(np.int8 if kind == "s8" else np.uint8)
            self._replace(value, _stored(name_of(value), codes, grid.scale, grid.zero_point))
