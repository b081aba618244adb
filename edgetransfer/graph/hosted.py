"""Runs graphs on this machine so that they compute what they mean, and proves that they do.

For proofs, not for devices, it also writes integer products out in float; weights stay integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgetransfer.agent.environment import architecture, isa_flags
from edgetransfer.agent.outputs import Outputs
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.errors import StageError
from edgetransfer.graph.finished import finished
from edgetransfer.graph.prepare import ahead
from edgetransfer.spec import catalogue

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


def with_float_products(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return the graph with every MatMulInteger as a MatMul of floats, None where there is none.

    Quantised convolutions stand as Q and DQ nodes in a graph and are float already where it runs as
    it is written. MatMulInteger is not: on x86 without VNNI its kernel saturates, and the settings
    that forbid that are part of the optimisation that such a run leaves out. Sums over 1,024
    products may end beyond float32's 24 bits, and are then rounded to the nearest even number.
    """
    if all(node.op_type != "MatMulInteger" for node in model.graph.node):
        return None
    written = onnx.ModelProto()
    written.CopyFrom(model)
    del written.graph.node[:]
    for node in model.graph.node:
        written.graph.node.extend(_spelled(node) if node.op_type == "MatMulInteger" else [node])
    return finished(written, "float products")


def _spelled(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return nodes that compute a MatMulInteger's integers in float."""
    (result,), inputs = node.output, [*node.input, "", ""]
    made: list[onnx.NodeProto] = []

    def add(operator: str, names: list[str], **attributes: int) -> str:
        name = f"{result}/float/{len(made)}"
        made.append(helper.make_node(operator, names, [name], **attributes))
        return name

    factors = []
    for value, zero in zip(inputs[:2], inputs[2:4], strict=True):
        factor = add("Cast", [value], to=TensorProto.FLOAT)
        if zero:
            factor = add("Sub", [factor, add("Cast", [zero], to=TensorProto.FLOAT)])
        factors.append(factor)
    product = add("MatMul", factors)
    made.append(helper.make_node("Cast", [product], [result], to=TensorProto.INT32))
    return made


_AS_WRITTEN = {"optimization.disable_specified_optimizers": "WeightBiasQuantization"}
"""Without it ONNX Runtime rounds biases that were left in float by itself, at the product of two
scales: in a graph for TensorRT, with 16-bit scales, that product is next to nothing (-2 dB)."""


@cache
def exact_here() -> dict[str, str]:
    """Return the session settings without which this machine would compute wrong numbers.

    An x86 machine without VNNI saturates in 8-bit products: a build there took every quantised
    network to be useless, and trained it for minutes, before these were given.
    """
    mine = catalogue.class_of(architecture(), isa_flags())
    return {} if mine is None else dict(mine.session.config)


def open_here(
    model: onnx.ModelProto | str | Path, config: Mapping[str, str] | None = None
) -> OnnxSession:
    """Open a graph, or a file, with these settings beside those of `config`."""
    source = str(model) if isinstance(model, str | Path) else model.SerializeToString()
    return OnnxSession(source, config={**_AS_WRITTEN, **exact_here(), **(config or {})})


def run_each(session: OnnxSession, batches: Iterable[Mapping[str, Any]]) -> Outputs:
    """Return the outputs of examples that are run one batch after another, float32."""
    given = Outputs.of(session.output_names, list(ahead(session.run, batches)))
    return Outputs({name: array.astype(np.float32, copy=False) for name, array in given.items()})
