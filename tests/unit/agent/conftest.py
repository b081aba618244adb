"""A tiny ONNX file, jobs for the agent, and machines that are nothing but their files."""

import fnmatch
import json
import os
import platform
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.agent import machine
from edgetransfer.agent import main as agent_main
from edgetransfer.agent.system import System


@pytest.fixture(scope="session")
def weight():
    return np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def model(tmp_path_factory, weight):
    """``logits = x @ weight``, x float32 [N, 4]."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["logits"], name="product")],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        initializer=[numpy_helper.from_array(weight, "weight")],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    whole.ir_version = 10
    file = tmp_path_factory.mktemp("model") / "tiny.onnx"
    file.write_bytes(whole.SerializeToString())
    return file


@pytest.fixture
def rows(tmp_path):
    """Five examples: the array and its file."""
    array = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    return array, str(tmp_path / "x.npy")


@pytest.fixture
def variant(model, rows):
    def make(name="reference", **fields):
        plain = {
            "name": name,
            "model": str(model),
            "inputs": {"x": rows[1]},
            "threads": 1,
            "config": {},
            "provider": "CPUExecutionProvider",
            "runtime": "onnxruntime",
        }
        return {**plain, **fields}

    return make


@pytest.fixture
def do(tmp_path, capsys):
    """Do one job in this process; returns the exit code and the lines that were told."""

    def run(action, *variants, **fields):
        guard = {"cooldown_s": 0.0, "baseline_ns": None}
        job = {"schema": agent_main.SCHEMA, "action": action, "out": str(tmp_path), "guard": guard}
        file = tmp_path / "job.json"
        file.write_text(json.dumps({**job, "variants": variants, **fields}))
        code = agent_main.main([str(file)])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.fixture(scope="session")
def system():
    """Make a machine that is nothing but these files, and programs by their first word."""

    def make(files, programs=None):
        def find(pattern):
            parts = {"/".join(file.split("/")[: pattern.count("/") + 1]) for file in files}
            return sorted(part for part in parts if fnmatch.fnmatch(part, pattern))

        return System(files.get, find, lambda command: (programs or {}).get(command[0]))

    return make


@pytest.fixture
def linux(monkeypatch):
    """Answer as a Linux machine of four cores does, with little to do."""
    monkeypatch.setattr(machine, "emulator", lambda _: None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.25, 0.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(platform, "processor", lambda: "unnamed")
