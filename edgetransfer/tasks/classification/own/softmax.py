"""Lets a classifier's graph end in logits where it ends in shares that are made of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from scipy.special import softmax

from edgetransfer.graph.hosted import open_here, run_each
from edgetransfer.tasks.classification.judge.metrics import changed

if TYPE_CHECKING:
    import onnx


Array = np.ndarray[Any, Any]
OUTPUT = "logits"
_APART = {"Sigmoid", "LpNormalization", "Div"}
_INTO_SHARES = {"Softmax", "LogSoftmax", "Sigmoid", "LpNormalization", "Exp", "Log"}
_SHAPING = {"Identity", "Cast", "Clip", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}
_OF_A_ROW = {
    *("ReduceSum", "ReduceMax", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"),
    *("Abs", "Add", "Clip", "Constant", "Exp", "Expand", "Identity", "Log", "Max", "Mul", "Pow"),
    *("Shape", "Sqrt", "Cast", "Concat", "Gather", "Reshape", "Slice", "Squeeze", "Unsqueeze"),
}
"""What a row's largest number, sum or length is computed with."""
_TIE = 5e-7


def with_logits(
    named: onnx.ModelProto, said: Array, batches: Sequence[dict[str, Any]]
) -> tuple[onnx.ModelProto, Array, list[str]]:
    """Let a graph end in logits where it ends in what is made of them.

    A graph without its last steps is taken where the softmax of what it gives is what the file
    means: its own outputs where they are shares, else their softmax. Shares that no known step made
    are turned into their logarithms, whose softmax they are. What answers for each class apart (a
    sigmoid, a cosine) is left out where the order of the classes stays. Returned are the graph, its
    outputs float32 [N, C], and in words what was changed.
    """
    shares = _are_shares(said)
    wide = said.astype(np.float64)
    meant = wide / wide.sum(axis=1, keepdims=True) if shares else softmax(wide, axis=1)
    found: tuple[onnx.ModelProto, Array, list[str]] | None = None
    for steps, model in _without_last_steps(named):
        try:
            logits = run_each(open_here(model), batches)[OUTPUT]
        except Exception:  # the steps did more than scale: the graph needs them
            break
        if logits.shape != said.shape or not np.isfinite(logits).all():
            break
        name = " and ".join(reversed(steps))
        if np.allclose(softmax(logits.astype(np.float64), axis=1), meant, atol=1e-4):
            note = f"the file ends in {name}: the logits before it are taken"
            found = model, logits, [note]
        elif found is None and not shares and steps[0] in _APART and _same(said, logits):
            note = (
                f"the file ends in {name}, which answers for each class apart: the numbers before "
                "it are taken as logits, and shares are of their softmax"
            )
            found = model, logits, [note]
    if found is not None:
        return found
    if shares:
        model = _with_logarithms(named)
        note = "the file gives shares, not logits: their logarithms are taken"
        return model, run_each(open_here(model), batches)[OUTPUT], [note]
    return named, said.astype(np.float32), []


def _same(said: Array, logits: Array) -> bool:
    return not changed(said, logits, _TIE).any()


def _are_shares(rows: Array) -> bool:
    """Tell whether no number is negative and all rows have one sum, which for one or two is 1."""
    sums = rows.sum(axis=1)
    total = float(sums.mean()) if len(rows) > 2 else 1.0
    return total > 0 and bool((rows >= 0).all() and np.allclose(sums, total, rtol=1e-3, atol=0))


def _without_last_steps(named: onnx.ModelProto) -> Iterator[tuple[list[str], onnx.ModelProto]]:
    """Yield the graph without the last step into shares, then without the last two, and so on."""
    for depth in itertools.count(1):
        whole = ir.from_proto(named)
        steps = _peel(whole.graph, depth)
        if len(steps) < depth:
            return
        yield steps, ir.to_proto(whole)


def _peel(graph: ir.Graph, depth: int) -> list[str]:
    """Take the last steps into shares out of a graph, the outermost first; return their names."""
    steps: list[str] = []
    output = value = graph.outputs[0]
    reader: ir.Node | None = None
    while len(steps) < depth and (node := value.producer()) is not None:
        before = _before(node)
        if before is not None and before.producer() is not None:
            steps.append(node.op_type)
            if reader is None:
                graph.outputs[0] = before
            else:
                reader.replace_input_with(0, before)
            value = before
        elif node.op_type in _SHAPING and node.inputs[0] is not None:
            reader, value = node, node.inputs[0]
        else:
            break
    if graph.outputs[0] is not output:
        output.name, graph.outputs[0].name = "own/shares", OUTPUT
        graph.outputs[0].type, graph.outputs[0].shape = output.type, output.shape
    return steps


def _before(node: ir.Node) -> ir.Value | None:
    """Return what a step makes shares of; None where it is no such step."""
    if not node.inputs or (first := node.inputs[0]) is None:
        return None
    if node.op_type in _INTO_SHARES:
        return first
    return first if node.op_type in ("Div", "Sub") and _made_of(node.inputs[1], first) else None


def _made_of(value: ir.Value | None, source: ir.Value) -> bool:
    """Tell whether a value is a row's largest number, sum or length: of `source` alone."""
    waiting, met = [value], False
    for _ in range(20):
        each = waiting.pop()
        node = None if each is None else each.producer()
        if each is source:
            met = True
        elif node is not None and node.op_type in _OF_A_ROW:
            waiting += [] if node.op_type == "Shape" else node.inputs
        elif each is not None and not each.is_initializer():
            return False
        if not waiting:
            return met
    return False


def _with_logarithms(named: onnx.ModelProto) -> onnx.ModelProto:
    whole = ir.from_proto(named)
    graph = whole.graph
    shares = graph.outputs[0]
    least = np.array(np.finfo(np.float32).tiny, dtype=np.float32)
    graph.register_initializer(
        ir.Value(name="own/least", const_value=ir.tensor(least, name="own/least"))
    )
    positive = ir.Node("", "Max", [shares, graph.initializers["own/least"]])
    logarithm = ir.Node("", "Log", positive.outputs)
    graph.extend([positive, logarithm])
    logits = logarithm.outputs[0]
    shares.name, logits.name = "own/shares", OUTPUT
    logits.type, logits.shape = shares.type, shares.shape
    graph.outputs[0] = logits
    return ir.to_proto(whole)
