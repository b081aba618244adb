"""A session from the engine's bytes to its outputs, on what stands in for a board: see there."""

import ctypes
import importlib
import json
import sys

import numpy as np
import pytest

from edgetransfer.agent.runtimes import Unavailable
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.agent.runtimes.tensorrt.session import Cuda, TensorRtSession
from tests.tensorrt_board import MODULES, make_driver


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    return str(make_driver(tmp_path_factory.mktemp("driver")))


@pytest.fixture
def builds(monkeypatch, tmp_path):
    """A module `tensorrt`, and the profiles of the engines that it built."""
    monkeypatch.syspath_prepend(MODULES)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    module = importlib.import_module("tensorrt")
    monkeypatch.setenv("EDGETRANSFER_ENGINES", str(tmp_path / "engines"))
    yield module.built
    del sys.modules["tensorrt"]  # or this machine would seem to have it in the tests that follow


@pytest.fixture
def opened(builds, driver, model):
    def make(config=None, file=model, **options):
        return TensorRtSession(str(file), config or {}, cuda=Cuda(driver), **options)

    return make


@pytest.mark.parametrize("batch", [1, 5, 2])
def test_outputs_are_those_of_the_model(opened, model, batch):
    x = np.random.default_rng(batch).normal(size=(batch, 4)).astype(np.float32)
    session = opened()
    np.testing.assert_array_equal(session.run({"x": x})[0], OnnxSession(model).run({"x": x})[0])
    assert (session.input_names, session.output_names) == (["x"], ["logits"])


def test_before_10_12_the_types_of_the_graph_are_held(opened, builds, monkeypatch):
    """F: TensorRT 10.3, as JetPack 6 ships it, types weakly: flags allow, constraints hold."""
    trt = sys.modules["tensorrt"]
    monkeypatch.setattr(trt, "__version__", "10.3.0")
    opened({"tensorrt.rebuild": "1"})
    layers = [
        trt.layer("QUANTIZE", "int8"),
        trt.layer("CONSTANT", "float32"),
        trt.layer("CONVOLUTION", "float16"),
        trt.layer("SOFTMAX", "float32"),
    ]
    monkeypatch.setattr(trt.Network, "layers", layers)
    opened({"tensorrt.rebuild": "1"})
    assert trt.flags[-2:] == [set(), {"INT8", "FP16", "OBEY_PRECISION_CONSTRAINTS"}]
    assert [each.precision for each in layers] == [None, None, None, "float32"]


def test_a_core_of_the_accelerator_is_asked_for_by_number(opened, builds):
    opened({"tensorrt.dla": "0"})
    assert sys.modules["tensorrt"].flags[-1] == {"GPU_FALLBACK"}
    with pytest.raises(Unavailable) as caught:
        opened({"tensorrt.dla": "1"})
    assert str(caught.value) == (
        "tensorrt.dla: found 1, expected a core below 1, as many as this machine's TensorRT has"
    )


def test_what_one_call_gave_is_not_changed_by_the_next(opened):
    session = opened()
    first = session.run({"x": np.ones((2, 4), np.float32)})[0]
    kept = first.copy()
    session.run({"x": np.zeros((2, 4), np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_memory_of_the_gpu_grows_and_is_given_back(opened, driver):
    live = ctypes.c_int.in_dll(ctypes.CDLL(driver), "live")
    session, before = opened(), live.value
    for batch in (1, 4, 2, 8):
        session.run({"x": np.zeros((batch, 4), np.float32)})
    assert live.value - before == 2


def test_what_is_copied_lies_in_page_locked_memory(opened, driver):
    """F: the timed call copied from and to pageable memory, which the driver copies once more."""
    pageable = ctypes.c_int.in_dll(ctypes.CDLL(driver), "pageable")
    session, before = opened(), pageable.value
    for batch in (1, 4, 2):
        session.run({"x": np.zeros((batch, 4), np.float32)})
    assert pageable.value == before


def test_arrays_that_are_not_contiguous_or_of_another_type_are_taken(opened, model):
    x = np.arange(24.0).reshape(3, 8)[:, ::2]
    wanted = OnnxSession(model).run({"x": x.astype(np.float32)})[0]
    np.testing.assert_array_equal(opened().run({"x": x})[0], wanted)


def test_the_engine_is_built_once_for_the_sizes_that_were_asked_for(opened, builds):
    first, again = (opened({"tensorrt.batch": "1,2,4"}) for _ in range(2))
    assert builds == [{"x": ((1, 4), (2, 4), (4, 4))}]
    assert (first.built_ms > 0, again.built_ms) == (True, 0.0)


def test_another_model_is_another_engine(opened, builds, tmp_path, model):
    opened()
    other = tmp_path / "other.onnx"
    content = model.read_bytes()
    other.write_bytes(content.replace(b"product", b"another"))
    opened(file=other)
    assert len(builds) == 2


def test_a_rebuild_takes_and_leaves_nothing(opened, builds, tmp_path):
    opened({"tensorrt.rebuild": "1"})
    assert not (tmp_path / "engines").exists()
    opened()
    kept = {each: each.stat().st_mtime_ns for each in (tmp_path / "engines").iterdir()}
    opened({"tensorrt.rebuild": "1"})
    assert len(builds) == 3
    assert {each: each.stat().st_mtime_ns for each in (tmp_path / "engines").iterdir()} == kept


def test_a_damaged_engine_is_built_again(opened, builds, tmp_path):
    opened()
    (plan,) = (tmp_path / "engines").glob("*.plan")
    plan.write_bytes(plan.read_bytes() + b"!")
    opened()
    assert len(builds) == 2


def test_what_was_timed_goes_into_the_next_build(opened, tmp_path):
    opened()
    opened({"tensorrt.tf32": "1"})
    (timings,) = (tmp_path / "engines").glob("timings-*")
    assert timings.read_bytes() == b"++"


def test_progress_is_that_of_the_outermost_phase(opened):
    told = []
    opened(tell=lambda *each: told.append(each))
    assert told == [("Building engine", done, 2) for done in (1, 2, 2)]


def test_what_it_runs_on_is_told(opened):
    facts = opened().facts
    assert (facts["runtime"], facts["gpu"]) == ("tensorrt 10.13.3.9", "Orin")
    assert facts["compute_capability"] == "8.7"
    assert str(facts["driver"]).startswith("CUDA 12.6")


def test_the_layers_are_written_as_the_inspector_tells_them(opened, tmp_path):
    opened(optimised_to=str(tmp_path / "told"))
    assert json.loads((tmp_path / "told").read_text()) == {
        "layers": [{"kind": "layer", "name": "product", "type": "unknown"}]
    }


def test_a_batch_that_the_engine_was_not_built_for_is_refused(opened):
    with pytest.raises(Unavailable) as caught:
        opened().run({"x": np.zeros((9, 4), np.float32)})
    assert str(caught.value) == (
        "input x: found shape [9, 4], which the engine was not built for; widen tensorrt.batch or "
        "tensorrt.length"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"does not parse", "TensorRT does not take {}: Resize r: no antialias"),
        (b"does not build", "TensorRT cannot build {}: no kernel for it"),
    ],
)
def test_a_graph_that_cannot_be_built_is_refused_in_tensorrt_s_words(
    opened, tmp_path, content, words
):
    file = tmp_path / "odd.onnx"
    file.write_bytes(content)
    with pytest.raises(Unavailable) as caught:
        opened(file=file)
    assert str(caught.value) == words.format(file)


def test_the_gpu_is_described(driver):
    gpu = Cuda(driver).gpu()
    assert (gpu["gpu"], gpu["compute_capability"]) == ("Orin", "8.7")
    assert gpu.keys() == {"gpu", "compute_capability", "driver", "power_mode"}


def test_a_machine_without_a_gpu_is_refused(driver, monkeypatch):
    monkeypatch.setenv("STUB_NO_GPU", "1")
    with pytest.raises(Unavailable) as caught:
        Cuda(driver)
    assert str(caught.value) == (
        "the NVIDIA driver refuses cuInit: no CUDA-capable device is detected"
    )


def test_a_machine_without_a_driver_is_refused(tmp_path):
    with pytest.raises(Unavailable, match=r"^no NVIDIA driver on this machine: .*nothing\.so"):
        Cuda(str(tmp_path / "nothing.so"))


def test_memory_that_is_not_there_is_refused(driver):
    with pytest.raises(Unavailable) as caught:
        Cuda(driver).room("x", 1 << 31)
    assert str(caught.value) == "the NVIDIA driver refuses cuMemAlloc_v2: out of memory"
