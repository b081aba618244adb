"""8-bit weights with activations quantised as they come, smoothed before: for text encoders."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgetransfer.graph.finished import finished
from edgetransfer.graph.hosted import open_here, run_each
from edgetransfer.graph.trace import quiet
from edgetransfer.measure.drift import worst_sqnr_db

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgetransfer.spec.target import Int8Scheme

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
SHARES = (0.5, 0.65, 0.75, 0.85)
"""Tried by `smoothed`. With 0.25 MiniLM on banking77 fell from 22 to 7 dB."""
_LEAST = 1e-5


def smoothed(
    model: onnx.ModelProto,
    texts: Sequence[Feeds],
    quantise: Callable[[onnx.ModelProto], onnx.ModelProto],
    *,
    shift_invariant: bool,
) -> tuple[onnx.ModelProto, float]:
    """Return the quantised model that keeps the outputs best of those of all shares, and its share.

    Texts are prepared, each by itself, as scales of whole batches would be others; `quantise` is
    what is done to the float model once it is smooth; noise is that of `worst_sqnr_db`.
    """
    most = largest(model, texts)
    wanted = run_each(open_here(model), texts)
    noise = partial(worst_sqnr_db, shift_invariant=shift_invariant)
    found = []
    for share in SHARES:
        made = quantise(smooth(model, most, share))
        found.append((noise(wanted, run_each(open_here(made), texts)), made, share))
    _, best, share = max(found, key=lambda each: each[0])
    return best, share


def smooth(model: onnx.ModelProto, largest: dict[str, Array], share: float) -> onnx.ModelProto:
    """Divide every channel j of an activation by s_j, and multiply its weights' rows by it.

    s_j = a_j^share / w_j^(1 - share) with the largest activation a_j and weight w_j of the channel
    (SmoothQuant, Xiao et al. 2023, equation 4). The division is a product in front of the group of
    matrix products that share the activation: in encoders that normalise after the sum, the norm
    feeds the next sum too and cannot take it. Weights of several groups stay as they are. The model
    stays as it is. `largest` holds the largest value of every channel, float [K], by the name of
    the activation; a share of 0 leaves all that is hard to them, 1 moves it to the weights.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weights = {each.name: each for each in changed.graph.initializer}
    groups = _groups(changed)
    divided: set[str] = set()
    nodes = []
    for node in changed.graph.node:
        name = node.input[0] if node.input else ""
        if name in groups and node.input[1] in groups[name]:
            if name not in divided:
                rows = [numpy_helper.to_array(weights[each]) for each in groups[name]]
                scale = _scale(largest[name], rows, share)
                factor = numpy_helper.from_array(1 / scale, f"{name}_smoothing")
                changed.graph.initializer.append(factor)
                nodes.append(helper.make_node("Mul", [name, factor.name], [f"{name}_smooth"]))
                for each, values in zip(groups[name], rows, strict=True):
                    moved = numpy_helper.from_array(values * scale[:, None], each)
                    weights[each].CopyFrom(moved)
                divided.add(name)
            node.input[0] = f"{name}_smooth"
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del changed.graph.node[:]
    changed.graph.node.extend(kept)
    return finished(changed, "smoothing")


def _scale(largest: Array, weights: Sequence[Array], share: float) -> Array:
    """Return s [K], of geometric mean 1."""
    heaviest = np.max([np.abs(each).max(axis=1) for each in weights], axis=0)
    scale = np.maximum(largest, _LEAST) ** share / np.maximum(heaviest, _LEAST) ** (1 - share)
    return np.asarray(scale / np.exp(np.log(scale).mean()), dtype=np.float32)


def _groups(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Return the constant weights [K, N] of matrix products, by the activation they share."""
    constants = {each.name for each in model.graph.initializer if len(each.dims) == 2}
    uses = Counter(name for node in model.graph.node for name in node.input)
    found = defaultdict(list)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants and uses[node.input[1]] == 1:
            found[node.input[0]].append(node.input[1])
    return dict(found)


def largest(model: onnx.ModelProto, texts: Sequence[Feeds]) -> dict[str, Array]:
    """Return the largest value [K] of every channel of what goes into matrix products, by name."""
    names = list(_groups(model))
    watched = finished(model, "smoothing")
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = open_here(watched)
    found: dict[str, Array] = {}
    for text in texts:
        outputs = dict(zip(session.output_names, session.run(text), strict=True))
        for name in names:
            now = np.abs(outputs[name]).reshape(-1, outputs[name].shape[-1]).max(axis=0)
            found[name] = np.maximum(found.get(name, now), now)
    return found


def quantise_weights(model: onnx.ModelProto, scheme: Int8Scheme) -> onnx.ModelProto:
    """Quantise the matrix products of a transformer, weights per channel.

    Per channel MiniLM keeps a cosine of 0.989 to the float logits, per tensor 0.943.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Its advice to preprocess is not told: `graph.clean` did that.
    with tempfile.TemporaryDirectory() as folder, quiet("root"):
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
