"""Joins to a network what stands before and behind it: the preprocessing contract, a head."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.graph.finished import finished, opset_of
from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing


def with_head(
    features: onnx.ModelProto, weight: NDArray[Any], bias: NDArray[Any], output: str
) -> onnx.ModelProto:
    """Return a graph that gives ``features @ weight.T + bias`` under the name `output`.

    The graph gives features float32 [N, D]; the weight is float32 [C, D], the bias float32 [C].
    NumericalError where that is no valid graph.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(features)
    (given,) = graph.graph.output
    name = _free(graph, "head")
    names = [given.name, f"{name}.weight", f"{name}.bias"]
    for called, array in zip(names[1:], (weight, bias), strict=True):
        number = numpy_helper.from_array(np.ascontiguousarray(array, np.float32), called)
        graph.graph.initializer.append(number)
    graph.graph.node.append(helper.make_node("Gemm", names, [output], name=name, transB=1))
    first = given.type.tensor_type.shape.dim[0]
    graph.graph.value_info.append(given)
    given.CopyFrom(
        helper.make_tensor_value_info(
            output,
            onnx.TensorProto.FLOAT,
            [first.dim_param or first.dim_value or None, len(weight)],
        )
    )
    return finished(graph, "trace")


def _free(graph: onnx.ModelProto, name: str) -> str:
    """Return a name that no node and no tensor begins with."""
    parts = graph.graph
    taken = {each.name for each in (*parts.node, *parts.initializer, *parts.input)}
    taken |= {output for node in parts.node for output in node.output}
    while any(each.startswith(name) for each in taken):
        name += "_"
    return name


PICTURE = "picture"
PREPARED = "input"
_MODES = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}


class _ContractWriter:
    """Collects nodes and constants under names that cannot clash with the network's."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, f"pre/{name}"))
        return f"pre/{name}"

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, dtype=np.int64))

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        name = output if output == PREPARED else f"pre/{output}"
        self.nodes.append(
            helper.make_node(kind, inputs, [name], name=f"pre/{kind}/{output}", **attributes)
        )
        return name


def preprocessing_graph(
    spec: ImagePreprocessing, *, opset: int = 20, ir_version: int = 10
) -> onnx.ModelProto:
    """Write ``uint8 [N, H, W, 3]`` -> ``float32 [N, 3, h, w]``.

    The resize works on 8-bit values with antialiasing and without weights outside the picture,
    as Pillow 12 and older do, columns before rows: equal within 1 level when shrinking and 2 when
    enlarging; later ones resize rows first, which rounds differently
    (`shared/design/runtimes.md` section 9).
    """
    write = _ContractWriter()
    resized = _resize(write, spec)
    cropped = _crop(write, spec, resized)
    _normalise(write, spec, cropped)
    height, width = spec.output_size
    shape = ["batch", "height", "width", 3]
    picture = helper.make_tensor_value_info(PICTURE, TensorProto.UINT8, shape)
    prepared = helper.make_tensor_value_info(
        PREPARED, TensorProto.FLOAT, ["batch", 3, height, width]
    )
    graph = helper.make_graph(
        write.nodes, "preprocessing", [picture], [prepared], initializer=write.constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    model.producer_name = "edgetransfer"
    return finished(model, "preprocessing")


def _resize(write: _ContractWriter, spec: ImagePreprocessing) -> str:
    if spec.exact is not None:
        size = write.integers("exact", *spec.exact)
    else:
        # The short side becomes `shortest_edge`, the long side is rounded down.
        shape = write.node("Shape", [PICTURE], "shape", start=1, end=3)
        short = write.node("ReduceMin", [shape], "short", keepdims=1)
        edge = write.integers("edge", int(spec.shortest_edge or 0))
        scaled = write.node("Mul", [shape, edge], "scaled")
        size = write.node("Div", [scaled, short], "size")
    attributes: dict[str, object] = {"mode": _MODES[spec.interpolation], "axes": [1, 2]}
    if spec.interpolation == "nearest":
        attributes |= {"nearest_mode": "round_prefer_ceil"}
    else:
        attributes |= {"antialias": 1, "exclude_outside": 1}
    if spec.interpolation == "bicubic":
        attributes |= {"cubic_coeff_a": -0.5}
    return write.node(
        "Resize",
        [PICTURE, "", "", size],
        "resized",
        coordinate_transformation_mode="half_pixel",
        **attributes,
    )


def _crop(write: _ContractWriter, spec: ImagePreprocessing, resized: str) -> str:
    if spec.crop is None or spec.crop == spec.exact:
        return resized
    crop = write.integers("crop", *spec.crop)
    shape = write.node("Shape", [resized], "resized_shape", start=1, end=3)
    margin = write.node("Sub", [shape, crop], "margin")
    start = write.node("Div", [margin, write.integers("two", 2)], "start")
    end = write.node("Add", [start, crop], "end")
    return write.node(
        "Slice", [resized, start, end, write.integers("rows_and_columns", 1, 2)], "cropped"
    )


def _normalise(write: _ContractWriter, spec: ImagePreprocessing, cropped: str) -> None:
    """Write ``x * rescale / std - mean / std`` channel by channel, channels first."""
    std = np.array(spec.std, dtype=np.float64)
    scale = _per_channel(spec.rescale / std)
    shift = _per_channel(np.array(spec.mean) / std)
    first = write.node("Transpose", [cropped], "channels_first", perm=[0, 3, 1, 2])
    floats = write.node("Cast", [first], "floats", to=TensorProto.FLOAT)
    scaled = write.node("Mul", [floats, write.constant("scale", scale)], "rescaled")
    write.node("Sub", [scaled, write.constant("shift", shift)], PREPARED)


def _per_channel(values: np.ndarray) -> np.ndarray:
    """Return float32 [1, 3, 1, 1], or a scalar where all are equal.

    A quantised network runs channels last, and there the runtime broadcasts three numbers along
    the innermost axis: 0.9 ms for 224 x 224 where a scalar takes 0.1.
    """
    if (values == values[0]).all():
        return np.array(values[0], dtype=np.float32)
    return values.astype(np.float32).reshape(1, 3, 1, 1)


def with_preprocessing(core: onnx.ModelProto, preprocessing: onnx.ModelProto) -> onnx.ModelProto:
    """Join the two graphs: the result takes decoded RGB and gives the network's output."""
    name = core.graph.input[0].name
    merged = onnx.compose.merge_models(preprocessing, core, io_map=[(PREPARED, name)])
    merged.ir_version = core.ir_version
    merged.producer_name = "edgetransfer"
    return finished(merged, "preprocessing")


def by_channels(whole: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return ``model.onnx`` of pictures with levels float32 [N, 3, H, W] as its input `name`.

    An Einsum and no Transpose: ONNX Runtime 1.30 to 1.32 moves a Transpose behind ``Shape`` without
    regard to its ``start``, and then refuses the graph.
    """
    (picture,) = whole.graph.input
    sizes = ["batch", 3, "height", "width"]
    levels = helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
    nodes = [
        helper.make_node("Einsum", [name], ["pre/channels_last"], equation="nchw->nhwc"),
        helper.make_node("Cast", ["pre/channels_last"], ["pre/bytes"], to=TensorProto.UINT8),
    ]
    given = onnx.ValueInfoProto()
    given.CopyFrom(picture)
    given.name = "pre/bytes"
    graph = helper.make_graph(nodes, "channels", [levels], [given])
    before = helper.make_model(graph, opset_imports=whole.opset_import)
    before.ir_version = whole.ir_version
    joined = onnx.compose.merge_models(before, whole, io_map=[(given.name, picture.name)])
    return finished(joined, "preprocessing")


def whole_model(
    core: onnx.ModelProto, preprocessing: ImagePreprocessing | TextPreprocessing
) -> onnx.ModelProto:
    """Return ``model.onnx``: preprocessing and network; for texts the network alone."""
    before = preparation(preprocessing, core)
    return core if before is None else with_preprocessing(core, before)


def preparation(
    preprocessing: ImagePreprocessing | TextPreprocessing, core: onnx.ModelProto
) -> onnx.ModelProto | None:
    """Return the graph that prepares examples, of the same opset and format; None for texts."""
    if not isinstance(preprocessing, ImagePreprocessing):
        return None
    return preprocessing_graph(preprocessing, opset=opset_of(core), ir_version=core.ir_version)


def ports(
    preprocessing: ImagePreprocessing | TextPreprocessing, batch: int | str, *, whole: bool
) -> list[tuple[str, str, tuple[int | str, ...]]]:
    """Return name, type and shape of what ``model.onnx`` (`whole`) or the network itself takes."""
    if not isinstance(preprocessing, ImagePreprocessing):
        return [(name, "int64", (batch, "length")) for name in preprocessing.inputs]
    if whole:
        return [(PICTURE, "uint8", (batch, "height", "width", 3))]
    return [(PREPARED, "float32", (batch, 3, *preprocessing.output_size))]
