"""Writes a network of pictures for LiteRT: 8-bit weights and activations, head and output in float.

The stock recipe of ai-edge-quantizer puts the output on a grid of 8 bits whose range is a moving
average, and large logits saturate: 14 dB where a float head and output leave 29
(`shared/design/kits.md`, section 4).

The converter writes to both standard streams from C++ and brings jax: so it runs as a program of
its own, ``python -m edgetransfer.export.litert FLOAT.onnx ROWS.npy OUT.tflite``.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.errors import MissingExtraError, NumericalError, UnsupportedError

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

NEEDED = ("litert_torch", "ai_edge_quantizer", "ai_edge_litert")
_FLOATS = ("FULLY_CONNECTED", "INPUT", "OUTPUT")
"""Operators that are not quantised; the quantiser's names."""
_RECIPE = "static_wi8_ai8"
_LONGEST_S = 1800


def refuse_unfit(modality: str) -> None:
    """Refuse texts, and a machine without what converts, before any work."""
    if modality != "image":
        raise UnsupportedError(
            "a network of texts is not converted for LiteRT",
            where="--also litert",
            fix="leave the option out: ONNX Runtime runs texts on phones too",
        )
    if any(find_spec(each) is None for each in NEEDED):
        raise MissingExtraError("litert-torch", "litert", purpose="--also litert")


def write_litert(network: Path, rows: Path, out: Path) -> None:
    """Convert a float network, ONNX, and quantise it with prepared pictures float32 [N, 3, h, w].

    The file takes float32 [1, h, w, 3], for LiteRT has channels last. NumericalError where the
    network cannot be converted: it has an operator that torch or LiteRT has no form of.
    """
    command = [sys.executable, "-m", __name__, *map(str, (network, rows, out))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S)
    except subprocess.TimeoutExpired as error:
        raise NumericalError("the conversion did not end", where="LiteRT") from error
    if done.returncode or not out.is_file():
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing was said"]
        raise NumericalError(
            "the network was not converted", where="LiteRT", found=said[-1].strip()[:200]
        )


def _main(network: str, rows: str, out: str) -> None:
    import litert_torch
    import onnx_ir
    import torch
    from ai_edge_quantizer import qtyping, quantizer, recipe

    torch.set_num_threads(1)
    few = np.load(rows, mmap_mode="r")
    sample = torch.from_numpy(np.array(few[:1]))
    last = litert_torch.to_channel_last_io(_module(onnx_ir.load(network).graph), args=[0])
    made = litert_torch.convert(last, (sample.permute(0, 2, 3, 1).contiguous(),))
    plain = Path(out).with_suffix(".float.tflite")
    made.export(str(plain))
    quantiser = quantizer.Quantizer(str(plain))
    quantiser.load_quantization_recipe(getattr(recipe, _RECIPE)())
    for name in _FLOATS:
        kind = getattr(qtyping.TFLOperationName, name)
        quantiser.update_quantization_recipe(".*", kind, algorithm_key="no_quantize")
    signature, port = _ports(plain)
    examples = [{port: np.array(each.transpose(1, 2, 0)[None])} for each in few]
    quantiser.quantize(quantiser.calibrate({signature: examples})).export_model(out, overwrite=True)
    plain.unlink()


def _ports(file: Path) -> tuple[str, str]:
    """Return the names of a file's only signature, and of its only input."""
    from ai_edge_litert.interpreter import Interpreter

    ((name, ports),) = Interpreter(str(file)).get_signature_list().items()
    (port,) = ports["inputs"]
    return name, port


def _module(graph: ir.Graph) -> torch.nn.Module:
    """Return a graph of one input and one output as a torch module."""
    import torch

    from edgetransfer.compress.execution import Execution
    from edgetransfer.compress.layout import name_of

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._runs, self._input = Execution(graph), name_of(graph.inputs[0])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._runs.run({self._input: x})[0]

    return Network().eval()


if __name__ == "__main__":
    _main(*sys.argv[1:])
