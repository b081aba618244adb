"""Turns the flat options of the command line and the Python API into a recipe.

Reads how long something is to take: ``90s``, ``10m``, ``1h``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import SpecError
from edgetransfer.spec import catalogue
from edgetransfer.spec.outside import toml_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.spec.recipe import Recipe

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str, option: str) -> float:
    """Read a duration in seconds.

    Raises:
        SpecError: it is none.

    >>> seconds_of("10m", "--sustained"), seconds_of("1.5h", "--sustained")
    (600.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise SpecError(
            "not a duration", where=option, found=repr(text), expected="a number and s, m or h: 10m"
        )
    return float(found[1]) * _UNITS[found[2]]


FIELDS: Mapping[str, tuple[str, ...]] = {
    "data": ("data", "source"),
    "label_column": ("data", "label_column"),
    "text_column": ("data", "text_column"),
    "file_column": ("data", "file_column"),
    "split_by": ("data", "split_by"),
    "group_by": ("data", "group_by"),
    "backbone": ("backbone", "source"),
    "candidate": ("backbone", "candidates"),
    "fit": ("fit", "method"),
    "epochs": ("fit", "epochs"),
    "learning_rate": ("fit", "learning_rate"),
    "batch_size": ("fit", "batch_size"),
    "time_budget": ("fit", "time_budget"),
    "device": ("fit", "device"),
    "adapt": ("adapt", "method"),
    "device_part": ("adapt", "device_part"),
    "distill_from": ("distill", "source"),
    "unlabelled": ("distill", "unlabelled"),
    "precision": ("quant", "precision"),
    "calibration": ("quant", "calibration"),
    "max_drop": ("budget", "max_drop_pp"),
    "max_latency_ms": ("budget", "max_latency_ms"),
    "max_size_mib": ("budget", "max_size_mib"),
    "max_flips": ("budget", "max_flips_pct"),
    "min_sqnr": ("budget", "min_sqnr_db"),
    "max_kl": ("budget", "max_kl"),
    "max_ece_change": ("budget", "max_ece_change"),
    "max_class_drop": ("budget", "max_class_drop_pp"),
    "min_accuracy": ("budget", "min_accuracy"),
    "min_macro_f1": ("budget", "min_macro_f1"),
    "min_recall": ("budget", "min_recall"),
    "target": ("targets",),
    "metric": ("metric",),
    "seed": ("seed",),
    "threads": ("threads",),
    "timing": ("timing",),
    "soundness": ("soundness",),
}

"""Where each option stands in a recipe."""


def recipe_from(options: Mapping[str, Any], recipe_file: Path | None = None) -> Recipe:
    """Make a recipe: what is in the file, and over it every option that was given.

    Args:
        options: by the names in `FIELDS`; None and empty values count as not given.
        recipe_file: a TOML file with the fields of a recipe.

    Raises:
        SpecError: the file or an option is not valid; every problem is named by its option.
    """
    raw = toml_of(recipe_file) if recipe_file is not None else {}
    for name, value in options.items():
        if value is None or value == () or value == []:
            continue
        _put(raw, FIELDS[name], tuple(value) if isinstance(value, list) else value)
    data = raw.get("data", {})
    if isinstance(data, dict) and "source" not in data:
        raise SpecError(
            "no data was named",
            where="command line" if recipe_file is None else str(recipe_file),
            expected="a folder of pictures or a table: edgetransfer build DATA",
        )
    where = "command line" if recipe_file is None else f"command line and {recipe_file}"
    spelled = {path: "--" + name.replace("_", "-") for name, path in FIELDS.items()}
    return catalogue.recipe(raw, where=where, spelled=spelled)


def _put(raw: dict[str, Any], place: tuple[str, ...], value: Any) -> None:  # noqa: ANN401 (an option's)
    """Set one field, unless the file has something else than a table there, which is refused."""
    table: Any = raw
    for parent in place[:-1]:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            return
    table[place[-1]] = value
