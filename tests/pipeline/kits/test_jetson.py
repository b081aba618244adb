"""The kit for Jetson, on what stands in for a board: no line of it has run on a real one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from edgetransfer.kits.kit import make_kit
from tests.pipeline.kits.linux import printed
from tests.tensorrt_board import MODULES, make_driver

TARGET = "nvidia-rtx"


@pytest.fixture(scope="module")
def bundle(built_for):
    return built_for(TARGET)


@pytest.fixture
def kit(bundle, tmp_path):
    return make_kit(bundle, "jetson", tmp_path / "kit").folder


@pytest.fixture
def run(kit, tmp_path):
    """Run a program of the kit where a driver and a module `tensorrt` stand in."""
    make_driver(tmp_path)

    def called(*words, board=True):
        there = {
            "LD_LIBRARY_PATH": f"{tmp_path}:{os.environ.get('LD_LIBRARY_PATH', '')}",
            "PYTHONPATH": str(MODULES),
            "EDGETRANSFER_ENGINES": str(tmp_path / "engines"),
            "TENSORRT_BUILDS": str(tmp_path / "builds"),
        }
        return subprocess.run(
            [sys.executable, "-B", *words], cwd=kit, env={**os.environ, **(there if board else {})},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    return called


def test_golden_cases_hold_and_the_engine_is_built_once(kit, run, tmp_path):
    for _ in range(2):
        done = run("check.py")
        assert done.returncode == 0, done.stdout + done.stderr
        assert ", 0 wrong, " in done.stdout
    assert (tmp_path / "builds").read_text().splitlines() == ["built"]
    found = json.loads((kit / "measured.json").read_text())
    assert (found["kit"], found["wrong"]) == ("jetson", [])
    assert found["runtime"].startswith("tensorrt ")
    assert len(found["milliseconds"]) == 50


def test_what_a_jetson_gives_is_judged(kit, run, bundle, command):
    assert run("check.py").returncode == 0
    code, out, err = command("report", bundle, "--measured", kit / "measured.json")
    assert code == 0, out + err


def test_the_code_of_the_readme_runs(kit, run):
    shutil.copyfile(kit / "golden" / "turned.jpg", kit / "photo.jpg")
    done = run("-c", printed(kit, "python"))
    assert done.returncode == 0, done.stderr
    line = run("run.py", "photo.jpg").stdout
    assert line.split("\t")[1].split()[0] == done.stdout.split()[0]


def test_another_thread_may_ask(kit, run):
    """As those of a server do; the GPU's context is of the thread that made it."""
    code = (
        "import threading; from edge_model import EdgeModel; m = EdgeModel('model');"
        "t = threading.Thread(target=lambda: print(m.classify('golden/00.png')));"
        "t.start(); t.join()"
    )
    assert run("-c", code).stdout.startswith("Classified(labels=[Label(")


def test_a_network_that_is_another_fails(kit, run):
    network = onnx.load(kit / "model" / "core.onnx")
    for each in network.graph.initializer:
        array = numpy_helper.to_array(each)
        if array.dtype.kind == "f":
            each.CopyFrom(numpy_helper.from_array(array * 0, each.name))
    onnx.save(network, kit / "model" / "core.onnx")
    done = run("check.py")
    assert done.returncode == 1
    assert done.stdout.startswith("model 00: logits are off by ")


def test_without_tensorrt_one_line_says_what_is_missing(run):
    done = run("check.py", board=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "tensorrt" in done.stderr.lower()


def test_a_bundle_for_another_runtime_is_refused(picture_bundle, command):
    code, _, err = command("export", picture_bundle, "--for", "jetson")
    assert code == 6
    assert err.startswith(
        f"error: {picture_bundle}: this kit runs TensorRT, and the bundle is for "
    )


def test_the_kit_for_linux_takes_the_same_bundle(bundle, tmp_path):
    kit = make_kit(bundle, "linux", tmp_path / "linux").folder
    done = subprocess.run(
        [sys.executable, "-B", kit / "check.py"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_unit_is_one_that_systemd_takes(kit, tmp_path):
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "edge-model.service"
    text = (kit / "edge-model.service").read_text()
    unit.write_text(text.replace("/opt/edge-model/.venv/bin/python", sys.executable))
    done = subprocess.run([tool, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_it_is_twice(kit):
    assert not {"cpp", "__init__.py"} & {each.name for each in Path(kit).iterdir()}
