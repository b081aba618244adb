"""Stages whose result is one array with a row an example: features, looks at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from edgetransfer.spec.progress import Progress

Array = np.ndarray[Any, Any]


def rows_stage(
    name: str,
    inputs: Mapping[str, Any],
    file: str,
    run: Callable[..., Array],
    told: Callable[[Mapping[str, Any]], str] | None = None,
) -> Stage:
    """Return a stage that keeps what `run` makes: its code is in the key, as that of a `make` is.

    `told` says in a line what the record says, ``shape``; None for the shape alone.
    """
    return Stage(name, inputs, partial(_make, file, run), told or _told)


def over(graph: Path, run: Callable[..., Array]) -> Callable[..., Array]:
    """Return what runs something over a graph that is read from its file by then."""
    return partial(_over, graph, run)


def _make(file: str, run: Callable[..., Array], folder: Path, progress: Progress) -> dict[str, Any]:
    rows = run(progress=progress)
    np.save(folder / file, rows)
    return {"shape": rows.shape}


def _over(graph: Path, run: Callable[..., Array], *, progress: Progress) -> Array:
    return run(onnx.load(graph), progress=progress)


def _told(record: Mapping[str, Any]) -> str:
    return " x ".join(map(str, record["shape"]))
