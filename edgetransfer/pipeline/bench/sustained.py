"""Lets a bundle work for minutes on a device, and measures the energy of an inference there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import SpecError
from edgetransfer.measure.speed.sustained import energy_of_its_own, summarise_series
from edgetransfer.pipeline.bench.times import TIMED_INPUTS, input_files, variants_of
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transport.job import Job, SustainedLoad, Variant

if TYPE_CHECKING:
    from edgetransfer.bundle.opened import Bundle
    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.transport.place import Place

WINDOW_S = 5.0
ENERGY_S = 10.0
"""Of idling, and of work: as MLPerf Tiny asks for at least."""


def sustained(
    place: Place, variant: Variant, seconds: float, progress: Progress = silent
) -> dict[str, Any]:
    """Run a variant for so long without a rest; return the report's block `sustained`.

    SpecError where the place takes no such job, or its processor is emulated.
    """
    _needs(place, "sustain", "--sustained")
    asked = SustainedLoad(seconds, min(WINDOW_S, seconds / 4))
    with tempfile.TemporaryDirectory() as folder:
        job = Job("sustain", (variant,), sustained=asked)
        series = place.run(job, Path(folder), progress=progress)["series"]
    found = summarise_series(series, on_cpu=variant.on_cpu)
    return {"seconds": seconds, "window_s": asked.window_s, **found}


def energy(place: Place, variants: Sequence[Variant]) -> dict[str, Any]:
    """Measure the energy of an inference of each variant; return the report's block `energy`.

    SpecError as `sustained`.
    """
    _needs(place, "energy", "--energy")
    with tempfile.TemporaryDirectory() as folder:
        job = Job("energy", tuple(variants), sustained=SustainedLoad(ENERGY_S))
        return energy_of_its_own(place.run(job, Path(folder))["energy"])


def core_variants(
    bundle: Bundle, prepare: Preparer, examples: Sequence[Example], room: Path
) -> tuple[Variant, ...]:
    """Return reference and candidate of a bundle, fed with a few prepared examples."""
    files = input_files(prepare, examples[:TIMED_INPUTS], room)
    models = {"reference": bundle.file("reference.onnx"), "candidate": bundle.file("core.onnx")}
    session = bundle.manifest["session"]
    variants = variants_of(models, files, bundle.target, session["threads"])
    return tuple(replace(each, config=session["config"]) for each in variants)


def _needs(place: Place, action: str, option: str) -> None:
    if place.emulated or action not in place.actions:
        found = "an emulated processor" if place.emulated else "a place that takes no such job"
        raise SpecError(
            "nothing that depends on the speed of the processor can be measured there",
            where=option,
            found=f"{place.where}: {found}",
        )
