"""Prints what came back: the verdict first, then the numbers behind it.

Says in sentences what a build saw in its own data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgetransfer.cli.console import Console
from edgetransfer.measure.speed import sustained
from edgetransfer.measure.study import adaptation, labels, soundness
from edgetransfer.measure.study.soundness import unseen_cost
from edgetransfer.pipeline.bench import portability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from edgetransfer.pipeline.plan import Step
    from edgetransfer.pipeline.predict import Prediction
    from edgetransfer.pipeline.stage.store import Entry
    from edgetransfer.spec.recipe import Recipe
    from edgetransfer.spec.target import TargetSpec


def told(report: Mapping[str, Any]) -> Iterable[str]:
    """Yield what an unseen group costs, what adapting brought, and what labels look wrong."""
    unseen = (report.get("soundness") or {}).get("unseen")
    if unseen is not None:
        yield unseen_cost(unseen)
    if report.get("adaptation"):
        yield from adaptation.told(report["adaptation"])
    if report.get("labelling"):
        yield from labels.told(report["labelling"])


_COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "UNVERIFIED": "yellow"}

_MIB = 2**20

_SHOWN = 200

_DAY = "%Y-%m-%d %H:%M"


def _plain_table(*columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=bool(columns[0]))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table


def notes(found: Sequence[str]) -> None:
    """Print what was noticed in the data."""
    if found:
        console = Console()
        console.print("\nData", style="bold")
        for note in found:
            console.print(Padding(Text(note), (0, 0, 0, 2)))


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
        console.print(Padding(Text(reason), (0, 0, 0, 2)))
    if name == "UNVERIFIED":
        cpu = report["environment"].get("cpu", "this machine")
        console.print(Padding(Text(f"a preview, measured on {cpu}, not there:"), (1, 0, 0, 2)))
    table = _plain_table("", "float", "shipped", "difference")
    table.show_header = True
    table.columns[0].no_wrap = True
    for row in _rows(report):
        table.add_row(*row)
    console.print()
    console.print(Padding(table, (0, 0, 0, 2)))
    for line in _footnotes(report, again=again):
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    console.print()
    for file in ("report.html", "report.json"):
        console.print(Text(f"  {folder / file}"), soft_wrap=True)


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


def predictions(found: Sequence[Prediction]) -> None:
    """Print the best classes of every input, of which 200 letters are shown."""
    table = _plain_table("input", "class", "share", "then", right=["share"])
    for each in found:
        (label, share), *others = each.best
        rest = ", ".join(f"{name} {part:.3f}" for name, part in others)
        table.add_row(Text(each.input[:_SHOWN]), Text(label), f"{share:.3f}", Text(rest))
    Console().print(table)


def targets(specs: Sequence[TargetSpec]) -> None:
    """Print the catalogue."""
    table = _plain_table("target", "what it is", "precision", "evidence")
    for spec in specs:
        precision = "of its class" if spec.detect else spec.precision
        table.add_row(spec.name, spec.title, precision, spec.evidence.status)
    Console().print(table)


def target(spec: TargetSpec) -> None:
    """Print one target in full."""
    table = _plain_table("", "")
    for section, value in spec.model_dump(mode="json", exclude_none=True).items():
        for key, each in value.items() if isinstance(value, dict) else [("", value)]:
            table.add_row(f"{section}.{key}" if key else section, Text(str(each)))
    Console().print(table)


def backbones(cards: Sequence[Mapping[str, Any]]) -> None:
    """Print the built-in backbones and what else can be given."""
    console = Console()
    table = _plain_table("backbone", "parameters", "input", "licence", right=["parameters"])
    for card in cards:
        height, width = card["input_size"]
        size = f"{card['parameters'] / 1e6:.2f} M"
        table.add_row(f"builtin:{card['name']}", size, f"{height} x {width}", card["license"])
    console.print(table)
    console.print(
        "\nAlso: hf:ORG/NAME (transformers), timm:NAME, a local folder in either layout,\n"
        "or your own fitted model with --fit none: a transformers folder or a .onnx file."
    )


def plan(recipe: Recipe, steps: Sequence[Step]) -> None:
    """Print the recipe as resolved, and the stages."""
    console = Console()
    table = _plain_table("", "")
    for section, value in recipe.model_dump(mode="json", exclude_none=True).items():
        for key, each in value.items() if isinstance(value, dict) else [("", value)]:
            shown = ", ".join(map(str, each)) if isinstance(each, list) else str(each)
            table.add_row(f"{section}.{key}" if key else section, Text(shown or "-"))
    console.print("Recipe", style="bold")
    console.print(Padding(table, (0, 0, 1, 2)))
    stages = _plain_table("", "")
    for step in steps:
        stages.add_row(step.stage, Text(step.what))
    console.print("Stages", style="bold")
    console.print(Padding(stages, (0, 0, 0, 2)))


def entries(found: Sequence[Entry]) -> None:
    """Print what is kept."""
    from datetime import datetime

    table = _plain_table("stage", "key", "size", "made", right=["size"])
    for entry in found:
        made = datetime.fromtimestamp(entry.made_at).astimezone().strftime(_DAY)
        table.add_row(entry.stage, entry.key, f"{entry.bytes / _MIB:.1f} MiB", made)
    Console().print(table)


def size(root: Path, count: int, total_bytes: int) -> None:
    """Print how much is kept, and where."""
    Console().print(f"{total_bytes / _MIB:.1f} MiB in {count} stages, in {root}", soft_wrap=True)


def freed(total_bytes: int) -> None:
    """Print what cleaning gave back."""
    Console().print(f"freed {total_bytes / _MIB:.1f} MiB")
