"""The tasks there are, by name. Each stands in a module of its own, loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple, get_args

from edgetransfer.spec.options import Metric

CLASSIFICATION = "classification"


class RegisteredTask(NamedTuple):
    """Where a task is found, as ``TASK`` of a module, and the metrics that it knows."""

    module: str
    metrics: tuple[str, ...]


TASKS: dict[str, RegisteredTask] = {
    CLASSIFICATION: RegisteredTask("edgetransfer.tasks.classification.task", get_args(Metric))
}


def register(name: str, module: str, metrics: tuple[str, ...]) -> None:
    """Let recipes name a task; ``TASK`` of the module is a `pipeline.task.Task`.

    The first metric is its default.
    """
    TASKS[name] = RegisteredTask(module, metrics)


def load(name: str) -> Any:  # noqa: ANN401 (a `pipeline.task.Task`, which stands above this)
    """Return a task, by its name in a recipe, a manifest or a report."""
    return import_module(TASKS[name].module).TASK
