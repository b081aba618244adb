"""Runs an ONNX file with TensorRT, and tells its layers.

An engine is kept on the device that built it: it holds code, and none comes from elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

import numpy as np

from edgetransfer.agent.runtimes import Arrays, Session, Tell, Unavailable, quiet
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.agent.runtimes.tensorrt import build
from edgetransfer.agent.runtimes.tensorrt.build import settings_from
from edgetransfer.agent.runtimes.tensorrt.cuda_driver import Cuda

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
