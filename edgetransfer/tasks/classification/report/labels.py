"""Labels that look wrong, examples that nearly repeat, and the learning curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale
from edgetransfer.report.section import Section
from edgetransfer.tasks.classification.study import told_labels

if TYPE_CHECKING:
    from edgetransfer.report.node import Node


_ENDS = (("example", "split", "label"), ("other", "other_split", "other_label"))


def labelling(block: Node) -> dict[str, Any]:
    """Return what was found, in sentences and rows."""
    suspects, near = block["suspects"].rows(), block["near_duplicates"]
    pairs = near["listed"].rows() if near["pairs"].value else []
    return {
        "told": [words.sentence(line) for line in told_labels(block.value)],
        "rest": block["suspect"].value - len(suspects),
        "suspects": [_suspect(row) for row in suspects],
        "near_rest": near["pairs"].value - len(pairs) if pairs else 0,
        "near": [
            [
                f"{row[name].value} ({row[split].value}, {row[label].value})"
                for name, split, label in _ENDS
            ]
            for row in pairs
        ],
        **({"curve": []} if block["curve"].missing else _curve(block["curve"])),
    }


def _suspect(row: Node) -> list[str]:
    chances = (words.PERCENT(row[f"{key}_probability"].value) for key in ("likely", "given"))
    named = [str(row[key].value) for key in ("example", "given", "likely")]
    return [*named, " against ".join(chances)]


def _curve(curve: Node) -> dict[str, Any]:
    """What was measured, then what is expected: the last error less each gain."""
    errors, last = curve["error"].value, curve["error"].value[-1]
    known = [(size, error, None) for size, error in zip(curve["sizes"].value, errors, strict=True)]
    expected = [
        (
            row["examples"].value,
            max(last - row["gain_pp"].value / 100, 0.0),
            [max(last - end / 100, 0.0) for end in reversed(row["ci95_pp"].value)],
        )
        for row in curve["gains"].rows()
    ]
    scale = Scale(0.0, 1.05 * max([*errors, *(ends[1] for _, _, ends in expected), 0.01]))
    return {
        "axis": charts.axis(scale, words.PERCENT, "share decided wrongly, %"),
        "curve": [
            [
                words.COUNT(size),
                charts.whisker(scale, error, ends, [], words.PERCENT(error)),
                words.below(words.PERCENT(error), "" if ends is None else _expected(ends)),
            ]
            for size, error, ends in [*known, *expected]
        ],
    }


def _expected(ends: list[float]) -> str:
    return f"expected: {words.PERCENT.between(ends)}"


SECTION = Section(
    "labelling",
    60,
    "Are the labels right? Would more help?",
    "From the probe on frozen features, on training and validation examples by fits that did not "
    "see them; what is nearly the same was looked for in the test set as well. Nothing was "
    "dropped.",
    "labelling",
    labelling,
    """
{% for line in told %}
<p>{{ line }}</p>
{% endfor %}
{% if curve %}
{{ table(
    ("Examples:number", (axis, "plot", ""), "Error:number"), curve,
    "Error of the probe, by training examples; below the line what is expected, 95 % interval",
    "plotted reflow", "Error of the probe by training examples") }}
{% endif %}
{% if suspects %}
<details><summary>Labels that look wrong, the surest first
{%- if rest %} ({{ rest }} more are not listed){% endif %}</summary>
{{ table(("Example", "Label", "Probably", "Held-out probability:number"), suspects,
         label="Labels that look wrong") }}
</details>
{% endif %}
{% if near %}
<details><summary>Examples that are nearly the same, those across splits first
{%- if near_rest %} ({{ near_rest }} more pairs are not listed){% endif %}</summary>
{{ table(("Example", "Nearly the same as"), near, label="Examples that are nearly the same") }}
</details>
{% endif %}
""",
    lines=told_labels,
    of_build=True,
)
