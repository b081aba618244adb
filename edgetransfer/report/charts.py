"""Draws the small plots in rows of tables, their axis, and the histogram of times, as inline SVG.

All x are percents of the cell's width and all colours are classes: plots fit any screen and either
colour scheme. Screen readers read the numbers in the same row; a pointer gets them as a title.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup

from edgetransfer.report.template import rendered
from edgetransfer.report.words import MS, Quantity, number

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
<title>{{ between }}: float {{ counts[0] }}, shipped {{ counts[1] }}</title></rect>
{% endfor %}
</g></svg>
"""
"""All lines of markers come before their labels, so that no line runs through a label; the bars
are invisible, and tell a pointer their counts."""


def draw(bars: Bars, markers: Sequence[Marker], ident: str, title: str) -> Markup:
    """Draw both distributions, each as a share of its own inferences.

    Markers are drawn where they lie on the axis; `ident` begins the element ids on the page, and
    the title is for those who do not see the figure.
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
        f"{sum(bars.candidate):,} of the shipped model over {span}. {told}."
    )


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high`.

    >>> Scale(0, 50).at(10), Scale(0, 50).at(80)
    (20.0, 100.0)
    """

    low: float
    high: float

    def at(self, value: float) -> float:
        """Place of a value, 0 to 100; what lies outside is at the end."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 3)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high

    def ticks(self, about: int = 5) -> list[float]:
        """Round values on the axis, about as many as asked for.

        >>> Scale(4.1, 11.05).ticks()
        [6.0, 8.0, 10.0]
        """
        step = _step((self.high - self.low) / about)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]

    def digits(self, about: int = 5) -> int:
        """Decimals that the ticks need.

        >>> Scale(0, 1).digits(), Scale(0, 100).digits()
        (1, 0)
        """
        return max(0, -floor(log10(_step((self.high - self.low) / about) * (1 + 1e-9))))

    def written(self, value: float, about: int = 5) -> str:
        """Write a tick with the decimals that the ticks need."""
        return f"{value:.{self.digits(about)}f}"


def _step(rough: float) -> float:
    """Round a step to 1, 2 or 5 times a power of ten, upwards."""
    power = 10.0 ** floor(log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


TICKS = 5
"""About how many values stand on the axis of a column."""
EDGE = 6.0
"""Percent from either end at which a text turns inwards."""


def anchor(at: float) -> str:
    """How a text at a place is aligned so that it stays on the plot."""
    return "start" if at < EDGE else "end" if at > 100 - EDGE else "middle"


def line(kind: str, start: float, end: float | None = None) -> Markup:
    """A vertical line through the row, or a horizontal one between two places."""
    if end is None:
        return Markup('<line class="{0}" x1="{1}%" x2="{1}%" y1="0" y2="100%"/>').format(
            kind, start
        )
    return Markup('<line class="{}" x1="{}%" x2="{}%" y1="50%" y2="50%"/>').format(kind, start, end)


def dot(kind: str, at: float) -> Markup:
    """A point in the middle of the row."""
    return Markup('<circle class="{}" cx="{}%" cy="50%" r="4.5"/>').format(kind, at)


def row_plot(title: str, *parts: Markup) -> Markup:
    """Put parts into the plot of one row."""
    return Markup('<svg class="row-plot" aria-hidden="true"><title>{}</title>{}</svg>').format(
        title, Markup("").join(parts)
    )


def axis(scale: Scale, quantity: Quantity, label: str) -> Markup:
    """The axis that stands in the head of the column of plots: round values, and what they are."""
    shown = Scale(quantity.factor * scale.low, quantity.factor * scale.high)
    text = Markup('<text x="{}%" y="34" text-anchor="{}">{}</text>')
    texts = [
        text.format(at, anchor(at), number(value, shown.digits(TICKS), signed=quantity.signed))
        for value in shown.ticks(TICKS)
        for at in [shown.at(value)]
    ]
    return Markup(
        '<svg class="axis" role="img" aria-label="{0}"><text class="axis-name" x="0" y="14">{0}'
        "</text>{1}</svg>"
    ).format(label, Markup("").join(texts))


def grid(scale: Scale) -> Markup:
    """Faint lines at the ticks of the axis."""
    return Markup("").join(line("grid", scale.at(value)) for value in scale.ticks(TICKS))


def dumbbell(scale: Scale, before: float, after: float, title: str) -> Markup:
    """Two points and the way between them: a ring before, a full point after."""
    first, second = scale.at(before), scale.at(after)
    way = "loss" if after < before else "gain"
    return row_plot(
        title,
        grid(scale),
        line(f"way {way}", first, second),
        dot("ring", first),
        dot("full", second),
    )


def whisker(
    scale: Scale, estimate: float, ends: Sequence[float] | None, lines: Sequence[Markup], title: str
) -> Markup:
    """A point with its interval; an end that lies off the axis becomes an arrow."""
    parts = [grid(scale), *lines]
    # An end is 10 px high in the middle of the row.
    end_mark = '<svg x="{}%" y="50%" overflow="visible"><path class="whisker" d="{}"/></svg>'
    if ends is not None:
        parts.append(line("whisker", scale.at(ends[0]), scale.at(ends[1])))
        for end, arrow in zip(ends, ("M6 -5 1 0 6 5", "M-6 -5 -1 0 -6 5"), strict=True):
            shape = "M0 -5V5" if scale.holds(end) else arrow
            parts.append(Markup(end_mark).format(scale.at(end), shape))
    parts.append(dot("full", scale.at(estimate)))
    return row_plot(title, *parts)


def meter(scale: Scale, measured: float, limit: float) -> Markup:
    """A bar as long as what was measured, against a mark at the limit."""
    return Markup(
        '<svg class="meter" aria-hidden="true">'
        '<rect class="track" width="100%" height="8" y="6" rx="2"/>'
        '<rect class="fill" width="{0}%" height="8" y="6" rx="2"/>'
        '<line class="limit" x1="{1}%" x2="{1}%" y1="0" y2="20"/></svg>'
    ).format(scale.at(measured), scale.at(limit))


def bars(shares: Sequence[tuple[str, float]], title: str) -> Markup:
    """One bar cut into parts; shares add up to at most 100."""
    parts, start = [], 0.0
    for kind, share in shares:
        parts.append(
            Markup('<rect class="{}" x="{}%" width="{}%" height="100%"/>').format(
                kind, round(start, 3), round(share, 3)
            )
        )
        start += share
    return Markup('<svg class="bars" aria-hidden="true"><title>{}</title>{}</svg>').format(
        title, Markup("").join(parts)
    )


_NOTHING = '<circle class="hollow" cx="12" cy="12" r="9.5"/><path class="stroke" d="M7.5 12h9"/>'
ICONS = {
    "PASS": '<circle cx="12" cy="12" r="10"/><path class="mark" d="m7.5 12.5 3 3 6-7"/>',
    "FAIL": '<path d="M8 2h8l6 6v8l-6 6H8l-6-6V8z"/><path class="mark" d="m8.5 8.5 7 7m0-7-7 7"/>',
    "INCONCLUSIVE": '<path d="M12 1 23 12 12 23 1 12z"/>'
    '<path class="mark" d="M6.8 13.2c1.7-3.4 3.5-3.4 5.2-1.2s3.5 2.2 5.2-1.2"/>',
    "UNVERIFIED": _NOTHING,
    "NOT RUN": _NOTHING,
    "WARNING": '<path d="M12 2 23 21H1z"/><path class="mark" d="M12 9v5.5m0 3v.2"/>',
}
"""One shape a status, so that colour is never the only sign."""


def icon(status: str) -> Markup:
    """The shape of a status; the word stands beside it."""
    shape = Markup(ICONS.get(status, _NOTHING))
    return Markup('<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">{}</svg>').format(shape)
