"""Builds a TensorRT engine, as the config of a session asks for it, from a typed ONNX file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from edgetransfer.agent.runtimes import Tell, Unavailable, quiet, version_of

if TYPE_CHECKING:
    from types import ModuleType

PROVIDERS: Dict[str, Tuple[str, ...]] = {
    "TensorRT": ("tensorrt", "tensorrt_bindings"),
    "TensorRT-RTX": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
"""What its sessions may run on, and the Python modules that may bring it."""
Range = Tuple[int, int, int]
"""Least, usual and largest size of a free axis."""
_PREFIX = "tensorrt."


class Settings(NamedTuple):
    """What an engine is built for, beside the graph: least, usual and largest sizes of free axes.

    A batch is the first axis, a length any other (tokens of a text). With `tf32` 32-bit products
    may be rounded to 10 bits: not where numbers are compared. The builder searches for as long as
    its level, 0 to 5, says; `at_least` is the oldest version taken, None for the oldest that we
    know to do. A compute capability, as ``8.9``, is built for without its GPU, which only
    TensorRT-RTX can. The core `dla` of the deep learning accelerator takes what it can, the GPU the
    rest: TensorRT 10.7 and older on JetPack, 11.4.1 and newer on AGX Orin. With `rebuild` above 0
    nothing that an earlier build left is used, and nothing kept: to see whether builds agree.
    """

    batch: Range = (1, 1, 8)
    length: Range = (1, 64, 512)
    tf32: bool = False
    optimisation_level: int = 3
    workspace_mib: int = 1024
    at_least: Optional[str] = None
    compute_capability: Optional[str] = None
    dla: Optional[int] = None
    rebuild: int = 0


def settings_from(entries: Mapping[str, str]) -> Settings:
    """Read the entries of a session's config that begin with ``tensorrt.``; `Unavailable` if wrong.

    >>> settings_from({"tensorrt.batch": "1,4,16", "tensorrt.tf32": "1"}).batch
    (1, 4, 16)
    """
    found = {}
    for key, text in entries.items():
        if not key.startswith(_PREFIX):
            continue
        name = key[len(_PREFIX) :]
        if name not in _READERS:
            known = ", ".join(_PREFIX + each for each in Settings._fields)
            raise Unavailable("no such setting: found %r, expected one of %s" % (key, known))
        read, wanted = _READERS[name]
        try:
            found[name] = read(text)
        except ValueError as error:
            raise Unavailable("%s: found %r, expected %s" % (key, text, wanted)) from error
    return Settings(**found)


def _range(text: str) -> Range:
    least, usual, most = (int(each) for each in text.split(","))
    if not 1 <= least <= usual <= most:
        raise ValueError
    return least, usual, most


_RANGE = (_range, "three rising sizes: 1,1,8")
_READERS: Mapping[str, Tuple[Callable[[str], Any], str]] = {
    "batch": _RANGE,
    "length": _RANGE,
    "tf32": (lambda text: bool(("0", "1").index(text)), "0 or 1"),
    "optimisation_level": (int, "a number from 0 to 5"),
    "workspace_mib": (int, "a number of MiB"),
    "at_least": (str, "a version"),
    "compute_capability": (str, "a compute capability: 8.9"),
    "dla": (int, "the number of a core: 0"),
    "rebuild": (int, "a number"),
}


_OLDEST = {"TensorRT": "10.0", "TensorRT-RTX": "1.2"}
_STRONGLY_TYPED = (10, 12)
"""Before TensorRT 10.12, strongly typed networks lack much (NVIDIA's release notes); JetPack 6
ships 10.3, JetPack 7.0 and 7.1 ship 10.13."""
INSTALL = {
    "TensorRT": (
        "on a Jetson: sudo apt-get install python3-libnvinfer (the TensorRT of its JetPack; the "
        "wheels of `pip install tensorrt` are for PCs and servers); elsewhere: pip install tensorrt"
    ),
    "TensorRT-RTX": "pip install tensorrt-rtx",
}
_WORDS = 4
"""Messages of TensorRT that are quoted when a build fails."""


def load(provider: str, at_least: Optional[str] = None) -> ModuleType:
    """Import TensorRT or TensorRT-RTX; `Unavailable` where it does not load, or is too old."""
    wanted = at_least or _OLDEST[provider]
    causes: List[str] = []
    for name in PROVIDERS[provider]:
        try:
            trt = importlib.import_module(name)
        except (ImportError, OSError) as error:
            causes.append("%s: %s" % (name, error))
            continue
        if version_of(trt.__version__) < version_of(wanted):
            raise Unavailable(
                "%s %s is too old: expected %s or newer; on a Jetson TensorRT comes with JetPack: "
                "update that, or build for the target of the JetPack that is there; elsewhere: "
                "pip install --upgrade %s"
                % (provider, trt.__version__, wanted, PROVIDERS[provider][0].replace("_", "-"))
            )
        return trt
    raise Unavailable(
        "%s cannot be loaded here (%s); %s" % (provider, "; ".join(causes), INSTALL[provider])
    )


def logger(trt: Any) -> Any:  # noqa: ANN401
    """Return a logger that keeps what went wrong instead of printing it."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.words: List[str] = []

        def log(self, severity: Any, text: str) -> None:  # noqa: ANN401
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.words.append(text)

    return Log()


def _monitor(trt: Any, tell: Tell) -> Any:  # noqa: ANN401
    """Return a progress monitor that tells of the outermost phase."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: Dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: Optional[str], num_steps: int) -> None:
            if not parent_phase:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._steps:
                tell(phase_name, min(step + 1, self._steps[phase_name]), self._steps[phase_name])
            return True  # False would cancel

        def phase_finish(self, phase_name: str) -> None:
            steps = self._steps.pop(phase_name, 0)
            if steps:
                tell(phase_name, steps, steps)

    return Monitor()


class Built(NamedTuple):
    """An engine as bytes, and what the builder timed on the way."""

    plan: bytes
    timings: bytes
    layers: int


def build(
    trt: Any,  # noqa: ANN401
    model: str,
    settings: Settings,
    timings: Optional[bytes] = None,
    tell: Tell = quiet,
) -> Built:
    """Build an engine; the graph alone says which type every tensor has.

    Strong typing is a flag from TensorRT 10.12 and all there is in 11. Before 10.12 the types of
    the graph are held as constraints (`_hold_types`): what 11 removed is touched there alone.
    Timings are those of an earlier build on the same device, nothing at first; None where they are
    not to be kept: TensorRT-RTX makes none. `Unavailable` quotes what TensorRT says of a graph.
    """
    log = logger(trt)
    builder = trt.Builder(log)
    is_rtx = hasattr(trt, "ComputeCapability")
    typed = is_rtx or version_of(trt.__version__) >= _STRONGLY_TYPED
    flag = int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(1 << flag if typed else 0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(model):
        raise Unavailable("TensorRT does not take %s: %s" % (model, _complaints(parser, log)))
    config = _configured(trt, builder, settings)
    if not typed:
        _hold_types(trt, network, config)
    profile = builder.create_optimization_profile()
    if _set_shapes(network, profile, settings):
        config.add_optimization_profile(profile)
    cache = None
    if timings is not None and not is_rtx:
        cache = config.create_timing_cache(timings)
        config.set_timing_cache(cache, False)
    config.progress_monitor = _monitor(trt, tell)
    layers = int(network.num_layers)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Unavailable("TensorRT cannot build %s: %s" % (model, last(log.words)))
    return Built(bytes(plan), b"" if cache is None else bytes(cache.serialize()), layers)


def _configured(trt: Any, builder: Any, settings: Settings) -> Any:  # noqa: ANN401
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    config.builder_optimization_level = settings.optimisation_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not settings.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.compute_capability is not None:
        config.num_compute_capabilities = 1
        name = "SM" + settings.compute_capability.replace(".", "")
        found = getattr(trt.ComputeCapability, name, None)
        if found is None:
            names = [each[2:] for each in dir(trt.ComputeCapability) if each.startswith("SM")]
            known = sorted(names, key=int)
            raise Unavailable(
                "compute capability %s: this TensorRT builds for %s"
                % (settings.compute_capability, ", ".join(e[:-1] + "." + e[-1] for e in known))
            )
        config.set_compute_capability(found, 0)
    if settings.dla is not None:
        _use_dla(trt, builder, config, settings.dla)
    return config


def _use_dla(trt: Any, builder: Any, config: Any, core: int) -> None:  # noqa: ANN401
    """Give what it takes to a core of the deep learning accelerator, the rest to the GPU."""
    if not 0 <= core < builder.num_DLA_cores:
        raise Unavailable(
            "tensorrt.dla: found %d, expected a core below %d, as many as this machine's TensorRT "
            "has" % (core, builder.num_DLA_cores)
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _hold_types(trt: Any, network: Any, config: Any) -> None:  # noqa: ANN401
    """Let TensorRT before 10.12 compute in the types of the graph, and in no others.

    Explicit quantisation needs the flag INT8 and halves the flag FP16; these only *allow*, so where
    halves are allowed every layer that gives 32-bit floats is held to them.
    """
    wide, halves, integers = [], False, False
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kinds = {layer.get_output(i).dtype for i in range(layer.num_outputs)}
        halves = halves or trt.float16 in kinds
        integers = integers or layer.type == trt.LayerType.QUANTIZE
        free = (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE, trt.LayerType.CONSTANT)
        if kinds == {trt.float32} and layer.type not in free:
            wide.append(layer)
    if integers:
        config.set_flag(trt.BuilderFlag.INT8)
    if halves:
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        for layer in wide:
            layer.precision = trt.float32


def _set_shapes(network: Any, profile: Any, settings: Settings) -> bool:  # noqa: ANN401
    """Give every free axis its sizes; return whether there is any."""
    free = False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        sizes = [
            (int(size),) * 3 if size >= 0 else (settings.length if axis else settings.batch)
            for axis, size in enumerate(tensor.shape)
        ]
        if any(size < 0 for size in tensor.shape):
            profile.set_shape(tensor.name, *(tuple(size[i] for size in sizes) for i in range(3)))
            free = True
    return free


def _complaints(parser: Any, log: Any) -> str:  # noqa: ANN401
    errors = map(parser.get_error, range(parser.num_errors))
    told = ("%s %s: %s" % (each.node_operator(), each.node_name(), each.desc()) for each in errors)
    return "; ".join(told) or last(log.words)


def last(words: List[str]) -> str:
    """Return the last things that a logger was told."""
    return "; ".join(words[-_WORDS:]) or "it does not say why"
