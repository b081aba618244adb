"""Prepares the cells of a matrix on Ray: fits and compresses them at once, and times none.

All that it leaves is finished stages, so that the serial run that follows finds its work done and
comes to the same result; what was lost on the way is done there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import MissingExtraError, SpecError
from edgetransfer.pipeline.build import resolve
from edgetransfer.pipeline.ladder.ladder import compress
from edgetransfer.pipeline.matrix import Cell, Trouble
from edgetransfer.pipeline.stage.reporter import Reporter, SilentReporter, telling
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.pipeline.task import task_of
from edgetransfer.spec.recipe import Recipe
from edgetransfer.transfer.machine_settings import device, threads

if TYPE_CHECKING:
    from types import ModuleType


RETRIES = 3
"""How often a cell is begun again whose worker died; it goes on from its last finished stage."""
LOCAL = "local"
"""The address that means: workers on this machine, for as long as this run lasts."""


def prepare(recipe: str, cache: str, cores: int, here: str) -> dict[str, Any] | None:
    """Fit and compress one cell into the store, without timing; what a worker runs.

    The recipe is JSON; relative paths start from `here`. Returns the fields of a `Trouble`, None
    where all went well.
    """
    os.chdir(here)
    try:
        with threads(cores):
            run = resolve(Recipe.model_validate_json(recipe), Store(Path(cache)), SilentReporter())
            task = task_of(run.recipe)
            run = task.choose(run)
            fitted = task.fit(run)
            for target in run.targets:
                compress(run, fitted, target, timed=False)
    except Exception as error:
        return asdict(Trouble.of(error))
    return None


def prepare_all(
    cells: Sequence[Cell], store: Store, reporter: Reporter, *, cores: int, address: str
) -> dict[str, Trouble]:
    """Prepare all cells on Ray, and return those that cannot be built, by name.

    The address is of a running Ray, ``auto`` for the one of this machine, or ``local``; all
    workers share the store's file system. MissingExtraError where Ray is not installed, SpecError
    where none answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise MissingExtraError("ray", "ray", purpose="--ray") from None
    _connect(ray, address)
    try:
        gpus = 1 if device(cells[0].recipe.fit.device) == "cuda" else 0
        work = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=RETRIES)(prepare)
        where = str(store.root.resolve()), cores, str(Path.cwd())
        tasks = {work.remote(cell.recipe.model_dump_json(), *where): cell for cell in cells}
        return _collect(ray, tasks, reporter)
    finally:
        ray.shutdown()


def _connect(ray: ModuleType, address: str) -> None:
    own = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SpecError(
            "no Ray answers",
            where=f"--ray {address}",
            found=str(error).splitlines()[0],
            expected=f"the address of a running Ray, auto where `ray start` was given, or {LOCAL}",
        ) from error


def _collect(ray: ModuleType, tasks: dict[Any, Cell], reporter: Reporter) -> dict[str, Trouble]:
    """Wait for all; a cell whose workers died is left to the serial run."""
    found: dict[str, Trouble] = {}
    waiting, lost = list(tasks), 0
    with telling(reporter, "cells on Ray") as line:
        while waiting:
            (ready,), waiting = ray.wait(waiting, num_returns=1)
            try:
                trouble = ray.get(ready)
            except ray.exceptions.RayError:
                lost += 1
                trouble = None
            if trouble is not None:
                found[tasks[ready].name] = Trouble(**trouble)
            line.progress(len(tasks) - len(waiting), len(tasks))
        line.summary = f"{len(tasks) - len(found) - lost} of {len(tasks)} fitted and compressed"
        if lost:
            line.summary += f"; {lost} lost, built here"
    return found
