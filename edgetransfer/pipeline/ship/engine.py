"""Builds an engine of a bundle for a GPU that is not here, which TensorRT-RTX alone can do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgetransfer.agent.runtimes import Unavailable
from edgetransfer.agent.runtimes.tensorrt import build
from edgetransfer.agent.runtimes.tensorrt.build import settings_from
from edgetransfer.bundle.files import write_whole, writing
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.errors import SpecError, UnsupportedError
from edgetransfer.pipeline.stage.reporter import Reporter, telling

_PROVIDER = "TensorRT-RTX"


@dataclass(frozen=True)
class BuiltEngine:
    """An engine on disk, for the runtime that built it alone; layers as the network was parsed."""

    file: Path
    runtime: str
    compute_capability: str
    layers: int
    bytes: int


def build_engine(
    folder: Path, compute_capability: str, out: Path, reporter: Reporter
) -> BuiltEngine:
    """Build an engine of a bundle's ``core.onnx`` without its GPU; nothing is executed.

    The compute capability is that of its GPU: ``8.9``; `out` is the file that is written. SpecError
    where the bundle is not for TensorRT, UnsupportedError where TensorRT-RTX is not installed, or
    does not build this.
    """
    bundle = open_bundle(folder)
    target = bundle.target
    if target.runtime is None or not target.runtime.builds_engines:
        raise SpecError(
            "an engine is built of a bundle for TensorRT",
            where=str(folder),
            found=f"a bundle for {target.name}",
            fix="name a target for TensorRT in `build --target`: `targets` lists them",
        )
    if not re.fullmatch(r"[0-9]{1,2}\.[0-9]", compute_capability):
        raise SpecError(
            "not a compute capability",
            where="--compute-capability",
            found=repr(compute_capability),
            expected="two numbers: 8.9",
        )
    with telling(reporter, "engine") as line:
        try:
            settings = settings_from(bundle.manifest["session"]["config"])
            settings = settings._replace(compute_capability=compute_capability, at_least=None)
            trt = build.load(_PROVIDER)
            built = build.build(trt, str(bundle.file("core.onnx")), settings)
        except Unavailable as error:
            raise UnsupportedError(str(error), where=str(folder)) from error
        with writing(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
            write_whole(out, built.plan)
        line.summary = f"{len(built.plan) / 2**20:.1f} MiB for {compute_capability}"
    version = f"{_PROVIDER} {trt.__version__}"
    return BuiltEngine(out, version, compute_capability, built.layers, len(built.plan))
