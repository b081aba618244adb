"""Reads ranges and codes out of a quantised graph, so that they can be written in fused form.

Whatever found them - another quantiser, training elsewhere, an earlier run - `qdq` writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgetransfer.compress.encoding import Codes, Encoding, Grid
from edgetransfer.compress.layout import CLIPS, Layer, Layout, array_of, name_of
from edgetransfer.errors import StageError

if TYPE_CHECKING:
    import onnx

    from edgetransfer.spec.target import Int8Scheme

Array = np.ndarray[Any, Any]

_RANGES = {np.dtype(np.uint8): (0, 255), np.dtype(np.int8): (-128, 127)}


def read_encoding(
    quantised: onnx.ModelProto, graph: ir.Graph, layout: Layout, scheme: Int8Scheme
) -> Encoding:
    """Return the integers that a Q/DQ graph holds for a float graph it was made from.

    Tensors and layers are found by the names that the float graph gives them.

    Args:
        quantised: with QuantizeLinear and DequantizeLinear nodes.
        graph: the float graph.
        layout: of the float graph.
        scheme: what the codes are to be written in.

    Raises:
        StageError: a layer or a tensor has no integers there.
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
        if source.const_value is not None:
            codes = array_of(source).astype(np.int32)
        else:
            producer = source.producer()
            if producer is None or producer.op_type != "QuantizeLinear":
                raise _lacks("weights that are computed", f"node {dequantise.name}")
            floats = self._constant(producer.inputs[0])
            found = dequantise.attributes.get("axis")
            wide = self._along(scale, floats.ndim, 1 if found is None else found.as_int())
            codes = np.clip(np.rint(floats / wide), -127, 127).astype(np.int32)
            return codes.astype(np.int8), scale
        if zero.any() and len(np.unique(zero)) > 1:
            raise _lacks("several zero points", f"node {dequantise.name}")
        shifted = codes - int(zero.reshape(-1)[0] if zero.size else 0)
        return np.clip(shifted, -127, 127).astype(np.int8), scale

    @staticmethod
    def _along(scale: Array, rank: int, axis: int) -> Array:
        if scale.size == 1:
            return scale.reshape(())
        return scale.reshape([-1 if each == axis % rank else 1 for each in range(rank)])

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
