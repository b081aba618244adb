"""However the agent ends, the caller gets its result or one clear error."""

import os
import time

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.bundle.agent_archive import pack_agent
from edgetransfer.errors import StageError
from edgetransfer.transport import local
from edgetransfer.transport.job import Job, TimingPlan, Variant

OUTPUTS = Job("outputs", (Variant("reference", "/models/a.onnx"),))


def message(agent, out, job=OUTPUTS):
    with pytest.raises(StageError) as caught:
        local.run(agent, job, out)
    return str(caught.value)


def test_the_result_comes_back_and_progress_on_the_way(agent, out):
    program = agent(
        """
        emit(event="progress", done=1, total=2)
        emit(event="progress", done=2, total=2)
        emit(event="result", load_ms=3.5, deterministic=True)
        """
    )
    told = []
    result = local.run(program, OUTPUTS, out, progress=lambda *line: told.append(line))
    assert result == {"event": "result", "load_ms": 3.5, "deterministic": True}
    assert told == [(1, 2), (2, 2)]


def test_the_job_is_plain_json_and_is_taken_away(agent, out):
    variant = Variant("a", "a.onnx", {"x": ["1.npy"]}, threads=2, config={"k": "v"})
    job = Job("time", (variant,), TimingPlan(blocks=1), seed=9)
    told = local.run(agent("emit(event='result', job=job, file=sys.argv[1])"), job, out)
    assert told["job"] == {
        "schema": "edgetransfer.job/1",
        "out": str(out),
        "action": "time",
        "variants": [
            {
                "name": "a",
                "model": "a.onnx",
                "inputs": {"x": ["1.npy"]},
                "threads": 2,
                "config": {"k": "v"},
                "provider": "CPUExecutionProvider",
                "runtime": "onnxruntime",
                "optimised_to": None,
                "fused": True,
                "batch": 1,
            }
        ],
        "plan": {"blocks": 1, "block_s": 0.0125, "warmup_s": 0.3, "warmup_max_s": 5.0},
        "seed": 9,
        "guard": {"cooldown_s": 0.0, "baseline_ns": None},
        "sustained": {"seconds": 0.0, "window_s": 5.0},
    }
    assert list(out.iterdir()) == []


def test_jobs_side_by_side_end_where_the_run_is_stopped(agent, tmp_path):
    place = local.Local(
        agent("open(job['out'] + '/pid.tmp', 'w').write(str(os.getpid()))\n"
              "os.rename(job['out'] + '/pid.tmp', job['out'] + '/pid')\n"
              "signal.pause()")
    )  # fmt: skip
    files = [tmp_path / name / "pid" for name in ("one", "two")]

    def stopped():
        with place.side_by_side() as pool:
            for file in files:
                file.parent.mkdir()
                pool.submit(place.run, OUTPUTS, file.parent)
            while not all(file.exists() for file in files):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    for file in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


def test_telemetry_is_off(agent, out, monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    program = agent("emit(event='result', set=os.environ['ORT_DISABLE_TELEMETRY'])")
    assert local.run(program, OUTPUTS, out)["set"] == "1"


def test_words_of_libraries_are_no_messages(agent, out):
    program = agent(
        """
        print("loaded 3 kernels")
        print("[1, 2]")
        print()
        emit(event="result", n=1)
        print('{"event": "resu', end="")
        """
    )
    assert local.run(program, OUTPUTS, out) == {"event": "result", "n": 1}


def test_an_agent_that_is_killed(agent, out):
    assert message(agent("os.kill(os.getpid(), signal.SIGKILL)"), out) == (
        "/models/a.onnx: the agent did not finish the job 'outputs'\n  found: killed by SIGKILL."
    )


def test_an_agent_that_is_killed_in_the_middle_of_a_line(agent, out):
    program = agent(
        """
        sys.stderr.write("out of memory")
        sys.stderr.flush()
        print('{"event": "progress", "do', end="", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
        """
    )
    assert message(program, out) == (
        "/models/a.onnx: the agent did not finish the job 'outputs'\n"
        "  found: killed by SIGSEGV. out of memory"
    )


def test_the_last_words_of_an_agent_that_raises(agent, out):
    found = message(agent("raise ValueError('no such input: x')"), out)
    assert found.startswith(
        "/models/a.onnx: the agent did not finish the job 'outputs'\n"
        "  found: exit code 1. Traceback (most recent call last):\n"
    )
    assert found.endswith("\nValueError: no such input: x")


def test_only_the_end_of_a_long_complaint_is_told(agent, out):
    program = agent("sys.stderr.write(''.join(f'line {i}\\n' for i in range(99))); sys.exit(3)")
    assert message(program, out).splitlines()[1:] == [
        "  found: exit code 3. line 91",
        *(f"line {i}" for i in range(92, 99)),
    ]


def test_words_that_are_not_utf8(agent, out):
    program = agent("sys.stderr.buffer.write(b'caf\\xe9'); sys.exit(3)")
    assert message(program, out).endswith("found: exit code 3. caf\ufffd")


def test_an_agent_that_ends_without_a_result(agent, out):
    assert message(agent("emit(event='progress', done=1, total=1)"), out) == (
        "/models/a.onnx: the agent did not finish the job 'outputs'\n"
        "  found: exit code 0, but no result."
    )


def test_a_result_of_an_agent_that_then_fails_does_not_count(agent, out):
    program = agent("emit(event='result'); sys.exit(4)")
    assert message(program, out).endswith("found: exit code 4.")


def test_a_job_without_a_model_names_the_agent(agent, out):
    assert message(agent("sys.exit(5)"), out, Job("describe")) == (
        "agent: the agent did not finish the job 'describe'\n  found: exit code 5."
    )


def test_several_models_are_all_named(agent, out):
    job = Job("time", (Variant("a", "a.onnx"), Variant("b", "b.onnx")))
    assert message(agent("sys.exit(5)"), out, job).startswith("a.onnx, b.onnx: the agent did")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The real agent, and a model that doubles its input."""
    folder = tmp_path_factory.mktemp("packed")
    pack_agent(folder / "agent.pyz")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["logits"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        initializer=[numpy_helper.from_array(np.float32(2), "two")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    (folder / "double.onnx").write_bytes(model.SerializeToString())
    return folder


def test_the_real_agent_gives_logits_and_times(packed, out):
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(out / "x.npy", rows)
    variant = Variant("only", str(packed / "double.onnx"), {"x": str(out / "x.npy")})
    told = []
    result = local.run(
        packed / "agent.pyz", Job("outputs", (variant,)), out, progress=lambda *p: told.append(p)
    )
    assert result["deterministic"] is True
    assert told == [(2, 4), (3, 4), (4, 4)]
    np.testing.assert_array_equal(np.load(out / "output-0.npy"), 2 * rows)
    plan = TimingPlan(blocks=2, block_s=0.001, warmup_s=0.0, warmup_max_s=0.01)
    result = local.run(packed / "agent.pyz", Job("time", (variant,), plan), out)
    assert set(result["warmed_up"]) == {"only"}
    assert {0, 1} <= set(np.load(out / "only.npy")[:, 0])


def test_a_model_that_the_real_agent_cannot_load(packed, out):
    job = Job("optimise", (Variant("only", "/absent.onnx"),))
    found = message(packed / "agent.pyz", out, job)
    assert found.startswith(
        "/absent.onnx: the agent did not finish the job 'optimise'\n  found: exit code 1. "
    )
    assert "/absent.onnx failed" in found.splitlines()[-1]


def test_an_agent_gets_no_variable_that_loads_code(agent, out, monkeypatch, tmp_path):
    """Fault E1: the agent had the whole environment."""
    canary = tmp_path / "canary"
    for module in ("sitecustomize", "usercustomize"):
        (tmp_path / f"{module}.py").write_text(f"open({str(canary)!r}, 'w')\n")
    for name in ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME_", "ORT_LOAD_CONFIG_FROM_MODEL"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/opt/cuda:{tmp_path.name}::.")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    told = local.run(agent("emit(event='result', env=dict(os.environ))"), OUTPUTS, out)["env"]
    families = tuple(local.KEPT_FAMILIES)
    assert {k for k in told if not k.startswith(families)} <= {*local.KEPT, *local.ALWAYS}
    assert (told["OMP_NUM_THREADS"], told["LD_LIBRARY_PATH"]) == ("3", "/opt/cuda")
    assert not canary.exists()
