"""Draws the distribution of two sets of times over a common axis, as inline SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgetransfer.report.charts import Scale, anchor
from edgetransfer.report.template import rendered
from edgetransfer.report.words import MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

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


TEMPLATE = """
{% set bottom = top + height %}
<svg class="histogram" role="img" aria-labelledby="{{ ident }}-title {{ ident }}-desc"
 style="height:{{ bottom + 46 }}px"><title id="{{ ident }}-title">{{ title }}</title>
<desc id="{{ ident }}-desc">{{ desc }}</desc>
{% for at, text in up %}
<line class="grid" x1="0" x2="100%" y1="{{ at }}" y2="{{ at }}"/>
<text x="-8" y="{{ at }}" dy="4" text-anchor="end">{{ text }}</text>
{% endfor %}
<text class="axis-name" text-anchor="middle"
 transform="translate(-42 {{ top + height // 2 }}) rotate(-90)">share of inferences, %</text>
<svg viewBox="0 0 100 100" preserveAspectRatio="none" y="{{ top }}" width="100%"
 height="{{ height }}"><path class="area" d="{{ area }}"/><path class="outline" d="{{ outline }}"/>
</svg>
<line class="base" x1="0" x2="100%" y1="{{ bottom }}" y2="{{ bottom }}"/>
{% for at, side, text in across %}
<line class="base" x1="{{ at }}%" x2="{{ at }}%" y1="{{ bottom }}" y2="{{ bottom + 4 }}"/>
<text x="{{ at }}%" y="{{ bottom + 18 }}" text-anchor="{{ side }}">{{ text }}</text>
{% endfor %}
<text class="axis-name" x="50%" y="{{ bottom + 40 }}" text-anchor="middle">wall time of one
 inference, ms</text>
<g class="markers">
{% for kind, at, label in markers %}
<line class="{{ kind }}" x1="{{ at }}%" x2="{{ at }}%" y1="{{ loop.index0 * row + 2 }}"
 y2="{{ bottom }}"/>
{% endfor %}
{% for kind, at, label in markers %}
<text class="{{ kind }}" x="{{ at }}%" dx="{{ -6 if at > 50 else 6 }}"
 y="{{ loop.index0 * row + 13 }}" text-anchor="{{ "end" if at > 50 else "start" }}">
{{- label }}</text>
{% endfor %}
</g>
<g class="hover">
{% for at, between, counts in bars %}
<rect x="{{ at }}%" width="{{ width }}%" y="{{ top }}" height="{{ height }}">
<title>{{ between }}: float {{ counts[0] }}, candidate {{ counts[1] }}</title></rect>
{% endfor %}
</g></svg>
"""
"""All lines of markers come before their labels, so that no line runs through a label; the bars
are invisible, and tell a pointer their counts."""


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
    kept = [(each.kind, x.at(each.at_ms), each.label) for each in markers if x.holds(each.at_ms)]
    top, width = ROW * len(kept) + 6, 100 / len(reference)
    counts = zip(bars.reference, bars.candidate, strict=True)
    return rendered(
        TEMPLATE,
        ident=ident,
        title=title,
        desc=_describe(bars, markers),
        top=top,
        height=HEIGHT,
        row=ROW,
        up=[(round(top + HEIGHT * (1 - y.at(v) / 100), 2), y.written(v, 4)) for v in y.ticks(4)],
        across=[(x.at(v), anchor(x.at(v)), x.written(v, 6)) for v in x.ticks(6)],
        area=_path(candidate, y),
        outline=_path(reference, y),
        markers=kept,
        width=round(width, 3),
        bars=[
            (round(i * width, 3), MS.between(bars.edges[i : i + 2]), both)
            for i, both in enumerate(counts)
            if any(both)
        ],
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


def _describe(bars: Bars, markers: Sequence[Marker]) -> str:
    span = MS.between([bars.edges[0], bars.edges[-1]])
    told = "; ".join(marker.label for marker in markers)
    return (
        f"Histogram of {sum(bars.reference):,} inferences of the float reference and "
        f"{sum(bars.candidate):,} of the candidate over {span}. {told}."
    )
