"""The linear head at the end of a shipped network: found, replaced, and kept on disk.

Head files and feature statistics are safetensors: a few tensors and what they are of.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import Field
from safetensors.numpy import save

from edgetransfer.backbone.model import LinearHead
from edgetransfer.bundle.files import read_tensors, write_whole
from edgetransfer.bundle.forms import AddedClassForm, Digest, Form
from edgetransfer.errors import UnsupportedError
from edgetransfer.graph import embed
from edgetransfer.graph.finished import finished
from edgetransfer.spec.outside import Kind, parsed, validated
from edgetransfer.tasks.classification.head.new_class import FeatureStatistics

Array = np.ndarray[Any, Any]
SCHEMA = "edgetransfer.head/1"
STATISTICS = "statistics.safetensors"
_SPREAD = ("components", "variances", "residual")
HEAD = Kind("head file", 1 << 34, expected=f"{SCHEMA}, written by `edgetransfer head export`")
_HEADS = {
    "weight": "number C D",
    "bias": "number C",
    "reference.weight": "number C R",
    "reference.bias": "number C",
    "means": "number C D",
    "counts": "count C",
}
_KEPT = Kind("file of feature statistics", 1 << 34, fix="build the bundle again")
_STATISTICS = {
    "means": "number C D",
    "counts": "count C",
    "components": "number K D",
    "variances": "spread K",
    "residual": "spread D",
}


class _HeadHeader(Form):
    """What the header of a head file says."""

    labels: list[str]
    backbones: Annotated[list[Digest], Field(min_length=2, max_length=2)]
    spread: str
    added: list[AddedClassForm]


@dataclass(frozen=True)
class HeadTensors:
    """All of a bundle that depends on its classes.

    Labels are in the order of the rows; `shipped` is the head of ``core.onnx`` and ``model.onnx``,
    `reference` of ``reference.onnx``, and `backbones` are the digests of what stands before them.
    Means float [C, D] are the kept ones of the shipped features, of counts int [C] examples each,
    None where none are; `spread` is the digest of the spread within a class that belongs to them.
    `added` is what the manifest says of every class that was added later, in their order.
    """

    labels: tuple[str, ...]
    shipped: LinearHead
    reference: LinearHead
    backbones: tuple[str, str]
    means: Array | None = None
    counts: Array | None = None
    spread: str = ""
    added: tuple[dict[str, Any], ...] = ()

    def with_statistics(self, statistics: FeatureStatistics | None) -> HeadTensors:
        """Return the same with means, counts and the digest of the spread."""
        if statistics is None:
            return replace(self, means=None, counts=None, spread="")
        spread = spread_digest(statistics)
        return replace(self, means=statistics.means, counts=statistics.counts, spread=spread)


def spread_digest(statistics: FeatureStatistics) -> str:
    """Return the SHA-256 of the spread within a class, in hexadecimal."""
    tensors = asdict(statistics)
    return hashlib.sha256(save({name: tensors[name] for name in _SPREAD})).hexdigest()


def write_statistics(file: Path, statistics: FeatureStatistics) -> None:
    """Write means, counts and spread, whole."""
    write_whole(file, save(asdict(statistics)))


def read_statistics(file: Path) -> FeatureStatistics:
    """Read what `write_statistics` wrote.

    Raises:
        IntegrityError: it is not that, or its parts do not fit each other.
    """
    return FeatureStatistics(**read_tensors(file, _KEPT, _STATISTICS)[0])


def write_heads(file: Path, heads: HeadTensors) -> int:
    """Write a head file, whole, and return its bytes."""
    tensors = asdict(heads.shipped)
    tensors |= {f"reference.{name}": each for name, each in asdict(heads.reference).items()}
    if heads.means is not None and heads.counts is not None:
        tensors |= {"means": heads.means, "counts": heads.counts}
    said = {key: getattr(heads, key) for key in _HeadHeader.model_fields}
    metadata = {"schema": SCHEMA, "head": json.dumps(said, ensure_ascii=False, sort_keys=True)}
    content = save({name: np.ascontiguousarray(each) for name, each in tensors.items()}, metadata)
    write_whole(file, content)
    return len(content)


def read_heads(file: Path) -> HeadTensors:
    """Read a head file.

    Raises:
        IntegrityError: it is not one, or its parts do not fit each other.
    """
    tensors, metadata = read_tensors(file, HEAD, _HEADS, ("means", "counts"))
    if metadata.get("schema") != SCHEMA:
        raise HEAD.unreadable(file, f"schema {metadata.get('schema')!r}"[:200])
    said = validated(_HeadHeader, parsed(metadata.get("head", ""), file, HEAD), file, HEAD)
    rows = len(tensors["weight"])
    named = {each for each in said.labels if each.strip()}
    if not len(said.labels) == len(named) == rows:
        found = f"{len(named)} different labels and tensors of {rows} rows"
        raise HEAD.unreadable(file, found)
    if len(tensors.keys() & {"means", "counts"}) == 1:
        raise HEAD.unreadable(file, "means and counts belong together")
    return HeadTensors(
        tuple(said.labels),
        LinearHead(tensors["weight"], tensors["bias"]),
        LinearHead(tensors["reference.weight"], tensors["reference.bias"]),
        (said.backbones[0], said.backbones[1]),
        tensors.get("means"),
        tensors.get("counts"),
        said.spread,
        tuple(each.model_dump(mode="json") for each in said.added),
    )


@dataclass(frozen=True)
class FoundHead:
    """The head of a network, as plain arrays.

    The head takes the tensor [N, D] that is named `features`, of 16-bit floats where `half`; it is
    as computed, of integers the numbers that they stand for.
    """

    features: str
    half: bool
    head: LinearHead


class _Graph:
    """A network by its tensors: who makes each, and which are constant."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.constants = {each.name: each for each in model.graph.initializer}

    def maker(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """Return the node that gives a tensor, where it is of one of these kinds."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type in kinds else None

    def constant(self, name: str) -> Array | None:
        """Return the numbers of a constant, of integers behind a DequantizeLinear too."""
        if name in self.constants:
            stored: Array = numpy_helper.to_array(self.constants[name])
            return stored
        node = self.maker(name, "DequantizeLinear")
        if node is None or any(each not in self.constants for each in node.input):
            return None
        codes, scale, *zero = (numpy_helper.to_array(self.constants[each]) for each in node.input)
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        wide = [1] * codes.ndim
        if scale.ndim:
            wide[axis] = -1
        shift = zero[0].astype(np.float32).reshape(wide) if zero else np.float32(0)
        numbers: Array = (codes.astype(np.float32) - shift) * scale.reshape(wide)
        return numbers

    def before(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that a tensor depends on, in the order they run."""
        needed, waiting = set(), [name]
        while waiting:
            node = self.makers.get(waiting.pop())
            if node is None or node.output[0] in needed:
                continue
            needed.add(node.output[0])
            waiting += [each for each in node.input if each]
        return [node for node in self.model.graph.node if node.output[0] in needed]


def find_head(model: onnx.ModelProto) -> FoundHead:
    """Return the linear layer that gives the network's first output.

    It may be stored in 32- or 16-bit floats, as Q/DQ, or with activations that are quantised as
    they come; a head that was put in by `with_head` is found like any other.

    Raises:
        UnsupportedError: the output does not come from a linear layer with constant weights.
    """
    graph = _Graph(model)
    name = _behind_casts(graph, model.graph.output[0].name)
    bias: Array | None = None
    added = graph.maker(name, "Add")
    if added is not None:
        for place in (0, 1):
            constant = graph.constant(added.input[place])
            if constant is not None:
                bias, name = constant, _behind_casts(graph, added.input[1 - place])
    found = _gemm(graph, name) or _product(graph, name) or _as_it_comes(graph, name)
    if found is None:
        made = graph.makers.get(name)
        raise UnsupportedError(
            "the network does not end in a linear layer, so that no class can be added to it",
            where="head",
            found=f"an output made by {'nothing' if made is None else made.op_type}",
            expected="Gemm or MatMul with constant weights",
        )
    features, weight, own = found
    total = sum((each for each in (bias, own) if each is not None), np.zeros(len(weight)))
    source = _behind_casts(graph, features)
    half = source == features and weight.dtype == np.float16
    half |= source != features and weight.dtype == np.float32
    return FoundHead(
        source, half, LinearHead(weight.astype(np.float32), np.asarray(total, dtype=np.float32))
    )


def _behind_casts(graph: _Graph, name: str) -> str:
    """Return the tensor that casts from one float type to the other made this one of."""
    while (node := graph.maker(name, "Cast")) is not None:
        made = graph.makers.get(node.input[0])
        if made is not None and made.op_type == "MatMulInteger":
            break
        name = node.input[0]
    return name


def _gemm(graph: _Graph, name: str) -> tuple[str, Array, Array | None] | None:
    """Return features, weight [C, D] and bias [C] of a Gemm."""
    node = graph.maker(name, "Gemm")
    if node is None:
        return None
    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    weight = graph.constant(node.input[1])
    bias = graph.constant(node.input[2]) if len(node.input) > 2 else None
    plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
    if weight is None or not plain or (bias is None and len(node.input) > 2):
        return None
    weight = weight if given.get("transB", 0) else weight.T
    return node.input[0], weight, None if bias is None else np.broadcast_to(bias, len(weight))


def _product(graph: _Graph, name: str) -> tuple[str, Array, None] | None:
    """Return features and weight [C, D] of a MatMul."""
    node = graph.maker(name, "MatMul")
    weight = None if node is None else graph.constant(node.input[1])
    if node is None or weight is None or weight.ndim != 2:
        return None
    return node.input[0], weight.T, None


def _as_it_comes(graph: _Graph, name: str) -> tuple[str, Array, None] | None:
    """Return features and weight [C, D] of a product of integers, as `compress.weights` has it."""
    scaled = graph.maker(name, "Mul")
    cast = None if scaled is None else graph.maker(scaled.input[0], "Cast")
    product = None if cast is None else graph.maker(cast.input[0], "MatMulInteger")
    scales = None if scaled is None else graph.maker(scaled.input[1], "Mul")
    if product is None or scales is None or len(product.input) < 4:
        return None
    codes, zero = graph.constant(product.input[1]), graph.constant(product.input[3])
    scale = graph.constant(scales.input[1])
    source = graph.maker(product.input[0], "DynamicQuantizeLinear")
    if codes is None or zero is None or scale is None or source is None:
        return None
    weight = (codes.astype(np.float32) - zero.astype(np.float32)) * scale
    return source.input[0], weight.T, None


def backbone_digest(model: onnx.ModelProto) -> str:
    """Return the SHA-256 of all that a network's features depend on, in hexadecimal.

    It runs over the nodes before the features, in order and with their attributes, and over the
    constants they take: type, shape and bytes. Two networks with equal digests give the same
    features bit for bit, whatever heads they have.
    """
    found, graph = find_head(model), _Graph(model)
    total = hashlib.sha256(found.features.encode())
    nodes = graph.before(found.features)
    for node in nodes:
        total.update(node.SerializeToString(deterministic=True))
    for name in sorted({name for node in nodes for name in node.input} & set(graph.constants)):
        array = numpy_helper.to_array(graph.constants[name])
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def with_features(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network before its head: its output is the features, float [N, D]."""
    found, result = find_head(model), onnx.ModelProto()
    result.CopyFrom(model)
    batch = result.graph.output[0].type.tensor_type.shape.dim[0]
    shape = [batch.dim_param or batch.dim_value or None, found.head.weight.shape[1]]
    kind = TensorProto.FLOAT16 if found.half else TensorProto.FLOAT
    del result.graph.output[:]
    result.graph.output.append(helper.make_tensor_value_info(found.features, kind, shape))
    return finished(result, "head")


def with_head(model: onnx.ModelProto, head: LinearHead) -> onnx.ModelProto:
    """Return the network with another head, in 32-bit floats, on the same features.

    Nodes and weights before the features stay as they are, byte for byte. Putting in the head that
    stands there already gives the same network again, so the result depends on the backbone and the
    head alone.
    """
    graph = with_features(model)
    (given,) = graph.graph.output
    if given.type.tensor_type.elem_type != TensorProto.FLOAT:
        wide = f"{given.name}/float32"
        graph.graph.node.append(
            helper.make_node("Cast", [given.name], [wide], wide, to=TensorProto.FLOAT)
        )
        given.name, given.type.tensor_type.elem_type = wide, TensorProto.FLOAT
    return embed.with_head(graph, head.weight, head.bias, model.graph.output[0].name)
