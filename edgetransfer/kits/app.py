"""Judges what the check of a kit measured on a device: do its cases hold, and is it in time?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from edgetransfer.bundle.forms import Digest, Form, Number
from edgetransfer.errors import DataError
from edgetransfer.export.golden import CASES
from edgetransfer.kits.model_folder import refuse_unfit, tolerances
from edgetransfer.measure.stats.intervals import quantile, quantile_ci, samples_needed
from edgetransfer.spec.outside import Kind, json_of, some, text_of, validated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from edgetransfer.bundle.opened import Bundle

_MEASURED = Kind(
    "measurement of an app",
    error=DataError,
    expected="measured.json as the check of a kit wrote it",
)
_CASES = Kind("list of golden cases")
_Text = Annotated[str, Field(max_length=500)]
_SHOWN = 5


class AppCaseForm(Form):
    """What the model gave for one golden case."""

    name: _Text
    outputs: list[Number]


class MeasuredForm(Form):
    """``measured.json``; milliseconds are raw, of one case after another."""

    format: Literal["edgetransfer.app/1"] = Field(alias="schema")
    kit: _Text
    sha256: Digest
    runtime: _Text
    device: _Text
    cases: Annotated[list[AppCaseForm], Field(max_length=10_000)]
    wrong: Annotated[list[_Text], Field(max_length=10_000)]
    milliseconds: Annotated[list[Annotated[float, Field(gt=0, le=1e9)]], Field(max_length=100_000)]


def judge_app(bundle: Bundle, file: Path) -> dict[str, Any]:
    """Return a row of ``apps`` in the report: what was measured, its status, and why.

    It FAILs where the check said that something is wrong, outputs are further off than another kind
    of processor explains, or the 90th percentile is over the bundle's limit; it is INCONCLUSIVE
    where there is a limit and too few times to tell. DataError where the file is no measurement, or
    one of another model.
    """
    refuse_unfit(bundle)
    found = validated(MeasuredForm, json_of(file, _MEASURED), file, _MEASURED)
    if found.sha256 != bundle.digest("model.onnx"):
        raise DataError(
            "the app ran another model than this bundle's",
            where=str(file),
            found=found.sha256[:12],
            expected=bundle.digest("model.onnx")[:12],
            fix="export the kit again, or name the bundle that it was made of",
        )
    worst, changed, faults = _compared(bundle, found)
    times = np.array(found.milliseconds)
    row: dict[str, Any] = {
        "kit": found.kit,
        "device": found.device,
        "runtime": found.runtime,
        "cases": len(found.cases),
        "worst": worst,
        "changed": changed,
        "n": len(times),
        "p50_ms": quantile(times, 0.5) if len(times) else None,
        "p90_ms": quantile(times, 0.9) if len(times) else None,
        "p90_ci95_ms": quantile_ci(times, 0.9) if len(times) else None,
    }
    missed, open_ = _in_time(row, bundle.recipe.budget.max_latency_ms)
    failed = [*found.wrong[:_SHOWN], *faults, *missed]
    status = "FAIL" if failed or found.wrong else "INCONCLUSIVE" if open_ else "PASS"
    return {**row, "status": status, "reasons": failed or open_}


def with_apps(
    known: Iterable[Mapping[str, Any]], judged: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return rows of ``apps``, of each kit and device the newest alone."""
    rows = {(each["kit"], each["device"]): each for each in (*known, *judged)}
    return list(rows.values())


def _compared(bundle: Bundle, found: MeasuredForm) -> tuple[float, int, list[str]]:
    """Return how far outputs are off at most, how many decisions changed, and what is wrong."""
    expected = dict(_expected(bundle))
    given = {each.name: np.array(each.outputs, np.float32) for each in found.cases}
    missing = [name for name in expected if name not in given]
    faults = [f"no outputs of {some(missing)}"] if missing else []
    other = [n for n in given if n not in expected or given[n].shape != expected[n].shape]
    if other:
        faults.append(f"outputs that are not of this model: {some(other)}")
    both = [name for name in expected if name in given and name not in other]
    apart = {name: float(np.abs(given[name] - expected[name]).max()) for name in both}
    _, near = tolerances(bundle)
    off = [name for name in both if not apart[name] <= near]
    if off:
        faults.append(f"outputs of {some(off)} are off by more than {near:.4g}")
    changed = sum(int(given[name].argmax() != expected[name].argmax()) for name in both)
    return max(apart.values(), default=0.0), changed, faults


def _expected(bundle: Bundle) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield the outputs of the golden cases, by name."""
    text = text_of(bundle.file(f"golden/{CASES}"), _CASES)
    head, *rows = (line.split("\t") for line in text.rstrip("\n").split("\n"))
    for row in rows:
        case: Mapping[str, str] = dict(zip(head, row, strict=True))
        yield case["name"], np.array(row[-1].split(","), np.float32)


def _in_time(row: Mapping[str, Any], limit_ms: float | None) -> tuple[list[str], list[str]]:
    """Return what misses the limit, and why it cannot be told."""
    if limit_ms is None:
        return [], []
    if row["p90_ci95_ms"] is None:
        needed = samples_needed(0.9)
        return [], [f"{row['n']} times: the 90th percentile takes {needed} or more to know"]
    low, high = row["p90_ci95_ms"]
    told = f"p90 {row['p90_ms']:.4g} ms [{low:.4g}, {high:.4g}]"
    if low > limit_ms:
        return [f"{told}: over the limit of {limit_ms:g} ms"], []
    return [], [f"{told}: the limit of {limit_ms:g} ms lies within"] if high > limit_ms else []
