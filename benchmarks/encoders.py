"""Ways of storing a text encoder in 8 and 4 bits, of one bundle: what each loses and gains.

Usage: python benchmarks/encoders.py BUNDLE DATA [RESULT.json]

BUNDLE was built from DATA (with seed 0): its float network is quantised in every way and judged on
the first 1,000 texts of its *validation* set, each by itself. `smooth` moves what is hard to
quantise from activations into weights before (SmoothQuant, Xiao et al. 2023), by a product in front
of every group of matrix products, for a norm that feeds a sum as well cannot take it. Ranges of
static activations come from 128 training texts. Times are CPU times of one thread, in turn.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime import quantization as ort
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtime import build as runtime_facts
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.compress.dynamic import quantise_weights
from edgetransfer.data import sources
from edgetransfer.graph.hosted import open_here
from edgetransfer.graph.prepare import preparer
from edgetransfer.measure.drift import sqnr_db
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.spec.target import Int8Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgetransfer.agent.session import OnnxSession

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]

JUDGED, CALIBRATED, TURNS = 1000, 128, 3
PRODUCTS = ["MatMul", "Gemm", "Gather"]
SCHEME = Int8Scheme()


class Texts(ort.CalibrationDataReader):
    """Hands a few tokenised texts to ONNX Runtime's calibration."""

    def __init__(self, feeds: list[Feeds]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Feeds | None:
        """Return the next, or None at the end."""
        return next(self._left, None)


def products(model: onnx.ModelProto) -> dict[str, list[tuple[onnx.NodeProto, onnx.TensorProto]]]:
    """Return the matrix products with constant weights, by the tensor that they share."""
    constants = {each.name: each for each in model.graph.initializer}
    found = defaultdict(list)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            found[node.input[0]].append((node, constants[node.input[1]]))
    return found


def largest(model: onnx.ModelProto, names: list[str], feeds: list[Feeds]) -> dict[str, Array]:
    """Return the largest value of every channel of some tensors."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for name in names:
        watched.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = open_here(watched)
    at = [session.output_names.index(name) for name in names]
    most: dict[str, Array] = {}
    for feed in feeds:
        outputs = session.run(feed)
        for name, index in zip(names, at, strict=True):
            now = np.abs(outputs[index]).reshape(-1, outputs[index].shape[-1]).max(axis=0)
            most[name] = np.maximum(most.get(name, now), now)
    return most


def smooth(feeds: list[Feeds], share: float, model: onnx.ModelProto) -> onnx.ModelProto:
    """Divide channels of activations by a^share / w^(1 - share), and multiply their weights."""
    groups = products(model)
    most = largest(model, list(groups), feeds)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    by_name = {each.name: each for each in changed.graph.initializer}
    nodes = {each.output[0]: each for each in changed.graph.node}
    for number, (name, members) in enumerate(groups.items()):
        weights = [numpy_helper.to_array(weight) for _, weight in members]
        heaviest = np.maximum(np.max([np.abs(w).max(axis=1) for w in weights], axis=0), 1e-5)
        scale = np.maximum(most[name], 1e-5) ** share / heaviest ** (1 - share)
        scale = (scale / np.exp(np.log(scale).mean())).astype(np.float32)
        factor, divided = f"smooth_{number}", f"{name}_smooth"
        changed.graph.initializer.append(numpy_helper.from_array(1 / scale, factor))
        first = min(list(changed.graph.node).index(nodes[n.output[0]]) for n, _ in members)
        divide = helper.make_node("Mul", [name, factor], [divided], divided)
        changed.graph.node.insert(first, divide)
        for (node, old), weight in zip(members, weights, strict=True):
            nodes[node.output[0]].input[0] = divided
            new = numpy_helper.from_array(weight * scale[:, None], old.name)
            by_name[old.name].CopyFrom(new)
    return changed


def static(feeds: list[Feeds], method: str, model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise with ranges of activations that are known before."""
    extra = {"MatMulConstBOnly": True, "CalibPercentile": 99.99}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "static.onnx"
        ort.quantize_static(
            onnx.shape_inference.infer_shapes(model), out, Texts(feeds),
            op_types_to_quantize=PRODUCTS, per_channel=True,
            activation_type=ort.QuantType.QUInt8, weight_type=ort.QuantType.QInt8,
            calibrate_method=ort.CalibrationMethod[method], extra_options=extra,
        )  # fmt: skip
        return onnx.load(out)


def weight_only(bits: int, model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights of products in blocks of 32."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantiser = MatMulNBitsQuantizer(copy, bits=bits, block_size=32, is_symmetric=True)
    quantiser.process()
    return quantiser.model.model


def ways(feeds: list[Feeds]) -> dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]]:
    """Return every form but the float one by its name."""
    built, half = partial(quantise_weights, scheme=Int8Scheme()), partial(smooth, feeds, 0.5)
    found: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
        "dynamic (what is built)": built
    }
    for share in (0.25, 0.5, 0.75):
        found[f"dynamic, smooth {share}"] = chained(partial(smooth, feeds, share), built)
    for method in ("MinMax", "Percentile"):
        found[f"static {method}"] = partial(static, feeds, method)
        found[f"static {method}, smooth 0.5"] = chained(half, partial(static, feeds, method))
    for bits in (8, 4):
        found[f"{bits}-bit weights only"] = partial(weight_only, bits)
    return found


def chained(
    first: Callable[[onnx.ModelProto], onnx.ModelProto],
    then: Callable[[onnx.ModelProto], onnx.ModelProto],
) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    """Return one after the other."""
    return lambda model: then(first(model))


def main() -> None:
    """Print the table, and write it where the caller asks."""
    bundle = open_bundle(Path(sys.argv[1]))
    prepare = preparer(bundle.preprocessing, bundle.file("tokenizer.json"))
    manifest = sources.load(DataSpec(source=sys.argv[2]), seed=0)
    judged = manifest.split("validation")[:JUDGED]
    texts = [prepare.prepare(each) for each in judged]
    few = [prepare.prepare(each) for each in manifest.split("train")[:CALIBRATED]]
    model = onnx.load(bundle.file("reference.onnx"))
    truth = manifest.label_index(judged)
    sessions = {"float": open_here(model)}
    reference = answers(sessions["float"], texts)
    right = (reference.argmax(1) == truth).mean()
    rows: list[dict[str, Any]] = [
        {
            "form": "float",
            "mb": round(model.ByteSize() / 1e6, 1),
            "accuracy": round(float(right), 4),
        }
    ]
    for name, make in ways(few).items():
        made = make(model)
        sessions[name] = open_here(made)
        logits = answers(sessions[name], texts)
        rows.append({
            "form": name,
            "mb": round(made.ByteSize() / 1e6, 1),
            "accuracy": round(float((logits.argmax(1) == truth).mean()), 4),
            "same_decision": round(float((logits.argmax(1) == reference.argmax(1)).mean()), 4),
            "sqnr_db": round(sqnr_db(reference, logits), 2),
        })  # fmt: skip
        print(rows[-1], flush=True)
    for row, seconds in zip(rows, timed(sessions, texts[:100]), strict=True):
        row["cpu_ms"] = round(1000 * seconds, 3)
        print(row["form"], row["cpu_ms"])
    if len(sys.argv) > 3:
        record = {"environment": fingerprint(runtime_facts()), "texts": len(texts), "rows": rows}
        Path(sys.argv[3]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def answers(session: OnnxSession, texts: list[Feeds]) -> Array:
    """Return the logits [N, C] of texts, each by itself."""
    return np.concatenate([session.run(each)[0] for each in texts])


def timed(sessions: dict[str, OnnxSession], texts: list[Feeds]) -> list[float]:
    """Return the least CPU seconds a text of a few turns, every form in each."""
    found: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(TURNS):
        for name, session in sessions.items():
            start = time.process_time()
            for each in texts:
                session.run(each)
            found[name].append((time.process_time() - start) / len(texts))
    return [min(each) for each in found.values()]


if __name__ == "__main__":
    main()
