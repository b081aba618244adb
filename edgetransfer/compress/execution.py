"""Runs a graph node by node on torch tensors; operators without a torch form in ONNX Runtime."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import onnx_ir as ir
import torch
from onnx import ValueInfoProto, helper
from torch.nn import functional

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.compress.layout import CLIPS, LAYERS, array_of, attribute, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor

Inputs = list["Tensor | None"]
T = TypeVar("T")
R = TypeVar("R")


def apply(node: ir.Node, inputs: Sequence[Tensor | None]) -> list[Tensor]:
    """Return the outputs of one node; absent optional inputs are None."""
    operator = _OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if operator is None:
        return _by_runtime(node, inputs)
    return [operator(node, *inputs)]


def without_gradient(nodes: Iterable[ir.Node]) -> list[str]:
    """Return the kinds of operators that gradients cannot pass, sorted."""
    return sorted({node.op_type for node in nodes} - set(_OPERATORS))


def _listed(tensor: Tensor) -> list[int]:
    return [int(each) for each in tensor.flatten().tolist()]


def _conv(node: ir.Node, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    rank = w.ndim - 2
    convolve: Callable[..., Tensor] = getattr(functional, f"conv{rank}d")
    groups = attribute(node, "group", 1)
    if _multiplies_pixels(node, x, w):
        return functional.linear(x.movedim(1, -1), w.flatten(1), b).movedim(-1, 1)
    if groups == len(w) and max(moves(node, rank)["dilation"]) == 1:
        w, before = _widened(node, w, rank)
    else:
        x, before = pad_unevenly(node, x, rank)
    return convolve(x, w, b, padding=before, groups=groups, **moves(node, rank))


def _multiplies_pixels(node: ir.Node, x: Tensor, w: Tensor) -> bool:
    """Tell whether a convolution is a product of pixels whose channels lie side by side.

    Torch multiplies them in four fifths of the time that it takes to convolve them.
    """
    rank = w.ndim - 2
    apart = max(attribute(node, "strides", [1] * rank)) > 1 or any(attribute(node, "pads", ()))
    alone = w[0, 0].numel() == 1 and w.shape[1] == x.shape[1]
    return alone and not apart and x.movedim(1, -1).is_contiguous()


def _widened(node: ir.Node, w: Tensor, rank: int) -> tuple[Tensor, Sequence[int]]:
    """Widen a kernel by zeros where its pads differ, and return the even pads that it then has.

    Channel by channel that is a third of the time that it takes to copy a padded input.
    """
    before, after = halves(attribute(node, "pads", [0] * (2 * rank)))
    if before == after:
        return w, before
    more = [right - left for left, right in zip(before, after, strict=True)]
    w = pad(w, [max(each, 0) for each in more], [max(-each, 0) for each in more])
    return w, [max(each) for each in zip(before, after, strict=True)]


def moves(node: ir.Node, rank: int) -> dict[str, Sequence[int]]:
    """Return how far a kernel moves along each axis, and how far its taps lie apart."""
    names = {"stride": "strides", "dilation": "dilations"}
    return {key: attribute(node, name, [1] * rank) for key, name in names.items()}


def pad(x: Tensor, before: Sequence[int], after: Sequence[int], fill: float = 0.0) -> Tensor:
    """Pad the last axes."""
    sides = [side for pair in reversed(list(zip(before, after, strict=True))) for side in pair]
    return functional.pad(x, sides, value=fill)


def pad_unevenly(
    node: ir.Node, x: Tensor, rank: int, fill: float = 0.0
) -> tuple[Tensor, Sequence[int]]:
    """Pad where the two sides differ, as torch's operators cannot; return what is left."""
    before, after = halves(attribute(node, "pads", [0] * (2 * rank)))
    return (x, before) if before == after else (pad(x, before, after, fill), [0] * rank)


def halves(pads: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Split ONNX's pads into those before and those after.

    >>> halves([0, 0, 1, 1])
    ([0, 0], [1, 1])
    """
    rank = len(pads) // 2
    return pads[:rank], pads[rank:]


def _gemm(node: ir.Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attribute(node, "transA", 0) else a
    b = b.T if attribute(node, "transB", 0) else b
    product = attribute(node, "alpha", 1.0) * (a @ b)
    return product if c is None else product + attribute(node, "beta", 1.0) * c


def _reduce_mean(node: ir.Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = list(range(x.ndim)) if axes is None else _listed(axes)
    return x.mean(dim=over, keepdim=bool(attribute(node, "keepdims", 1)))


def _max_pool(node: ir.Node, x: Tensor) -> Tensor:
    kernel = attribute(node, "kernel_shape", ())
    x, before = pad_unevenly(node, x, len(kernel), -torch.inf)
    pool: Callable[..., Tensor] = getattr(functional, f"max_pool{len(kernel)}d")
    ceil = bool(attribute(node, "ceil_mode", 0))
    return pool(x, kernel, padding=before, ceil_mode=ceil, **moves(node, len(kernel)))


def _average_pool(node: ir.Node, x: Tensor) -> Tensor:
    kernel = attribute(node, "kernel_shape", ())
    sides = halves(attribute(node, "pads", [0] * (2 * len(kernel))))
    pool: Callable[..., Tensor] = getattr(functional, f"avg_pool{len(kernel)}d")

    def mean(of: Tensor) -> Tensor:
        strides = attribute(node, "strides", [1] * len(kernel))
        return pool(
            pad(of, *sides), kernel, strides, ceil_mode=bool(attribute(node, "ceil_mode", 0))
        )

    if attribute(node, "count_include_pad", 0):
        return mean(x)
    return mean(x) / mean(torch.ones_like(x))


def _reshape(node: ir.Node, x: Tensor, shape: Tensor) -> Tensor:
    wanted = _listed(shape)
    if not attribute(node, "allowzero", 0):
        wanted = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    return x.reshape(wanted)


def _unsqueeze(_: ir.Node, x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(each % rank for each in _listed(axes)):
        x = x.unsqueeze(axis)
    return x


def _layer_norm(node: ir.Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = x.shape[attribute(node, "axis", -1) :]
    return functional.layer_norm(
        x, shape, scale.reshape(shape), bias, attribute(node, "epsilon", 1e-5)
    )


def _clip(x: Tensor, *limits: Tensor | None, clamp: Callable[..., Tensor] = torch.clamp) -> Tensor:
    """Clip to plain numbers: to tensors torch takes twice as long."""
    ends = [None if each is None else each.item() for each in limits]
    return clamp(x, *ends) if any(each is not None for each in ends) else x


def _clip_(node: ir.Node, x: Tensor, *limits: Tensor | None) -> Tensor:
    """Clip or rectify a tensor in its own place."""
    return x.relu_() if node.op_type == "Relu" else _clip(x, *limits, clamp=torch.clamp_)


def _plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return an operator whose node has nothing to say."""
    return lambda _, *inputs: function(*inputs)


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "Clip": _plain(_clip),
    "Concat": lambda node, *parts: torch.cat(parts, dim=attribute(node, "axis", 0)),
    "Conv": _conv,
    # Integers towards zero, as shapes are computed.
    "Div": _plain(lambda a, b: a / b if a.is_floating_point() else a.div(b, rounding_mode="trunc")),
    "Erf": _plain(torch.erf),
    "Flatten": lambda node, x: x.reshape(math.prod(x.shape[: attribute(node, "axis", 1)]), -1),
    "Gelu": lambda node, x: functional.gelu(x, approximate=attribute(node, "approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": _plain(lambda x: x.mean(dim=list(range(2, x.ndim)), keepdim=True)),
    "HardSigmoid": lambda node, x: torch.clamp(
        attribute(node, "alpha", 0.2) * x + attribute(node, "beta", 0.5), 0, 1
    ),
    "HardSwish": _plain(functional.hardswish),
    "Identity": _plain(lambda x: x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda node, x: functional.leaky_relu(x, attribute(node, "alpha", 0.01)),
    "MatMul": _plain(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _plain(torch.mul),
    "Pow": _plain(torch.pow),
    "ReduceMean": _reduce_mean,
    "Relu": _plain(functional.relu),
    "Reshape": _reshape,
    "Sigmoid": _plain(torch.sigmoid),
    "Softmax": lambda node, x: x.softmax(dim=attribute(node, "axis", -1)),
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": lambda _, x, axes=None: x.squeeze(*([] if axes is None else [_listed(axes)])),
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": lambda node, x: x.permute(*attribute(node, "perm", range(x.ndim)[::-1])),
    "Unsqueeze": _unsqueeze,
}


def _by_runtime(node: ir.Node, inputs: Sequence[Tensor | None]) -> list[Tensor]:
    """Run a node as a model of its own."""
    assert node.graph is not None  # it came out of one
    given = {f"i{i}": each.detach().numpy() for i, each in enumerate(inputs) if each is not None}
    outputs = [f"o{place}" for place in range(len(node.outputs))]
    alone = ir.to_proto(node)
    del alone.input[:], alone.output[:]
    alone.input.extend(f"i{i}" if f"i{i}" in given else "" for i in range(len(inputs)))
    alone.output.extend(outputs)
    ports = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim
        )
        for name, array in given.items()
    ]
    graph = helper.make_graph([alone], "alone", ports, [ValueInfoProto(name=o) for o in outputs])
    opsets = [helper.make_opsetid(*each) for each in node.graph.opset_imports.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return list(map(torch.from_numpy, _session(model.SerializeToString()).run(given)))


@lru_cache(maxsize=64)
def _session(model: bytes) -> OnnxSession:
    """Keep sessions: the same node runs for every batch."""
    return OnnxSession(model)


def constants_of(graph: ir.Graph) -> dict[str, Tensor]:
    """Return the initializers of a graph as tensors."""
    return {
        name_of(value): torch.from_numpy(np.array(array_of(value)))
        for value in graph.initializers.values()
    }


def last_uses(nodes: Iterable[ir.Node]) -> dict[str, int]:
    """Return for every tensor the place of the last node that takes it."""
    return {
        name_of(value): place
        for place, node in enumerate(nodes)
        for value in node.inputs
        if value is not None
    }


def _alone_behind_layer(node: ir.Node) -> bool:
    """Tell whether a Relu or Clip is all that takes what a layer gave: others may hold views."""
    source = node.inputs[0] if node.op_type in CLIPS else None
    maker = None if source is None else source.producer()
    if source is None or maker is None or maker.op_type not in LAYERS:
        return False
    return len(source.uses()) == 1 and not source.is_graph_output()


class Execution:
    """A graph whose nodes are in order, ready to run on torch tensors of any batch size."""

    def __init__(self, graph: ir.Graph, *, overwrites: bool = False) -> None:
        """Open a graph; where it `overwrites`, a Relu or Clip does so with what it alone takes."""
        self.constants = constants_of(graph)
        self._nodes = list(graph)
        self._inputs = [name_of(each) for each in graph.inputs]
        self._outputs = [name_of(each) for each in graph.outputs]
        self._last = last_uses(self._nodes)
        for name in self._outputs:
            self._last.pop(name, None)
        self._overwriting = {
            place
            for place, node in enumerate(self._nodes)
            if overwrites and _alone_behind_layer(node)
        }

    def run(
        self,
        feeds: Mapping[str, Tensor],
        visit: Callable[[str, Tensor], Tensor] = lambda _, tensor: tensor,
        constants: Mapping[str, Tensor] | None = None,
    ) -> list[Tensor]:
        """Return the outputs.

        `visit` is given every tensor as it comes to be, and returns what takes its place;
        `constants` take the place of the graph's own; all by name.
        """
        known = {**self.constants, **(constants or {})}
        flowing = {name: visit(name, feeds[name]) for name in self._inputs}
        for place, node in enumerate(self._nodes):
            taken = [
                None if each is None else flowing.get(name_of(each), known.get(name_of(each)))
                for each in node.inputs
            ]
            inner = taken[0] if place in self._overwriting else None
            given = apply(node, taken) if inner is None else [_clip_(node, inner, *taken[1:])]
            for value, tensor in zip(node.outputs, given, strict=True):
                flowing[name_of(value)] = visit(name_of(value), tensor)
            for each in node.inputs:
                if each is not None and self._last.get(name_of(each)) == place:
                    flowing.pop(name_of(each), None)
        return [flowing[name] for name in self._outputs]
