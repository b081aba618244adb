"""Ways of storing a text encoder in 8 and 4 bits, of one bundle: what each loses and gains.

Usage: python benchmarks/encoders.py BUNDLE DATA [RESULT.json]

BUNDLE was built from DATA (with seed 0): its float network is quantised in every way and judged on
the first 1,000 texts of its *validation* set, each by itself. `smooth` moves what is hard to
quantise from activations into weights before (`compress.weights`). Ranges of activations come
from 128 training texts. Times are CPU times of one thread, in turn.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnxruntime import quantization as ort
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.compress.weights import SHARES, largest, quantise_weights, smooth
from edgetransfer.data import sources
from edgetransfer.graph.hosted import open_here
from edgetransfer.graph.prepare import preparer
from edgetransfer.measure.drift import sqnr_db
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.spec.target import Int8Scheme
from edgetransfer.tasks.classification.labels import CLASSES

if TYPE_CHECKING:
    from edgetransfer.agent.runtimes.onnxruntime import OnnxSession

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
Change = Callable[[onnx.ModelProto], onnx.ModelProto]

JUDGED, CALIBRATED, TURNS = 1000, 128, 3
PRODUCTS = ["MatMul", "Gemm", "Gather"]


class Texts(ort.CalibrationDataReader):
    """Hands a few tokenised texts to ONNX Runtime's calibration."""

    def __init__(self, feeds: list[Feeds]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Feeds | None:
        """Return the next, or None at the end."""
        return next(self._left, None)


def static(feeds: list[Feeds], model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise with the range of activations known before.

    Of texts of many lengths ONNX Runtime takes no percentiles.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "static.onnx"
        ort.quantize_static(
            onnx.shape_inference.infer_shapes(model), out, Texts(feeds),
            op_types_to_quantize=PRODUCTS, per_channel=True,
            activation_type=ort.QuantType.QUInt8, weight_type=ort.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
        return onnx.load(out)


def weight_only(bits: int, model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights of products in blocks of 32."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantiser = MatMulNBitsQuantizer(copy, bits=bits, block_size=32, is_symmetric=True)
    quantiser.process()
    return quantiser.model.model


def ways(feeds: list[Feeds], model: onnx.ModelProto) -> dict[str, Change]:
    """Return every form but the float one by its name."""
    most = largest(model, feeds)
    built = partial(quantise_weights, scheme=Int8Scheme())
    ranged = partial(static, feeds)
    found: dict[str, Change] = {"dynamic": built, "static": ranged}
    for share in SHARES:
        moved = partial(smooth, largest=most, share=share)
        found[f"dynamic, smooth {share}"] = chained(moved, built)
        found[f"static, smooth {share}"] = chained(moved, ranged)
    for bits in (8, 4):
        found[f"{bits}-bit weights only"] = partial(weight_only, bits)
    return found


def chained(first: Change, then: Change) -> Change:
    """Return one after the other."""
    return lambda model: then(first(model))


def main() -> None:
    """Print the table, and write it where the caller asks."""
    bundle = open_bundle(Path(sys.argv[1]))
    prepare = preparer(bundle.preprocessing, bundle.file("tokenizer.json"))
    manifest = sources.load(DataSpec(source=sys.argv[2]), CLASSES, seed=0)
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
    for name, make in ways(few, model).items():
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
