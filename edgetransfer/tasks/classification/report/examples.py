"""Examples that changed their decision, and the worst errors, as pictures or texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import words
from edgetransfer.report.section import Section
from edgetransfer.report.thumbnails import THUMBNAILS

if TYPE_CHECKING:
    from edgetransfer.report.node import Node

NOT_AT_HAND = (
    "The page was made again without the data: examples are named, and neither pictures nor texts "
    "of them are shown."
)
KINDS = {"changed": "Changed by quantising", "wrong": "Wrong, and surest of it"}


def examples(block: Node) -> dict[str, Any] | None:
    """Return the lists that have examples; None where none has."""
    thumbnails = block[THUMBNAILS]
    lists = {
        title: [_shown(row, thumbnails) for row in block[kind].rows()]
        for kind, title in KINDS.items()
    }
    lists = {title: rows for title, rows in lists.items() if rows}
    without = NOT_AT_HAND if thumbnails.missing else ""
    return {"lists": lists, "without": without} if lists else None


def _shown(row: Node, thumbnails: Node) -> dict[str, str]:
    sides = ("reference", "candidate")
    before, after = (row[side].show(words.name, "no decision") for side in sides)
    return {
        "thumbnail": thumbnails[row["example"].value].value or "",
        "name": words.name(row["example"].value),
        "label": row["label"].show(words.name, ""),
        "before": before,
        "after": after,
        "share": row["share"].show(words.PERCENT, ""),
    }


EXAMPLES = Section(
    "examples",
    35,
    "Examples",
    "Some whose decision quantising changed, lost ones first, and the errors that the shipped "
    "model is surest of.",
    "notable",
    examples,
    """
{% if without %}
<p class="absent">{{ without }}</p>
{% endif %}
{% for title, rows in lists.items() %}
<h3>{{ title }}</h3>
<ul class="gallery">
{% for row in rows %}
<li>{{ row.thumbnail }}<span class="named">{{ row.name }}</span>
{% if row.label %}
<span>Label: {{ row.label }}</span>
{% endif %}
<span>Float: {{ row.before }}</span>
<span>Shipped: {{ row.after }}{% if row.share %} ({{ row.share }}){% endif %}</span></li>
{% endfor %}
</ul>
{% endfor %}
""",
)
