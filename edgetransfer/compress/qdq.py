"""Static 8-bit quantisation in Q/DQ form, laid out for the kernels of the target.

It does not correct what rounding loses: later rungs of the ladder will.
"""

from __future__ import annotations

import io
import logging
import tempfile
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from edgetransfer.errors import StageError
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Batch
    from edgetransfer.spec.catalogue import CalibrationRecipe
    from edgetransfer.spec.target import Int8Scheme

QUANT_TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


@CalibrationDataReader.register
class _Reader:
    """Feeds prepared examples to the calibrator one at a time, so that memory stays flat."""

    def __init__(
        self, prepare: Callable[[Example], Batch], examples: Sequence[Example], progress: Progress
    ) -> None:
        self._prepare = prepare
        self._examples = examples
        self._progress = progress
        self._iterator = self._batches()

    def _batches(self) -> Iterator[Batch]:
        for done, example in enumerate(self._examples, start=1):
            yield self._prepare(example)
            self._progress(done, len(self._examples))

    def get_next(self) -> Batch | None:
        return next(self._iterator, None)


def quantise(
    model: onnx.ModelProto,
    scheme: Int8Scheme,
    recipe: CalibrationRecipe,
    prepare: Callable[[Example], Batch],
    examples: Sequence[Example],
    *,
    progress: Progress = silent,
) -> onnx.ModelProto:
    """Quantise weights and activations (w8a8) with ranges seen on `examples`.

    Jacob et al. (2018, arXiv 1712.05877), by `onnxruntime.quantization`. Its own defaults (S8S8,
    per tensor) took MobileNetV2 from 96.1 to 64.7 %; the scheme comes from the target instead.

    Args:
        model: the clean float graph.
        scheme: integer types and granularity.
        recipe: how ranges are found.
        prepare: turns an example into the inputs of the graph, [1, ...] by name.
        examples: from the training split only.
        progress: told of examples done.

    Raises:
        StageError: the quantiser cannot take the graph.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        target = Path(folder) / "quantised.onnx"
        try:
            quantize_static(
                onnx.shape_inference.infer_shapes(model),
                target,
                _Reader(prepare, examples, progress),
                quant_format=QuantFormat.QDQ,
                per_channel=scheme.per_channel,
                activation_type=QUANT_TYPES[scheme.activation],
                weight_type=QUANT_TYPES[scheme.weight],
                calibrate_method=_METHODS[recipe.method],
                extra_options=_options(scheme, recipe),
            )
        except (ValueError, RuntimeError, AssertionError, KeyError) as error:
            raise StageError(
                "the network could not be quantised",
                where="quantise",
                found=str(error).strip().splitlines()[0][:300] if str(error) else repr(error),
                fix="build with --precision fp32 to ship it in float",
            ) from error
        quantised = onnx.load(target)
    quantised.ir_version = model.ir_version
    quantised.producer_name = "edgetransfer"
    return quantised


def _options(scheme: Int8Scheme, recipe: CalibrationRecipe) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ActivationSymmetric": scheme.symmetric_activation,
        "WeightSymmetric": scheme.weight == "s8",
    }
    if recipe.method == "percentile":
        options["CalibPercentile"] = recipe.percentile
    return options


@contextmanager
def quiet() -> Iterator[None]:
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
