"""NNCF's `quantize`, on the ONNX graph or on OpenVINO's own form of it.

Options: ``frontend`` (onnx or openvino), ``full`` for the full bias correction and, where NNCF has
it (OpenVINO's form only), channel alignment; both are off by default. ``per_tensor`` for
activations with one scale: by default those of depthwise convolutions have one a channel, which
ONNX Runtime cannot run in int8.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import common
import nncf
import onnx
import openvino
from nncf.quantization.advanced_parameters import (
    AdvancedQuantizationParameters,
    QuantizationParameters,
)
from nncf.quantization.algorithms.channel_alignment.algorithm import ChannelAlignment

if TYPE_CHECKING:
    from collections.abc import Callable

    from nncf.common.graph.graph import NNCFGraph
    from nncf.common.tensor_statistics.statistic_point import StatisticPointsContainer
    from nncf.common.tensor_statistics.statistics import MinMaxTensorStatistic
    from nncf.tensor import Tensor


class _PlainStatistics:
    """Hands channel alignment the numpy arrays that it is written for."""

    def __init__(self, points: StatisticPointsContainer | None) -> None:
        assert points is not None  # what is aligned was watched
        self._points = points

    def get_algo_statistics_for_node(
        self, node: str, accepts: Callable[..., bool], algorithm: str
    ) -> list[SimpleNamespace]:
        """Return collectors whose statistics are arrays."""
        collectors = self._points.get_algo_statistics_for_node(node, accepts, algorithm)
        seen = [collector.get_statistics() for collector in collectors]
        return [SimpleNamespace(get_statistics=lambda s=each: _plain(s)) for each in seen]


def _plain(statistic: MinMaxTensorStatistic) -> SimpleNamespace:
    low: Tensor | None = statistic.min_values
    high: Tensor | None = statistic.max_values
    return SimpleNamespace(
        min_values=None if low is None else low.data,
        max_values=None if high is None else high.data,
    )


def mend_channel_alignment() -> None:
    """Let NNCF 3.4.0 align at all: as released it ends on ``KeyError: numpy.float32``."""
    apply = ChannelAlignment.apply

    def mended(
        self: ChannelAlignment,
        model: openvino.Model,
        graph: NNCFGraph,
        statistic_points: StatisticPointsContainer | None = None,
        dataset: nncf.Dataset | None = None,
    ) -> openvino.Model:
        return apply(self, model, graph, _PlainStatistics(statistic_points), dataset)

    ChannelAlignment.apply = mended


def quantise(job: dict[str, Any]) -> None:
    """Quantise in the form that the job names."""
    options = job["options"]
    name = onnx.load(job["float"], load_external_data=False).graph.input[0].name
    rows = list(common.Rows(name, job["calibration"]))
    settings: dict[str, Any] = {"subset_size": len(rows)}
    if options.get("full"):
        settings["fast_bias_correction"] = False
    advanced = AdvancedQuantizationParameters()
    settings["advanced_parameters"] = advanced
    if options.get("per_tensor"):
        advanced.activations_quantization_params = QuantizationParameters(per_channel=False)
    if options["frontend"] == "onnx":
        model = onnx.load(job["float"])
        onnx.save(nncf.quantize(model, nncf.Dataset(rows), **settings), job["out"])
        return
    if options.get("full"):
        mend_channel_alignment()
        advanced.disable_channel_alignment = False
    # Not Core.read_model: it leaves a reshape between the weights of a depthwise convolution and
    # the convolution, so that NNCF quantised 14 of MobileNetV1's 27 only.
    network = openvino.convert_model(job["float"])
    network.reshape({name: [1, *rows[0][name].shape[1:]]})
    quantised = nncf.quantize(network, nncf.Dataset(rows), **settings)
    openvino.save_model(quantised, job["out"], compress_to_fp16=False)


if __name__ == "__main__":
    common.timed(quantise, "nncf", "openvino", "onnx", "numpy")
