"""Takes a float ONNX file that somebody else exported into the form that the later stages take.

It does not change what it computes, and proves that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.agent.session import OnnxSession
from edgetransfer.errors import SpecError
from edgetransfer.graph.clean import clean
from edgetransfer.graph.parity import parity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_INT8 = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"}


def take(
    file: Path, batches: Sequence[dict[str, Any]], classes: int
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Read, check and clean an ONNX classifier.

    Args:
        file: the ONNX file.
        batches: prepared real examples, [1, ...] by input name.
        classes: how many labels there are.

    Returns:
        The clean graph with the contract's input names and ``logits`` as its output, and the
        record of its parity with the file.

    Raises:
        SpecError: not a float classifier of that many classes with the contract's inputs.
    """
    try:
        model = onnx.load(file)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker raise kinds of their own
        first = (str(error).strip().splitlines() or [repr(error)])[0]
        raise SpecError("not a valid ONNX file", where=str(file), found=first[:200]) from error
    if any(node.op_type in _INT8 for node in model.graph.node):
        raise SpecError(
            "the model is quantised already",
            where=str(file),
            expected="the float model: the drop is measured against it",
        )
    session = OnnxSession(str(file))
    names = list(batches[0])
    if len(session.input_names) != len(names) or len(session.output_names) < 1:
        raise SpecError(
            "the inputs are not those of the contract",
            where=str(file),
            found=", ".join(f"{n} {session.input_shapes[n]}" for n in session.input_names),
            expected=", ".join(f"{n} {list(batches[0][n].shape)}" for n in names),
        )
    renamed = dict(zip(session.input_names, names, strict=True))
    expected = _expected(session, batches, renamed, file)
    if expected.shape[1:] != (classes,):
        raise SpecError(
            "the first output is not one number a class",
            where=str(file),
            found=f"shape {list(expected.shape[1:])} for {classes} labels",
        )
    graph = clean(_with_names(model, renamed))
    inputs = {name: np.concatenate([batch[name] for batch in batches]) for name in names}
    return graph, parity(expected, graph, inputs)


def _expected(
    session: OnnxSession, batches: Sequence[dict[str, Any]], renamed: dict[str, str], file: Path
) -> np.ndarray[Any, Any]:
    rows = []
    for batch in batches:
        try:
            rows.append(session.run({old: batch[new] for old, new in renamed.items()})[0])
        except Exception as error:  # the runtime raises kinds of its own
            raise SpecError(
                "the model does not run on what the contract prepares",
                where=str(file),
                found=(str(error).strip().splitlines() or [repr(error)])[0][:200],
            ) from error
    return np.concatenate(rows).astype(np.float32)


def _with_names(model: onnx.ModelProto, renamed: dict[str, str]) -> onnx.ModelProto:
    """Rename inputs to the contract's and the first output to ``logits``; free the first axis."""
    names = {**renamed, model.graph.output[0].name: "logits"}
    for value in [*model.graph.input, *model.graph.output]:
        value.name = names.get(value.name, value.name)
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    del model.graph.output[1:]
    return model
