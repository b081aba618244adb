"""A session from the engine's bytes to its outputs.

There is no GPU in CI, so two things stand in for NVIDIA's: a driver library compiled from the C
below, whose "GPU memory" is the heap, reached by the same ctypes calls; and a module `tensorrt`
whose engines are ONNX files that ONNX Runtime runs on those addresses. What they show is that
shapes, addresses, copies, the cache and the messages are right; not that TensorRT is.
"""

import ctypes
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.agent.cuda_driver import Cuda, Gpu
from edgetransfer.agent.session import OnnxSession, Unavailable
from edgetransfer.agent.tensorrt_session import TensorRtSession

DRIVER = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
int live = 0;
int cuInit(unsigned flags) { return getenv("STUB_NO_GPU") ? 100 : 0; }
int cuGetErrorString(int code, const char **text) {
  *text = code == 100 ? "no CUDA-capable device is detected" : "out of memory"; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &live; return 0; }
int cuCtxSetCurrent(void *context) { return context == &live ? 0 : 201; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)0x5; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Orin", size); return 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
  *value = which == 75 ? 8 : which == 76 ? 7 : -1; return 0; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
  if (size > (1u << 30)) return 2;
  live++; *address = (uint64_t)malloc(size); return 0; }
int cuMemFree_v2(uint64_t address) { live--; free((void *)address); return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
  memcpy((void *)to, from, size); return stream == (void *)0x5 ? 0 : 400; }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
  memcpy(to, (void *)from, size); return stream == (void *)0x5 ? 0 : 400; }
int cuStreamSynchronize(void *stream) { return stream == (void *)0x5 ? 0 : 400; }
"""


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to make a driver that stands in with")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(DRIVER)
    library = folder / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "driver.c"], check=True)
    return str(library)


class Words:
    """A class whose attributes are whatever is asked of it: enumerations."""

    def __getattr__(self, name):
        return name


class FakeContext:
    def __init__(self, session):
        self._session, self._shapes, self._addresses = session, {}, {}

    def set_input_shape(self, name, shape):
        self._shapes[name] = tuple(shape)
        return shape[0] <= 8

    def get_tensor_shape(self, name):
        return (*self._shapes["x"][:-1], 3)

    def set_tensor_address(self, name, address):
        self._addresses[name] = address

    def _at(self, name, shape):
        kind = ctypes.c_float * int(np.prod(shape))
        return np.frombuffer(kind.from_address(self._addresses[name]), np.float32).reshape(shape)

    def execute_async_v3(self, stream):
        (logits,) = self._session.run({"x": self._at("x", self._shapes["x"])})
        self._at("logits", logits.shape)[:] = logits
        return stream == 5


class FakeEngine:
    num_io_tensors = 2

    def __init__(self, plan):
        self._session = OnnxSession(plan)

    def get_tensor_name(self, index):
        return ("x", "logits")[index]

    def get_tensor_mode(self, name):
        return "INPUT" if name == "x" else "OUTPUT"

    def get_tensor_dtype(self, name):
        return "FLOAT"

    def create_execution_context(self):
        return FakeContext(self._session)

    def create_engine_inspector(self):
        told = json.dumps({"Layers": ["product"]})
        return types.SimpleNamespace(get_engine_information=lambda kind: told)


class FakeNetwork:
    num_inputs, num_layers, model = 1, 1, b""

    def get_input(self, index):
        return types.SimpleNamespace(name="x", shape=(-1, 4))


class FakeBuilder:
    """Gives the ONNX file as the plan; `built` takes the shapes of every engine's profile."""

    built = None

    def __init__(self, log):
        self._log = log

    def create_network(self, flags):
        assert flags == 2
        return FakeNetwork()

    def create_builder_config(self):
        config = types.SimpleNamespace(profiles=[])
        config.set_memory_pool_limit = config.clear_flag = lambda *_: None
        config.set_timing_cache = lambda *_: None
        config.add_optimization_profile = config.profiles.append
        config.create_timing_cache = lambda held: types.SimpleNamespace(
            serialize=lambda: held + b"+"
        )
        return config

    def create_optimization_profile(self):
        profile = types.SimpleNamespace(shapes={})
        profile.set_shape = lambda name, *shapes: profile.shapes.update({name: shapes})
        return profile

    def build_serialized_network(self, network, config):
        if network.model == b"does not build":
            self._log.log("ERROR", "no kernel for it")
            return None
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Inner", "Building engine", 9)
        for step in range(2):
            monitor.step_complete("Inner", step)
            assert monitor.step_complete("Building engine", step)
        monitor.phase_finish("Building engine")
        self.built.append(config.profiles[0].shapes)
        return network.model


class FakeParser:
    num_errors = 1

    def __init__(self, network, log):
        self._network = network

    def parse_from_file(self, model):
        self._network.model = Path(model).read_bytes()
        return self._network.model != b"does not parse"

    def get_error(self, index):
        told = {"node_operator": "Resize", "node_name": "r", "desc": "no antialias"}
        return types.SimpleNamespace(**{key: lambda text=text: text for key, text in told.items()})


class FakeRuntime:
    def __init__(self, log):
        pass

    def deserialize_cuda_engine(self, plan):
        return FakeEngine(plan)


@pytest.fixture
def builds(monkeypatch, tmp_path):
    """A module `tensorrt`, and the profiles of the engines that it built."""
    names = ("BuilderFlag", "LayerInformationFormat", "MemoryPoolType", "ProfilingVerbosity")
    module = types.SimpleNamespace(
        __name__="tensorrt",
        __version__="10.13.3.9",
        NetworkDefinitionCreationFlag=types.SimpleNamespace(STRONGLY_TYPED=1),
        Builder=FakeBuilder,
        OnnxParser=FakeParser,
        ILogger=type("ILogger", (), {"INTERNAL_ERROR": "INTERNAL_ERROR", "ERROR": "ERROR"}),
        IProgressMonitor=type("IProgressMonitor", (), {}),
        Runtime=FakeRuntime,
        nptype=lambda kind: np.float32,
        TensorIOMode=Words(),
        **{name: Words() for name in names},
    )
    monkeypatch.setattr(FakeBuilder, "built", [])
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setenv("EDGETRANSFER_ENGINES", str(tmp_path / "engines"))
    return FakeBuilder.built


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


def test_memory_of_the_gpu_grows_and_is_given_back(opened, driver):
    live = ctypes.c_int.in_dll(ctypes.CDLL(driver), "live")
    session, before = opened(), live.value
    for batch in (1, 4, 2, 8):
        session.run({"x": np.zeros((batch, 4), np.float32)})
    assert live.value - before == 2


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


def test_the_inspector_s_words_are_written(opened, tmp_path):
    opened(optimised_to=str(tmp_path / "told"))
    assert json.loads((tmp_path / "told").read_text()) == {"Layers": ["product"]}


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
    assert (gpu.name, gpu.compute_capability) == ("Orin", "8.7")
    assert isinstance(gpu, Gpu)


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
