"""Measures what a build made at another place too: where a target's device, or an emulator, is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.opened import BENCH
from edgetransfer.measure.target_match import stand
from edgetransfer.pipeline.bench.target_match import seen_at
from edgetransfer.spec.base import slug
from edgetransfer.transport.place import connect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.pipeline.stage.run import Run

    Reports = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Verification:
    """A place that was met before the work.

    Attributes:
        where: what `transport.place.connect` takes.
        seen: its environment, as the agent told it.
        emulated: whether its processor is.
    """

    where: str
    seen: Mapping[str, Any]
    emulated: bool

    @classmethod
    def at(cls, where: str) -> Verification:
        """Look at a place.

        Raises:
            EdgeTransferError: what `connect` raises; it is not there, or not prepared.
        """
        with connect(where) as place:
            return cls(where, seen_at(place), place.emulated)

    def reports(self, run: Run, built: Reports, folders: Mapping[str, Path]) -> Reports:
        """Measure the bundles of those targets there which are UNVERIFIED, and which it may prove.

        Returns their reports by target; `bench/` of each bundle holds them too.
        """
        from edgetransfer.pipeline.bench.bench import There, bench

        found = {}
        for target in run.targets:
            name = target.name
            open_yet = built[name]["verdict"] == "UNVERIFIED"
            if open_yet and stand(target, self.seen, emulated=self.emulated).proves:
                room = folders[name] / BENCH / slug(self.where)
                there = There(self.where)
                done = bench(folders[name], run.recipe.data, room, run.reporter, there)
                note = f"{name} was measured on {self.where}: {room / 'report.html'}"
                notes = [*built[name]["notes"], note]
                found[name] = {**done.report, "notes": notes}
        return found
