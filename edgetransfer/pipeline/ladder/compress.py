"""The compress stage: the float graph becomes what a target runs fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.errors import UnsupportedError
from edgetransfer.pipeline.bench.target_match import matches_this_machine
from edgetransfer.pipeline.graphs import CompressedGraph
from edgetransfer.pipeline.ladder.ladder import Ladder
from edgetransfer.pipeline.ladder.rungs import Workshop
from edgetransfer.pipeline.ladder.trials import RungJudge

if TYPE_CHECKING:
    from edgetransfer.pipeline.graphs import FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.target import TargetSpec


def compress(
    run: Run, fitted: FittedGraph, target: TargetSpec, *, timed: bool = True
) -> CompressedGraph:
    """Climb the ladder for one target and return the best rung.

    Not `timed` where other work would be timed along: trials are then not those of a build.

    Raises:
        UnsupportedError: the target takes static shapes alone, and these are texts.
    """
    if target.static_shapes and not fitted.preprocessing.one_shape:
        raise UnsupportedError(
            f"{fitted.preprocessing.noun}s differ in length, and the target takes static shapes "
            "alone",
            where=f"target {target.name}",
            fix="name a target that computes on the CPU (edgetransfer targets)",
        )
    shop = Workshop.of(run, fitted, target)
    ladder = Ladder(shop, RungJudge(shop, here=timed and matches_this_machine(target)))
    chosen = ladder.climb(run.recipe.quant.precision)
    rung = chosen.made.rung
    facts: dict[str, Any] = {"precision": rung.precision, "rung": rung.name}
    if rung.precision == "w8a8":
        facts |= shop.facts()
        facts["scheme"]["weight"] = chosen.made.record.get("weight", target.int8.weight)
    facts["ladder"] = ladder.rows(chosen)
    return CompressedGraph(chosen.made.graph, chosen.made.kept.key, facts)
