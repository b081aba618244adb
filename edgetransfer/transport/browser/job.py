"""Puts a job into the form that the page takes, and what the page sends into the agent's files."""

from __future__ import annotations

import hashlib
import random
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.agent.benchmark import CYCLED
from edgetransfer.agent.environment import PROTOCOL
from edgetransfer.agent.examples import ExampleFiles
from edgetransfer.agent.probe import NULL_MODEL
from edgetransfer.transport.browser.runtime import FILES
from edgetransfer.transport.job import outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgetransfer.transport.browser.runtime import Engine
    from edgetransfer.transport.job import Job


_CHECKS = (".before", ".after")
"""Ends of the names of the first logits of a timed session, from before and after its timing."""


@dataclass(frozen=True)
class Errand:
    """One job in the form that the page takes.

    Attributes:
        told: the JSON that the page reads.
        models: bytes or files, by the numbers that the page asks for them by.
        examples: of each model, by the same numbers.
        arrays: names of the arrays that may come back, and how many bytes each may have.
    """

    told: Mapping[str, Any]
    models: tuple[bytes | Path, ...] = ()
    examples: tuple[ExampleFiles, ...] = ()
    arrays: Mapping[str, int] = field(default_factory=dict)
    number: str = field(default_factory=lambda: secrets.token_hex(4))


def errand(job: Job, engine: Engine) -> Errand:
    """Return a job as the page does it.

    The order of the blocks is drawn here as the agent draws it, by the job's seed.
    """
    module, _, binary = FILES[engine]
    examples = tuple(ExampleFiles(dict(each.inputs)) for each in job.variants)
    names = [each.name for each in job.variants]
    draw = random.Random(job.seed)
    told = {
        "action": job.action,
        "engine": {
            "module": module,
            "binary": binary,
            "provider": engine,
            "threads": max((each.threads for each in job.variants), default=1),
        },
        "variants": [
            {
                "name": variant.name,
                "inputs": list(held[0]),
                "config": dict(variant.config),
                "count": len(held),
                "chosen": _spread(len(held), CYCLED),
            }
            for variant, held in zip(job.variants, examples, strict=True)
        ],
        "plan": asdict(job.plan),
        "guard": asdict(job.guard),
        "order": [draw.sample(sorted(names), len(names)) for _ in range(job.plan.blocks)],
    }
    arrays = {
        PurePath(name).stem + part: most
        for name, most in outputs(job).items()
        for part in ("", *(_CHECKS if job.action == "time" else ()))
    }
    models: tuple[bytes | Path, ...] = tuple(Path(each.model) for each in job.variants)
    return Errand(told, (*models, NULL_MODEL), examples, arrays)


def _spread(held: int, count: int) -> list[int]:
    """Return indices spread evenly, as `ExampleFiles.some` takes them.

    >>> _spread(9, 3)
    [0, 4, 8]
    """
    return [int(index) for index in np.linspace(0, held - 1, num=min(count, held))]


class Arrays:
    """Takes the arrays of one job, and writes those that the agent would have written.

    A browser tells wall time in ms and no CPU time, which is written as 0.
    """

    def __init__(self, action: str, out: Path) -> None:
        self._action = action
        self._out = out
        self.digests: dict[str, list[str]] = {}

    def take(self, name: str, array: NDArray[Any]) -> None:
        """Take one array that came back."""
        variant, _, check = name.rpartition(".")
        if check and f".{check}" in _CHECKS and self._action == "time":
            digest = hashlib.sha256(array.astype(np.float32).tobytes()).hexdigest()
            self.digests.setdefault(variant, []).append(digest)
            return
        if self._action == "time":
            block, wall_ms = array.T
            columns = [block, np.round(wall_ms * 1e6), np.zeros_like(block)]
            np.save(self._out / f"{name}.npy", np.stack(columns, axis=1).astype(np.int64))
        else:
            np.save(self._out / f"{name}.npy", array.astype(np.float32))


def environment(facts: Mapping[str, Any], engine: Engine, version: str) -> dict[str, Any]:
    """Return what the page told of itself under the names that the agent uses."""
    known = dict(facts)
    memory, model = known.pop("memory_gib_rounded"), known.pop("model")
    return {
        "protocol": PROTOCOL,
        "cpu": model or None,
        "arch": "wasm32" if engine == "wasm" else engine,
        "device_arch": known.pop("architecture"),
        "isa": sorted(f"wasm_{each}" for each in known.pop("wasm")),
        "cores": known.pop("cores"),
        "memory_mib": None if memory is None else int(memory * 1024),
        "os": known.pop("platform"),
        "os_family": "browser",
        "identity": [model] if model else [],
        "providers": [engine],
        "runtime": f"onnxruntime-web {version}, {engine}",
        **known,
    }


def warnings(facts: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    """Say what about a page may disturb or blur a timing.

    Args:
        facts: of the page, as `describe` has them.
        seen: of the jobs done: threads "asked" and "used", "calls_per_sample" by variant, and
            whether the page was "hidden" while one ran.
    """
    found = []
    step = facts["clock_step_ms"]
    if not facts["secure_context"]:
        found.append(
            "the page came by plain http, which browsers give no threads, no WebGPU and a clock "
            f"with a step of {step:.3g} ms"
        )
    elif not facts["cross_origin_isolated"]:
        found.append(f"the page is not isolated: no threads, a clock with a step of {step:.3g} ms")
    asked, used = seen.get("asked", 1), seen.get("used", 1)
    if used < asked:
        found.append(f"{asked} threads were asked for and {used} used")
    most = max(seen.get("calls_per_sample", {}).values(), default=1)
    if most > 1:
        found.append(
            f"the clock is coarse for these models, so that a time is the mean of up to {most} "
            "inferences in a row: percentiles are those of such means"
        )
    if seen.get("hidden"):
        found.append("the page was in the background while it measured: browsers slow it down then")
    if (facts.get("gpu") or {}).get("software") and seen.get("engine") == "webgpu":
        found.append("WebGPU runs in software here: numbers count, times say nothing")
    return found
