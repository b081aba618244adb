"""Holds two reports against each other: what each came to, and what may be compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.opened import MANIFEST, REPORT, open_bundle
from edgetransfer.bundle.readers import read_manifest, read_report
from edgetransfer.measure.speed.latency import Estimate, unpaired
from edgetransfer.measure.verdict import refuse_untrue
from edgetransfer.report.ci import plain
from edgetransfer.report.node import Node
from edgetransfer.report.page import tiles
from edgetransfer.spec import tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_OF_BOTH_MODELS = "Speed-up"
_TOLD = ("verdict", "reasons", "target", "task", "precision", "examples", "agreement", "size")


@dataclass(frozen=True)
class ComparedReport:
    """One of two reports, as the user named it.

    `judged_on` is the digest of the test examples, None where the report is not a bundle's own.
    """

    where: str
    report: Mapping[str, Any]
    judged_on: str | None = None


@dataclass(frozen=True)
class ReportComparison:
    """What two reports say of each other.

    The ratio is how many times as fast the second is, with its interval where there is one, None
    where their times may not be compared; `why` says why not, or what to know of the ratio. Whether
    both were judged on the same examples is None where that is not known.
    """

    first: ComparedReport
    second: ComparedReport
    ratio: Estimate | None
    why: str
    same_examples: bool | None

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield what, of the first, of the second: the verdict, then what each task looks for."""
        one, other = both = self.first.report, self.second.report
        yield "", self.first.where, self.second.where
        for key in ("verdict", "target", "precision"):
            yield key, str(one[key]), str(other[key])
        nodes = [Node(report, reasons=report.get("unavailable", {})) for report in both]
        sides = [{row["label"]: row for row in tiles(node)} for node in nodes]
        for label in dict.fromkeys(label for side in sides for label in side):
            if label != _OF_BOTH_MODELS:
                yield (label, *(_cell(side.get(label)) for side in sides))

    @property
    def told(self) -> str:
        """What may be said of the times, and of the examples, in words."""
        if self.ratio is None:
            times = f"times not compared: {self.why}"
        else:
            ends = self.ratio.ci95
            between = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else ""
            times = f"B is {self.ratio.ratio:.2f} times as fast as A{between}, {self.why}"
        examples = {
            True: "judged on the same test examples",
            False: "judged on different test examples: the accuracies are not of one set",
            None: "whether both were judged on the same examples is not known",
        }[self.same_examples]
        return f"{times}\n{examples}"

    def plain(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "schema": "edgetransfer.comparison/1",
            "first": _plain(self.first),
            "second": _plain(self.second),
            "times_as_fast": None if self.ratio is None else asdict(self.ratio),
            "why": self.why,
            "same_examples": self.same_examples,
        }


def read_side(path: Path) -> ComparedReport:
    """Read a bundle, a folder that `bench` wrote, or a report.

    SpecError where it is none of them, IntegrityError where it was changed.
    """
    bundle = path / MANIFEST
    if path.is_dir() and (bundle.is_file() or not (path / REPORT).is_file()):
        open_bundle(path)
    file = path / REPORT if path.is_dir() else path
    report = read_report(file)
    refuse_untrue(report, str(file), tasks.load(report["task"]).claims)
    data = read_manifest(bundle).get("data", {}) if bundle.is_file() else {}
    return ComparedReport(str(path), report, data.get("splits", {}).get("test", {}).get("digest"))


def compare(first: ComparedReport, second: ComparedReport) -> ReportComparison:
    """Hold two reports against each other; times only where one machine and runtime took both."""
    known = None not in (first.judged_on, second.judged_on)
    same = first.judged_on == second.judged_on if known else None
    why = _incomparable(first.report, second.report)
    if why:
        return ReportComparison(first, second, None, why, same)
    medians = [side.report["latency"]["candidate"]["process_p50_ms"] for side in (first, second)]
    why = (
        f"on {first.report['environment'].get('cpu', 'one machine')}, in two runs, not side by side"
    )
    return ReportComparison(first, second, unpaired(*medians), why, same)


def _incomparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Say why the times of two reports say nothing of each other; nothing where they do."""
    both = first, second
    for report, name in zip(both, ("first", "second"), strict=True):
        if report["latency"]["candidate"].get("process_p50_ms") is None:
            return f"the {name} was not timed"
        if not report["validity"].get("measured_on_target"):
            return f"the {name} was not timed on its target"
        if report["validity"].get("valid") is False:
            return f"the times of the {name} are not valid"
    machines = [report["environment"] for report in both]
    if machines[0].get("cpu") != machines[1].get("cpu"):
        return f"timed on {' and on '.join(str(each.get('cpu')) for each in machines)}"
    if machines[0].get("digest") != machines[1].get("digest"):
        return "timed in two environments of one processor: another system, runtime or setting"
    return ""


def _cell(row: Mapping[str, Any] | None) -> str:
    lines = () if row is None else (row["value"], *(note for note in row["notes"] if note))
    return "\n".join(map(plain, lines))


def _plain(side: ComparedReport) -> dict[str, Any]:
    report, task = side.report, tasks.load(side.report["task"])
    told = {key: report[key] for key in (*_TOLD, *task.report_form.model_fields) if key in report}
    environment, validity = report["environment"], report["validity"]
    times = {key: report["latency"]["candidate"].get(f"{key}_ms") for key in ("p50", "p90")}
    return {
        "where": side.where,
        **told,
        "latency_ms": {**times, "p50_ci95": report["latency"]["candidate"].get("p50_ci95_ms")},
        "machine": {key: environment.get(key) for key in ("cpu", "runtime", "digest")},
        "measured_on_target": validity.get("measured_on_target"),
    }
