"""Writes the README of a bundle: how an app runs the model, what each file is, the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.opened import MEASURE
from edgetransfer.bundle.readers import read_description
from edgetransfer.report.node import Node
from edgetransfer.report.page import verdict
from edgetransfer.report.template import plain
from edgetransfer.spec import tasks

if TYPE_CHECKING:
    from edgetransfer.bundle.opened import Bundle

README = "README.md"


def render_readme(report: Mapping[str, Any], bundle: Bundle) -> str:
    """Render the README: what the model says of itself, in code that runs as it is printed.

    The Input has a template of its own, and the task says what the outputs mean
    (`pipeline.task.Usage`).
    """
    said = read_description(bundle.file("model.onnx"))
    assert said is not None  # this version wrote it
    told = verdict(Node(report), Node(bundle.manifest))
    preprocessing, usage = bundle.preprocessing, tasks.load(bundle.recipe.task).usage
    entries: Mapping[str, str] = bundle.manifest["session"]["config"]
    return plain(
        "readme.md.j2",
        noun=preprocessing.noun,
        kind=preprocessing.kind,
        title=bundle.target.title,
        verdict=told["name"],
        headline=told["headline"],
        files=_places(bundle.manifest["files"]),
        inputs=said["inputs"],
        before=said["before"],
        inside=said["inside"],
        longest=getattr(preprocessing, "max_length", None),
        usage=usage,
        names=list(usage.outputs),
        config={key: value for key, value in entries.items() if not key.startswith("tensorrt.")},
    )


def _places(files: Iterable[str]) -> dict[str, str]:
    """Return where each file and folder of a bundle lies, by its name.

    >>> _places(["model.onnx", "measure/core.onnx", "measure/golden/00.png"])
    {'model.onnx': 'model.onnx', 'core.onnx': 'measure/core.onnx', 'golden': 'measure/golden/'}
    """
    found = {}
    for file in files:
        apart = f"{MEASURE}/" if file.startswith(f"{MEASURE}/") else ""
        name, below, _ = file.removeprefix(apart).partition("/")
        found[name] = f"{apart}{name}{below}"
    return found
