"""Proves that a graph computes what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.errors import StageError

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, Any]
Changed = Callable[[Array, Array, float], Array]
"""Tells whose decisions changed by more than a move of all outputs by so much, bool [N]."""
PARITY_COSINE = 0.9999
PARITY_RELATIVE = 1e-3
"""The export gate: smallest cosine, and largest difference over the range of the output."""


def parity(
    expected: Array,
    model: onnx.ModelProto,
    inputs: Mapping[str, Array],
    span: float | None = None,
    changed: Changed | None = None,
) -> dict[str, Any]:
    """Compare the graph with what torch computed on real inputs.

    Expected is float32 [N, C], and inputs are the same by name, each [N, ...]; a difference is held
    against `span`, the range of outputs, by default that of what is expected. The record that is
    kept in the manifest has ``max_abs``, ``range``, ``min_cosine``, ``n``, and ``flips`` where
    `changed` tells whose decisions changed; inside the difference that is allowed none counts. A
    StageError is raised where they differ by more than the export gate allows.
    """
    actual = OnnxSession(model.SerializeToString()).run(inputs)[0]
    max_abs = float(np.abs(actual - expected).max())
    span = span or float(np.ptp(expected)) or 1.0
    cosine = float((_directions(actual) * _directions(expected)).sum(axis=1).min())
    record = {"max_abs": max_abs, "range": span, "min_cosine": cosine, "n": len(expected)}
    if changed is not None:
        moved = changed(expected, actual, PARITY_RELATIVE * span)
        record["flips"] = int(np.count_nonzero(moved))
    if not (max_abs <= PARITY_RELATIVE * span and cosine >= PARITY_COSINE):
        raise StageError(
            "the exported graph does not compute what the network computes",
            where="trace",
            found=f"largest difference {max_abs:.3g}, smallest cosine {cosine:.6f}",
            expected=f"at most {PARITY_RELATIVE * span:.3g} and at least {PARITY_COSINE}",
        )
    return record


def alone(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Take one example as a device meets it: alone, a text without padding.

    An exporter may have taken the number of examples, or the length, that it saw for the only one.
    Inputs are pictures [N, ...]; or ids, mask and the like, each [N, L], padded at the end.
    Returned are the same arrays [1, ...]: the shortest text that has a token, or the first picture.
    """
    mask = inputs.get("attention_mask")
    if mask is None:
        return {name: array[:1] for name, array in inputs.items()}
    lengths = mask.sum(axis=1)
    row = int(np.where(lengths > 0, lengths, mask.shape[1]).argmin())
    return {name: array[row : row + 1, : int(lengths[row])] for name, array in inputs.items()}


def _directions(rows: Array) -> Array:
    """Return float64 rows of length 1; rows of zeros become one and the same direction."""
    wide = rows.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    level = np.full_like(wide, wide.shape[1] ** -0.5)
    return np.where(norms > 0, wide / np.where(norms > 0, norms, 1), level)
