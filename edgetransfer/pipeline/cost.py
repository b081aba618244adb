"""What a build takes: told at its end, kept beside the stages, and estimated before the next one.

The estimate scales the seconds of each stage of a build that was measured: the nearest of those
that this cache remembers, else of ``benchmarks/results/stages.json``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil, floor, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from edgetransfer.agent.conditions import used_cores
from edgetransfer.bundle.files import digest_of_value, write_json, writing
from edgetransfer.bundle.forms import Form
from edgetransfer.bundle.readers import BuildForm
from edgetransfer.data.decode import PICTURE_SUFFIXES
from edgetransfer.data.locate import DataLocation, is_leaving, locate
from edgetransfer.data.tables import FILE_COLUMNS
from edgetransfer.errors import EdgeTransferError
from edgetransfer.pipeline.stage.stage import cpu_seconds, joules
from edgetransfer.spec.catalogue import shipped
from edgetransfer.spec.outside import json_of, validated
from edgetransfer.transport.job import EFFORTS

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.pipeline.stage.store import Visit

MEASURED = "benchmarks/results/stages.json"
EMULATED = "benchmarks/results/emulated.json"
_REMEMBERED = "builds.json"
_MOST = 50
GROWS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("data", "neighbours", "probe", "near-duplicates"), (1.0, 0.0)),
    **dict.fromkeys(("labels", "soundness"), (0.5, 0.0)),
    **dict.fromkeys(("features", "probe-views", "reference"), (1.0, 1.0)),
    **dict.fromkeys(("finetune", "contrastive", "self-training"), (1.0, 1.0)),
    "random start": (0.5, 1.0),
    **dict.fromkeys(("trial", "measure"), (0.5, 0.5)),
    **dict.fromkeys(("trace", "rung", "statistics"), (0.0, 1.0)),
    "backbone": (0.0, 0.25),
}
"""With which power of the examples and of the network's size a stage's seconds grow; others stay.

The powers stand between the builds of `MEASURED`: compression runs a calibration set of one size,
checks look at a part of many examples, trials and measuring mostly take times, and opening a
backbone is mostly imports."""
OF_TARGET = ("rung", "reference", "trial", "statistics", "measure")
"""Stages that every target has of its own."""
_NOT_OF_FLOATS = ("rung", "trial")
_OF_SOUNDNESS = ("random start", "soundness")
_OF_TRAINING = ("finetune", "lora", "contrastive", "self-training")
_OF_A_PROBE = ("features", "neighbours", "probe-views", "probe", "labels", "near-duplicates")
SPREAD = (0.7, 1.5)
"""What the seconds of one command were found to lie between, over runs and machines alike."""


class Spending:
    """Time, and energy where a counter can be read, since a build began.

    The first `shared` stages that were entered are of every target.
    """

    def __init__(self) -> None:
        self.shared = 0
        self._start = time.monotonic(), cpu_seconds(), joules()

    def written(self, visits: Sequence[Visit], since: int = 0) -> dict[str, Any]:
        """Return what was spent so far, and what the stages took, as JSON.

        Those are the shared ones, and all from number `since` on.
        """
        start, cpu, energy = self._start
        now = joules()
        drawn = {} if energy is None or now is None else {"energy_j": round(now - energy, 1)}
        return {
            "seconds": round(time.monotonic() - start, 2),
            "cpu_seconds": round(cpu_seconds() - cpu, 2),
            **drawn,
            "stages": [
                {"stage": name, "found": kept.reused, **kept.cost._asdict()}
                for name, kept in (*visits[: self.shared][:since], *visits[since:])
            ],
        }


class Workload(Form):
    """What the time of a build depends on, as far as it is known before it.

    Examples are all that are labelled, the bytes those of the backbone's weights, and the recipe is
    a digest of all that was asked for.
    """

    task: str
    kind: str
    examples: int = Field(gt=0)
    network_bytes: int = Field(gt=0)
    fit: str
    targets: int = Field(gt=0)
    recipe: str

    @classmethod
    def of(cls, run: Run) -> Workload | None:
        """Look at names and sizes alone; None where that does not tell."""
        if run.candidates or run.teacher is not None:
            return None
        counted = examples_in(run.recipe.data.source)
        try:
            place = run.source.path
            weights = place.glob("*.safetensors") if place.is_dir() else (place,)
            size = sum(file.stat().st_size for file in weights)
        except OSError:
            return None  # what is wrong with it is said where it is opened
        if counted is None or not size:
            return None
        kind, examples = counted
        return cls(
            task=run.recipe.task,
            kind=kind,
            examples=examples,
            network_bytes=size,
            fit=run.recipe.fit.method,
            targets=len(run.targets),
            recipe=digest_of_value(run.recipe.model_dump(mode="json")),
        )

    def distance(self, other: Mapping[str, Any]) -> float:
        """Say how little a measured build tells of this one."""
        far = abs(log(self.examples / other["examples"]))
        far += abs(log(self.network_bytes / other["network_bytes"]))
        return float(far + 3.0 * (self.fit != other["fit"]))

    def is_like(self, other: Mapping[str, Any]) -> bool:
        """Tell whether a measured build tells anything of this one."""
        return (self.task, self.kind) == (other["task"], other["kind"])


def examples_in(source: str) -> tuple[str, int] | None:
    """Count pictures by their names, or about the lines of tables; None where that does not tell.

    What is wrong with the data is said where they are read.
    """
    try:
        return _counted(locate(source))
    except (EdgeTransferError, OSError):
        return None


_LOOKED_AT = 1 << 20
"""Bytes of a table whose lines are counted, for all of it."""


def _counted(located: DataLocation) -> tuple[str, int] | None:
    if not located.tables:
        number = sum(
            Path(name).suffix.lower() in PICTURE_SUFFIXES and not is_leaving(name)
            for _, _, names in os.walk(located.root)
            for name in names
        )
        return ("image", number) if number else None
    lines, head = 0.0, b""
    for table in located.tables:
        if table.path.suffix.lower() == ".parquet" or not table.path.is_file():
            return None
        with table.path.open("rb") as file:
            first = file.read(_LOOKED_AT)
        named, _, rows = first.partition(b"\n")
        head = head or named
        lines += rows.count(b"\n") * max(1.0, table.path.stat().st_size / _LOOKED_AT)
    words = set(re.findall(r"[a-z_]+", head.decode(errors="replace").lower()))
    return ("image" if words & set(FILE_COLUMNS) else "text", round(lines)) if lines else None


class _PastBuild(Workload, BuildForm):
    """A build that was finished, and what it took."""


class _Remembered(Form):
    builds: list[_PastBuild]


def remember(run: Run, spent: Mapping[str, Any]) -> None:
    """Keep what the stages of a finished build took, for the estimate of the next."""
    work = Workload.of(run)
    if work is None:
        return
    alone = sum(each["seconds"] for each in spent["stages"])
    found = any(each["found"] for each in spent["stages"])
    seconds = alone if found else spent["seconds"]  # opening and imports count once
    mine = {
        **work.model_dump(),
        "seconds": round(seconds, 2),
        "cpu_seconds": spent["cpu_seconds"],
        "stages": spent["stages"],
    }
    root = run.store.root
    others = [each for each in _remembered(root) if each["recipe"] != work.recipe]
    with suppress(EdgeTransferError), writing(root):  # what was built is not lost for it
        write_json(root / _REMEMBERED, {"builds": [*others, mine][-_MOST:]})


def _remembered(root: Path) -> list[dict[str, Any]]:
    """Return what `remember` wrote; nothing of a file that is none of ours."""
    try:
        found: dict[str, Any] = json_of(root / _REMEMBERED)
        validated(_Remembered, found, root / _REMEMBERED)
    except EdgeTransferError:
        return []
    return list(found["builds"])


def estimate(run: Run) -> str:
    """Say about how long a build takes from an empty cache, empty where nothing tells."""
    work = Workload.of(run)
    if work is None:
        return ""
    own = _remembered(run.store.root) if run.store is not None else []
    measured = json_of(shipped(MEASURED)).values()
    near = [(work.distance(each), each) for each in own if work.is_like(each)]
    # of another machine
    near += [(work.distance(each) + 1.0, each) for each in measured if work.is_like(each)]
    if not near:
        return ""
    _, nearest = min(near, key=lambda pair: pair[0])
    seconds = seconds_like(nearest, work, len(used_cores()), run)
    told = in_words(*(seconds * factor for factor in SPREAD))
    if nearest["fit"] != work.fit and work.fit not in ("none", "probe"):
        told += ", and what fine-tuning takes"
    kept = any(each["recipe"] == work.recipe for each in own)
    return told + (", less what is kept of an earlier build" if kept else "")


def seconds_like(measured: Mapping[str, Any], work: Workload, cores: int, run: Run) -> float:
    """Return the seconds of a build by those of each stage of a measured one.

    A stage of N examples and a network of S bytes takes N^p S^q, see `GROWS`, and what it computed
    on several processors at once takes the longer on fewer.
    """
    more = work.examples / measured["examples"], work.network_bytes / measured["network_bytes"]
    left_out: tuple[str, ...] = () if run.recipe.soundness else _OF_SOUNDNESS
    if run.recipe.quant.precision in ("fp32", "fp16"):
        left_out += _NOT_OF_FLOATS
    if work.fit in ("none", "probe"):
        left_out += _OF_TRAINING
    if work.fit == "none":
        left_out += _OF_A_PROBE
    total = measured["seconds"] - sum(each["seconds"] for each in measured["stages"])
    total += EFFORTS[run.recipe.timing].budget_s - EFFORTS["quick"].budget_s
    for each in measured["stages"]:
        if each["stage"] in left_out:
            continue
        powers = GROWS.get(each["stage"], (0.0, 0.0))
        seconds = each["seconds"] * more[0] ** powers[0] * more[1] ** powers[1]
        seconds *= max(1.0, each["cpu_seconds"] / max(each["seconds"], 1e-3) / cores)
        if each["stage"] in OF_TARGET:
            seconds *= work.targets / measured["targets"]
        total += seconds
    return float(max(total, 1.0))


REPEATED = 32
"""Examples of a bench that run several times (`pipeline.bench.proofs`); the others run twice."""
_SHARE_OF_TWO = 1 / 3


def emulated(where: str, macs: float, examples: int) -> str:
    """Say about how long a bench takes on an emulated processor, by two that were measured.

    It grows with the examples and with a network's multiply-accumulates; one that was not measured
    counts as the slowest that was.
    """
    measured = json_of(shipped(EMULATED))
    found = [measured[where]] if where in measured else list(measured.values())
    seconds = max(emulated_seconds(each, macs, examples) for each in found)
    return in_words(*(seconds * factor for factor in SPREAD))


def emulated_seconds(measured: Mapping[str, Any], macs: float, examples: int) -> float:
    """Return the seconds of a bench by those of a measured one with few and with more examples."""
    (few, short), (more, long) = ((int(n), s) for n, s in measured["seconds"].items())
    each = (long - short) / (more - few)
    beyond = max(0, examples - REPEATED) * _SHARE_OF_TWO
    runs = each * macs / measured["macs"] * (min(examples, REPEATED) + beyond)
    return float(short - few * each + runs)


def in_words(low: float, high: float) -> str:
    """Say a span of seconds as coarsely as it is known.

    >>> in_words(8, 19), in_words(50, 110), in_words(1510, 3500), in_words(4000, 9000)
    ('about 8 to 20 s', 'about 1 to 2 min', 'about 25 to 60 min', 'about 1 to 3 h')
    """
    units = ((1, "s"), (60, "min"), (3600, "h"))
    unit, name = next((each for each in units if high < 100 * each[0]), units[-1])
    step = 5 if high >= 10 * unit else 1
    most = ceil(high / unit / step) * step
    least = max(1, floor(low / unit / step) * step if low >= 10 * unit else floor(low / unit))
    return f"about {least} to {most} {name}" if least < most else f"about {most} {name}"
