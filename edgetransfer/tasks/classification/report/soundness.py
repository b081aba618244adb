"""Whether a network that knows nothing would do as well, and what domain adaptation brought."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.measure.verdict import soundness_told
from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale
from edgetransfer.report.section import Section
from edgetransfer.tasks.classification.study import told_adaptation, unseen_cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgetransfer.report.node import Node


def adaptation(block: Node) -> dict[str, list[str]]:
    """Return what was found in sentences, warnings first."""
    warned = [f"warning: {row['message'].value}" for row in block["warnings"].rows()]
    return {"told": [words.sentence(each) for each in (*warned, *told_adaptation(block.value))]}


ADAPTATION = Section(
    "adaptation",
    50,
    "Does it fit the device's pictures?",
    "Domain adaptation to pictures of the device that have no labels. Labelled examples of the "
    "device are judged by, never fitted on.",
    "adaptation",
    adaptation,
    """
<ul class="notes">
{% for sentence in told %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
""",
    lines=told_adaptation,
    of_build=True,
)


FINDINGS = {
    "better": "better",
    "worse": "worse: negative transfer",
    "undecided": "not shown to be better",
}


def soundness(report: Node) -> dict[str, Any] | None:
    """Return what was found; None in a report that was made before this was asked."""
    block = report["soundness"]
    if block.missing:
        return None
    rows = block["comparisons"].rows()
    return {
        "reason": "" if block["tested"].value else words.sentence(str(block["reason"].value)),
        "before": _before(block),
        "warnings": [words.sentence(str(row["message"].value)) for row in block["warnings"].rows()],
        **(_compared(rows) if rows else {"compared": []}),
    }


def _before(block: Node) -> list[tuple[str, str]]:
    """What was seen before fitting."""
    near, source = block["neighbours"], block["source"]
    found = []
    if not near.missing:
        right, chance = (words.PERCENT(near[key].value) for key in ("accuracy", "chance"))
        value = f"{right}; by chance {chance} (p {words.p_value(near['p'].value)})"
        found.append((f"Right by their {near['k'].value} nearest neighbours", value))
    if not source.missing:
        far = words.PERCENT(source["far"].value)
        found += [
            ("Distance from the source", f"{source['median'].value:.2f} × its own examples'"),
            ("Further than 99 % of the source's own", far),
        ]
    unseen = block["unseen"]
    if not unseen.missing:
        apart, mixed = (words.PERCENT(unseen[key].value) for key in ("apart", "mixed"))
        between = unseen["ci95_pp"].show(words.CHANGE.between)
        value = f"{apart} right instead of {mixed}, a cost of {unseen['cost_pp'].value:.1f} pp"
        name = f"A {unseen['column'].value} that nothing was fitted on"
        found.append((name, f"{value} {between}, over {unseen['groups'].value} of them"))
    return found


def _compared(rows: list[Node]) -> dict[str, Any]:
    ends = [end for row in rows for end in row["ci95_pp"].value]
    room = 0.05 * max(max(ends) - min(ends), 1.0)
    scale = Scale(min(0.0, *ends) - room, max(0.0, *ends) + room)
    return {
        "axis": charts.axis(scale, words.CHANGE, "difference from the rival, pp"),
        "n": ", ".join(dict.fromkeys(_examples(row) for row in rows)),
        "compared": [_row(row, scale) for row in rows],
    }


def _row(row: Node, scale: Scale) -> list[Any]:
    rival, ends = str(row["rival"].value), row["ci95_pp"].value
    between, finding = words.CHANGE.between(ends), FINDINGS.get(row["finding"].value, "")
    subject = words.name(row["subject"].value)
    zero, title = charts.line("zero", scale.at(0)), f"{rival}: {between}"
    return [
        (words.below(words.name(rival), Markup("{}: {}").format(subject, finding)), "rival", ""),
        row["rival_score"].show(words.PERCENT),
        row["subject_score"].show(words.PERCENT),
        charts.whisker(scale, row["delta_pp"].value, ends, [zero], title),
        words.below(row["delta_pp"].show(words.CHANGE), between),
    ]


def _examples(row: Node) -> str:
    return f"{row['n'].value:,} {row['examples'].value} ({row['subject'].value})"


def unseen(block: Mapping[str, Any]) -> Iterable[str]:
    """Say what a group costs that nothing was fitted on."""
    return [] if block.get("unseen") is None else [unseen_cost(block["unseen"])]


SOUNDNESS = Section(
    "soundness",
    40,
    "Is this transfer sound?",
    "What was fitted, against rivals that know nothing, on examples that neither was fitted on and "
    "that are not the test set.",
    rows=soundness,
    template="""
{% if reason %}
<p class="absent">Not tested. {{ reason }}</p>
{% endif %}
{% for warning in warnings %}
<p><strong>Warning.</strong> {{ warning }}</p>
{% endfor %}
{% if before %}
{{ pairs(before) }}
{% endif %}
{% if compared %}
{{ table(
    ("Against", "Rival:number:rival", "Fitted:number:fitted", (axis, "plot", ""),
     "Difference:number"),
    compared, "Difference from each rival, 95 % interval", "plotted reflow") }}
<p class="caption">On {{ n }}. Every rival gets the same head, fitted by the same procedure.</p>
{% endif %}
""",
    lines=lambda report: [f"soundness: {soundness_told(report)}"],
)
UNSEEN = Section("unseen", 45, block="soundness", lines=unseen, of_build=True)
