"""Post-training quantisation from a float graph to its integers, in one go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgetransfer.compress.columns import FloatColumns
from edgetransfer.compress.encoding import Encoding
from edgetransfer.compress.equalise import centre, equalise, set_array
from edgetransfer.compress.layout import (
    LAYERS,
    Layout,
    add_constant,
    added,
    array_of,
    attribute,
    axis_of,
    find_layers,
    find_layout,
    name_of,
)
from edgetransfer.compress.observe import (
    choose_grids,
    watch_channels,
    watch_ranges,
    whole_grids,
)
from edgetransfer.compress.qdq import write_qdq
from edgetransfer.compress.stream import SpillBuffer
from edgetransfer.compress.sweep import fit_weights
from edgetransfer.errors import NumericalError, StageError
from edgetransfer.graph.finished import finished
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Set
    from pathlib import Path

    import onnx
    from torch import Tensor

    from edgetransfer.spec.catalogue import CalibrationRecipe
    from edgetransfer.spec.target import Int8Scheme

    Batches = Callable[[], Iterable[dict[str, Tensor]]]


def separate(graph: ir.Graph) -> None:
    """Copy what layers share, and give each a bias of its own, a number a channel, in place.

    A Gemm then multiplies by nothing but its weights.
    """
    for node in graph:
        weight = node.inputs[1] if node.op_type in LAYERS else None
        if weight is None or not weight.is_initializer():
            continue
        if len(weight.uses()) > 1:
            weight = add_constant(graph, f"{weight.name}_{node.name}", array_of(weight))
            node.replace_input_with(1, weight)
        if node.op_type == "MatMul":
            _own_sum(graph, node)
        else:
            _own_bias(graph, node, array_of(weight).shape[axis_of(node)])
            _multiply_out(node)


def _own_sum(graph: ir.Graph, product: ir.Node) -> None:
    bias, total = added(product)
    adding = total.producer()
    if bias is not None and adding is not None and len(bias.uses()) > 1:
        place = list(adding.inputs).index(bias)
        name = f"{bias.name}_{product.name}"
        adding.replace_input_with(place, add_constant(graph, name, array_of(bias)))


def _own_bias(graph: ir.Graph, node: ir.Node, channels: int) -> None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        node.resize_inputs(3)
        numbers = np.zeros(channels, dtype=np.float32)
    elif not bias.is_initializer():
        return
    else:
        numbers = np.broadcast_to(array_of(bias).reshape(-1), channels)
        if len(bias.uses()) == 1 and array_of(bias).shape == numbers.shape:
            return
    name = f"{node.outputs[0].name}_bias"
    node.replace_input_with(2, add_constant(graph, name, np.ascontiguousarray(numbers)))


def _multiply_out(node: ir.Node) -> None:
    """Put the factors of a Gemm into its weights and its bias, which a layer has for itself."""
    weight, bias = node.inputs[1:3]
    if weight is None or bias is None or not bias.is_initializer():
        return
    for value, name in ((weight, "alpha"), (bias, "beta")):
        factor = attribute(node, name, 1.0)
        if factor != 1:
            set_array(value, array_of(value) * np.float32(factor))
            node.attributes.pop(name)


HEAD_SHARE = 0.02
"""Of all weights: a head with fewer stays in float."""
EQUALISING = 2
"""Rounds of equalisation: one changes what the next sees."""
MOST_FITTED = 256
"""Examples that weights are fitted on at most; ranges are found on all."""


@dataclass(frozen=True)
class CalibrationBatches:
    """Batches of prepared training examples by input name, made anew at every call.

    Weights and biases are found on the `fitted`, which are so many `examples`, at most
    `MOST_FITTED`; ranges and scales of channels on those and the `rest`. What does not fit into
    memory goes to a folder.
    """

    fitted: Batches
    examples: int
    folder: Path
    rest: Batches = lambda: ()

    def watched(self) -> Iterable[dict[str, Tensor]]:
        """Return all batches."""
        return chain(self.fitted(), self.rest())


@dataclass(frozen=True)
class QuantisedGraph:
    """A float graph, maybe equalised, which training goes on from, and the integers for it."""

    model: ir.Model
    layout: Layout
    encoding: Encoding

    def graph(self) -> onnx.ModelProto:
        """Return the graph as it is shipped."""
        return write_qdq(self.model, self.layout, self.encoding)

    @property
    def float_layers(self) -> list[str]:
        """Names of the weights of the layers that stay in float, in the order they run."""
        quantised = {each.name for each in self.layout.layers}
        layers = find_layers(self.model.graph)
        return [each.name for each in layers if each.name not in quantised]

    def keeping_float(self, floats: Set[str]) -> QuantisedGraph:
        """Return the same with some more layers, by the names of their weights, left in float.

        A Gemm whose output is quantised is not: the runtime would quantise it by itself.
        """
        points = set(self.layout.points)
        floats = {
            each.name
            for each in self.layout.layers
            if each.name in floats
            and (each.node.op_type != "Gemm" or name_of(each.output) not in points)
        }
        floats |= set(self.float_layers)
        return replace(self, layout=find_layout(self.model.graph, floats))


def quantise(
    model: onnx.ModelProto,
    scheme: Int8Scheme,
    recipe: CalibrationRecipe,
    calibration: CalibrationBatches,
    *,
    equalised: bool = True,
    progress: Progress = silent,
) -> QuantisedGraph:
    """Quantise weights and activations (w8a8) with what the calibration examples show.

    In order: channels are equalised, every tensor gets the range that loses least, and one sweep
    over the layers rounds weights in second order and corrects biases, each layer fed with what the
    quantised layers before it give. The model is clean and float; `equalised` says whether channels
    may be rescaled. StageError where there is nothing to quantise, or the network gives NaN or Inf.
    """
    opened = ir.from_proto(finished(model, "quantise"))
    separate(opened.graph)
    floats = _small_head(opened.graph) if recipe.small_head == "float" else set()
    layout = find_layout(opened.graph, floats)
    _refuse(opened.graph, layout)
    spill = SpillBuffer(calibration.folder)
    columns = FloatColumns(layout.layers, calibration.examples, spill)
    seen = watch_channels(opened.graph, layout.points, calibration.fitted(), columns.look)
    columns.channels = seen
    for name, each in watch_channels(opened.graph, layout.points, calibration.rest()).items():
        seen[name].add(each)
    if not seen:
        raise StageError(
            "there are no calibration examples",
            where="quantise",
            expected="examples of a training split, to see what flows through the network",
            fix="add training examples, or build with --precision fp32",
        )
    if equalised:
        layers = list(find_layers(opened.graph))
        centre(opened.graph, layers, seen)
        for _ in range(EQUALISING):
            equalise(opened.graph, layers, seen)
    if recipe.method == "minmax":
        grids = whole_grids(seen, layout.roots(), scheme)
    else:
        counted = watch_ranges(opened.graph, layout.roots(), calibration.watched())
        grids = choose_grids(counted, recipe, scheme)
    ranged = opened, layout, Encoding(grids, {}, {}, scheme)
    encoding = fit_weights(ranged, calibration.fitted(), columns, spill, progress)
    return QuantisedGraph(opened, layout, encoding)


def fit_again(
    quantised: QuantisedGraph, calibration: CalibrationBatches, progress: Progress = silent
) -> QuantisedGraph:
    """Fit weights and biases anew: they made up for the noise of what is in float now."""
    model, layout, spill = quantised.model, quantised.layout, SpillBuffer(calibration.folder)
    columns = FloatColumns(layout.layers, calibration.examples, spill)
    watch_channels(model.graph, (), calibration.fitted(), columns.look)
    ranged = model, layout, quantised.encoding
    encoding = fit_weights(ranged, calibration.fitted(), columns, spill, progress)
    return replace(quantised, encoding=encoding)


def _small_head(graph: ir.Graph) -> set[str]:
    """Return the last layer where it gives the outputs and holds next to nothing.

    Its input, a mean over many places, is quieter than any grid would leave it: in float the head
    costs nothing that could be measured, and brings up to 1 dB.
    """
    layers = list(find_layers(graph))
    head = layers[-1] if layers else None
    if head is None or head.node.op_type == "Conv" or not head.sum.is_graph_output():
        return set()
    small = head.weights().size <= HEAD_SHARE * sum(each.weights().size for each in layers)
    return {head.name} if small else set()


def _refuse(graph: ir.Graph, layout: Layout) -> None:
    if not layout.layers:
        raise NumericalError(
            "the network has no layer that could run in integers",
            where="quantise",
            found=", ".join(sorted({node.op_type for node in graph})),
            expected="a convolution or matrix product with constant weights",
            fix="build with --precision fp32 to ship it in float",
        )
