"""Renders a report and the manifest of its bundle as one self-contained HTML page."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgetransfer.report import (
    adaptation,
    gates,
    labels,
    ladder,
    origin,
    quality,
    ranking,
    soundness,
    speed,
    verdict,
)
from edgetransfer.report.node import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template


def render_page(report: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Render the page.

    Args:
        report: ``report.json``, see docs/report.md.
        manifest: ``manifest.json`` of the bundle; what it lacks is left out.

    Returns:
        A whole HTML document.
    """
    told = Node(report, reasons=report.get("unavailable", {}), reason="not in this report")
    made = Node(manifest)
    held = gates.gates(told)
    return _template("page.html.j2").render(
        verdict=verdict.verdict(told, made),
        tiles=verdict.tiles(told),
        gates=held,
        counted=any(row["decides"].value for row in told["gates"].rows()),
        accuracy=quality.accuracy(told),
        confusion=quality.confusion(told),
        classes=quality.classes(told),
        drift=quality.drift(told),
        adaptation=adaptation.adaptation(told),
        soundness=soundness.soundness(told),
        labelling=labels.labelling(told),
        cautions=speed.cautions(told),
        series=[
            speed.series(told, "latency", "The network alone"),
            speed.series(told, "end_to_end", "End to end"),
        ],
        footprint=speed.footprint(told),
        residency=speed.residency(told),
        ladder=ladder.ladder(told),
        ladder_heads=ladder.HEADS,
        ranking=ranking.ranking(told["choice"]),
        place=origin.place(told),
        making=origin.making(made),
        target=str(report["target"]),
        schema=str(report["schema"]),
    )


def render_ranking(record: Mapping[str, Any]) -> str:
    """Render ranked backbones, see docs/soundness.md, as a whole HTML document."""
    return _template("ranking.html.j2").render(ranking=ranking.ranking(Node(record)))


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("edgetransfer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
