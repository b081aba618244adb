"""Draws the distribution of two sets of times over a common axis, as inline SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from edgetransfer.report.charts import Scale, anchor
from edgetransfer.report.words import MS

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    kept = [marker for marker in markers if x.holds(marker.at_ms)]
    top = ROW * len(kept) + 6
    return Markup(
        '<svg class="histogram" role="img" aria-labelledby="{id}-title {id}-desc" '
        'style="height:{height}px"><title id="{id}-title">{title}</title>'
        '<desc id="{id}-desc">{desc}</desc>{grid}'
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" y="{top}" width="100%" '
        'height="{plot}"><path class="area" d="{area}"/><path class="outline" d="{outline}"/></svg>'
        '{x_axis}{markers}<g class="hover">{hover}</g></svg>'
    ).format(
        id=ident,
        height=top + HEIGHT + 46,
        title=title,
        desc=_describe(bars, markers),
        grid=_grid(y, top),
        top=top,
        plot=HEIGHT,
        area=_path(candidate, y),
        outline=_path(reference, y),
        x_axis=_x_axis(x, top),
        markers=_markers(kept, x, top),
        hover=_hover(bars, top),
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


def _grid(y: Scale, top: int) -> Markup:
    parts = []
    digits = y.digits(4)
    for value in y.ticks(4):
        at = round(top + HEIGHT * (1 - y.at(value) / 100), 2)
        parts.append(
            Markup(
                '<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>'
                '<text x="-8" y="{0}" dy="4" text-anchor="end">{1}</text>'
            ).format(at, f"{value:.{digits}f}")
        )
    parts.append(
        Markup(
            '<text class="axis-name" text-anchor="middle" '
            'transform="translate(-42 {}) rotate(-90)">share of inferences, %</text>'
        ).format(top + HEIGHT // 2)
    )
    return Markup("").join(parts)


def _x_axis(x: Scale, top: int) -> Markup:
    bottom = top + HEIGHT
    parts = [Markup('<line class="base" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(bottom)]
    digits = x.digits(6)
    for value in x.ticks(6):
        at = x.at(value)
        parts.append(
            Markup(
                '<line class="base" x1="{0}%" x2="{0}%" y1="{1}" y2="{2}"/>'
                '<text x="{0}%" y="{3}" text-anchor="{4}">{5}</text>'
            ).format(at, bottom, bottom + 4, bottom + 18, anchor(at), f"{value:.{digits}f}")
        )
    parts.append(
        Markup(
            '<text class="axis-name" x="50%" y="{}" text-anchor="middle">wall time of one '
            "inference, ms</text>"
        ).format(bottom + 40)
    )
    return Markup("").join(parts)


def _markers(markers: Sequence[Marker], x: Scale, top: int) -> Markup:
    """All lines, then all labels, so that no line runs through a label."""
    lines, labels = [], []
    for row, marker in enumerate(markers):
        at = x.at(marker.at_ms)
        left = at > 50
        lines.append(
            Markup('<line class="{0}" x1="{1}%" x2="{1}%" y1="{2}" y2="{3}"/>').format(
                marker.kind, at, row * ROW + 2, top + HEIGHT
            )
        )
        labels.append(
            Markup('<text class="{}" x="{}%" dx="{}" y="{}" text-anchor="{}">{}</text>').format(
                marker.kind,
                at,
                -6 if left else 6,
                row * ROW + 13,
                "end" if left else "start",
                marker.label,
            )
        )
    return Markup('<g class="markers">{}</g>').format(Markup("").join([*lines, *labels]))


def _hover(bars: Bars, top: int) -> Markup:
    """Invisible bars that tell a pointer their counts."""
    width = 100 / len(bars.reference)
    parts = []
    for i, (old, new) in enumerate(zip(bars.reference, bars.candidate, strict=True)):
        if old or new:
            between = MS.between([bars.edges[i], bars.edges[i + 1]])
            parts.append(
                Markup(
                    '<rect x="{}%" width="{}%" y="{}" height="{}"><title>{}: float {}, '
                    "candidate {}</title></rect>"
                ).format(round(i * width, 3), round(width, 3), top, HEIGHT, between, old, new)
            )
    return Markup("").join(parts)


def _describe(bars: Bars, markers: Sequence[Marker]) -> str:
    span = MS.between([bars.edges[0], bars.edges[-1]])
    told = "; ".join(marker.label for marker in markers)
    return (
        f"Histogram of {sum(bars.reference):,} inferences of the float reference and "
        f"{sum(bars.candidate):,} of the candidate over {span}. {told}."
    )
