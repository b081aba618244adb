"""Prints a report: the verdict first, then the numbers behind it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.text import Text

from edgetransfer.cli.terminal import Console, table
from edgetransfer.measure.speed import sustained
from edgetransfer.measure.study import adaptation, labels, soundness
from edgetransfer.measure.study.soundness import unseen_cost
from edgetransfer.measure.verdict import exit_code, is_sound, worst
from edgetransfer.pipeline.bench import portability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import NoReturn

_COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "UNVERIFIED": "yellow"}
_MIB = 2**20


def leave(reports: Iterable[Mapping[str, Any]], *, strict: bool) -> NoReturn:
    """End the program with the exit code of the worst verdict."""
    found = tuple(reports)
    name = worst(report["verdict"] for report in found)
    sys.exit(exit_code(name, strict=strict, sound=all(map(is_sound, found))))


def told(report: Mapping[str, Any]) -> Iterable[str]:
    """Yield what an unseen group costs, what adapting brought, and what labels look wrong."""
    unseen = (report.get("soundness") or {}).get("unseen")
    if unseen is not None:
        yield unseen_cost(unseen)
    if report.get("adaptation"):
        yield from adaptation.told(report["adaptation"])
    if report.get("labelling"):
        yield from labels.told(report["labelling"])


def notes(found: Sequence[str]) -> None:
    """Print what was noticed in the data."""
    if found:
        console = Console()
        console.print("\nData", style="bold")
        for note in found:
            console.indented(note)


def verdict(report: Mapping[str, Any], folder: Path, *, again: bool = False) -> None:
    """Print one target's verdict, its reasons, and the numbers.

    Args:
        report: of a build or a bench.
        folder: where its files are.
        again: whether a bundle is measured again, where what its build saw was told before.
    """
    console = Console()
    name = report["verdict"]
    head = Text.assemble((f"\n{name}", f"bold {_COLOURS[name]}"), ("  " + report["target"], "bold"))
    console.print(head)
    for reason in report["reasons"]:
        console.indented(reason)
    if name == "UNVERIFIED":
        cpu = report["environment"].get("cpu", "this machine")
        console.indented(f"a preview, measured on {cpu}, not there:", above=1)
    numbers = table(("", "float", "shipped", "difference"), _rows(report))
    numbers.show_header = True
    numbers.columns[0].no_wrap = True
    console.print()
    console.indented(numbers)
    for line in _footnotes(report, again=again):
        console.indented(line)
    console.print()
    for file in ("report.html", "report.json"):
        console.unbroken(f"  {folder / file}")


def _rows(report: Mapping[str, Any]) -> Iterable[tuple[str, str, str, str]]:
    accuracy, sizes = report["accuracy"], report["size"]
    if accuracy["n"] is not None and accuracy["reference"] is not None:
        low, high = accuracy["ci95_pp"]
        yield (
            f"{accuracy['metric']} (n = {accuracy['n']})",
            f"{accuracy['reference']:.3f}",
            f"{accuracy['candidate']:.3f}",
            f"{accuracy['delta_pp']:+.2f} pp [{low:+.2f}, {high:+.2f}]",
        )
    yield from _worst_rows(report)
    invalid = not report["validity"].get("valid", True)
    for title, series in (("core", "latency"), ("from RGB", "end_to_end")):
        yield from _time_rows(title, report[series], invalid=invalid)
    yield (
        "size",
        f"{sizes['reference_bytes'] / _MIB:.2f} MiB",
        f"{sizes['candidate_bytes'] / _MIB:.2f} MiB",
        _smaller(sizes["reference_bytes"] / sizes["candidate_bytes"]),
    )
    peaks = [report["memory"].get(name, {}).get("peak_mib") for name in ("reference", "candidate")]
    if None not in peaks:
        yield ("peak memory", f"{peaks[0]:.0f} MiB", f"{peaks[1]:.0f} MiB", "")


def _smaller(ratio: float) -> str:
    if 0.95 < ratio < 1.05:
        return "same size"
    return f"{ratio:.1f} x smaller" if ratio > 1 else f"{1 / ratio:.1f} x larger"


def _worst_rows(report: Mapping[str, Any]) -> Iterable[tuple[str, str, str, str]]:
    classes = [row for row in report["per_class"] if row["recall_candidate"] is not None]
    if classes:
        worst = min(classes, key=lambda row: row["recall_candidate"])
        yield (
            f"lowest class: {_short(worst['label'])} (n = {worst['n']})",
            f"{worst['recall_reference']:.3f}",
            f"{worst['recall_candidate']:.3f}",
            f"{worst['change_pp']:+.2f} pp",
        )
    groups = [row for row in report["groups"] if row["candidate"] is not None]
    if groups:
        worst = min(groups, key=lambda row: row["candidate"])
        yield (
            f"lowest {worst['column']}: {_short(worst['value'])} (n = {worst['n']})",
            f"{worst['reference']:.3f}",
            f"{worst['candidate']:.3f}",
            f"{worst['delta_pp']:+.2f} pp",
        )


def _time_rows(
    title: str, series: Mapping[str, Any], *, invalid: bool
) -> Iterable[tuple[str, str, str, str]]:
    reference, candidate, speedup = (series[k] for k in ("reference", "candidate", "speedup"))
    if candidate["p50_ms"] is None:
        return
    for key, name in (("p50_ms", "p50"), ("p90_ms", "p90")):
        difference = ""
        if key == "p50_ms" and invalid:
            difference = "not valid, compares nothing"
        elif key == "p50_ms" and speedup["ci95"] is not None:
            difference = speed_told(speedup, reference[key], candidate[key])
        yield f"{name} {title}", _ms(reference[key]), _ms(candidate[key]), difference


def _ms(value: float) -> str:
    """Write a time so that a ratio can be formed of it.

    >>> _ms(8.497), _ms(0.4449)
    ('8.50 ms', '0.445 ms')
    """
    return f"{value:.2f} ms" if value >= 1 else f"{value:.3g} ms"


def speed_told(speedup: Mapping[str, Any], before_ms: float, after_ms: float) -> str:
    """Say the ratio that was measured turn by turn; beside medians of another, say which is which.

    Medians of all inferences move where a process was slower for both variants; turns that were
    taken side by side do not.

    >>> found = {"ratio": 2.9, "ci95": [2.1, 4.0], "class": "FASTER"}
    >>> speed_told(found, 0.44, 0.16)
    '2.90 x faster [2.10, 4.00]'
    >>> speed_told(found, 0.44, 0.26)
    'medians 1.69 x, side by side 2.90 x faster [2.10, 4.00]'
    """
    told, (low, high) = _speed(speedup), speedup["ci95"]
    medians = before_ms / after_ms if after_ms else 0.0
    return told if low <= medians <= high else f"medians {medians:.2f} x, side by side {told}"


def _speed(speedup: Mapping[str, Any]) -> str:
    ratio, (low, high) = speedup["ratio"], speedup["ci95"]
    if speedup["class"] == "FASTER":
        return f"{ratio:.2f} x faster [{low:.2f}, {high:.2f}]"
    if speedup["class"] == "SLOWER":
        return f"{1 / ratio:.2f} x slower [{1 / high:.2f}, {1 / low:.2f}]"
    word = "same speed" if speedup["class"] == "SAME" else "undecided"
    return f"{word} ({ratio:.2f} x [{low:.2f}, {high:.2f}])"


def _footnotes(report: Mapping[str, Any], *, again: bool) -> Iterable[str]:
    agreement, numeric, residency = (report[k] for k in ("agreement", "numeric", "residency"))
    noise = (
        "identical logits" if numeric["sqnr_db"] is None else f"{numeric['sqnr_db']:.1f} dB SQNR"
    )
    bound = 100 * agreement["flip_rate_ucb95"]
    yield (
        f"{agreement['flips']} of {agreement['n']} decisions changed "
        f"(95 % bound {bound:.1f} %), {noise}"
    )
    yield f"soundness: {soundness.summary(report)}"
    if not again:
        yield from told(report)
    yield from _ladder(report["ladder"])
    if residency["int8_conv"]:
        whole = residency["int8_conv"] + residency["float_conv"]
        yield f"{residency['int8_conv']} of {whole} convolutions run in int8"
    if report.get("portability"):
        yield portability.told(report["portability"])
    yield gates_told(report["gates"])
    yield from sustained.told(report)
    if report["latency"]["candidate"]["p50_ms"] is not None:
        yield from (
            f"while measuring: {each}" for each in report["environment"].get("warnings", ())
        )


def gates_told(gates: Sequence[Mapping[str, Any]]) -> str:
    """Count the gates by how they went; the page has them all.

    >>> gates_told([{"status": "PASS"}, {"status": "PASS"}, {"status": "NOT RUN"}])
    '2 gates passed, 1 not run (see report.html)'
    """
    statuses = [gate["status"] for gate in gates]
    counts = [
        f"{statuses.count(status)} {word}"
        for status, word in (("FAIL", "failed"), ("INCONCLUSIVE", "open"), ("NOT RUN", "not run"))
        if status in statuses
    ]
    return ", ".join([f"{statuses.count('PASS')} gates passed", *counts]) + " (see report.html)"


def _ladder(rungs: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Say which rung is shipped, and why not a smaller one."""
    for rung in rungs:
        if not rung["shipped"]:
            continue
        tried = f", the best of {len(rungs)} tried" if len(rungs) > 1 else ""
        yield f"shipped: {rung['rung']}{tried}"
        if rung.get("noisiest_layers"):
            yield f"most of the noise comes from: {', '.join(rung['noisiest_layers'])}"
    for rung in rungs:
        if rung.get("status") == "left out":
            yield f"left out: {rung['rung']}: {rung['why']}"
    slower = [rung for rung in rungs if not rung["shipped"] and rung.get("slower")]
    if slower and any(rung["shipped"] and rung["precision"] == "fp32" for rung in rungs):
        ratio = max(rung["cpu_ratio"] for rung in slower)
        yield f"8-bit integers are slower than floats here ({ratio:.2f} x): floats are shipped"


def _short(label: str, most: int = 18) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"
