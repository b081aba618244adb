"""Holds a bundle's target against the place it runs on, and says what would verify the target."""

from __future__ import annotations

import functools
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.agent import environment, runtimes
from edgetransfer.agent.runtimes import onnxruntime
from edgetransfer.measure.target_match import stand
from edgetransfer.transport.job import Job
from edgetransfer.transport.place import LOCAL, Place

if TYPE_CHECKING:
    from edgetransfer.spec.recipe import DataSpec
    from edgetransfer.spec.target import TargetSpec

_OPTIONS = ("label_column", "text_column", "file_column")


def describe(place: Place) -> dict[str, Any]:
    """Ask the agent for the environment it would measure in."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = place.run(Job("describe"), Path(folder))["environment"]
    return found


def seen_here() -> Mapping[str, Any]:
    """Return what the agent would tell of this machine, without a process of its own."""
    return _seen_with(tuple(runtimes.names()))


@functools.cache
def _seen_with(_: tuple[str, ...]) -> Mapping[str, Any]:
    others = {"other_runtimes": runtimes.other_runtimes()}
    return environment.fingerprint({**onnxruntime.build(), **others})


def seen_at(place: Place) -> Mapping[str, Any]:
    """Return what is known of a place before anything is measured there."""
    return seen_here() if place.where == LOCAL else describe(place)


def matches_this_machine(target: TargetSpec) -> bool:
    """Tell whether a measurement here is a measurement on the target."""
    return stand(target, seen_here()).is_target


def how_to_verify(target: TargetSpec, folder: Path, data: DataSpec | None) -> str:
    """Say what verifies a bundle: the command, quoted for a shell, or why there is none yet.

    Without data to judge by there is none in the command.
    """
    command = bench_command(folder, data, target.reached)
    if not target.instead:
        return f"to verify: {command}"
    return target.instead + (f"; the preview there: {command}" if target.reached else "")


def bench_command(folder: Path, data: DataSpec | None, on: str = "") -> str:
    """Return the command that measures a bundle, as it stands in a shell.

    >>> bench_command(Path("my out/pi"), None, "ssh:HOST")
    "edgetransfer bench 'my out/pi' --on ssh:HOST"
    """
    words = ["edgetransfer", "bench", str(folder)]
    if data is not None:
        words += ["--data", data.source]
        for name in _OPTIONS:
            value = getattr(data, name)
            words += [f"--{name.replace('_', '-')}", value] if value else []
        words += [word for column in data.group_by for word in ("--group-by", column)]
    words += ["--on", on] if on not in ("", LOCAL) else []
    return shlex.join(words)
