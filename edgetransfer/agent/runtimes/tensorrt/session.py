"""Runs an ONNX file with TensorRT on the first GPU, and tells its layers.

An engine is kept on the device that built it: it holds code, and none comes from elsewhere.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from edgetransfer.agent.runtimes import Arrays, Session, Tell, Unavailable, quiet
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.agent.runtimes.tensorrt import build
from edgetransfer.agent.runtimes.tensorrt.build import settings_from
from edgetransfer.agent.system import ask, read_text

FOLDER = "EDGETRANSFER_ENGINES"
"""Environment variable that names the folder."""
_DIGITS = 16
Key = Mapping[str, str]
"""What an engine is bound to; its `model` is the digest of the ONNX file."""


def folder_of(environment: Mapping[str, str]) -> Path:
    """Return where engines are kept."""
    if environment.get(FOLDER):
        return Path(environment[FOLDER])
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "edgetransfer" / "engines"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _name(key: Key) -> str:
    return _digest(json.dumps(dict(key), sort_keys=True).encode())[:_DIGITS]


def _write(file: Path, content: bytes) -> None:
    """Write a whole file or none."""
    handle, partial = tempfile.mkstemp(dir=str(file.parent))
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    Path(partial).replace(file)


class EngineCache:
    """Engines in a folder of this user alone; `Unavailable` where others may write to it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            raise Unavailable(
                "%s: engines are code, and others than this user can write there; "
                "chmod 700 it, or name another folder in %s" % (folder, FOLDER)
            )
        self._folder = folder

    def _files(self, key: Key) -> "tuple[Path, Path]":
        stem = "%s-%s" % (key["model"][:_DIGITS], _name(key))
        return self._folder / (stem + ".plan"), self._folder / (stem + ".json")

    def take(self, key: Key) -> Optional[bytes]:
        """Return the engine of a key; None where there is none, or it is not whole."""
        plan, record = self._files(key)
        try:
            content, told = plan.read_bytes(), json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = told.get("key") == dict(key) and told.get("sha256") == _digest(content)
        return content if whole else None

    def keep(self, key: Key, plan: bytes) -> None:
        """Keep an engine, and drop those of the same model and settings that are stale now."""
        for old in self._folder.glob(key["model"][:_DIGITS] + "-*.json"):
            if self._is_stale(old, key):
                old.with_suffix(".plan").unlink(missing_ok=True)
                old.unlink(missing_ok=True)
        file, record = self._files(key)
        _write(file, plan)
        told = {"key": dict(key), "sha256": _digest(plan)}
        _write(record, json.dumps(told, indent=1, sort_keys=True).encode())

    def _is_stale(self, record: Path, key: Key) -> bool:
        """Tell whether a record is of the same model and settings, for another machine state."""
        try:
            told = json.loads(record.read_text(encoding="utf-8"))["key"]
        except (OSError, ValueError, KeyError):
            return True
        same = all(told.get(part) == key[part] for part in ("model", "settings"))
        return same and told != dict(key)

    def _timings(self, key: Key) -> Path:
        device = {part: text for part, text in key.items() if part not in ("model", "settings")}
        return self._folder / ("timings-%s.cache" % _name(device))

    def timings(self, key: Key) -> bytes:
        """Return what earlier builds timed on the same device and version."""
        try:
            return self._timings(key).read_bytes()
        except OSError:
            return b""

    def keep_timings(self, key: Key, content: bytes) -> None:
        """Keep what builds timed."""
        _write(self._timings(key), content)


_KINDS = (
    ("convolution", ("convolution", "correlation")),
    ("gemm", ("gemm", "matrix_multiply", "matrixmultiply")),
)
"""How versions call what multiplies by weights, by the layer's type."""
_FUSED = ("myelin", "kgen", "runtime_fusion", "foreignnode")
"""Types of layers that were made of several: what is inside, their names say."""
_INSIDE = (("convolution", re.compile("Conv(?!e)")), ("gemm", re.compile("Fc|Gemm|MatMul")))
_TYPES = (("int8", "int8"), ("half", "fp16"), ("fp16", "fp16"), ("bf16", "bf16"), ("fp8", "fp8"))


def layers(told: Mapping[str, Any]) -> Iterator[Dict[str, str]]:
    """Yield what multiplies by weights in an engine, as `runtimes` describes it.

    Told are ``{"Layers": [...]}``, each layer with its tensors' types (profiling verbosity
    ``DETAILED``); where names alone were kept, every layer counts, as unknown.
    """
    for layer in told["Layers"]:
        details = {"Name": layer} if isinstance(layer, str) else layer
        kind = _kind(details)
        if kind is not None:
            name = str(details.get("Name", ""))
            yield {"kind": kind, "name": name, "type": _type_of(details)}


def _kind(details: Mapping[str, Any]) -> Optional[str]:
    """Return what a layer multiplies by, None where it does not."""
    name = str(details.get("Name", ""))
    words = f"{details.get('ParameterType', '')} {details.get('LayerType', '')}".lower()
    if not words.strip():
        return "layer"
    for kind, called in _KINDS:
        if any(each in words for each in called):
            return kind
    if any(each in words for each in _FUSED):
        return next((kind for kind, inside in _INSIDE if inside.search(name)), None)
    return None


def _type_of(details: Mapping[str, Any]) -> str:
    """Return the type that a layer computes in, which is that of what it takes."""
    taken = next(iter(details.get("Inputs", ())), None)
    if not isinstance(taken, dict):
        return "unknown"
    words = str(taken.get("Format/Datatype", taken.get("Datatype", ""))).lower()
    return next((name for word, name in _TYPES if word in words), "fp32")


Rooms = Dict[str, Tuple[int, int]]
"""Address and size of what is kept for a name."""
DRIVER = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_DRIVER_FILES = ("/proc/driver/nvidia/version", "/etc/nv_tegra_release")


class Cuda:
    """The first GPU, its primary context and one stream, by ctypes on the driver's own library.

    `Unavailable` without driver or GPU.
    """

    def __init__(self, library: str = DRIVER) -> None:
        try:
            self._cuda = ctypes.CDLL(library)
        except OSError as error:
            raise Unavailable("no NVIDIA driver on this machine: %s" % error) from error
        self._call("cuInit", ctypes.c_uint(0))
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(0))
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)
        self._stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(self._stream), ctypes.c_uint(0))
        self._rooms: Rooms = {}
        self._pinned: Rooms = {}

    def _call(self, name: str, *arguments: Any) -> None:  # noqa: ANN401 (what that function of the driver takes)
        code = getattr(self._cuda, name)(*arguments)
        if code != 0:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(ctypes.c_int(code), ctypes.byref(text))
            words = (text.value or b"error %d" % code).decode("ascii", "replace")
            raise Unavailable("the NVIDIA driver refuses %s: %s" % (name, words))

    @property
    def stream(self) -> int:
        """Return the handle of the stream."""
        return self._stream.value or 0

    def gpu(self) -> Dict[str, str]:
        """Describe the GPU, as far as an engine is bound to it.

        `gpu` is its name by the driver, the compute capability like ``8.7``; `driver` the newest
        CUDA that it serves, and its own build where the system tells; `power_mode` a Jetson's
        (nvpmodel), empty elsewhere.
        """
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, ctypes.c_int(256), self._device)
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        cuda = "CUDA %d.%d" % (version.value // 1000, version.value % 1000 // 10)
        capability = "%d.%d" % (self._attribute(_MAJOR), self._attribute(_MINOR))
        told = [cuda, *((read_text(file) or "").partition("\n")[0] for file in _DRIVER_FILES)]
        driver = "; ".join(each.strip() for each in told if each)
        return {
            "gpu": name.value.decode("utf-8", "replace"),
            "compute_capability": capability,
            "driver": driver,
            "power_mode": " ".join((ask(["nvpmodel", "-q"]) or "").split()),
        }

    def _attribute(self, which: int) -> int:
        number = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(number), ctypes.c_int(which), self._device)
        return number.value

    def room(self, name: str, size: int) -> int:
        """Return the address of at least `size` bytes on the GPU that are kept for a name."""
        return self._held(self._rooms, name, size, "cuMemAlloc_v2", "cuMemFree_v2")

    def _held(self, kept: Rooms, name: str, size: int, take: str, free: str) -> int:
        address, held = kept.get(name, (0, 0))
        if held < size:
            if address:
                self._call(free, ctypes.c_uint64(address))
            found = ctypes.c_uint64()
            self._call(take, ctypes.byref(found), ctypes.c_size_t(size))
            address = found.value
            kept[name] = (address, size)
        return address

    def pinned(
        self, name: str, shape: "tuple[int, ...]", kind: "np.dtype[Any]"
    ) -> np.ndarray[Any, Any]:
        """Return an array [shape] in page-locked memory of the host that is kept for a name.

        The GPU reads and writes such memory by itself; from pageable memory the driver copies
        piece by piece through a buffer of its own (CUDA C++ Best Practices Guide, Pinned Memory).
        """
        size = max(1, int(np.prod(shape)) * kind.itemsize)
        address = self._held(self._pinned, name, size, "cuMemAllocHost_v2", "cuMemFreeHost")
        buffer: Any = (ctypes.c_char * size).from_address(address)
        return np.frombuffer(buffer, kind, count=int(np.prod(shape))).reshape(shape)

    def send(self, address: int, array: np.ndarray[Any, Any]) -> None:
        """Copy a contiguous array to the GPU, in the order of the stream."""
        source = ctypes.c_void_p(array.ctypes.data)
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), source, size, self._stream)

    def fetch(self, array: np.ndarray[Any, Any], address: int) -> None:
        """Fill a contiguous array from the GPU, in the order of the stream."""
        target = ctypes.c_void_p(array.ctypes.data)
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyDtoHAsync_v2", target, ctypes.c_uint64(address), size, self._stream)

    def wait(self) -> None:
        """Wait until all that was put on the stream is done."""
        self._call("cuStreamSynchronize", self._stream)


class TensorRtSession:
    """A model file as an engine of this GPU, for ``TensorRT`` or ``TensorRT-RTX``.

    Entries of the config that begin with ``tensorrt.`` are read; `optimised_to` gets the layers, as
    the engine's inspector tells them, `tell` the progress of a build; without `cuda` the first GPU
    is opened. `Unavailable` without TensorRT or a GPU, or for a graph that it does not build.
    """

    def __init__(
        self,
        model: str,
        config: Mapping[str, str],
        provider: str = "TensorRT",
        *,
        optimised_to: Optional[str] = None,
        tell: Optional[Tell] = None,
        cuda: Optional[Cuda] = None,
    ) -> None:
        settings = settings_from(config)
        trt = build.load(provider, settings.at_least)
        self._cuda = cuda or Cuda()
        name = trt.__name__.partition("_bindings")[0]
        told = {"runtime": "%s %s" % (name, trt.__version__), **self._cuda.gpu()}
        file = {"model": _digest(Path(model).read_bytes()), "settings": repr(tuple(settings))}
        key: Key = {**told, **file}
        self.facts: Mapping[str, object] = {**told, "provider": provider}
        self.built_ms = 0.0
        self._log = build.logger(trt)
        self._runtime = trt.Runtime(self._log)  # an engine must not outlive it
        cache = None if settings.rebuild else EngineCache(folder_of(os.environ))
        plan = None if cache is None else cache.take(key)  # None too of a kept one that cannot load
        kept = None if plan is None else self._runtime.deserialize_cuda_engine(plan)
        make = partial(build.build, trt, model, settings, tell=tell or quiet)
        self._engine = kept or self._built(make, model, key, cache)
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self.input_names = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        self.output_names = [name for name in names if modes[name] == trt.TensorIOMode.OUTPUT]
        self._types = {name: trt.nptype(self._engine.get_tensor_dtype(name)) for name in names}
        if optimised_to is not None:
            inspector = self._engine.create_engine_inspector()
            inspector.execution_context = self._context
            seen = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
            written = json.dumps({"layers": list(layers(seen))})
            Path(optimised_to).write_text(written, encoding="utf-8")

    def _built(
        self, make: Callable[..., build.Built], model: str, key: Key, cache: Optional[EngineCache]
    ) -> Any:  # noqa: ANN401
        start = time.perf_counter_ns()
        built = make(timings=None if cache is None else cache.timings(key))
        self.built_ms = (time.perf_counter_ns() - start) / 1e6
        engine = self._runtime.deserialize_cuda_engine(built.plan)
        if engine is None:
            raise Unavailable(
                "TensorRT built %s, and does not load what it built: %s"
                % (model, build.last(self._log.words))
            )
        if cache is not None:
            cache.keep(key, built.plan)
            if built.timings:
                cache.keep_timings(key, built.timings)
        return engine

    def ports(self) -> Dict[str, List[Dict[str, Any]]]:
        """Return name, type and shape of every input and output; -1 is a size of any batch."""
        return {
            key: [
                {
                    "name": name,
                    "type": str(np.dtype(self._types[name])),
                    "shape": [int(size) for size in self._engine.get_tensor_shape(name)],
                }
                for name in names
            ]
            for key, names in (("inputs", self.input_names), ("outputs", self.output_names))
        }

    def run(self, inputs: Arrays) -> List[np.ndarray[Any, Any]]:
        """Return all outputs for one batch of inputs, by name; copies to and fro included.

        What goes to the GPU and comes from it lies in page-locked memory; the outputs are copied
        out of it, since the next call writes there again.
        """
        for name in self.input_names:
            given = np.asarray(inputs[name])
            if not self._context.set_input_shape(name, given.shape):
                raise Unavailable(
                    "input %s: found shape %s, which the engine was not built for; widen "
                    "tensorrt.batch or tensorrt.length" % (name, list(given.shape))
                )
            array = self._cuda.pinned(name, given.shape, np.dtype(self._types[name]))
            array[...] = given
            address = self._cuda.room(name, array.nbytes)
            self._cuda.send(address, array)
            self._context.set_tensor_address(name, address)
        outputs = []
        for name in self.output_names:
            shape = tuple(self._context.get_tensor_shape(name))
            array = self._cuda.pinned(name, shape, np.dtype(self._types[name]))
            self._context.set_tensor_address(name, self._cuda.room(name, array.nbytes))
            outputs.append(array)
        if not self._context.execute_async_v3(self._cuda.stream):
            raise Unavailable("TensorRT fails to run: %s" % build.last(self._log.words))
        for name, array in zip(self.output_names, outputs):
            self._cuda.fetch(array, self._cuda.room(name, array.nbytes))
        self._cuda.wait()
        return [array.copy() for array in outputs]


def open_session(variant: Mapping[str, Any], tell: Tell) -> Session:
    """Open the model of a variant; an engine of what is no file would say nothing of a device."""
    if isinstance(variant["model"], bytes):
        return OnnxSession(variant["model"])
    return TensorRtSession(
        variant["model"],
        variant["config"],
        variant["provider"],
        optimised_to=variant.get("optimised_to"),
        tell=tell,
    )
