"""What a bundle for TensorRT needs more: a graph that it takes, and what prepares pictures there.

What the graph must be like was found by building with TensorRT's own parser (`docs/tensorrt.md`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgetransfer.agent.runtimes.tensorrt.build import Settings, settings_from
from edgetransfer.errors import StageError
from edgetransfer.graph.embed import preparation
from edgetransfer.graph.finished import STANDARD, opset_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing
    from edgetransfer.spec.target import TargetSpec

Array = np.ndarray[Any, Any]
MAX_OPSET = 20
_SHOWN = 5
PREPARE = "prepare.onnx"
README = "TENSORRT.md"
_README = """# {title}

`{core}` is what TensorRT takes: prepared tensors in, outputs out. An engine is bound to the
TensorRT, the GPU and the driver that it was built with and holds code, so it is built on the
device: by the first `edgetransfer bench`, or by

    {weak}      # TensorRT 10.0 to 10.11: JetPack 6
    {strong}    # TensorRT 10.12 and newer: JetPack 7

(`trtexec` lies in `/usr/src/tensorrt/bin` on a Jetson.) We have run neither line on a board.
"""
_PICTURES = """
## Preparing a picture

TensorRT has no antialiased resize and refuses `model.onnx`. `prepare.onnx` is its first half:
decoded RGB `uint8 [N, H, W, 3]` of any size -> `float32 [N, 3, h, w]`, as `core.onnx` takes it, on
the processor by ONNX Runtime (`pip install onnxruntime`, which has wheels for 64-bit Arm). What
`prepare.onnx` and `core.onnx` give one after the other is what `model.onnx` gives.

    import os; os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import numpy, onnxruntime
    from PIL import Image, ImageOps
    prepare = onnxruntime.InferenceSession("prepare.onnx", providers=["CPUExecutionProvider"])
    rgb = numpy.asarray(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB"))
    (prepared,) = prepare.run(None, {{"picture": rgb[None]}})    # the input `{input}` of the engine
"""


def refuse_unfit(model: onnx.ModelProto) -> None:
    """Refuse a graph that TensorRT would not parse, or run slower; the StageError names nodes."""
    found = list(_faults(model))
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise StageError(
            "the graph is not one that TensorRT takes",
            where="export",
            found="; ".join(found[:_SHOWN]) + more,
            expected="standard operators up to opset 20, int8 with zero points of zero, biases in "
            "float, and sums of integers alone",
            fix="build with --precision fp16",
        )


def write_for_tensorrt(
    folder: Path,
    core: onnx.ModelProto,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    target: TargetSpec,
    file: str = "core.onnx",
) -> None:
    """Write the README with the lines of `trtexec`, and for pictures ``prepare.onnx``.

    The network is `core` as it is shipped in `file`; the target's session config says for which
    sizes an engine is built.
    """
    settings = settings_from(target.session.config)
    strong, weak = (
        trtexec_line(core, settings, file, strongly_typed=each) for each in (True, False)
    )
    text = _README.format(title=target.title, core=file, strong=strong, weak=weak)
    before = preparation(preprocessing, core)
    if before is not None:
        onnx.save(before, folder / PREPARE)
        text += _PICTURES.format(input=core.graph.input[0].name)
    (folder / README).write_text(text, encoding="utf-8")


def trtexec_line(
    core: onnx.ModelProto, settings: Settings, file: str = "core.onnx", *, strongly_typed: bool
) -> str:
    """Return the command of TensorRT's own tool that builds an engine as the agent does.

    Strongly typed is for TensorRT 10.12 and newer; older ones are only told what they may compute
    in (the agent also holds them to the types of the graph).
    """
    words = ["trtexec", f"--onnx={file}", "--saveEngine=core.engine"]
    for which, name in enumerate(("min", "opt", "max")):
        shapes = [f"{each.name}:{_sizes(each, settings, which)}" for each in core.graph.input]
        words.append(f"--{name}Shapes={','.join(shapes)}")
    if not settings.tf32:
        words.append("--noTF32")
    if strongly_typed:
        return " ".join([*words, "--stronglyTyped"])
    if any(node.op_type == "QuantizeLinear" for node in core.graph.node):
        words.append("--int8")
    if any(each.data_type == onnx.TensorProto.FLOAT16 for each in core.graph.initializer):
        words.append("--fp16")
    return " ".join(words)


def _sizes(port: onnx.ValueInfoProto, settings: Settings, which: int) -> str:
    free = [settings.batch, settings.length]
    return "x".join(
        str(axis.dim_value or free[min(place, 1)][which])
        for place, axis in enumerate(port.type.tensor_type.shape.dim)
    )


def _faults(model: onnx.ModelProto) -> Iterator[str]:
    if opset_of(model) > MAX_OPSET:
        yield f"opset {opset_of(model)}"
    constants = {each.name: each for each in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    quantised = {n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    for node in model.graph.node:
        told = f"{node.op_type} {node.name or node.output[0]}"
        if node.domain not in STANDARD:
            yield f"{told} of {node.domain}"
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from (f"{told} {fault}" for fault in _faulty_grid(node, constants))
        elif node.op_type == "Add" and _is_quantised_unevenly(
            node, producers, quantised, constants
        ):
            yield f"{told} adds integers to floats"


def _faulty_grid(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> Iterator[str]:
    """Say what is wrong with the numbers of a Q or DQ."""
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    if zero is None:
        yield "has no zero point that says its type"
    elif zero.data_type != onnx.TensorProto.INT8:
        yield f"is in {onnx.TensorProto.DataType.Name(zero.data_type).lower()}"
    elif numpy_helper.to_array(zero).any():
        yield "has a zero point that is not zero"
    scale = constants.get(node.input[1])
    if scale is None or not (numpy_helper.to_array(scale) > 0).all():
        yield "has a scale that is not above zero"


def _is_quantised_unevenly(
    node: onnx.NodeProto,
    producers: dict[str, onnx.NodeProto],
    quantised: set[str],
    constants: dict[str, onnx.TensorProto],
) -> bool:
    """Tell whether a sum takes an integer and a float, and gives an integer: it would not fuse.

    The names in `quantised` are those that become integers.
    """
    moving = [producers.get(name) for name in node.input if name not in constants]
    integers = [each is not None and each.op_type == "DequantizeLinear" for each in moving]
    return node.output[0] in quantised and any(integers) and not all(integers)
