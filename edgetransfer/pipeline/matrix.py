"""Builds every cell of backbones x seeds, each for all targets, and says what they have in common.

A cell is a build like any other, in a folder of its own; what is kept is not done again. Cells are
built one after the other, so that nothing else of this run is busy while one of them is timed.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.files import write_json, writing
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.errors import EdgeTransferError, SpecError, StageError, let_stop
from edgetransfer.measure.verdict import worst
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.stage.reporter import Prefixed, Reporter
from edgetransfer.spec.base import slug
from edgetransfer.spec.recipe import BackboneSpec, Recipe
from edgetransfer.transfer.machine_settings import threads

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.store import Store

SCHEMA = "edgetransfer.matrix/1"
_TOLD = ("float_accuracy", "accuracy", "p90_ms", "bytes")
"""What is averaged over seeds."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Trouble:
    """Why a cell has no verdict."""

    message: str
    exit_code: int

    @staticmethod
    def of(error: Exception) -> Trouble:
        """Take the words and the exit code of what was raised; a bug counts as a failed stage."""
        if isinstance(error, EdgeTransferError):
            return Trouble(str(error), error.exit_code)
        return Trouble(f"{type(error).__name__}: {error}", StageError.exit_code)


@dataclass(frozen=True)
class Cell:
    """One build of a backbone, as it was named."""

    backbone: str
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        """How the run tells of it."""
        return f"{self.folder.parent.name} {self.recipe.seed}"


def cells_of(
    recipe: Recipe, backbones: Sequence[str], seeds: Sequence[int], out: Path
) -> list[Cell]:
    """Return every backbone with every seed; SpecError where two backbones would share a folder.

    Without backbones the recipe's is taken; `out` gets BACKBONE/seed-S/TARGET.
    """
    names = list(dict.fromkeys(backbones or (recipe.backbone.source,)))
    folders = {name: slug(name) for name in names}
    if len({folder.lower() for folder in folders.values()}) < len(names):
        raise SpecError(
            "two backbones would share a folder",
            where="--backbone",
            found=", ".join(names),
            fix="run them into different --out folders",
        )
    return [
        Cell(
            name,
            recipe.model_copy(update={"backbone": BackboneSpec(source=name), "seed": seed}),
            out / folders[name] / f"seed-{seed}",
        )
        for name in names
        for seed in dict.fromkeys(seeds)
    ]


def run(
    cells: Sequence[Cell],
    store: Store,
    reporter: Reporter,
    *,
    cores: int,
    known: Mapping[str, Trouble],
) -> Row:
    """Build all cells, and return the record of the matrix; a cell that fails loses no other.

    A cell is fitted with so many threads; those in `known`, by name, are known to fail.
    """
    rows: list[Row] = []
    for cell in cells:
        trouble = known.get(cell.name)
        if trouble is None:
            try:
                with threads(cores):
                    rows += _built(cell, store, reporter)
                continue
            except Exception as error:
                let_stop(error)
                trouble = Trouble.of(error)
        rows += [
            {**_place(cell, target), "error": trouble.message, "exit_code": trouble.exit_code}
            for target in dict.fromkeys(cell.recipe.targets)
        ]
    built = [row["verdict"] for row in rows if "verdict" in row]
    return {
        "schema": SCHEMA,
        "verdict": worst(built) if built else None,
        "cores": cores,
        "cells": rows,
        "summary": summarise(rows),
    }


def _built(cell: Cell, store: Store, reporter: Reporter) -> list[Row]:
    outcome = build(cell.recipe, cell.folder, store, Prefixed(reporter, cell.name))
    rows = []
    for target, report in outcome.reports.items():
        folder = outcome.folders[target]
        accuracy, valid = report["accuracy"], report["validity"].get("valid", True)
        row = {
            **_place(cell, target),
            "verdict": report["verdict"],
            "reasons": report["reasons"],
            "float_accuracy": accuracy["reference"],
            "accuracy": accuracy["candidate"],
            "delta_pp": accuracy["delta_pp"],
            "p90_ms": report["latency"]["candidate"]["p90_ms"] if valid else None,
            "bytes": report["size"]["candidate_bytes"],
            "model": open_bundle(folder).manifest["files"]["model.onnx"],
            "folder": str(folder),
        }
        rows.append({key: value for key, value in row.items() if value is not None})
    return rows


def _place(cell: Cell, target: str) -> Row:
    return {"backbone": cell.backbone, "seed": cell.recipe.seed, "target": target}


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Return mean and spread over the seeds of every backbone and target.

    The spread is the standard deviation of one seed, with n - 1; not there for one seed.

    >>> rows = [{"backbone": "b", "target": "t", "seed": s, "verdict": "PASS", "accuracy": a}
    ...         for s, a in enumerate((0.8, 0.9))]
    >>> summary, = summarise([*rows, {"backbone": "b", "target": "t", "seed": 2, "error": "no"}])
    >>> summary["built"], summary["failed"], summary["verdicts"]
    (2, 1, {'PASS': 2})
    >>> {key: round(value, 4) for key, value in summary["accuracy"].items()}
    {'mean': 0.85, 'sd': 0.0707}
    """
    places = dict.fromkeys((row["backbone"], row["target"]) for row in rows)
    found = []
    for backbone, target in places:
        own = [row for row in rows if (row["backbone"], row["target"]) == (backbone, target)]
        built = [row for row in own if "verdict" in row]
        verdicts = [row["verdict"] for row in built]
        summary: Row = {
            "backbone": backbone,
            "target": target,
            "built": len(built),
            "failed": len(own) - len(built),
            "verdicts": {name: verdicts.count(name) for name in dict.fromkeys(verdicts)},
        }
        for key in _TOLD:
            values = [row[key] for row in built if key in row]
            if values:
                spread = {"sd": statistics.stdev(values)} if len(values) > 1 else {}
                summary[key] = {"mean": statistics.fmean(values), **spread}
        found.append(summary)
    return found


def write(record: Row, out: Path) -> Path:
    """Write ``matrix.json``, and return where."""
    file = out / "matrix.json"
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_json(file, record)
    return file
