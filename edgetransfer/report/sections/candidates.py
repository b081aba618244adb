"""Shows ranked backbones: a table, and accuracy against latency as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.report import words
from edgetransfer.report.charts import Scale
from edgetransfer.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgetransfer.report.node import Node

Column = tuple[str, str, "Callable[[Any], str]"]


def _millions(value: float) -> str:
    return f"{value / 1e6:,.{0 if value >= 1e8 else 2}f}{words.SPACE}M"


KNOWS: tuple[Column, ...] = (
    ("Accuracy", "accuracy", words.PERCENT),
    ("Log loss", "log_loss", "{:.3f}".format),
    ("LogME", "logme", "{:.3f}".format),
    ("H-score", "h_score", "{:.3f}".format),
    ("Parameters", "parameters", _millions),
)
COSTS: tuple[Column, ...] = (
    ("MACs", "macs", _millions),
    ("Float", "float_bytes", words.file_size),
    ("Int8", "int8_bytes", words.file_size),
    ("Float p90", "float_p90_ms", words.MS),
    ("Int8 p90", "int8_p90_ms", words.MS),
)
WIDTH, HEIGHT = 640, 320
LEFT, TOP, RIGHT, BOTTOM = 52, 16, 16, 44
"""Of the plot and its margins, in units of its own."""


def ranking(record: Node) -> dict[str, Any]:
    """Return the rows and the plot."""
    rows = record["candidates"].rows()
    return {
        "why": "" if record["why"].missing else words.sentence(str(record["why"].value)),
        "examples": words.plural(record["examples"].value, "training example"),
        "timed_on": "" if record["timed_on"].missing else str(record["timed_on"].value),
        "tables": [
            _table("What its frozen features know", KNOWS, rows),
            _table("What it costs here", COSTS, rows),
        ],
        "licences": [
            (_last(row), row["licence"].value) for row in rows if not row["licence"].missing
        ],
        "plot": pareto([row.value for row in rows]),
    }


def _table(caption: str, columns: Sequence[Column], rows: Sequence[Node]) -> dict[str, Any]:
    return {
        "caption": caption,
        "columns": ["Backbone", *(f"{head}:number" for head, _, _ in columns)],
        "rows": [
            [
                (f"{_last(row)}{' ●' if row['on_front'].value else ''}", "", row["backbone"].value),
                *(form(row[k].value) if not row[k].missing else "–" for _, k, form in columns),
            ]
            for row in rows
        ],
    }


def _last(row: Node) -> str:
    return _last_part(str(row["backbone"].value))


def _last_part(name: str) -> str:
    """Return the last part of a path or of a name: the whole stands in a title."""
    return name.rstrip("/").rpartition("/")[2]


def pareto(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw accuracy over latency; the full points are those that nothing beats in both."""
    timed = [row for row in rows if "p90_ms" in row]
    if not timed:
        return Markup("")
    accuracies = [100 * row["accuracy"] for row in timed]
    room = max(0.1 * (max(accuracies) - min(accuracies)), 0.5)
    across = Scale(0.0, 1.15 * max(row["p90_ms"] for row in timed))
    up = Scale(min(accuracies) - room, max(accuracies) + room)
    parts = [*_grid(across, up), _line(timed, across, up)]
    for row in timed:
        x, y = _place(row, across, up)
        shape = Markup('<circle class="{}" cx="{}" cy="{}" r="5"><title>{}</title></circle>')
        title = f"{row['backbone']}: {100 * row['accuracy']:.1f} %, {row['p90_ms']:.2f} ms"
        parts.append(shape.format("full" if row["on_front"] else "ring", x, y, title))
        turned = x > 0.7 * WIDTH
        text = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
        parts.append(text.format(x - 9 if turned else x + 9, y - 8, "end" if turned else "start",
                                 _short(_last_part(str(row["backbone"])))))  # fmt: skip
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="Accuracy against latency">{}</svg>'
    ).format(WIDTH, HEIGHT, Markup("").join(parts))


def _place(row: Mapping[str, Any], across: Scale, up: Scale) -> tuple[float, float]:
    return _x(across, row["p90_ms"]), _y(up, 100 * row["accuracy"])


def _x(across: Scale, value: float) -> float:
    return round(LEFT + across.at(value) / 100 * (WIDTH - LEFT - RIGHT), 1)


def _y(up: Scale, value: float) -> float:
    return round(HEIGHT - BOTTOM - up.at(value) / 100 * (HEIGHT - TOP - BOTTOM), 1)


def _grid(across: Scale, up: Scale) -> list[Markup]:
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    text = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
    bottom = HEIGHT - BOTTOM
    parts = []
    for value in across.ticks():
        at = _x(across, value)
        parts += [line.format(at, at, TOP, bottom)]
        parts += [text.format(at, bottom + 18, "middle", f"{value:.{across.digits()}f}")]
    for value in up.ticks():
        at = _y(up, value)
        parts += [line.format(LEFT, WIDTH - RIGHT, at, at)]
        parts += [text.format(LEFT - 8, at + 4, "end", f"{value:.{up.digits()}f}")]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(text.format(middle, HEIGHT - 6, "middle", "latency, p90, ms"))
    parts.append(text.format(4, TOP - 4, "start", "cross-validated accuracy, %"))
    return parts


def _line(rows: Sequence[Mapping[str, Any]], across: Scale, up: Scale) -> Markup:
    front = sorted((row for row in rows if row["on_front"]), key=lambda row: float(row["p90_ms"]))
    points = " ".join("{},{}".format(*_place(row, across, up)) for row in front)
    return Markup('<polyline class="outline" points="{}"/>').format(points)


def _short(name: str, most: int = 28) -> str:
    """Keep the end of a path: that is what tells folders apart."""
    return name if len(name) <= most else "…" + name[1 - most :]


CANDIDATES = Section(
    "candidates",
    120,
    "Which backbone?",
    "Probes on frozen features, cross-validated on training examples. LogME and the H-score "
    "compare features of the same examples; alone they say nothing.",
    "choice",
    ranking,
    """
{% if why %}
<p>{{ why }}</p>
{% endif %}
{% for each in tables %}
{{ table(each.columns, each.rows, each.caption, label=each.caption) }}
{% endfor %}
{% if plot %}
{{ plot }}
<p class="caption">● nothing is both as accurate and as fast. Timed on {{ timed_on }}: the feature
network alone, whichever of float and int8 is faster. The int8 file is a sketch, for timing only:
its accuracy is not judged here.</p>
{% else %}
<p class="absent">Not timed: this machine is not the target.</p>
{% endif %}
<p class="caption">On {{ examples }}.
{%- for name, licence in licences %} {{ name }}: {{ licence }}.{% endfor %}</p>
""",
)
