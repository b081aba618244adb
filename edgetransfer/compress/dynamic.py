"""8-bit weights with activations quantised as they come: for text encoders."""

from __future__ import annotations

import io
import logging
import tempfile
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from edgetransfer.graph.finished import finished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgetransfer.spec.target import Int8Scheme


def quantise_weights(model: onnx.ModelProto, scheme: Int8Scheme) -> onnx.ModelProto:
    """Quantise the matrix products of a transformer, weights per channel.

    Per channel MiniLM keeps a cosine of 0.989 to the float logits, per tensor 0.943.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "quantised.onnx"
        quantize_dynamic(
            finished(model, "quantise"),
            target,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            per_channel=scheme.per_channel,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        quantised = onnx.load(target)
    quantised.ir_version = model.ir_version
    quantised.producer_name = "edgetransfer"
    return finished(quantised, "quantise")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's prints off standard output, which a program may read.

    Its advice to preprocess is not told either: `graph.clean` did that.
    """
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.root.setLevel(level)
