"""Writes the README of a bundle: how an app runs the model, what each file is, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
        files={name.partition("/")[0] for name in bundle.manifest["files"]},
        inputs=said["inputs"],
        before=said["before"],
        inside=said["inside"],
        longest=getattr(preprocessing, "max_length", None),
        usage=usage,
        names=list(usage.outputs),
        config={key: value for key, value in entries.items() if not key.startswith("tensorrt.")},
    )
