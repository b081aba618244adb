"""Weights in fewer bits without ranges of activations: 8 bits for text encoders, 16-bit floats.

With 8-bit weights activations are quantised as they come, and smoothed before. In 16-bit floats
what these would spoil stays in 32.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.graph.finished import finished
from edgetransfer.graph.hosted import open_here, run_each
from edgetransfer.graph.trace import quiet
from edgetransfer.measure.drift import worst_sqnr_db

if TYPE_CHECKING:
    from edgetransfer.spec.target import Int8Scheme

Array = np.ndarray[Any, Any]
SENSITIVE = (
    *("GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax"),
    *("LpNormalization", "Pow", "ReduceL2", "ReduceMean", "ReduceSum", "Softmax"),
)
"""Sum many numbers or their squares: kept in 32 bits, as `torch.autocast` keeps them."""
LARGEST = float(np.finfo(np.float16).max) / 2
"""Half of the largest 16-bit float: examples yet unseen may go further."""


def to_half(
    model: onnx.ModelProto, examples: Iterable[Mapping[str, Array]] = ()
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return the graph with weights and activations in float16, inputs and outputs in float32.

    Norms, softmaxes and means stay in 32 bits, and so does every node that on the examples takes or
    gives a number beyond `LARGEST`, or holds such a weight. The model is clean and float, examples
    are batches of prepared inputs. Returned too are the names of nodes kept for their range.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    copy = finished(model, "16-bit floats")  # the converter believes what a file says of types
    wide = _wide_nodes(copy, _extremes(copy, examples))
    graph = ir.from_proto(
        convert_float_to_float16(
            copy,
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *SENSITIVE],
            node_block_list=list(wide),
        )
    )
    _join_wide(graph)
    graph.graph.sort()  # the converter appends its casts behind the nodes that need them
    graph.ir_version = model.ir_version
    graph.producer_name = "edgetransfer"
    return finished(ir.to_proto(graph), "16-bit floats"), wide


def _join_wide(model: ir.Model) -> None:
    """Let nodes kept in 32 bits hand on 32 bits: a cast to 16 and back between them overflows."""
    for node in model.graph:
        source = node.inputs[0] if node.op_type == "Cast" else None
        before = None if source is None else source.producer()
        if before is None or before.op_type != "Cast":
            continue
        kinds = [each.attributes["to"].as_int() for each in (before, node)]
        if kinds == [ir.DataType.FLOAT16, ir.DataType.FLOAT] and before.inputs[0] is not None:
            node.replace_input_with(0, before.inputs[0])


def _extremes(model: onnx.ModelProto, examples: Iterable[Mapping[str, Array]]) -> dict[str, float]:
    """Return the largest size of every float tensor on the examples, and of every weight."""
    largest = {
        tensor.name: _size(onnx.numpy_helper.to_array(tensor)) for tensor in model.graph.initializer
    }
    watched = onnx.ModelProto()
    watched.CopyFrom(onnx.shape_inference.infer_shapes(model))
    given = {each.name for each in watched.graph.output}
    watched.graph.output.extend(
        each
        for each in watched.graph.value_info
        if each.name not in given and each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    )
    session = None
    for batch in examples:
        session = session or OnnxSession(watched.SerializeToString())
        for name, array in zip(session.output_names, session.run(batch), strict=True):
            largest[name] = max(largest.get(name, 0.0), _size(array))
    return largest


def _size(array: Array) -> float:
    """Return the largest absolute value; NaN counts as without bound."""
    if array.size == 0 or array.dtype.kind != "f":
        return 0.0
    return float(np.nan_to_num(np.abs(array).max(), nan=np.inf))


def _wide_nodes(model: onnx.ModelProto, largest: Mapping[str, float]) -> tuple[str, ...]:
    """Name all nodes, and return those that 16 bits cannot hold."""
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    return tuple(
        node.name
        for node in model.graph.node
        if any(largest.get(name, 0.0) > LARGEST for name in (*node.input, *node.output))
    )


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
    first = quantise(smooth(model, most, SHARES[0]))
    found = []
    for share in SHARES:
        made = _smoothed_anew(first, model, _scales(model, most, share))
        found.append((noise(wanted, run_each(open_here(made), texts)), made, share))
    _, best, share = max(found, key=lambda each: each[0])
    return finished(best, "smoothing"), share


def smooth(model: onnx.ModelProto, largest: Mapping[str, Array], share: float) -> onnx.ModelProto:
    """Divide every channel j of an activation by s_j, and multiply its weights' rows by it.

    The division is a product in front of the group of matrix products that share the activation: in
    encoders that normalise after the sum, the norm feeds the next sum too and cannot take it.
    Weights of several groups stay as they are, and so does the model. For the rest see `_scales`.
    """
    scales = _scales(model, largest, share)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weights = {each.name: each for each in changed.graph.initializer}
    groups = _groups(changed)
    nodes: list[onnx.NodeProto] = []
    divided: set[str] = set()
    for node in model.graph.node:
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        name = node.input[0] if node.input else ""
        if name in groups and node.input[1] in groups[name]:
            if name not in divided:
                factor = numpy_helper.from_array(1 / scales[name], _factor(name))
                changed.graph.initializer.append(factor)
                nodes.append(helper.make_node("Mul", [name, factor.name], [f"{name}_smooth"]))
                divided.add(name)
            weight = weights[node.input[1]]
            moved = numpy_helper.to_array(weight) * scales[name][:, None]
            weight.CopyFrom(numpy_helper.from_array(moved, weight.name))
            kept.input[0] = f"{name}_smooth"
        nodes.append(kept)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return finished(changed, "smoothing")


def _factor(activation: str) -> str:
    return f"{activation}_smoothing"


def _smoothed_anew(
    quantised: onnx.ModelProto, model: onnx.ModelProto, scales: Mapping[str, Array]
) -> onnx.ModelProto:
    """Return the quantised model as if the float model had been smoothed by other scales.

    Only the weights of matrix products and the factors before them differ; ONNX Runtime's tool
    takes seconds to write all of it, embeddings too. Codes are symmetric, rounded as it rounds.
    """
    made = onnx.ModelProto()
    made.CopyFrom(quantised)
    stored = {each.name: each for each in made.graph.initializer}
    weights = {each.name: each for each in model.graph.initializer}
    for activation, names in _groups(model).items():
        put = {_factor(activation): 1 / scales[activation]}
        for name in names:
            moved = numpy_helper.to_array(weights[name]) * scales[activation][:, None]
            if name in stored:  # left in float
                put[name] = moved
                continue
            before = numpy_helper.to_array(stored[f"{name}_scale"])
            largest = np.abs(moved).max(axis=0 if before.size > 1 else None).astype(np.float64)
            scale = (2 * largest / 254).astype(np.float32)
            scale = np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale)
            put[f"{name}_scale"] = scale.reshape(before.shape)
            codes = np.clip(np.rint(moved / scale), -128, 127).astype(np.int8)
            put[f"{name}_quantized"] = codes
        for name, values in put.items():
            stored[name].CopyFrom(numpy_helper.from_array(values, name))
    return made


def _scales(model: onnx.ModelProto, largest: Mapping[str, Array], share: float) -> dict[str, Array]:
    """Return s [K] of every activation that matrix products share, by its name.

    s_j = a_j^share / w_j^(1 - share) with the largest activation a_j and weight w_j of the channel
    (SmoothQuant, Xiao et al. 2023, equation 4). `largest` holds the largest value of every channel,
    float [K], by the name of the activation; a share of 0 leaves all that is hard to them, 1 moves
    it to the weights.
    """
    weights = {each.name: each for each in model.graph.initializer}
    return {
        activation: _scale(
            largest[activation], [numpy_helper.to_array(weights[n]) for n in names], share
        )
        for activation, names in _groups(model).items()
    }


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
