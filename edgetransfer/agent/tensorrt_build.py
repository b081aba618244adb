"""Builds a TensorRT engine from an ONNX file whose types are all in the graph.

It does not keep engines and does not run them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from edgetransfer.agent.session import Unavailable

if TYPE_CHECKING:
    from types import ModuleType

    from edgetransfer.agent.tensorrt_settings import Settings

Tell = Callable[[str, int, int], object]
"""Told of a phase, the steps done and all of them."""

PROVIDERS = {
    "TensorRT": ("tensorrt", "tensorrt_bindings"),
    "TensorRT-RTX": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
"""What a variant calls its runtime, and the Python modules that may hold it."""
_OLDEST = {"TensorRT": "10.12", "TensorRT-RTX": "1.2"}
"""Before TensorRT 10.12, strongly typed networks lack much (NVIDIA's release notes)."""
_INSTALL = {
    "TensorRT": (
        "on a Jetson: sudo apt-get install python3-libnvinfer; elsewhere: pip install tensorrt"
    ),
    "TensorRT-RTX": "pip install tensorrt-rtx",
}
_WORDS = 4
"""Messages of TensorRT that are quoted when a build fails."""


def _version(text: str) -> Tuple[int, ...]:
    return tuple(int(each) for each in text.split("."))


def load(provider: str, at_least: Optional[str] = None) -> ModuleType:
    """Import TensorRT, or TensorRT-RTX.

    Raises:
        Unavailable: it is not installed, cannot be loaded, or is too old.
    """
    causes, wanted = [], at_least or _OLDEST[provider]
    for name in PROVIDERS[provider]:
        try:
            trt = importlib.import_module(name)
        except (ImportError, OSError) as error:
            causes.append("%s: %s" % (name, error))
            continue
        if _version(trt.__version__) < _version(wanted):
            raise Unavailable(
                "%s %s is too old: expected %s or newer; update JetPack or the package, or build "
                "for the processor of this machine" % (provider, trt.__version__, wanted)
            )
        return trt
    raise Unavailable(
        "%s cannot be loaded here (%s); %s" % (provider, "; ".join(causes), _INSTALL[provider])
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


def quiet(phase: str, done: int, total: int) -> None:
    """Tell nobody."""


def build(
    trt: Any,  # noqa: ANN401
    model: str,
    settings: Settings,
    timings: bytes = b"",
    tell: Tell = quiet,
) -> Built:
    """Build an engine; the graph alone says which type every tensor has.

    Strong typing is a flag in TensorRT 10 and all there is in 11, so nothing here names a
    precision: what was removed in 11 (`BuilderFlag.FP16`, calibrators, `ITensor.dynamic_range`)
    is never touched.

    Args:
        trt: the module `load` gave.
        model: path of the ONNX file.
        settings: shapes and effort.
        timings: what an earlier build timed on the same device.
        tell: told of progress.

    Raises:
        Unavailable: the graph is not one that this TensorRT builds; its words are quoted.
    """
    log = logger(trt)
    builder = trt.Builder(log)
    flag = int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(1 << flag)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(model):
        raise Unavailable("TensorRT does not take %s: %s" % (model, _complaints(parser, log)))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    config.builder_optimization_level = settings.optimisation_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not settings.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.compute_capability is not None:
        config.num_compute_capabilities = 1
        name = "SM" + settings.compute_capability.replace(".", "")
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
    profile = builder.create_optimization_profile()
    if _set_shapes(network, profile, settings):
        config.add_optimization_profile(profile)
    cache = config.create_timing_cache(timings)
    config.set_timing_cache(cache, False)
    config.progress_monitor = _monitor(trt, tell)
    layers = int(network.num_layers)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Unavailable("TensorRT cannot build %s: %s" % (model, last(log.words)))
    return Built(bytes(plan), bytes(cache.serialize()), layers)


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
    told = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        told.append("%s %s: %s" % (error.node_operator(), error.node_name(), error.desc()))
    return "; ".join(told) or last(log.words)


def last(words: List[str]) -> str:
    """Return the last things that a logger was told."""
    return "; ".join(words[-_WORDS:]) or "it does not say why"
