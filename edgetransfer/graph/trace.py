"""Turns a torch module into a clean ONNX graph.

It does not quantise, does not add preprocessing, and does not prove parity: `parity` does.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgetransfer.errors import StageError
from edgetransfer.graph.clean import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Signature:
    """Names of the graph's inputs and output, its free axes, and the ONNX versions.

    Attributes:
        axes: names of the first axes of every input, which stay free.
    """

    inputs: tuple[str, ...]
    output: str
    axes: tuple[str, ...] = ("batch",)
    opset: int = 20
    ir_version: int = 10


class _Positional(nn.Module):
    """Takes its inputs by position, so that one form of `dynamic_shapes` fits every network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.net = module

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.net(*inputs)
        return output


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about packages it could have used off the user's screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def trace(module: nn.Module, example: Sequence[Array], signature: Signature) -> onnx.ModelProto:
    """Export `module` with free first axes, batch norms and padding folded.

    Args:
        module: takes one tensor per input name and gives one tensor.
        example: one array per input, first axis the batch, of two examples or more.
        signature: names and versions.

    Raises:
        StageError: torch cannot export the module.
    """
    free = {index: torch.export.Dim(name, min=1) for index, name in enumerate(signature.axes)}
    tensors = tuple(torch.from_numpy(array) for array in example)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Positional(module).eval(),
                tensors,
                dynamo=True,
                verbose=False,
                opset_version=signature.opset,
                input_names=list(signature.inputs),
                output_names=[signature.output],
                dynamic_shapes=(tuple(free for _ in tensors),),
            )
    except Exception as error:  # the exporter raises whatever its many parts raise
        raise StageError(
            "torch could not export the network to ONNX",
            where=type(module).__name__,
            found=(str(error).strip().splitlines() or [repr(error)])[0][:300],
            fix="export it yourself and give the .onnx file with --backbone FILE --fit none",
        ) from error
    assert program is not None  # dynamo=True without a file name
    return clean(program.model_proto, ir_version=signature.ir_version)
