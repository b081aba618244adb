"""What every stage of one run shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.pipeline.stage.reporter import Line, Reporter, telling
from edgetransfer.transfer.team import ALONE, Team

if TYPE_CHECKING:
    from edgetransfer.backbone.model import Source
    from edgetransfer.pipeline.stage.stage import Stage, StageResult
    from edgetransfer.pipeline.stage.store import Store
    from edgetransfer.spec.recipe import Recipe
    from edgetransfer.spec.target import TargetSpec


@dataclass(frozen=True)
class Run:
    """One build: what was asked for, resolved, and where its stages are kept.

    Attributes:
        candidates: what the backbone is to be chosen from; none where it was named.
        choice: what was chosen from and why, None where it was named.
    """

    recipe: Recipe
    targets: tuple[TargetSpec, ...]
    source: Source
    store: Store
    reporter: Reporter
    teacher: Source | None = None
    candidates: tuple[Source, ...] = ()
    choice: Mapping[str, Any] | None = None
    team: Team = ALONE

    def session_of(self, target: TargetSpec) -> dict[str, Any]:
        """Return the options of a target's sessions."""
        threads = self.recipe.threads or target.session.threads
        return {"threads": threads, "config": dict(target.session.config)}

    def keep(self, stage: Stage, title: str | None = None) -> StageResult:
        """Make or reuse what a stage leaves, and tell of it in a line of its own."""
        with telling(self.reporter, title or stage.name) as line:
            return self.keep_in(line, stage)

    def keep_in(self, line: Line, stage: Stage) -> StageResult:
        """Make or reuse what a stage leaves in the course of a line that others share."""
        kept = self.store.keep(stage, line.progress)
        line.reused = kept.reused
        line.summary = stage.told(kept.record)
        return kept
