"""One job in, JSON lines and arrays out."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.agent import machine
from edgetransfer.agent import main as agent_main
from edgetransfer.agent.outputs import Outputs
from edgetransfer.agent.runtimes import onnxruntime as runtime
from edgetransfer.agent.runtimes import onnxruntime as session
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.transport.outcome import read_outputs

QUICK = {"blocks": 3, "block_s": 0.002, "warmup_s": 0.0, "warmup_max_s": 0.02}


def test_outputs(do, variant, rows, weight, tmp_path):
    code, told = do("outputs", variant())
    assert code == 0
    logits = np.load(tmp_path / "output-0.npy")
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, rows[0] @ weight, rtol=1e-5)
    assert told[:-1] == [{"event": "progress", "done": done, "total": 5} for done in (2, 3, 4, 5)]
    result = told[-1]
    assert result.pop("event") == "result"
    assert result.pop("deterministic") is True
    assert isinstance(result.pop("peak_is_own"), bool)
    assert result.pop("repeated") == 5
    assert result.pop("outputs") == ["logits"]
    assert (result.pop("session"), result.pop("built_ms")) == (
        {"provider": "CPUExecutionProvider"},
        0.0,
    )
    assert result.pop("model") == {
        "sha256": hashlib.sha256(Path(variant()["model"]).read_bytes()).hexdigest(),
        "inputs": [{"name": "x", "type": "tensor(float)", "shape": ["batch", 4]}],
        "outputs": [{"name": "logits", "type": "tensor(float)", "shape": ["batch", 3]}],
    }
    assert set(result) == {
        "load_ms",
        "first_inference_ms",
        "resident_before_mib",
        "resident_after_mib",
        "peak_mib",
        "proportional_mib",
    }
    assert all(value > 0 for value in result.values())


def test_what_was_opened_is_told_as_the_runtime_sees_it(do, variant, model):
    _, told = do("outputs", variant())
    assert told[-1]["model"] == {
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "inputs": [{"name": "x", "type": "tensor(float)", "shape": ["batch", 4]}],
        "outputs": [{"name": "logits", "type": "tensor(float)", "shape": ["batch", 3]}],
    }


def test_batches_give_all_examples_in_order(do, variant, rows, weight, tmp_path):
    _, told = do("outputs", variant(batch=2))
    assert told[:-1] == [{"event": "progress", "done": done, "total": 3} for done in (2, 3)]
    logits = np.load(tmp_path / "output-0.npy")
    np.testing.assert_allclose(logits, rows[0] @ weight, rtol=1e-5)


@pytest.fixture
def two(tmp_path, weight):
    """``logits = x @ weight`` and ``planes`` [N, 3, 1], twice as much."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["logits"]),
        helper.make_node("Add", ["logits", "logits"], ["sum"]),
        helper.make_node("Unsqueeze", ["sum", "axis"], ["planes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [
            helper.make_tensor_value_info("planes", TensorProto.FLOAT, ["batch", 3, 1]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]),
        ],
        initializer=[
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([2]), "axis"),
        ],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    whole.ir_version = 10
    (tmp_path / "two.onnx").write_bytes(whole.SerializeToString())
    return str(tmp_path / "two.onnx")


def test_every_output_is_given_by_its_name(do, variant, two, rows, weight, tmp_path):
    _, told = do("outputs", variant(model=two, batch=2))
    assert told[-1]["outputs"] == ["planes", "logits"]
    found = read_outputs(told[-1], tmp_path)
    assert found.shapes == {"planes": (3, 1), "logits": (3,)}
    np.testing.assert_allclose(found["logits"], rows[0] @ weight, rtol=1e-5)
    np.testing.assert_array_equal(found["planes"][:, :, 0], 2 * found["logits"])
    assert not list(tmp_path.glob("output-*"))
    _, told = do("time", variant(model=two), plan=QUICK, seed=3)
    digest = found.rows(slice(4)).digest()
    assert told[-1]["outputs"] == {"reference": [digest, digest]}


def test_outputs_come_back_from_a_file_as_they_were(tmp_path):
    names = ("file", "a/b", "0", "names")
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    given = Outputs({name: rows + place for place, name in enumerate(names)})
    given.save(tmp_path / "x.npz")
    found = Outputs.load(tmp_path / "x.npz")
    assert found.equals(given)
    assert list(found) == list(names)
    assert found.digest() == given.digest() != given.rows(slice(2)).digest()
    assert not found.equals(Outputs({name: given[name] for name in reversed(names)}))


def test_examples_of_their_own_shapes_make_no_batch(do, variant, tmp_path):
    np.save(tmp_path / "one.npy", np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match=r"^examples of their own shapes make no batch of 2$"):
        do("outputs", variant(inputs={"x": [str(tmp_path / "one.npy")]}, batch=2))


def test_unfused_the_graph_runs_as_it_is_written(do, variant, monkeypatch):
    levels = []
    inference_session = onnxruntime.InferenceSession

    def opened(source, options, **more):
        levels.append(options.graph_optimization_level)
        return inference_session(source, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    for fused in (True, False):
        do("outputs", variant(fused=fused))
    level = onnxruntime.GraphOptimizationLevel
    assert levels == [level.ORT_ENABLE_ALL, level.ORT_DISABLE_ALL]


def test_one_example_needs_no_progress(do, variant, tmp_path):
    np.save(tmp_path / "one.npy", np.ones((1, 4), np.float32))
    _, told = do("outputs", variant(inputs={"x": str(tmp_path / "one.npy")}))
    assert [line["event"] for line in told] == ["result"]
    assert np.load(tmp_path / "output-0.npy").shape == (1, 3)


def test_logits_that_are_no_numbers_repeat_themselves_too(do, variant, tmp_path):
    np.save(tmp_path / "nan.npy", np.full((2, 4), np.nan, np.float32))
    _, told = do("outputs", variant(inputs={"x": str(tmp_path / "nan.npy")}))
    assert told[-1]["deterministic"] is True
    assert np.isnan(np.load(tmp_path / "output-0.npy")).all()


def test_a_runtime_that_does_not_repeat_itself_is_found_out(do, variant, monkeypatch):
    count = iter(range(100))

    def run(*_):
        return [np.full((1, 3), next(count), np.float32)]

    monkeypatch.setattr(session.OnnxSession, "run", run)
    _, told = do("outputs", variant())
    assert told[-1]["deterministic"] is False


def test_time(do, variant, tmp_path):
    both = variant("reference"), variant("candidate")
    code, told = do("time", *both, plan=QUICK, seed=3)
    assert code == 0
    result = told[-1]
    assert list(result["warmed_up"]) == ["reference", "candidate"]
    assert all(result["load_ms"][name] > 0 for name in ("reference", "candidate"))
    assert all(result["first_inference_ms"][name] > 0 for name in ("reference", "candidate"))
    assert 0 < result["floor_ns"] < 1e6
    assert result["probe"]["held_against_ns"] == result["probe"]["baseline_ns"] > 0
    blocks = [(turn["name"], turn["block"]) for turn in result["turns"] if turn["block"] < 3]
    assert sorted(blocks) == [(n, b) for n in ("candidate", "reference") for b in range(3)]
    assert [turn["turn"] for turn in result["turns"]] == list(range(len(result["turns"])))
    for name in ("reference", "candidate"):
        samples = np.load(tmp_path / f"{name}.npy")
        assert samples.dtype == np.int64
        assert sorted({block for block in samples[:, 0] if block < 3}) == [0, 1, 2]
        assert (samples[:, 1] > 0).all()
        assert (samples[:, 2] >= 0).all()


def test_the_timed_session_tells_what_it_gives(do, variant, tmp_path):
    _, told = do("outputs", variant())
    rows = np.load(tmp_path / "output-0.npy")[:4]
    _, told = do("time", variant(), plan=QUICK, seed=3)
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    assert told[-1]["outputs"] == {"reference": [digest, digest]}


def test_an_earlier_process_may_have_seen_a_faster_machine(do, variant):
    guard = {"cooldown_s": 0.01, "baseline_ns": 1.0}
    _, told = do("time", variant(), plan=QUICK, seed=3, guard=guard)
    result = told[-1]
    assert result["probe"]["held_against_ns"] == 1.0
    assert [turn["block"] for turn in result["turns"]] == [3, 0, 4, 1, 5, 2]
    assert all("probe" in turn["marks"] for turn in result["turns"])
    assert result["waited_s"] == pytest.approx(0.01)


def test_no_times_are_taken_on_an_emulated_processor(do, variant, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "emulator", lambda _: "QEMU")
    job = {"schema": agent_main.SCHEMA, "action": "time", "out": str(tmp_path), "variants": []}
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert agent_main.main([str(tmp_path / "job.json")]) == 2
    assert capsys.readouterr().err == (
        f"{tmp_path}/job.json: no times are taken on an emulated processor: they say nothing of "
        "any device (found QEMU)\n"
    )
    assert do("outputs", variant())[0] == 0


def test_sustain(do, variant):
    _, told = do("sustain", variant(), sustained={"seconds": 0.1, "window_s": 0.001})
    series = told[-1]["series"]
    assert series
    assert all(row["n"] > 0 and row["p50_ms"] > 0 for row in series)
    assert [line["event"] for line in told[:-1]] == ["progress"] * len(series)


def test_energy(do, variant):
    _, told = do("energy", variant(), sustained={"seconds": 0.05, "window_s": 0.02})
    found = told[-1]["energy"]["reference"]
    assert (found["mj_per_inference"] is None) == ("reason" in found)


def test_a_runtime_that_does_not_load_is_described(do, monkeypatch):
    why = {"loads": False, "why": "import onnxruntime was killed by SIGSEGV"}
    monkeypatch.setattr(runtime, "try_import", lambda: why)
    code, told = do("describe")
    environment = told[0]["environment"]
    assert code == 0
    assert (environment["import"], environment["runtime"]) == (why, None)


def test_optimise_writes_the_graph_back(do, variant, tmp_path):
    target = tmp_path / "optimised.onnx"
    code, told = do("optimise", variant(optimised_to=str(target)))
    assert (code, told) == (0, [{"event": "result"}])
    assert [node.op_type for node in onnx.load(target).graph.node] == ["MatMul"]


def test_describe(do):
    code, told = do("describe")
    assert code == 0
    assert told[0]["environment"]["runtime"] == f"onnxruntime {version('onnxruntime')}"


@pytest.mark.parametrize(
    ("schema", "action"), [("edgetransfer.job/2", "outputs"), ("edgetransfer.job/1", "train")]
)
def test_a_job_of_another_kind(tmp_path, capsys, schema, action):
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"schema": schema, "action": action}))
    assert agent_main.main([str(file)]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error == (
        f"{file}: not a job of this agent: found schema {schema!r}, action {action!r}; "
        "expected 'edgetransfer.job/1' and one of "
        "describe, energy, optimise, outputs, sustain, time\n"
    )


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_usage(capsys, arguments):
    assert agent_main.main(arguments) == 2
    assert capsys.readouterr() == ("", "usage: agent.pyz JOB.json\n")


def test_a_session_is_opened_from_a_file_or_from_bytes(model, rows):
    by_path, by_bytes = OnnxSession(str(model)), OnnxSession(model.read_bytes())
    assert by_path.input_names == by_bytes.input_names == ["x"]
    assert by_path.output_names == ["logits"]
    assert by_path.input_shapes == {"x": ["batch", 4]}
    np.testing.assert_array_equal(*(s.run({"x": rows[0]})[0] for s in (by_path, by_bytes)))


def test_settings_reach_the_runtime(model, monkeypatch):
    import onnxruntime

    seen = {}

    class Spy:
        def __init__(self, source, options, providers):
            seen.update(source=source, options=options, providers=providers)

        def get_inputs(self):
            return []

        get_outputs = get_inputs

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Spy)
    config = {"session.x64quantprecision": "1"}
    OnnxSession(model, threads=3, config=config, provider="Some")
    options = seen["options"]
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.x64quantprecision") == "1"
    assert (seen["source"], seen["providers"]) == (str(model), ["Some"])
