"""Takes a float ONNX file that somebody else exported into the form that the later stages take.

It does not change what it computes, and proves that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from edgetransfer.errors import EdgeTransferError, SpecError, first_line
from edgetransfer.graph.clean import clean
from edgetransfer.graph.hosted import open_here
from edgetransfer.graph.parity import alone, parity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgetransfer.agent.session import OnnxSession

OUTPUT = "logits"
_INT8 = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"}

Array = np.ndarray[Any, Any]


def take(
    file: Path, batches: Sequence[dict[str, Any]], classes: int
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Read, check and clean an ONNX classifier.

    Inputs are matched to the contract's by name where the names are the same, else by order.

    Args:
        file: the ONNX file.
        batches: prepared real examples, [1, ...] by input name.
        classes: how many labels there are.

    Returns:
        The clean graph with the contract's input names and ``logits`` as its output, and the
        record of its parity with the file.

    Raises:
        SpecError: not a float classifier of that many classes with the contract's inputs.
        StageError: its operators are too old or too new to be cleaned.
    """
    model = _read(file)
    session = _open(file)
    names = list(batches[0])
    if len(session.input_names) != len(names):
        raise SpecError(
            "the inputs are not those of the contract",
            where=str(file),
            found=", ".join(f"{n} {session.input_shapes[n]}" for n in session.input_names),
            expected=", ".join(f"{n} {list(batches[0][n].shape)}" for n in names),
        )
    same = set(session.input_names) == set(names)
    renamed = dict(zip(session.input_names, session.input_names if same else names, strict=True))
    fitted = _Fed(file, session, renamed)
    expected = fitted.outputs(batches)
    if expected.shape[1:] != (classes,):
        raise SpecError(
            "the first output is not one number a class",
            where=str(file),
            found=f"shape {list(expected.shape[1:])} for {classes} labels",
        )
    graph = clean(_with_names(model, renamed))
    inputs = {name: np.concatenate([batch[name] for batch in batches]) for name in names}
    record = _proof(expected, graph, inputs, file)
    one = alone(inputs)
    _proof(fitted.outputs([one]), graph, one, file, record["range"])
    return graph, record


def _read(file: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(file)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker raise kinds of their own
        raise SpecError(
            "not a valid ONNX file", where=str(file), found=first_line(error)
        ) from error
    if any(node.op_type in _INT8 for node in model.graph.node):
        raise SpecError(
            "the model is quantised already",
            where=str(file),
            expected="the float model: the drop is measured against it",
        )
    return model


def _open(file: Path) -> OnnxSession:
    try:
        return open_here(str(file))
    except Exception as error:  # the runtime raises kinds of its own
        raise SpecError(
            "ONNX Runtime cannot load the model", where=str(file), found=first_line(error)
        ) from error


@dataclass(frozen=True)
class _Fed:
    """The file as it is, and the contract's name of each of its inputs."""

    file: Path
    session: OnnxSession
    renamed: Mapping[str, str]

    def outputs(self, batches: Sequence[dict[str, Any]]) -> Array:
        rows = []
        for batch in batches:
            fed = {old: batch[new] for old, new in self.renamed.items()}
            try:
                rows.append(self.session.run(fed)[0])
            except Exception as error:  # the runtime raises kinds of its own
                raise SpecError(
                    "the model does not run on what the contract prepares",
                    where=str(self.file),
                    found=first_line(error),
                    fix="texts are of any length: export it with a free second axis"
                    if "attention_mask" in batch
                    else None,
                ) from error
        return np.concatenate(rows).astype(np.float32)


def _proof(
    expected: Array,
    graph: onnx.ModelProto,
    inputs: Mapping[str, Array],
    file: Path,
    span: float | None = None,
) -> dict[str, Any]:
    try:
        return parity(expected, graph, inputs, span)
    except EdgeTransferError:
        raise
    except Exception as error:  # the runtime raises kinds of its own
        raise SpecError(
            "the model runs on one example at a time only",
            where=str(file),
            found=first_line(error),
            fix="export it again with a dynamic first axis",
        ) from error


def _with_names(model: onnx.ModelProto, renamed: Mapping[str, str]) -> onnx.ModelProto:
    """Rename inputs to the contract's and the first output to ``logits``; free the first axis."""
    whole = ir.from_proto(model)
    graph = whole.graph
    del graph.outputs[1:]
    output = graph.outputs[0]
    inner = [value for node in graph.all_nodes() for value in node.outputs if value is not output]
    weights = list(graph.initializers.values())
    for value in inner:
        value.shape = None  # as exported it may say that the first axis is 1
    for value in [*inner, *weights]:
        if value.name in (*renamed.values(), OUTPUT):
            value.name = f"own/{value.name}"
    inputs = [value for value in graph.inputs if value.name in renamed and value not in weights]
    for value, name in [*((each, renamed[each.name or ""]) for each in inputs), (output, OUTPUT)]:
        value.name = name
        value.shape = ir.Shape(["batch", *list(value.shape or [None])[1:]])
    return ir.to_proto(whole)
