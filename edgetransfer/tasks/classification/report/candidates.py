"""Shows ranked backbones: a table, and accuracy against latency as a plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from edgetransfer.report import page, words
from edgetransfer.report.charts import Scale
from edgetransfer.report.node import Node
from edgetransfer.report.section import Section
from edgetransfer.report.template import rendered

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
        "why": record["why"].show(words.sentence, ""),
        "examples": words.plural(record["examples"].value, "training example"),
        "timed_on": record["timed_on"].show(str, ""),
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
                *(row[key].show(form, "–") for _, key, form in columns),
            ]
            for row in rows
        ],
    }


def _last(row: Node) -> str:
    return _last_part(str(row["backbone"].value))


def _last_part(name: str) -> str:
    """Return the last part of a path or of a name: the whole stands in a title."""
    return name.rstrip("/").rpartition("/")[2]


PLOT = """
<svg viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="Accuracy against latency">
{% for at, text in across %}
<line class="grid" x1="{{ at }}" x2="{{ at }}" y1="{{ top }}" y2="{{ bottom }}"/>
<text x="{{ at }}" y="{{ bottom + 18 }}" text-anchor="middle">{{ text }}</text>
{% endfor %}
{% for at, text in up %}
<line class="grid" x1="{{ left }}" x2="{{ right }}" y1="{{ at }}" y2="{{ at }}"/>
<text x="{{ left - 8 }}" y="{{ at + 4 }}" text-anchor="end">{{ text }}</text>
{% endfor %}
<text x="{{ (left + right) / 2 }}" y="{{ height - 6 }}" text-anchor="middle">latency, p90, ms</text>
<text x="4" y="{{ top - 4 }}" text-anchor="start">cross-validated accuracy, %</text>
<polyline class="outline" points="{{ front|join(" ") }}"/>
{% for x, y, kind, title, name in points %}
{% set turned = x > 0.7 * width %}
<circle class="{{ kind }}" cx="{{ x }}" cy="{{ y }}" r="5"><title>{{ title }}</title></circle>
<text x="{{ x - 9 if turned else x + 9 }}" y="{{ y - 8 }}"
 text-anchor="{{ "end" if turned else "start" }}">{{ name }}</text>
{% endfor %}
</svg>
"""


def pareto(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw accuracy over latency; the full points are those that nothing beats in both."""
    timed = [row for row in rows if "p90_ms" in row]
    if not timed:
        return Markup("")
    accuracies = [100 * row["accuracy"] for row in timed]
    room = max(0.1 * (max(accuracies) - min(accuracies)), 0.5)
    across = Scale(0.0, 1.15 * max(row["p90_ms"] for row in timed))
    up = Scale(min(accuracies) - room, max(accuracies) + room)

    def x(value: float) -> float:
        return round(LEFT + across.at(value) / 100 * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - up.at(value) / 100 * (HEIGHT - TOP - BOTTOM), 1)

    front = sorted((row for row in timed if row["on_front"]), key=lambda row: float(row["p90_ms"]))
    return rendered(
        PLOT,
        width=WIDTH,
        height=HEIGHT,
        top=TOP,
        left=LEFT,
        right=WIDTH - RIGHT,
        bottom=HEIGHT - BOTTOM,
        across=[(x(value), across.written(value)) for value in across.ticks()],
        up=[(y(value), up.written(value)) for value in up.ticks()],
        front=[f"{x(row['p90_ms'])},{y(100 * row['accuracy'])}" for row in front],
        points=[
            (
                x(row["p90_ms"]),
                y(100 * row["accuracy"]),
                "full" if row["on_front"] else "ring",
                f"{row['backbone']}: {100 * row['accuracy']:.1f} %, {row['p90_ms']:.2f} ms",
                _short(_last_part(str(row["backbone"]))),
            )
            for row in timed
        ],
    )


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


def render_ranking(record: Mapping[str, Any]) -> str:
    """Render ranked backbones, see docs/soundness.md, as a whole HTML document."""
    sections = page.shown([CANDIDATES], Node({CANDIDATES.block: record}), Node({}))
    return page.document(title="Which backbone? · edgetransfer", verdict=None, sections=sections)
