"""Builds a TensorRT engine from an ONNX file whose types are all in the graph.

It does not keep engines and does not run them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from edgetransfer.agent.session import Unavailable

if TYPE_CHECKING:
    from types import ModuleType

Tell = Callable[[str, int, int], object]
"""Told of a phase, the steps done and all of them."""
Range = Tuple[int, int, int]
"""Least, usual and largest size of a free axis."""

PROVIDERS = {
    "TensorRT": ("tensorrt", "tensorrt_bindings"),
    "TensorRT-RTX": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
"""What a variant calls its runtime, and the Python modules that may hold it."""
OLDEST = (10, 12)
"""Before it, strongly typed networks lack what our graphs use (NVIDIA's release notes)."""
_PREFIX = "tensorrt."
_INSTALL = {
    "TensorRT": (
        "on a Jetson: sudo apt-get install python3-libnvinfer; elsewhere: pip install tensorrt"
    ),
    "TensorRT-RTX": "pip install tensorrt-rtx",
}
_WORDS = 4
"""Messages of TensorRT that are quoted when a build fails."""


class Settings(NamedTuple):
    """What an engine is built for, beside the graph.

    Attributes:
        batch: sizes of the free first axis.
        length: sizes of any other free axis: tokens of a text.
        tf32: whether 32-bit products may be rounded to 10 bits; no, where numbers are compared.
        optimisation_level: 0 to 5: how long the builder searches.
        workspace_mib: scratch memory that a layer may take at most.
        compute_capability: ``8.9`` and so on to build where there is no GPU, which only
            TensorRT-RTX can; None for the GPU at hand.
    """

    batch: Range = (1, 1, 8)
    length: Range = (1, 64, 512)
    tf32: bool = False
    optimisation_level: int = 3
    workspace_mib: int = 1024
    compute_capability: Optional[str] = None


def settings_from(config: Mapping[str, str]) -> Settings:
    """Read the entries of a session's config that begin with ``tensorrt.``.

    >>> settings_from({"tensorrt.batch": "1,4,16", "tensorrt.tf32": "1"}).batch
    (1, 4, 16)
    """
    found: Dict[str, Any] = {}
    for key, text in config.items():
        if not key.startswith(_PREFIX):
            continue
        name = key[len(_PREFIX) :]
        if name in ("batch", "length"):
            sizes = tuple(int(each) for each in text.split(","))
            if len(sizes) != 3 or not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
                raise Unavailable("%s: found %r, expected three rising sizes: 1,1,8" % (key, text))
            found[name] = sizes
        elif name == "tf32":
            found[name] = text == "1"
        elif name in ("optimisation_level", "workspace_mib"):
            found[name] = int(text)
        elif name == "compute_capability":
            found[name] = text
        else:
            known = ", ".join(_PREFIX + each for each in Settings._fields)
            raise Unavailable("no such setting: found %r, expected one of %s" % (key, known))
    return Settings(**found)


def load(provider: str) -> ModuleType:
    """Import TensorRT, or TensorRT-RTX.

    Raises:
        Unavailable: it is not installed, cannot be loaded, or is too old.
    """
    causes = []
    for name in PROVIDERS[provider]:
        try:
            trt = importlib.import_module(name)
        except (ImportError, OSError) as error:
            causes.append("%s: %s" % (name, error))
            continue
        version = tuple(int(each) for each in trt.__version__.split(".")[:2])
        if provider == "TensorRT" and version < OLDEST:
            raise Unavailable(
                "TensorRT %s is too old: expected 10.12 or newer (JetPack 6.2 and older bring "
                "10.3: update JetPack, or build for the CPU of this board)" % trt.__version__
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
