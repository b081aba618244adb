"""Several processes on one build: who joins, and how stages are shared among them.

All of them run the same stages up to the fit. The first makes what is made by one, while the others
wait and read what it kept; what is marked as done together they do together.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.errors import EdgeTransferError, MissingExtraError, SpecError, StageError
from edgetransfer.pipeline.stage.store import Store, one_thread
from edgetransfer.spec.memory import reused
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.team import ALONE, Team

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.stage import Stage, StageResult
    from edgetransfer.spec.recipe import Recipe

_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where torchrun, `accelerate launch` and kinds of MPI say how many processes they started."""


def launched() -> int:
    """Return how many processes the launcher says it started, 1 without one."""
    return max(int(os.environ.get(name) or 1) for name in _SIZES)


@contextmanager
def joined(recipe: Recipe, asked: int | None = None) -> Iterator[Team]:
    """Yield the processes that share this build, and end all where one fails.

    There have to be as many as were `asked` for; None for as many as the launcher says. SpecError
    where there are not, or the fit is not one that is shared; MissingExtraError where there are
    several, and accelerate is not installed.
    """
    team = _team(recipe, asked)
    try:
        if team.size > 1:
            _refuse_what_is_not_shared(recipe)
        yield team
    except Exception as error:
        team.fail(str(error) if isinstance(error, EdgeTransferError) else repr(error))
        raise


def _team(recipe: Recipe, asked: int | None) -> Team:
    started = launched()
    if asked is not None and asked != started:
        raise SpecError(
            "this is not how many processes were started",
            where=f"--processes {asked}",
            found=f"{started}, by what the launcher says in {', '.join(_SIZES)}",
            fix=f"torchrun --nproc-per-node {asked} -m edgetransfer build ...; `accelerate launch "
            f"--cpu --num_processes {asked}` starts one process only",
        )
    if started == 1:
        return ALONE
    try:
        from edgetransfer.transfer.accelerated import Processes
    except ModuleNotFoundError as error:
        if error.name != "accelerate":
            raise
        raise MissingExtraError("accelerate", "accelerate", purpose="a shared fit") from None
    from edgetransfer.transfer.machine_settings import device

    team = Processes(cpu=device(recipe.fit.device) == "cpu")
    if team.size != started:
        raise SpecError(
            "accelerate does not see the processes that were started",
            where="several processes",
            found=f"{team.size}, but the launcher says {started}",
            fix="check `accelerate config`, or start them with torchrun",
        )
    return team


def _refuse_what_is_not_shared(recipe: Recipe) -> None:
    method = recipe.fit.method
    if method not in ("auto", "finetune", "lora"):
        raise SpecError(
            "several processes share fine-tuning, and nothing else",
            where=f"--fit {method}",
            fix="start one process, or take --fit finetune or auto",
        )
    if recipe.distill.source is not None and recipe.distill.relations > 0:
        raise SpecError(
            "relations between the examples of a batch need the whole batch in one process",
            where="[distill] relations",
            found=str(recipe.distill.relations),
            expected="0",
            fix="start one process, or leave relations out",
        )


class SharedStore(Store):
    """A folder of finished stages that every process of a team sees.

    Its root is on a file system that all machines share.
    """

    def __init__(self, root: Path, team: Team) -> None:
        super().__init__(root)
        self._team = team
        self._inside = False

    def keep(self, stage: Stage, progress: Progress = silent) -> StageResult:
        """Let the first process make and keep, or all of them make and the first keep."""
        if self._inside:
            return super().keep(stage, progress)
        first = self._team.rank == 0
        kept = None
        if not self._team.meet(flag=first and self.has(stage)):
            if first:
                self._inside = not stage.together
                try:
                    kept = super().keep(stage, progress)
                finally:
                    self._inside = False
            elif stage.together:
                with tempfile.TemporaryDirectory() as room, one_thread(), reused():
                    stage.make(Path(room), progress)
            self._team.meet()
        if kept is None and not self.has(stage):
            raise StageError(
                "the first process keeps its stages where this one does not see them",
                where=str(self.root),
                fix="give a folder that all machines share: --cache",
            )
        return kept or super().keep(stage, progress)
