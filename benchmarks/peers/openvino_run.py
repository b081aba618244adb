"""Runs models in OpenVINO and ONNX Runtime, side by side in one process.

``job.json``: ``action`` (logits or time), ``variants`` (name, runtime, model), ``inputs`` (.npy),
``plan`` and ``seed`` (for time). Leaves ``NAME.npy`` for each variant, in the forms of
edgetransfer's agent, whose clock and order of blocks it uses: ``PYTHONPATH`` holds the repository.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common
import numpy as np
import openvino

from edgetransfer.agent import timing
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray[Any, Any]
_CYCLED = 16
CONFIG = {
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}
"""Without the precision hint the float parts run in bf16 on this class of CPU."""


def open_variant(variant: dict[str, str], shape: tuple[int, ...]) -> tuple[Callable[..., Any], Any]:
    """Return what runs one example, and OpenVINO's compiled model."""
    if variant["runtime"] == "onnxruntime":
        session = OnnxSession(variant["model"])
        (name,) = session.input_names
        return lambda array: session.run({name: array})[0], None
    core = openvino.Core()
    network = core.read_model(variant["model"])
    network.reshape({network.input(0): [1, *shape]})
    compiled = core.compile_model(network, "CPU", CONFIG)
    request = compiled.create_infer_request()
    output = compiled.output(0)
    return lambda array: request.infer([array], share_inputs=True, share_outputs=True)[
        output
    ], compiled


def residency(compiled: openvino.CompiledModel) -> dict[str, int]:
    """Count convolutions by the precision that the runtime says they run in."""
    kinds: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = {key: value.astype(str) for key, value in node.get_rt_info().items()}
        if info.get("layerType") == "Convolution":
            integer = info.get("runtimePrecision", "") in ("i8", "u8")
            kinds["int8_conv" if integer else "float_conv"] += 1
    return {"float_conv": kinds["float_conv"], "int8_conv": kinds["int8_conv"]}


def main() -> None:
    """Do the job."""
    job, out = common.job(), Path(sys.argv[1])
    rows = np.load(job["inputs"], mmap_mode="r", allow_pickle=False)
    opened = {v["name"]: open_variant(v, rows.shape[1:]) for v in job["variants"]}
    made: dict[str, Any] = {"versions": common.versions("openvino", "onnxruntime", "numpy")}
    if job["action"] == "logits":
        for name, (run, compiled) in opened.items():
            each = [np.array(run(np.ascontiguousarray(rows[i : i + 1]))) for i in range(len(rows))]
            np.save(out / f"{name}.npy", np.concatenate(each).astype(np.float32))
            made[name] = residency(compiled) if compiled is not None else {}
    else:
        plan = timing.TimingPlan(**job["plan"])
        chosen = np.linspace(0, len(rows) - 1, num=min(_CYCLED, len(rows))).astype(int)
        examples: list[Array] = [np.ascontiguousarray(rows[i : i + 1]) for i in chosen]
        calls = {name: timing.cycled(run, examples) for name, (run, _) in opened.items()}
        made["warmed_up"] = {name: timing.warm_up(call, plan) for name, call in calls.items()}
        for name, samples in timing.measure(calls, plan, job["seed"]).samples.items():
            np.save(out / f"{name}.npy", samples)
    common.record(made)


if __name__ == "__main__":
    main()
