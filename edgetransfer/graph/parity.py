"""Proves that a graph computes what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.agent.outputs import Outputs
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.errors import StageError
from edgetransfer.graph.hosted import run_each

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, Any]
Changed = Callable[[Outputs, Outputs, Mapping[str, float]], Array]
"""Tells whose decisions changed by more than moves of outputs by so much, bool [N]."""
PARITY_COSINE = 0.9999
PARITY_RELATIVE = 1e-3
"""The export gate: smallest cosine, and largest difference over the range of the output."""


def parity(
    expected: Outputs,
    model: onnx.ModelProto,
    inputs: Mapping[str, Array],
    spans: Mapping[str, float] | None = None,
    changed: Changed | None = None,
) -> dict[str, Any]:
    """Compare the graph with what torch computed on real inputs.

    Both are by the graph's names, what is expected float32 [N, ...]; a difference is held against
    `spans`, the ranges of outputs, by default those of what is expected. The record that is kept in
    the manifest has ``max_abs`` and ``range`` of the output that is worst, ``min_cosine``, ``n``,
    and ``flips`` where `changed` tells whose decisions changed; inside the difference that is
    allowed none counts. StageError where they differ by more than the export gate allows.
    """
    actual = run_each(OnnxSession(model.SerializeToString()), [inputs])
    spans = spans or ranges(expected)
    apart = {name: float(np.abs(actual[name] - expected[name]).max()) for name in expected}
    worst = max(apart, key=lambda name: np.nan_to_num(apart[name] / spans[name], nan=np.inf))
    max_abs, span = apart[worst], spans[worst]
    alike = (_directions(actual[name]) * _directions(expected[name]) for name in expected)
    cosine = float(min(each.sum(axis=1).min() for each in alike))
    record = {"max_abs": max_abs, "range": span, "min_cosine": cosine, "n": expected.examples}
    if changed is not None:
        moved = changed(expected, actual, {k: PARITY_RELATIVE * spans[k] for k in spans})
        record["flips"] = int(np.count_nonzero(moved))
    if not (max_abs <= PARITY_RELATIVE * span and cosine >= PARITY_COSINE):
        raise StageError(
            "the exported graph does not compute what the network computes",
            where="trace",
            found=f"largest difference {max_abs:.3g}, smallest cosine {cosine:.6f}",
            expected=f"at most {PARITY_RELATIVE * span:.3g} and at least {PARITY_COSINE}",
        )
    return record


def ranges(outputs: Outputs) -> dict[str, float]:
    """Return the range of every output; 1 where it is constant."""
    return {name: float(np.ptp(array)) or 1.0 for name, array in outputs.items()}


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
    wide = rows.reshape(len(rows), -1).astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    level = np.full_like(wide, wide.shape[1] ** -0.5)
    return np.where(norms > 0, wide / np.where(norms > 0, norms, 1), level)
