"""The Python API: the same build as the command line's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.pipeline import build as stages
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.shared import joined
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.catalogue import default_cache
from edgetransfer.spec.options import FIELDS, recipe_from

if TYPE_CHECKING:
    from edgetransfer.pipeline.build import Outcome
    from edgetransfer.pipeline.stage.reporter import Reporter


def build(
    data: str | Path,
    *,
    out: str | Path = "edgetransfer-out",
    recipe: str | Path | None = None,
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
    processes: int | None = None,
    **options: Any,  # noqa: ANN401 (checked by pydantic)
) -> Outcome:
    """Fit, quantise, export and measure, and return the verdict.

    Args:
        data: a folder of pictures or a table.
        out: gets one folder a target, and ``run.json``.
        recipe: a TOML file with the fields of a recipe.
        cache: where finished stages are kept; default: the user's cache folder.
        reporter: told of every stage.
        processes: how many a launcher has to have started; default: as many as it did.
        options: those of ``edgetransfer build``, with underscores: ``target``, ``backbone``,
            ``fit``, ``precision``, ``max_drop``, ...

    Raises:
        TypeError: an option that does not exist.
        EdgeTransferError: one of its kinds, for every failure that is not a bug.
    """
    unknown = sorted(set(options) - set(FIELDS))
    if unknown:
        msg = f"build() has no option {', '.join(unknown)}; it has {', '.join(sorted(FIELDS))}"
        raise TypeError(msg)
    if isinstance(options.get("target"), str):
        options["target"] = [options["target"]]
    for name in ("group_by", "candidate"):
        if isinstance(options.get(name), str):
            options[name] = [options[name]]
    asked = recipe_from({"data": str(data), **options}, Path(recipe) if recipe else None)
    store = Store(Path(cache) if cache else default_cache())
    with joined(asked, processes) as team:
        return stages.build(asked, Path(out), store, reporter or SilentReporter(), team)
