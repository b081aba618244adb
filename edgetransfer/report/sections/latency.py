"""Times of both models: how they are distributed, what they come to, and what disturbed them."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

from edgetransfer.measure.speed import sustained
from edgetransfer.report import words
from edgetransfer.report.charts import Bars, Marker, draw
from edgetransfer.report.node import Node, absent
from edgetransfer.report.section import Figure, Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from markupsafe import Markup


CLASSES = {
    "FASTER": "the shipped model is faster",
    "SLOWER": "the shipped model is slower",
    "SAME": "both take the same time within 2 %",
    "UNDECIDED": "it is undecided which is faster",
}
SIDES = ("reference", "candidate")


def latency(report: Node) -> dict[str, Any]:
    """Both series, and what may have disturbed them."""
    return {
        "cautions": cautions(report),
        "series": [
            series(report, "latency", "The network alone", "core.onnx, on prepared inputs"),
            series(report, "end_to_end", "End to end", "model.onnx, from the raw input"),
        ],
    }


def series(report: Node, key: str, title: str, of: str = "") -> dict[str, Any]:
    """One timed series; only a reason where it was not timed."""
    timed = report[key]
    candidate = timed["candidate"]
    if candidate["p50_ms"].missing:
        return {"title": title, "of": of, "reason": words.sentence(candidate["p50_ms"].reason)}
    limit = report["budget"]["max_latency_ms"].value if key == "latency" else None
    speedup = timed["speedup"]
    n = words.plural(candidate["n"].value or 0, "inference")
    processes = words.plural(candidate["processes"].value or 0, "fresh process")
    blocks = words.plural(speedup["blocks"].value or 0, "interleaved block")
    return {
        "title": title,
        "of": of,
        "reason": "",
        "plot": _plot(timed, key, title, limit),
        "tail": candidate["max_ms"].show(words.MS),
        "rows": [
            _percentile("Median, wall", timed, "p50", _ratio(speedup, "")),
            _percentile("90th percentile, wall", timed, "p90"),
            _percentile("Median, CPU", timed, "cpu_p50", _ratio(speedup, "cpu_")),
            ["Mean", *(timed[side]["mean_ms"].show(words.MS) for side in SIDES), ""],
            ["Slowest", *(timed[side]["max_ms"].show(words.MS) for side in SIDES), ""],
            ["Median of each process", *(_processes(timed[side]) for side in SIDES), ""],
        ],
        "conclusion": " ".join(
            (_conclusion(speedup["class"].value, speedup["cpu_class"].value), *_which(timed))
        ),
        "caption": f"{n} each, in {processes} and {blocks}",
    }


def _conclusion(wall: object, cpu: object) -> str:
    """One sentence of both clocks.

    >>> _conclusion("FASTER", "FASTER")
    'In wall and CPU time the shipped model is faster.'
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


def _plot(timed: Node, key: str, title: str, limit: float | None) -> Markup:
    counts = timed["histogram"]
    if counts.missing:
        return absent(counts.reason)
    bars = Bars(*(counts[part].value for part in ("edges_ms", *SIDES)))
    markers = []
    for side, name in (("candidate", "shipped"), ("reference", "float")):
        middle, tail = timed[side]["p50_ms"], timed[side]["p90_ms"].show(words.MS)
        told = f"{name}: p50 {middle.show(words.MS.bare)}, p90 {tail}"
        markers.append(Marker(side, middle.value, told))
    if limit is not None:
        markers.append(Marker("limit", limit, f"limit {limit:g} ms"))
    return draw(bars, markers, key.replace("_", "-"), f"{title}: distribution of times")


def _percentile(label: str, timed: Node, key: str, ratio: str = "") -> list[str]:
    """A percentile of both with its interval, and the ratio where the report has one."""
    shown = [
        words.beside(
            timed[side][f"{key}_ms"].show(words.MS),
            timed[side][f"{key}_ci95_ms"].show(words.MS.between),
        )
        for side in SIDES
    ]
    return [label, *shown, ratio]


def _ratio(speedup: Node, clock: str) -> str:
    ratio, ends = speedup[f"{clock}ratio"], speedup[f"{clock}ci95"]
    between = "" if ratio.missing else ends.show(words.TIMES.between)
    return words.beside(ratio.show(words.TIMES), between)


def _processes(side: Node) -> str:
    medians = side["process_p50_ms"]
    return words.beside("", medians.show(lambda held: ", ".join(map(words.MS.bare, held))))


def cautions(report: Node) -> list[str]:
    """What may have disturbed the measurement, in sentences."""
    validity = report["validity"]
    said = (*validity["violations"].rows(), *report["environment"]["warnings"].rows())
    found = [words.sentence(str(row.value)) for row in said]
    cold = [str(row.value) for row in validity["not_warmed_up"].rows()]
    if cold:
        found.append(f"Times had not settled after the warm-up: {', '.join(cold)}.")
    wavering = [key for key, node in validity["deterministic"].items() if node.value is False]
    if wavering:
        found.append(f"The same input gave different outputs: {', '.join(wavering)}.")
    return list(dict.fromkeys(found))


def figures(report: Mapping[str, Any]) -> Iterable[Figure]:
    """Yield the percentiles of both series that were timed."""
    invalid = not report["validity"].get("valid", True)
    for title, key in (("core", "latency"), ("from RGB", "end_to_end")):
        before, after, speedup = (report[key][k] for k in (*SIDES, "speedup"))
        if after["p50_ms"] is None:
            continue
        told = "not valid, compares nothing" if invalid else ""
        if not told and speedup["ci95"] is not None:
            told = speed_told(speedup, before["p50_ms"], after["p50_ms"])
        yield f"p50 {title}", _ms(before["p50_ms"]), _ms(after["p50_ms"]), told
        yield f"p90 {title}", _ms(before["p90_ms"]), _ms(after["p90_ms"]), ""


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
    >>> speed_told({"ratio": 1.01, "ci95": [0.97, 1.05], "class": "UNDECIDED"}, 0.44, 0.44)
    'undecided, under 4 % nothing would show (1.01 x [0.97, 1.05])'
    >>> speed_told({"ratio": 1.05, "ci95": [0.95, 1.16], "class": "UNDECIDED"}, 0.44, 0.44)
    'undecided, under 11 % nothing would show (1.05 x [0.95, 1.16])'
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
    between = f"{ratio:.2f} x [{low:.2f}, {high:.2f}]"
    if speedup["class"] == "SAME":
        return f"same speed ({between})"
    least = max(1, round(100 * (sqrt(high / low) - 1)))
    return f"undecided, under {least} % nothing would show ({between})"


def told(report: Mapping[str, Any]) -> Iterable[str]:
    """Say what long work and energy came to, and what may have disturbed the times."""
    yield from sustained.told(report)
    if report["latency"]["candidate"]["p50_ms"] is not None:
        for each in report["environment"].get("warnings", ()):
            yield f"while measuring: {each}"


SECTION = Section(
    "latency",
    80,
    "Latency",
    "Batch 1. Both models alternate in blocks inside fresh processes; no sample is removed.",
    rows=latency,
    template="""
{% if cautions %}
<ul class="cautions">
{% for text in cautions %}
<li>{{ text }}</li>
{% endfor %}
</ul>
{% endif %}
{% for part in series %}
<div class="series">
<h3>{{ part.title }} <small>{{ part.of }}</small></h3>
{% if part.reason %}
<p class="absent">{{ part.reason }}</p>
{% else %}
{{ legend("block") }}
<figure class="chart">{{ part.plot }}</figure>
{{ table(
    ("Time of one inference", "Float:number", "Shipped:number", "Speed-up:number"),
    part.rows, part.caption, "times stack", part.title ~ ": times") }}
<p class="caption">{{ part.conclusion }} Small figures are 95 % intervals.
The last bar of the plot holds the slowest 1 % of both together; the shipped model took
{{ part.tail }} at most.</p>
{% endif %}
</div>
{% endfor %}
""",
    figures=figures,
    lines=told,
    line=90,
    asks="speed",
)
