"""Stands in for TensorRT: an engine is an ONNX file, run by ONNX Runtime where the "GPU" has it."""

import ctypes
import json
import os
import types
from pathlib import Path

import numpy as np

__version__ = "10.13.3.9"
MOST = 8
"""Largest batch that any profile allows."""
flags = []
"""The builder flags of every engine that this process built."""
built = []
"""The shapes of the profile of every engine that this process built."""
_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


class Words:
    """A class whose attributes are whatever is asked of it: enumerations."""

    def __getattr__(self, name):
        return name


BuilderFlag, LayerInformationFormat, LayerType = Words(), Words(), Words()
DeviceType = Words()
float16, float32 = "float16", "float32"
MemoryPoolType, ProfilingVerbosity, TensorIOMode = Words(), Words(), Words()
NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)


class ILogger:
    INTERNAL_ERROR, ERROR = "INTERNAL_ERROR", "ERROR"


class IProgressMonitor:
    pass


def nptype(kind):
    return _TYPES[kind]


class Context:
    def __init__(self, session):
        self._session, self._shapes, self._addresses = session, {}, {}

    def set_input_shape(self, name, shape):
        self._shapes[name] = tuple(shape)
        return shape[0] <= MOST

    def get_tensor_shape(self, name):
        (batch, *_), *_ = self._shapes.values()
        (output,) = self._session.get_outputs()
        return (batch, *output.shape[1:])

    def set_tensor_address(self, name, address):
        self._addresses[name] = address

    def _at(self, name, shape, kind):
        count = int(np.prod(shape)) * np.dtype(kind).itemsize
        held = (ctypes.c_char * count).from_address(self._addresses[name])
        return np.frombuffer(held, kind).reshape(shape)

    def execute_async_v3(self, stream):
        feeds = {
            port.name: self._at(port.name, self._shapes[port.name], _TYPES[port.type])
            for port in self._session.get_inputs()
        }
        (logits,) = self._session.run(None, feeds)
        (output,) = self._session.get_outputs()
        self._at(output.name, logits.shape, _TYPES[output.type])[:] = logits
        return stream == 5


class Engine:
    def __init__(self, plan):
        import onnxruntime

        self._session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        ports = (*self._session.get_inputs(), *self._session.get_outputs())
        self._ports = {port.name: port for port in ports}
        self.num_io_tensors = len(ports)

    def get_tensor_name(self, index):
        return list(self._ports)[index]

    def get_tensor_mode(self, name):
        inputs = [port.name for port in self._session.get_inputs()]
        return "INPUT" if name in inputs else "OUTPUT"

    def get_tensor_dtype(self, name):
        return self._ports[name].type

    def get_tensor_shape(self, name):
        return [size if isinstance(size, int) else -1 for size in self._ports[name].shape]

    def create_execution_context(self):
        return Context(self._session)

    def create_engine_inspector(self):
        told = json.dumps({"Layers": ["product"]})
        return types.SimpleNamespace(get_engine_information=lambda kind: told)


def layer(kind, gives):
    output = types.SimpleNamespace(dtype=gives)
    return types.SimpleNamespace(
        type=kind, num_outputs=1, get_output=lambda _: output, precision=None
    )


class Network:
    num_inputs, model = 1, b""
    layers = ()

    def __init__(self, typed):
        self.typed = typed

    @property
    def num_layers(self):
        return max(1, len(self.layers))

    def get_layer(self, index):
        assert not self.typed
        return self.layers[index] if self.layers else layer("CONVOLUTION", float32)

    def get_input(self, index):
        import onnx

        if self.model.startswith(b"does not"):
            return types.SimpleNamespace(name="x", shape=(-1, 4))
        (port,) = onnx.load_from_string(self.model).graph.input
        sizes = (size.dim_value for size in port.type.tensor_type.shape.dim[1:])
        return types.SimpleNamespace(name=port.name, shape=(-1, *sizes))


class Builder:
    """Gives the ONNX file as the plan."""

    num_DLA_cores = 1

    def __init__(self, log):
        self._log = log

    def create_network(self, flags):
        assert flags in (0, 2)
        return Network(typed=flags == 2)

    def create_builder_config(self):
        config = types.SimpleNamespace(profiles=[], flags=set())
        config.set_flag = config.flags.add
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
        built.append(config.profiles[0].shapes)
        flags.append(config.flags)
        if "TENSORRT_BUILDS" in os.environ:
            with Path(os.environ["TENSORRT_BUILDS"]).open("a") as log:
                log.write("built\n")
        return network.model


class OnnxParser:
    num_errors = 1

    def __init__(self, network, log):
        self._network = network

    def parse_from_file(self, model):
        self._network.model = Path(model).read_bytes()
        return self._network.model != b"does not parse"

    def get_error(self, index):
        told = {"node_operator": "Resize", "node_name": "r", "desc": "no antialias"}
        return types.SimpleNamespace(**{key: lambda text=text: text for key, text in told.items()})


class Runtime:
    def __init__(self, log):
        pass

    def deserialize_cuda_engine(self, plan):
        return Engine(plan)
