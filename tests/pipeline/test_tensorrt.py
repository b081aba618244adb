"""A bundle for TensorRT from `build` to the report of `bench`, on what stands in for a board."""

import os

import onnx
import pytest
from onnx import TensorProto

import edgetransfer
from edgetransfer.pipeline.bench import target_match
from edgetransfer.pipeline.bench.bench import bench
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.transport import local
from tests.tensorrt_board import MODULES, make_driver

TARGET = "nvidia-rtx"


@pytest.fixture(scope="module")
def bundle(built_for):
    return built_for(TARGET)


@pytest.fixture
def board(monkeypatch, tmp_path):
    """Put a driver and a module `tensorrt` before this machine's, and return the log of builds."""
    make_driver(tmp_path)
    kept = os.environ.get("LD_LIBRARY_PATH", "")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}:{kept}")
    monkeypatch.syspath_prepend(MODULES)
    monkeypatch.setattr(target_match, "_seen_with", target_match._seen_with.__wrapped__)
    monkeypatch.setenv("PYTHONPATH", f"{MODULES}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("EDGETRANSFER_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setenv("TENSORRT_BUILDS", str(tmp_path / "builds"))
    monkeypatch.setattr(local, "KEPT", local.KEPT | {"PYTHONPATH", "TENSORRT_BUILDS"})
    return tmp_path / "builds"


def test_a_jetson_gets_what_it_needs_and_no_32_bit_floats(pictures, cache, built, tmp_path):
    """F: nothing prepared a picture there, no line of trtexec, floats in 32 bits around int8."""
    asked = {"target": TARGET, "precision": "w8a8", "timing": "quick"}
    folder = edgetransfer.build(pictures, out=tmp_path, cache=cache, **asked).folders[TARGET]
    assert (folder / "prepare.onnx").is_file()
    assert "trtexec --onnx=core.onnx" in (folder / "TENSORRT.md").read_text(encoding="utf-8")
    kinds = {each.data_type for each in onnx.load(folder / "core.onnx").graph.initializer}
    assert TensorProto.INT8 in kinds
    assert TensorProto.FLOAT not in kinds


def test_the_report_is_that_of_any_device_and_its_engine_is_built_again(
    bundle, built, pictures, board, tmp_path
):
    report = bench(bundle, DataSpec(source=str(pictures)), tmp_path / "bench", SilentReporter())
    assert set(built.reports["this-machine"]) - {"build"} <= set(report)
    assert report["agreement"]["n"] == 60
    assert report["validity"]["not_the_target"] == []
    assert report["latency"]["candidate"]["p50_ms"] > 0
    gates = {gate["name"]: gate for gate in report["gates"]}
    assert (gates["rebuild"]["status"], gates["rebuild"]["message"]) == (
        "PASS",
        "rebuild: 0 of 60 decisions differ among 3 builds of the engine",
    )
    assert gates["contract"]["status"] == "NOT RUN"
    assert gates["contract"]["message"] == (
        "contract: the runtime there takes prepared tensors alone"
    )
    assert not list(tmp_path.glob("bench/raw/cured*"))
    # One engine of each of the two networks is kept; the candidate's is built twice again.
    assert board.read_text().splitlines() == ["built"] * 4
