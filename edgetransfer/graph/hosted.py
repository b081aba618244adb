"""Opens a graph on this machine so that it computes what it means, whatever this machine's class.

For proofs, not for devices, it also writes integer products out in float; weights stay integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgetransfer.agent.environment import architecture, isa_flags
from edgetransfer.agent.outputs import Outputs
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.graph.finished import finished
from edgetransfer.spec import catalogue


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
    given = Outputs.of(session.output_names, [session.run(batch) for batch in batches])
    return Outputs({name: array.astype(np.float32, copy=False) for name, array in given.items()})
