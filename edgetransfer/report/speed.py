"""Puts times, size, memory and residency into tables and plots.

Draws the distribution of two sets of times over a common axis, as inline SVG.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale, anchor
from edgetransfer.report.node import absent
from edgetransfer.report.words import MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgetransfer.report.node import Node

ROW, HEIGHT = 18, 190
"""Pixels: of a row of labels above the plot, and of the plot."""


@dataclass(frozen=True)
class Bars:
    """Counts [B] of both variants between edges [B + 1], ms."""

    edges: Sequence[float]
    reference: Sequence[int]
    candidate: Sequence[int]


@dataclass(frozen=True)
class Marker:
    """A vertical line with its label in a row of its own."""

    kind: str
    at_ms: float
    label: str


def draw(bars: Bars, markers: Sequence[Marker], ident: str, title: str) -> Markup:
    """Draw both distributions, each as a share of its own inferences.

    Args:
        bars: the counts.
        markers: drawn where they lie on the axis.
        ident: prefix of the element ids on the page.
        title: of the figure, for those who do not see it.
    """
    x = Scale(bars.edges[0], bars.edges[-1])
    reference, candidate = _shares(bars.reference), _shares(bars.candidate)
    y = Scale(0, max(*reference, *candidate) * 1.04)
    kept = [marker for marker in markers if x.holds(marker.at_ms)]
    top = ROW * len(kept) + 6
    return Markup(
        '<svg class="histogram" role="img" aria-labelledby="{id}-title {id}-desc" '
        'style="height:{height}px"><title id="{id}-title">{title}</title>'
        '<desc id="{id}-desc">{desc}</desc>{grid}'
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" y="{top}" width="100%" '
        'height="{plot}"><path class="area" d="{area}"/><path class="outline" d="{outline}"/></svg>'
        '{x_axis}{markers}<g class="hover">{hover}</g></svg>'
    ).format(
        id=ident,
        height=top + HEIGHT + 46,
        title=title,
        desc=_describe(bars, markers),
        grid=_grid(y, top),
        top=top,
        plot=HEIGHT,
        area=_path(candidate, y),
        outline=_path(reference, y),
        x_axis=_x_axis(x, top),
        markers=_markers(kept, x, top),
        hover=_hover(bars, top),
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [100 * count / total for count in counts]


def _path(shares: Sequence[float], y: Scale) -> str:
    """Outline of the bars in a box of 100 by 100."""
    width = 100 / len(shares)
    steps = [
        f"V{round(100 - y.at(share), 2)}H{round((i + 1) * width, 3)}"
        for i, share in enumerate(shares)
    ]
    return f"M0 100{''.join(steps)}V100"


def _grid(y: Scale, top: int) -> Markup:
    parts = []
    digits = y.digits(4)
    for value in y.ticks(4):
        at = round(top + HEIGHT * (1 - y.at(value) / 100), 2)
        parts.append(
            Markup(
                '<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>'
                '<text x="-8" y="{0}" dy="4" text-anchor="end">{1}</text>'
            ).format(at, f"{value:.{digits}f}")
        )
    parts.append(
        Markup(
            '<text class="axis-name" text-anchor="middle" '
            'transform="translate(-42 {}) rotate(-90)">share of inferences, %</text>'
        ).format(top + HEIGHT // 2)
    )
    return Markup("").join(parts)


def _x_axis(x: Scale, top: int) -> Markup:
    bottom = top + HEIGHT
    parts = [Markup('<line class="base" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(bottom)]
    digits = x.digits(6)
    for value in x.ticks(6):
        at = x.at(value)
        parts.append(
            Markup(
                '<line class="base" x1="{0}%" x2="{0}%" y1="{1}" y2="{2}"/>'
                '<text x="{0}%" y="{3}" text-anchor="{4}">{5}</text>'
            ).format(at, bottom, bottom + 4, bottom + 18, anchor(at), f"{value:.{digits}f}")
        )
    parts.append(
        Markup(
            '<text class="axis-name" x="50%" y="{}" text-anchor="middle">wall time of one '
            "inference, ms</text>"
        ).format(bottom + 40)
    )
    return Markup("").join(parts)


def _markers(markers: Sequence[Marker], x: Scale, top: int) -> Markup:
    """All lines, then all labels, so that no line runs through a label."""
    lines, labels = [], []
    for row, marker in enumerate(markers):
        at = x.at(marker.at_ms)
        left = at > 50
        lines.append(
            Markup('<line class="{0}" x1="{1}%" x2="{1}%" y1="{2}" y2="{3}"/>').format(
                marker.kind, at, row * ROW + 2, top + HEIGHT
            )
        )
        labels.append(
            Markup('<text class="{}" x="{}%" dx="{}" y="{}" text-anchor="{}">{}</text>').format(
                marker.kind,
                at,
                -6 if left else 6,
                row * ROW + 13,
                "end" if left else "start",
                marker.label,
            )
        )
    return Markup('<g class="markers">{}</g>').format(Markup("").join([*lines, *labels]))


def _hover(bars: Bars, top: int) -> Markup:
    """Invisible bars that tell a pointer their counts."""
    width = 100 / len(bars.reference)
    parts = []
    for i, (old, new) in enumerate(zip(bars.reference, bars.candidate, strict=True)):
        if old or new:
            between = MS.between([bars.edges[i], bars.edges[i + 1]])
            parts.append(
                Markup(
                    '<rect x="{}%" width="{}%" y="{}" height="{}"><title>{}: float {}, '
                    "candidate {}</title></rect>"
                ).format(round(i * width, 3), round(width, 3), top, HEIGHT, between, old, new)
            )
    return Markup("").join(parts)


def _describe(bars: Bars, markers: Sequence[Marker]) -> str:
    span = MS.between([bars.edges[0], bars.edges[-1]])
    told = "; ".join(marker.label for marker in markers)
    return (
        f"Histogram of {sum(bars.reference):,} inferences of the float reference and "
        f"{sum(bars.candidate):,} of the candidate over {span}. {told}."
    )


CLASSES = {
    "FASTER": "the candidate is faster",
    "SLOWER": "the candidate is slower",
    "SAME": "both take the same time within 2 %",
    "UNDECIDED": "it is undecided which is faster",
}
SIDES = ("reference", "candidate")


def series(report: Node, key: str, title: str) -> dict[str, Any]:
    """One timed series; only a reason where it was not timed."""
    timed = report[key]
    candidate = timed["candidate"]
    if candidate["p50_ms"].missing:
        return {"title": title, "reason": words.sentence(candidate["p50_ms"].reason)}
    limit = report["budget"]["max_latency_ms"].value if key == "latency" else None
    speedup = timed["speedup"]
    return {
        "title": title,
        "plot": _plot(timed, key, title, limit),
        "tail": timed["candidate"]["max_ms"].show(words.MS),
        "rows": [
            _time_row("Median, wall", timed, "p50", speedup["ratio"], speedup["ci95"]),
            _time_row("90th percentile, wall", timed, "p90", None, None),
            _time_row("Median, CPU", timed, "cpu_p50", speedup["cpu_ratio"], speedup["cpu_ci95"]),
            _plain_row("Mean", timed, "mean_ms"),
            _plain_row("Slowest", timed, "max_ms"),
            _processes_row(timed),
        ],
        "conclusion": " ".join(
            (_conclusion(speedup["class"].value, speedup["cpu_class"].value), *_which(timed))
        ),
        "n": words.plural(candidate["n"].value or 0, "inference"),
        "processes": words.plural(candidate["processes"].value or 0, "fresh process"),
        "blocks": words.plural(speedup["blocks"].value or 0, "interleaved block"),
    }


def _conclusion(wall: object, cpu: object) -> str:
    """One sentence of both clocks.

    >>> _conclusion("FASTER", "FASTER")
    'In wall and CPU time the candidate is faster.'
    >>> _conclusion("SAME", None)
    'In wall time both take the same time within 2 %.'
    """
    if wall == cpu and wall in CLASSES:
        return f"In wall and CPU time {CLASSES[str(wall)]}."
    told = [("wall", wall), ("CPU", cpu)]
    parts = [f"in {name} time {CLASSES[str(key)]}" for name, key in told if key in CLASSES]
    return words.sentence(", ".join(parts)) if parts else ""


def _which(timed: Node) -> tuple[str, ...]:
    """Say which ratio is shown, where the medians beside it have another."""
    ends = timed["speedup"]["ci95"]
    before, after = (timed[side]["p50_ms"].value for side in SIDES)
    if ends.missing or not after or ends.value[0] <= before / after <= ends.value[1]:
        return ()
    return (
        f"The medians of all inferences have a ratio of {words.TIMES(before / after)}: the "
        "speed-up is of turns that were taken side by side, as processes differed.",
    )


def _plot(timed: Node, key: str, title: str, limit: float | None) -> Any:  # noqa: ANN401
    counts = timed["histogram"]
    if counts.missing:
        return absent(counts.reason)
    bars = Bars(*(counts[part].value for part in ("edges_ms", *SIDES)))
    markers = [
        Marker(side, timed[side]["p50_ms"].value, _percentiles(name, timed[side]))
        for side, name in (("candidate", "candidate"), ("reference", "float"))
    ]
    if limit is not None:
        markers.append(Marker("limit", limit, f"limit {limit:g} ms"))
    return draw(bars, markers, key.replace("_", "-"), f"{title}: distribution of times")


def _percentiles(name: str, side: Node) -> str:
    middle, tail = side["p50_ms"].show(words.MS.bare), side["p90_ms"].show(words.MS)
    return f"{name}: p50 {middle}, p90 {tail}"


def _time_row(
    label: str, timed: Node, key: str, ratio: Node | None, ends: Node | None
) -> dict[str, Any]:
    """A percentile of both with its interval, and the ratio where the report has one."""
    cells = [
        {
            "value": timed[side][f"{key}_ms"].show(words.MS),
            "between": timed[side][f"{key}_ci95_ms"].show(words.MS.between),
        }
        for side in SIDES
    ]
    third = {"value": "", "between": ""}
    if ratio is not None and ends is not None:
        between = "" if ratio.missing else ends.show(words.TIMES.between)
        third = {"value": ratio.show(words.TIMES), "between": between}
    return {"label": label, "cells": [*cells, third]}


def _plain_row(label: str, timed: Node, key: str) -> dict[str, Any]:
    cells = [{"value": timed[side][key].show(words.MS), "between": ""} for side in SIDES]
    return {"label": label, "cells": [*cells, {"value": "", "between": ""}]}


def _processes_row(timed: Node) -> dict[str, Any]:
    cells = []
    for side in SIDES:
        medians = timed[side]["process_p50_ms"]
        shown = medians.show(lambda held: ", ".join(words.MS.bare(each) for each in held))
        cells.append({"value": "", "between": shown})
    return {"label": "Median of each process", "cells": [*cells, {"value": "", "between": ""}]}


def cautions(report: Node) -> list[str]:
    """What may have disturbed the measurement, in sentences."""
    validity = report["validity"]
    found = [words.sentence(str(row.value)) for row in validity["violations"].rows()]
    found += [words.sentence(str(row.value)) for row in report["environment"]["warnings"].rows()]
    cold = [str(row.value) for row in validity["not_warmed_up"].rows()]
    if cold:
        found.append(f"Times had not settled after the warm-up: {', '.join(cold)}.")
    wavering = [key for key, node in validity["deterministic"].items() if node.value is False]
    if wavering:
        found.append(f"The same input gave different outputs: {', '.join(wavering)}.")
    return list(dict.fromkeys(found))


NAMES = {
    "load_delta_mib": "Memory that loading adds",
    "peak_mib": "Peak memory of the process",
    "peak_includes_start_up": "Peak includes start-up",
    "load_ms": "Load",
    "first_inference_ms": "First inference",
}


def footprint(report: Node) -> dict[str, Any]:
    """Size on disk, memory and load time of both."""
    size = report["size"]
    sizes = [size[f"{side}_bytes"].value or 0 for side in SIDES]
    most = max(*sizes, 1)
    return {
        "sizes": [
            {
                "file": file,
                "side": side,
                "value": size[f"{side}_bytes"].show(words.file_size),
                "bytes": size[f"{side}_bytes"].show(words.COUNT),
                "bar": charts.bars([(side, 100 * held / most)], file),
            }
            for side, file, held in zip(SIDES, ("reference.onnx", "model.onnx"), sizes, strict=True)
        ],
        "memory": _paired(report["memory"]),
        "load": _paired(report["load"]),
    }


def _paired(node: Node) -> list[dict[str, Any]]:
    """One row a key that either variant has; nothing where there are none."""
    keys = dict.fromkeys(key for _, variant in node.items() for key, _ in variant.items())
    return [
        {
            "label": NAMES.get(key, words.titled(key)),
            "cells": [_value(node[side][key], key) for side in SIDES],
        }
        for key in keys
    ]


def _value(node: Node, key: str) -> str:
    if isinstance(node.value, float) and not node.missing:
        quantity = {"_ms": words.MS, "_mib": words.MIBS}.get(f"_{key.rpartition('_')[2]}")
        if quantity is not None:
            return quantity(node.value)
    return words.anything(node, key)


def residency(report: Node) -> dict[str, Any]:
    """How many convolutions run in int8, and what is left in float, by name."""
    held = report["residency"]
    floats, ints = held["float_conv"], held["int8_conv"]
    if floats.missing or ints.missing:
        return {"reason": words.sentence(held["float_conv"].reason)}
    total = floats.value + ints.value
    names = [words.name(row.value) for row in held["float_ops"].rows()]
    quantised = report["precision"].value == "w8a8"
    sides = (("candidate", ints.value), ("loss" if quantised else "reference", floats.value))
    parts = [(side, 100 * count / max(total, 1)) for side, count in sides]
    return {
        "float": floats.value,
        "int8": ints.value,
        "total": total,
        "precision": report["precision"].show(),
        "quantised": quantised,
        "bar": charts.bars(parts, f"{ints.value} of {total} convolutions in int8"),
        "names": names,
    }
