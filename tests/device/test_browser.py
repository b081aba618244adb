"""A real headless Chromium does real jobs; where it or its runtime is absent, this is skipped."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.agent.benchmark import CHECKED
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.errors import EdgeTransferError, StageError
from edgetransfer.graph.hosted import run_each
from edgetransfer.tasks.classification.task import TASK
from edgetransfer.transport.browser import place as browser
from edgetransfer.transport.browser import place as browser_chromium
from edgetransfer.transport.browser import runtime
from edgetransfer.transport.job import Job, TimingPlan, Variant
from tests import chromium

AGENT = Path("agent.pyz")
QUICK = TimingPlan(blocks=2, block_s=0.01, warmup_s=0.0, warmup_max_s=0.2)


@pytest.fixture(scope="module", autouse=True)
def prepared():
    try:
        browser_chromium.find()
        runtime.prepared("wasm")
    except EdgeTransferError as error:
        pytest.skip(str(error))


NODE = helper.make_node
EXACT = (NODE("Flatten", ["cd"], ["logits"]),)
FLOAT = (
    NODE("FusedConv", ["cd", "float", "bias"], ["f"], domain="com.microsoft", activation="Relu"),
    NODE("GlobalAveragePool", ["f"], ["g"]),
    NODE("Flatten", ["g"], ["logits"]),
)


def quantised(path, *, tail, seed=0):
    """Write a U8S8 convolution as our bundles hold it, with Q/DQ around, and a tail in float."""
    rng = np.random.default_rng(seed)
    held = {
        "scale": np.float32(0.02),
        "zero": np.uint8(114),
        "weights": rng.integers(-127, 128, (8, 3, 3, 3), dtype=np.int8),
        "w_scale": rng.uniform(0.001, 0.01, 8).astype(np.float32),
        "w_zero": np.zeros(8, np.int8),
        "float": rng.normal(size=(5, 8, 3, 3)).astype(np.float32),
        "bias": np.zeros(5, np.float32),
    }
    graph = helper.make_graph(
        [
            NODE("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
            NODE("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
            NODE("DequantizeLinear", ["weights", "w_scale", "w_zero"], ["wd"], axis=0),
            NODE("Conv", ["xd", "wd"], ["c"], pads=[1, 1, 1, 1]),
            NODE("QuantizeLinear", ["c", "scale", "zero"], ["cq"]),
            NODE("DequantizeLinear", ["cq", "scale", "zero"], ["cd"]),
            *tail,
        ],
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", None]),
            helper.make_tensor_value_info("cd", TensorProto.FLOAT, ["batch", 8, 16, 16]),
        ],
        initializer=[numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    onnx.save(model, path)


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """Two models: one that only int8 sums decide, one with a convolution in float behind."""
    folder = tmp_path_factory.mktemp("model")
    rows = np.random.default_rng(1).normal(size=(5, 3, 16, 16)).astype(np.float32)
    np.save(folder / "x.npy", rows)
    inputs = {"x": str(folder / "x.npy")}
    config = {"session.x64quantprecision": "1"}
    made = {}
    for name, tail in (("exact", EXACT), ("float", FLOAT)):
        quantised(folder / f"{name}.onnx", tail=tail)
        model = str(folder / f"{name}.onnx")
        made[name] = Variant("candidate", model, inputs, threads=2, config=config)
    return made


@pytest.fixture(scope="module")
def variant(variants):
    return variants["exact"]


@pytest.fixture(scope="module")
def place(prepared):
    with browser.connect("", AGENT) as place:
        yield place


def here(variant):
    """Return the outputs of this machine's runtime on the same tensors."""
    session = OnnxSession(variant.model, config=variant.config)
    return run_each(session, [{"x": row[None]} for row in np.load(variant.inputs["x"])])


def test_int8_outputs_are_those_of_this_machine_bit_by_bit(place, variant, tmp_path):
    told = []
    found, result = place.outputs(variant, tmp_path, progress=lambda *p: told.append(p))
    assert found.shapes == {"logits": (2048,), "cd": (8, 16, 16)}
    assert found.digest() == here(variant).digest()
    assert {array.dtype.name for array in found.values()} == {"float32"}
    assert len(np.unique(found["logits"])) > 20
    assert result["deterministic"] is True
    assert result["peak_mib"] >= result["resident_after_mib"] > 0
    assert told[-1] == (5, 5)


def test_a_convolution_in_float_gives_nearly_the_same(place, variants, tmp_path):
    found, _ = place.outputs(variants["float"], tmp_path)
    wanted = here(variants["float"])
    np.testing.assert_allclose(found["logits"], wanted["logits"], rtol=1e-5, atol=1e-5)


def test_times_are_raw_samples_in_blocks_with_what_the_agent_tells_beside(place, variant, tmp_path):
    other = replace(variant, name="reference")
    result = place.run(Job("time", (variant, other), QUICK, seed=4), tmp_path)
    rounds = {
        name: {turn["block"] for turn in result["turns"] if turn["name"] == name}
        for name in ("candidate", "reference")
    }
    judged = here(variant).rows(slice(CHECKED)).digest()
    for name, blocks in rounds.items():
        rows = np.load(tmp_path / f"{name}.npy")
        assert rows.dtype == np.int64
        assert set(rows[:, 0]) == blocks >= {0, 1}  # one that was disturbed was taken twice
        assert (rows[:, 1] > 0).all()
        assert not rows[:, 2].any()  # no CPU time is told
        assert result["calls_per_sample"][name] >= 1
        assert result["outputs"][name] == [judged, judged]
        assert result["load_ms"][name] > 0
        assert result["first_inference_ms"][name] > 0
    assert set(result["warmed_up"]) == set(rounds)
    assert result["floor_ns"] > 0
    assert result["probe"]["held_against_ns"] <= result["probe"]["baseline_ns"]


def test_the_environment_says_what_the_browser_is(place, tmp_path):
    found = place.run(Job("describe"), tmp_path)["environment"]
    assert found["runtime"] == "onnxruntime-web 1.30.0, wasm"
    assert "Chrom" in found["user_agent"]
    assert found["secure_context"] is True
    assert found["cross_origin_isolated"] is True
    assert {"wasm_simd", "wasm_threads"} <= set(found["isa"])
    assert found["process"] == "a browser"
    assert 0 < found["clock_step_ms"] < 1


def test_a_page_of_another_device_does_all_jobs_and_says_what_it_lacks(
    variant, tmp_path, monkeypatch
):
    """Chromium stands in for a phone: it opens the address in the network, which is not secure."""
    try:
        address = browser.own_address()
    except StageError as error:
        pytest.skip(str(error))
    with ExitStack() as phone:

        def open_it(url):
            program = browser_chromium.find()
            phone.enter_context(browser_chromium.opened(program, url, "wasm"))

        monkeypatch.setattr(browser, "invite", open_it)
        with browser.connect(f"listen:{address}", AGENT) as place:
            found_there, first = place.outputs(variant, tmp_path)
            place.run(Job("time", (variant,), QUICK), tmp_path)
            found = place.run(Job("describe"), tmp_path)["environment"]
    assert found_there.digest() == here(variant).digest()
    assert len(np.load(tmp_path / "candidate.npy")) >= 2
    assert first["threads"] == found["threads_used"] == 1
    assert found["secure_context"] is False
    assert found["process"] == "a worker of one page"
    assert found["cpu"] is None
    assert found["warnings"][0].startswith("the page came by plain http, which browsers give no ")
    assert "2 threads were asked for and 1 used" in found["warnings"]


def test_a_model_that_is_none_is_an_error_in_words(place, variant, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    job = Job("outputs", (Variant("candidate", str(tmp_path / "broken.onnx"), variant.inputs),))
    with pytest.raises(StageError) as caught:
        place.run(job, tmp_path)
    first, found = str(caught.value).splitlines()[:2]
    assert first == "browser: the browser did not finish the job 'outputs'"
    assert "protobuf parsing failed" in found
    assert found.endswith("last seen: candidate: loading")


def test_a_chromium_that_is_killed_is_told_of_at_once(place, variant, tmp_path, monkeypatch):
    opened = browser_chromium.opened

    class Killed:
        def __init__(self, *words):
            self.context = opened(*words)

        def __enter__(self):
            running = self.context.__enter__()
            os.killpg(running.process.pid, signal.SIGKILL)
            return running

        def __exit__(self, *error):
            return self.context.__exit__(*error)

    monkeypatch.setattr(browser_chromium, "opened", Killed)
    with pytest.raises(StageError) as caught:
        place.run(Job("describe"), tmp_path)
    assert str(caught.value) == (
        "browser: the browser did not finish the job 'describe'\n"
        "  found: Chromium ended: killed by SIGKILL; last seen: nothing"
    )


def test_chromium_does_not_outlive_a_host_that_is_killed(tmp_path):
    program = (
        "import sys, time\n"
        "from edgetransfer.transport.browser import place as c\n"
        "with c.opened(c.find(), 'about:blank', 'wasm') as running:\n"
        "    print(running.process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    chromium = int(host.stdout.readline())
    time.sleep(2)
    host.kill()
    host.wait()
    until = time.monotonic() + 60
    while _members(chromium) and time.monotonic() < until:
        time.sleep(0.2)
    left = _members(chromium)
    host.stdout.close()
    assert left == []
    shutil.rmtree(tmp_path, ignore_errors=True)


def _members(group):
    """Return the processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(number) == group and state != "Z":
            found.append(stat.parent.name)
    return found


def picture_model(path):
    """Write a network that takes a picture and says how red, green and blue it is."""
    graph = helper.make_graph(
        [
            NODE("Cast", ["picture"], ["numbers"], to=TensorProto.FLOAT),
            NODE("ReduceMean", ["numbers", "axes"], ["mean"], keepdims=0),
            NODE("Mul", ["mean", "scale"], ["logits"]),
        ],
        "colours",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, ["batch", "h", "w", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        initializer=[
            numpy_helper.from_array(np.array([1, 2]), "axes"),
            numpy_helper.from_array(np.float32(0.05), "scale"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.save(model, path)


TAKE = """
(async () => {
  const canvas = new OffscreenCanvas(40, 30);
  const context = canvas.getContext("2d");
  context.fillStyle = "#0000ff";
  context.fillRect(0, 0, 40, 30);
  const taken = new DataTransfer();
  taken.items.add(new File([await canvas.convertToBlob()], "taken.png", { type: "image/png" }));
  const input = document.querySelector("#try input");
  input.files = taken.files;
  input.dispatchEvent(new Event("change"));
})()
"""
FOUND = {
    "verdict": "PASS",
    "headline": "Every limit that was set is met.",
    "figures": [["size", "8.46 MiB", "2.48 MiB"]],
    "labels": ["red", "<b>green</b>", "blue"],
    "input": "picture",
    "answer": TASK.usage.answer,
}


def test_the_page_shows_the_verdict_and_answers_for_a_picture_when_the_host_is_gone(
    tmp_path, monkeypatch
):
    picture_model(tmp_path / "model.onnx")
    with ExitStack() as phone:
        tab = phone.enter_context(chromium.opened())
        monkeypatch.setattr(browser, "invite", tab.open)
        with browser.connect("listen:127.0.0.1", AGENT) as place:
            place.show(FOUND, tmp_path / "model.onnx")
        shown = " ".join(tab.say("document.getElementById('found').innerText").split())
        assert shown == (
            "PASS Every limit that was set is met. Measured here Float Shipped "
            "size 8.46 MiB 2.48 MiB"
        )
        tab.say(TAKE)
        best = "document.getElementById('best').innerText"
        until = time.monotonic() + 20
        while not (said := tab.say(best)) and time.monotonic() < until:
            time.sleep(0.1)
        assert said.splitlines() == ["blue: 100.0 %", "red: 0.0 %", "<b>green</b>: 0.0 %"]
        assert tab.faults() == {}
