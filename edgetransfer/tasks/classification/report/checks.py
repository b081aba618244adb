"""What the checks say: is the transfer sound, are labels right, did domain adaptation help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.measure.verdict import soundness_told
from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale
from edgetransfer.report.section import Section
from edgetransfer.report.thumbnails import THUMBNAILS
from edgetransfer.tasks.classification.study import told_adaptation, told_labels, unseen_cost

if TYPE_CHECKING:
    from edgetransfer.report.node import Node

_ENDS = (("example", "split", "label"), ("other", "other_split", "other_label"))


def labelling(block: Node) -> dict[str, Any]:
    """Return what was found, in sentences and rows."""
    thumbnails = block[THUMBNAILS]
    suspects, near = block["suspects"].rows(), block["near_duplicates"]
    pairs = near["listed"].rows() if near["pairs"].value else []
    return {
        "told": [words.sentence(line) for line in told_labels(block.value)],
        "rest": block["suspect"].value - len(suspects),
        "suspects": [_suspect(row, thumbnails) for row in suspects],
        "near_rest": near["pairs"].value - len(pairs) if pairs else 0,
        "near": [
            [
                _seen(thumbnails, row[name], f"({row[split].value}, {row[label].value})")
                for name, split, label in _ENDS
            ]
            for row in pairs
        ],
        **({"curve": []} if block["curve"].missing else _curve_of(block["curve"])),
    }


def _suspect(row: Node, thumbnails: Node) -> list[str]:
    chances = (words.PERCENT(row[f"{key}_probability"].value) for key in ("likely", "given"))
    named = [str(row[key].value) for key in ("given", "likely")]
    return [_seen(thumbnails, row["example"]), *named, " against ".join(chances)]


def _seen(thumbnails: Node, example: Node, more: str = "") -> str:
    """Write the name of an example, with its thumbnail where there is one."""
    thumbnail = thumbnails[str(example.value)].value
    name = f"{example.value} {more}".rstrip()
    return name if thumbnail is None else Markup("{} {}").format(thumbnail, name)


def _curve_of(curve: Node) -> dict[str, Any]:
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
                words.below(
                    words.PERCENT(error),
                    "" if ends is None else f"expected: {words.PERCENT.between(ends)}",
                ),
            ]
            for size, error, ends in [*known, *expected]
        ],
    }


LABELLING = Section(
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
    asks="next",
    of_build=True,
)


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
    asks="merit",
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
    on = [f"{r['n'].value:,} {r['examples'].value} ({r['subject'].value})" for r in rows]
    room = 0.05 * max(max(ends) - min(ends), 1.0)
    scale = Scale(min(0.0, *ends) - room, max(0.0, *ends) + room)
    return {
        "axis": charts.axis(scale, words.CHANGE, "difference from the baseline, pp"),
        "n": ", ".join(dict.fromkeys(on)),
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


def unseen(block: Mapping[str, Any]) -> Iterable[str]:
    """Say what a group costs that nothing was fitted on."""
    return [] if block.get("unseen") is None else [unseen_cost(block["unseen"])]


def told_soundness(report: Mapping[str, Any]) -> Iterable[str]:
    """Say what came of the rivals: those that were not beaten, else the best of them."""
    yield f"soundness: {soundness_told(report)}"
    rows = (report.get("soundness") or {}).get("comparisons") or ()
    best = max(rows, key=lambda row: row["rival_score"], default=None)
    for row in [each for each in rows if each["finding"] != "better"] or filter(None, [best]):
        (low, high), finding = row["ci95_pp"], FINDINGS.get(row["finding"], "").partition(":")[0]
        yield (
            f"{finding or row['finding']} than {row['rival']}: {row['delta_pp']:+.1f} pp "
            f"[{low:+.1f}, {high:+.1f}] on {row['n']} {row['examples']}"
        )


SOUNDNESS = Section(
    "soundness",
    40,
    "Is this transfer sound?",
    "What was fitted, against simple baselines, on examples that neither was fitted on and "
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
    lines=told_soundness,
    asks="merit",
)
UNSEEN = Section("unseen", 45, block="soundness", lines=unseen, asks="merit", of_build=True)
