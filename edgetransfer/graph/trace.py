"""Turns a torch module into a clean ONNX graph."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgetransfer.errors import StageError, first_line, let_stop
from edgetransfer.graph.clean import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx

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
    """
    free = {index: torch.export.Dim(name, min=1) for index, name in enumerate(signature.axes)}
    tensors = tuple(torch.from_numpy(array) for array in example)
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
