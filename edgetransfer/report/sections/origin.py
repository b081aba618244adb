"""Where a report was measured, how the artefact was made, and what that took, stage by stage."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.measure.target_match import told_portability
from edgetransfer.report import words
from edgetransfer.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgetransfer.report.node import Node

Rows = list[tuple[str, str]]
_json = partial(json.dumps, indent=2, ensure_ascii=False)
MACHINE = {
    "cpu": "Processor",
    "arch": "Architecture",
    "isa": "Instruction sets",
    "memory_mib": "Memory",
    "governor": "Frequency governor",
    "load_average": "Load average before",
    "os": "System",
    "libc": "C library",
    "numpy": "NumPy",
    "measured_at": "Measured at",
}
RUN = {
    "valid": "Valid",
    "violations": "Violations",
    "measured_on_target": "Measured on the target",
    "deterministic": "Same output twice",
    "not_warmed_up": "Not settled after warm-up",
}
SPLITS = {"train": "fitted on", "validation": "chosen on", "test": "judged on, once"}


def place(report: Node) -> dict[str, Any]:
    """The machine and the runtime; all that the agent and the run tell of themselves, folded."""
    told, run = report["environment"], report["validity"]
    named = [(key, held) for key, held in told.items() if key in (*MACHINE, "runtime")]
    return {
        "machine": [_pair(MACHINE, *each) for each in named if not each[1].missing],
        "dumps": [
            ("Everything the agent told", _rows(told, MACHINE, without=("warnings",))),
            ("The run itself", _rows(run, RUN)),
        ],
    }


def _rows(node: Node, names: dict[str, str], without: Iterable[str] = ()) -> Rows:
    return [_pair(names, key, held) for key, held in node.items() if key not in without]


def _pair(names: dict[str, str], key: str, held: Node) -> tuple[str, str]:
    return names.get(key, words.titled(key)), words.anything(held, key)


def making(manifest: Node) -> dict[str, Any]:
    """What went in and what was decided; every part may be missing."""
    data = manifest["data"]
    parts = {
        "Backbone": _backbone(manifest["backbone"]),
        "Fit": _fit(manifest["fit"]),
        "Export": _rows(manifest["export"], EXPORT),
        "Compression": _compression(manifest["compression"]),
        "Target and session": _target(manifest),
    }
    return {
        "splits": [_split(name, split) for name, split in data["splits"].items()],
        "dropped": [f"{held.show(words.COUNT)} × {key}" for key, held in data["dropped"].items()],
        "notes": [words.sentence(str(row.value)) for row in data["notes"].rows()],
        "parts": {title: rows for title, rows in parts.items() if rows},
        "tried": _tried(manifest["fit"]["cross_validated"]),
        "versions": [(key, words.anything(held)) for key, held in manifest["versions"].items()],
        "files": [(key, held.show(words.digest)) for key, held in manifest["files"].items()],
        "recipe": manifest["recipe"].show(_json, ""),
    }


FIT = {
    "strength": "Inverse L2 strength, C",
    "folds": "Folds of the cross-validation",
    "why": "Why this fit",
    "best_epoch": "Epoch that was kept",
    "fitted_on": "Fitted on",
    "temperature": "Temperature that logits were divided by",
}
EXPORT = {
    "max_abs": "Largest difference from the network",
    "range": "Range of its outputs",
    "min_cosine": "Smallest cosine",
    "n": "Examples compared",
    "exporter": "Exported by",
}


def _fit(node: Node) -> Rows:
    """How the network was fitted; what a race or a comparison came to stands in a line."""
    without = ("cross_validated", "history", "raced", "gain", "held_out", "parts")
    rows = _rows(node, FIT, without=without)
    held = node["held_out"]
    if not held.missing and held["value"].value is not None:
        told = f"{float(held['value'].value):.3f}, {held['n'].value} examples, {held['by'].value}"
        rows.append((f"Held-out {held['metric'].value}", told))
    raced = [f"{rate}: {float(held.value):.3f}" for rate, held in node["raced"].items()]
    if raced:
        rows.append(("Learning rates raced, with the metric on validation", "; ".join(raced)))
    if not node["gain"].missing and not node["gain"]["before"].missing:
        before, after = node["gain"]["before"].value, node["gain"]["after"].value
        low, high = node["gain"]["ci95"].value
        told = f"{before:.3f} to {after:.3f}, {100 * low:+.1f} to {100 * high:+.1f} points"
        rows.append((f"Held-out {node['gain']['metric'].value} of the probe and of this", told))
    return rows


def _backbone(card: Node) -> Rows:
    if card.missing:
        return []
    licence = words.anything(card["licence"])
    told = {
        "Source": card["source"].show(words.name),
        "Licence": "not stated by the source" if card["licence"].missing else licence,
        "Parameters": card["parameters"].show(_millions, ""),
        "Multiply-accumulates": card["macs"].show(lambda n: f"{_millions(n)} an example", ""),
        "Features": card["feature_dim"].show(lambda _: words.anything(card["feature_dim"]), ""),
        "Preprocessing": _preprocessing(card["preprocessing"]),
        "Digest": card["digest"].show(words.digest),
    }
    return [(name, text) for name, text in told.items() if text]


def _millions(value: float) -> str:
    return f"{value / 1e6:,.2f} M" if value >= 1e4 else f"{value:,}"


def _preprocessing(node: Node) -> str:
    """The contract in one line; fields without a value say nothing and are left out."""
    if node.missing:
        return node.show()
    held = [(key, each) for key, each in node.items() if not each.missing]
    return Markup("; ").join(
        Markup("{} {}").format(key.replace("_", " "), _by(each) or words.anything(each))
        for key, each in held
    )


def _by(size: Node) -> str:
    """Two whole numbers are a height and a width."""
    both = [row.value for row in size.rows()]
    if len(both) == 2 and all(isinstance(each, int) for each in both):
        return f"{both[0]} × {both[1]}"
    return ""


def _tried(node: Node) -> dict[str, Any] | None:
    rows = [row for row in node.rows() if row.value]
    if not rows:
        return None
    keys = [key for key, _ in rows[0].items()]
    return {
        "columns": [f"{words.titled(key)}:number" for key in keys],
        "rows": [[words.anything(row[key], key) for key in keys] for row in rows],
    }


def _split(name: str, split: Node) -> list[str]:
    digest = split["digest"].show(words.digest)
    return [name, split["examples"].show(words.COUNT), SPLITS.get(name, ""), digest]


def _compression(node: Node) -> Rows:
    rows: Rows = []
    for key, held in node.items():
        if key not in ("calibration", "ladder"):  # which has a section of its own
            rows.append((words.titled(key), words.anything(held, key)))
        for inner, part in held.items() if key == "calibration" else ():
            shown = part.show(words.digest) if inner == "digest" else words.anything(part, inner)
            rows.append((f"Calibration set, {inner.replace('_', ' ')}", shown))
    return rows


def _target(manifest: Node) -> Rows:
    target, evidence = manifest["target"], manifest["target"]["evidence"]
    rows: Rows = []
    if not target.missing:
        rows = [("Target", target["title"].show()), ("Runtime", words.anything(target["runtime"]))]
        told = Markup("{}: {} ({})").format(
            *(evidence[key].show() for key in ("status", "source", "date"))
        )
        rows.append(("Evidence for the target's numbers", told))
    for key, held in manifest["session"].items():
        rows.append((f"Session {key}", words.anything(held)))
    rows.append(("Seal of the manifest", manifest["seal"].show(words.digest, "")))
    rows.append(("Seed", manifest["seed"].show(str, "")))
    return [(name, text) for name, text in rows if text]


def cost(block: Node) -> dict[str, Any]:
    """Return the whole in a sentence, and a row of each stage in the order it was entered."""
    parts = [
        f"{block['seconds'].show(words.SECONDS)} until this report",
        f"{block['cpu_seconds'].show(words.SECONDS)} of CPU time",
        block["energy_j"].show(lambda joules: f"{joules:,.0f} J by the processor's counter", ""),
    ]
    rows = [
        [
            str(each["stage"].value) + (" (from the cache)" if each["found"].value else ""),
            each["seconds"].show(words.SECONDS),
            each["cpu_seconds"].show(words.SECONDS),
            each["peak_memory_mib"].show(lambda mib: f"{mib:,.0f} MiB"),
        ]
        for each in block["stages"].rows()
    ]
    return {"whole": ", ".join(part for part in parts if part), "rows": rows}


PLACE = Section(
    "place",
    130,
    "Where it was measured",
    "The machine and the runtime, as the agent told of them.",
    rows=place,
    template="""
{% if machine %}
{{ pairs(machine) }}
{% else %}
<p class="absent">The environment is not in this report.</p>
{% endif %}
{% for title, rows in dumps if rows %}
<details><summary>{{ title }}</summary>
{{ pairs(rows) }}
</details>
{% endfor %}
""",
)
PORTABILITY = Section(
    "portability", 76, block="portability", lines=lambda block: [told_portability(block)]
)
COST = Section(
    "cost",
    135,
    "What the build took",
    "A stage from the cache says what it took when it was made; one that enters another counts "
    "that too. CPU time is of child processes too, peak memory of the build's own.",
    "build",
    cost,
    """
<p>{{ whole }}.</p>
<details><summary>{{ rows|length }} stages</summary>
{{ table(("Stage", "Time:number", "CPU time:number", "Peak memory:number"), rows, label="Stages") }}
</details>
""",
)
MAKING = Section(
    "making",
    140,
    "How it was made",
    "Everything that went in. The same recipe on the same data gives the same artefact.",
    "manifest",
    making,
    """
{% if splits %}
<h3>Data</h3>
{{ table(("Split", "Examples:number", "Use", "Digest"), splits, label="Splits") }}
{% endif %}
{% if dropped %}
<p>Dropped before fitting: {{ dropped|join("; ") }}.</p>
{% endif %}
{% if notes %}
<ul class="notes">
{% for note in notes %}
<li>{{ note }}</li>
{% endfor %}
</ul>
{% endif %}
{% for title, rows in parts.items() %}
{% if title == "Backbone" %}
<h3>{{ title }}</h3>
{{ pairs(rows) }}
{% else %}
<details><summary>{{ title }}</summary>
{{ pairs(rows) }}
</details>
{% endif %}
{% if title == "Fit" and tried %}
<details><summary>What the cross-validation tried</summary>
{{ table(tried.columns, tried.rows, label="Cross-validation", headed=false) }}
</details>
{% endif %}
{% endfor %}
{% if versions %}
<details><summary>Versions</summary>
{{ pairs(versions, "short") }}
</details>
{% endif %}
{% if files %}
<details><summary>{{ files|length }} files of the bundle, with their SHA-256</summary>
{{ pairs(files) }}
</details>
{% endif %}
{% if recipe %}
<details><summary>The recipe in full</summary>
<pre tabindex="0"><code>{{ recipe }}</code></pre>
</details>
{% endif %}
{% if not splits and "Backbone" not in parts %}
<p class="absent">The manifest of the bundle does not say.</p>
{% endif %}
""",
)
