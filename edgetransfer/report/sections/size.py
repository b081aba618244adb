"""What the device has to store, hold and wait for, and which operators run in int8 there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.report import charts, words
from edgetransfer.report.section import Figure, Section
from edgetransfer.report.words import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgetransfer.report.node import Node

FILES = {"reference": ("reference.onnx", "float"), "candidate": ("model.onnx", "shipped")}
NAMES = {
    "load_delta_mib": "Memory that loading adds",
    "peak_mib": "Peak memory of the process",
    "peak_includes_start_up": "Peak includes start-up",
    "load_ms": "Load",
    "first_inference_ms": "First inference",
}
SHARE = Markup('<span class="unseen">Share of the larger</span>')


def footprint(report: Node) -> dict[str, Any]:
    """Size on disk, memory and load time of both."""
    size = report["size"]
    most = max(1, *(size[f"{side}_bytes"].value or 0 for side in FILES))
    return {
        "share": SHARE,
        "sizes": [_file(size[f"{side}_bytes"], side, most) for side in FILES],
        "rows": [*_paired(report["memory"]), *_paired(report["load"])],
    }


def _file(node: Node, side: str, most: int) -> list[str]:
    file, name = FILES[side]
    return [
        Markup("<code>{}</code><small>{}</small>").format(file, name),
        node.show(words.file_size),
        charts.bars([(side, 100 * (node.value or 0) / most)], file),
        node.show(words.COUNT),
    ]


def _paired(node: Node) -> list[list[str]]:
    """One row a key that either variant has; nothing where there are none."""
    keys = dict.fromkeys(key for _, variant in node.items() for key, _ in variant.items())
    return [
        [NAMES.get(key, words.titled(key)), *(_value(node[side][key], key) for side in FILES)]
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
        return {"reason": words.sentence(floats.reason)}
    total = floats.value + ints.value
    names = [words.name(row.value) for row in held["float_ops"].rows()]
    quantised = report["precision"].value == "w8a8"
    sides = (("candidate", ints.value), ("loss" if quantised else "reference", floats.value))
    parts = [(side, 100 * count / max(total, 1)) for side, count in sides]
    return {
        "reason": "",
        "float": floats.value,
        "int8": ints.value,
        "total": total,
        "precision": report["precision"].show(),
        "quantised": quantised,
        "bar": charts.bars(parts, f"{ints.value} of {total} convolutions in int8"),
        "names": names,
    }


def figures(report: Mapping[str, Any]) -> Iterable[Figure]:
    """Yield size and, where it was measured, memory of both."""
    before, after = (report["size"][f"{side}_bytes"] for side in FILES)
    shown = "{:.2f} MiB".format
    ratio = before / after
    size = f"{ratio:.1f} x smaller" if ratio > 1 else f"{1 / ratio:.1f} x larger"
    size = "same size" if 0.95 < ratio < 1.05 else size
    yield "size", shown(before / MIB), shown(after / MIB), size
    peaks = [report["memory"].get(side, {}).get("peak_mib") for side in FILES]
    if None not in peaks:
        yield "peak memory", f"{peaks[0]:.0f} MiB", f"{peaks[1]:.0f} MiB", ""


def in_int8(block: Mapping[str, Any]) -> Iterable[str]:
    """Say how many convolutions run in int8, where any does."""
    if block["int8_conv"]:
        whole = block["int8_conv"] + block["float_conv"]
        yield f"{block['int8_conv']} of {whole} convolutions run in int8"


SIZE = Section(
    "size",
    90,
    "Size, memory, load",
    "What the device has to store, hold and wait for before the first answer.",
    rows=footprint,
    template="""
{{ table(("File", "Size:number", (share, "bar", ""), "Bytes:number quiet"), sizes,
         kind="sizes stack") }}
{% if rows %}
{{ table(("Memory and load", "Float:number", "Shipped:number"), rows) }}
{% else %}
<p class="absent">Memory and load time are not in this report.</p>
{% endif %}
""",
    figures=figures,
    asks="size",
)
RESIDENCY = Section(
    "residency",
    100,
    "Residency",
    "Which operators run in int8 after the runtime's own optimisation.",
    rows=residency,
    template="""
{% if reason %}
<p class="absent">{{ reason }}</p>
{% else %}
{% if total %}
<p class="statement"><strong>{{ int8 }} of {{ total }}</strong> convolutions run in int8
{%- if not quantised %}; in {{ precision }} none is meant to
{%- elif float %}, {{ float }} in float{% endif %}.</p>
{{ bar }}
{% else %}
<p>The network has no convolutions.</p>
{% endif %}
{% if names %}
<details{% if names|length <= 12 %} open{% endif %}>
<summary>Heavy operators left in float: {{ names|length }}</summary>
<ul class="names">
{% for name in names %}
<li><code>{{ name }}</code></li>
{% endfor %}
</ul>
</details>
{% else %}
<p class="caption">No heavy operator is left in float.</p>
{% endif %}
{% endif %}
""",
    lines=lambda report: in_int8(report["residency"]),
    line=74,
    asks="speed",
)
