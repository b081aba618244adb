"""Runs candidates on the emulated processor that stands for a target, while there is no device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.errors import UnsupportedError
from edgetransfer.measure.drift import CLOSE_DB, measure_drift
from edgetransfer.pipeline.bench.times import input_files, variants_of
from edgetransfer.transport.job import Job
from edgetransfer.transport.place import connect

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.spec.target import TargetSpec

LOOKED_AT = 12
"""Examples that are compared first: an emulated network takes a second for one."""
Logits = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Numbers:
    """Which logits a candidate is judged by.

    Attributes:
        by: what computed them, in words.
    """

    logits: Logits
    by: str


class Previewer:
    """Stands for a target that races schemes, where this machine does not.

    It is of use where the target races schemes and this machine may not stand `here` for it.
    """

    def __init__(self, target: TargetSpec, prepare: Preparer, *, here: bool) -> None:
        self._target = target
        self._prepare = prepare
        self.on = target.preview.on if target.schemes and not here else ""

    def state(self) -> str:
        """Say what stands for the target, for the key of what is kept."""
        return self.on and f"{self.on}: {'prepared' if self.is_prepared() else 'not prepared'}"

    def is_prepared(self) -> bool:
        """Tell whether the processor can be used now."""
        try:
            with connect(self.on):
                return True
        except UnsupportedError:
            return False

    def numbers(
        self, graph: Path, examples: Sequence[Example], host: Logits, room: Path
    ) -> Numbers:
        """Return what the target would compute.

        A few examples are computed there. Where they come out as on the build host, the host's
        logits of all stand; where they do not, all are computed there.

        Of all examples `host` has the logits as this machine computed them; `room` is empty.
        """
        if not self.is_prepared():
            return Numbers(host, f"the build host: {self.on} is not prepared")
        few = self._run(graph, examples[:LOOKED_AT], room)
        expected = host[: len(few)]
        if np.array_equal(few, expected):
            return Numbers(host, f"{self.on}: bit-equal to the build host on {len(few)} examples")
        near = measure_drift(expected, few)
        if near.non_finite == 0 and near.sqnr_db >= CLOSE_DB:
            told = f"{near.sqnr_db:.0f} dB from the build host on {len(few)} examples"
            return Numbers(host, f"{self.on}: {told}")
        every = self._run(graph, examples, room)
        return Numbers(every, f"{self.on}: not those of the build host")

    def _run(self, graph: Path, examples: Sequence[Example], room: Path) -> Logits:
        folder = room / f"inputs-{len(examples)}"
        folder.mkdir()
        files = input_files(self._prepare, examples, folder)
        (variant,) = variants_of({"candidate": graph}, files, self._target, None)
        with connect(self.on) as place:
            place.run(Job("logits", (variant,)), folder)
        logits: Logits = np.load(folder / "logits.npy")
        return logits
