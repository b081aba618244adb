"""Turns a torch module into a clean ONNX graph."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch import nn

from edgetransfer.agent.outputs import Outputs
from edgetransfer.errors import StageError, first_line, let_stop
from edgetransfer.graph.clean import clean
from edgetransfer.graph.hosted import parity, ranges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Array = np.ndarray[Any, Any]
OTHER_WAYS = (
    "export it yourself and give the .onnx file with --backbone FILE --fit none; for a classifier, "
    "install the extra optimum, whose exporter --fit none then tries"
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Signature:
    """Names of inputs and outputs, and of the inputs' first axes, which stay free; versions."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: tuple[str, ...] = ("batch",)
    opset: int = 20
    ir_version: int = 10


class _Positional(nn.Module):
    """Takes its inputs by position, so that one form of `dynamic_shapes` fits every network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.net = module

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        outputs: torch.Tensor | tuple[torch.Tensor, ...] = self.net(*inputs)
        return outputs


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Keep what a library prints, warns of, and gives to loggers off the user's screen.

    An exporter prints the graph when it fails, and standard output is for what a program reads.
    """
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        nothing = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nothing),
            contextlib.redirect_stderr(nothing),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def trace(module: nn.Module, example: Sequence[Array], signature: Signature) -> onnx.ModelProto:
    """Export `module` with free first axes, batch norms and padding folded.

    The module takes one tensor per input name and gives one per output name; the example has one
    array per input, first axis the batch, of two examples or more. StageError where torch cannot
    export the module, or only for the sizes of the example.

    A run of the network is recorded where that is enough; else torch's exporter reads its program,
    which takes five times as long.
    """
    recorded = record(module, example, signature)
    return _exported(module, example, signature) if recorded is None else recorded


def record(
    module: nn.Module, example: Sequence[Array], signature: Signature, *, ship: bool = True
) -> onnx.ModelProto | None:
    """Return the graph of one run of a module; None where another run could take another way.

    One that is not to `ship` but to run here is left as it was recorded where it can be: the
    runtime folds it by itself, and cleaning takes a third of the time.

    A record holds nothing of a branch that was not taken: so the module is run without numbers
    first, on sizes alone, where a branch over numbers fails. The graph may compute nothing from a
    shape, and has to hold for one example and for three. Texts, whose second axis is free too,
    always compute from shapes.
    """
    if len(signature.axes) > 1:
        return None
    tensors = tuple(torch.from_numpy(array) for array in example)
    network = _Positional(module).eval()
    file, names = io.BytesIO(), (*signature.inputs, *signature.outputs)
    free = dict(enumerate(signature.axes))
    try:
        with quiet("torch", "torch.onnx"), torch.no_grad():
            _run_without_numbers(network, tensors)
            torch.onnx.export(
                network,
                tensors,
                file,  # type: ignore[arg-type]  # which it takes where it records
                dynamo=False,
                opset_version=signature.opset,
                input_names=list(signature.inputs),
                output_names=list(signature.outputs),
                dynamic_axes=dict.fromkeys(names, free),
            )
        graph = onnx.load_from_string(file.getvalue())
        if ship or _is_dependent(graph):
            model = ir.from_proto(graph)
            optimizer.fold_constants(model, should_fold=_is_padding)
            graph = clean(_with_means(ir.to_proto(model)), ir_version=signature.ir_version)
        if _is_dependent(graph):
            return None
        with torch.no_grad():
            _hold(network, tensors, graph)
        return graph
    except Exception as error:  # whatever it is, the other exporter tells of it
        let_stop(error)
        return None


def _run_without_numbers(network: nn.Module, tensors: Sequence[torch.Tensor]) -> None:
    """Compute sizes and types alone; torch raises where anything asks for a number."""
    state = chain(network.named_parameters(), network.named_buffers())
    sizes = {name: tensor.to("meta") for name, tensor in state}
    torch.func.functional_call(network, sizes, tuple(tensor.to("meta") for tensor in tensors))


def _is_dependent(graph: onnx.ModelProto) -> bool:
    return any(node.op_type in _DEPENDENT for node in graph.graph.node)


_DEPENDENT = {"If", "Loop", "Scan", "Shape", "Size"}
"""Operators that another run may need otherwise."""


def _is_padding(node: ir.Node) -> bool | None:
    """Have sizes of padding computed here, which onnxscript keeps as they are for their bytes."""
    return True if node.op_type == "ConstantOfShape" else None


def _with_means(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write means over whole maps as the other exporter does: they stay in float."""
    for node in model.graph.node:
        if node.op_type == "GlobalAveragePool":
            axes = onnx.numpy_helper.from_array(np.array([-2, -1]), f"{node.output[0]}_axes")
            model.graph.initializer.append(axes)
            node.op_type = "ReduceMean"
            node.input.append(axes.name)
    return model


def _hold(network: nn.Module, tensors: tuple[torch.Tensor, ...], graph: onnx.ModelProto) -> None:
    """Compare both on three examples and on one; StageError where they differ."""
    spans: dict[str, float] = {}
    for rows in ([0, 1, 0], [0]):
        batch = [tensor[rows] for tensor in tensors]
        given = network(*batch)
        each = given if isinstance(given, tuple) else (given,)
        named = zip(graph.graph.output, each, strict=True)
        expected = Outputs({value.name: output.numpy() for value, output in named})
        inputs = zip(graph.graph.input, batch, strict=True)
        spans = spans or ranges(expected)
        parity(expected, graph, {value.name: tensor.numpy() for value, tensor in inputs}, spans)


def _exported(module: nn.Module, example: Sequence[Array], signature: Signature) -> onnx.ModelProto:
    """Have torch's exporter read the program of a network."""
    tensors = tuple(torch.from_numpy(array) for array in example)
    free = {index: torch.export.Dim(name, min=1) for index, name in enumerate(signature.axes)}
    with quiet("torch", "torch.onnx", "onnxscript"), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Positional(module).eval(),
                tensors,
                dynamo=True,
                verbose=False,
                opset_version=signature.opset,
                input_names=list(signature.inputs),
                output_names=list(signature.outputs),
                dynamic_shapes=(tuple(free for _ in tensors),),
            )
        except Exception as error:  # the exporter raises whatever its many parts raise
            let_stop(error)
            raise StageError(
                "torch could not export the network to ONNX",
                where=type(module).__name__,
                found=_reason(error),
                fix=OTHER_WAYS,
            ) from error
        assert program is not None  # dynamo=True without a file name
        graph = clean(program.model_proto, ir_version=signature.ir_version)
    _refuse_fixed_sizes(graph, module, signature)
    return graph


def _reason(error: BaseException) -> str:
    """Return the first line of what was raised first: the exporter wraps it in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _COLOURS.sub("", first_line(error))


def _refuse_fixed_sizes(graph: onnx.ModelProto, module: nn.Module, signature: Signature) -> None:
    """Notice axes that the exporter fixed, which it does where a network computes with them."""
    for value in graph.graph.input:
        sizes = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        if any(not isinstance(size, str) for size in sizes[: len(signature.axes)]):
            raise StageError(
                "torch's exporter takes the network for one size of examples only",
                where=type(module).__name__,
                found=f"{value.name} {sizes}",
                expected=f"a free {' and a free '.join(signature.axes)}",
                fix=OTHER_WAYS,
            )
