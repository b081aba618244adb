"""Opens a graph on this machine so that it computes what it means, whatever this machine's class.

It does not time: a device's own settings are its target's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.agent.environment import architecture, isa_flags
from edgetransfer.agent.session import OnnxSession
from edgetransfer.spec import catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx


_AS_WRITTEN = {"optimization.disable_specified_optimizers": "WeightBiasQuantization"}
"""Without it ONNX Runtime rounds biases that were left in float by itself, at the product of two
scales: in a graph for TensorRT, with 16-bit scales, that product is next to nothing (-2 dB)."""


@cache
def _settings() -> tuple[tuple[str, str], ...]:
    mine = catalogue.class_of(architecture(), isa_flags())
    return () if mine is None else tuple(mine.session.config.items())


def exact_here() -> dict[str, str]:
    """Return the session settings without which this machine would compute wrong numbers.

    An x86 machine without VNNI saturates in 8-bit products: a build there took every quantised
    network to be useless, and trained it for minutes, before these were given.
    """
    return dict(_settings())


def open_here(
    model: onnx.ModelProto | str | Path, config: Mapping[str, str] | None = None
) -> OnnxSession:
    """Open a graph, or a file, with these settings beside those of `config`."""
    source = str(model) if isinstance(model, str | Path) else model.SerializeToString()
    return OnnxSession(source, config={**_AS_WRITTEN, **exact_here(), **(config or {})})
