"""Renders a report and the manifest of its bundle as one self-contained HTML page."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgetransfer.report import verdict
from edgetransfer.report.node import Node
from edgetransfer.report.sections import SECTIONS, Section
from edgetransfer.report.sections.candidates import CANDIDATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MACROS = "{% from 'macros.html.j2' import legend, pairs, scroller, table %}\n"


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
    banner = verdict.verdict(told, made)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=f"{banner['name']}: {report['target']} · edgetransfer report",
            verdict=banner,
            tiles=verdict.tiles(told),
            sections=_shown(SECTIONS.values(), told, made),
            schema=str(report["schema"]),
        )
    )


def render_ranking(record: Mapping[str, Any]) -> str:
    """Render ranked backbones, see docs/soundness.md, as a whole HTML document."""
    sections = _shown([CANDIDATES], Node({CANDIDATES.block: record}), Node({}))
    title = "Which backbone? · edgetransfer"
    template = _environment().get_template("page.html.j2")
    return template.render(title=title, verdict=None, sections=sections)


def _shown(sections: Iterable[Section], report: Node, manifest: Node) -> list[dict[str, Any]]:
    """Return heading and content of every section that has something to show, in order."""
    found = []
    for section in sorted(sections, key=lambda each: each.place):
        values = section.values(report, manifest)
        if values:
            template = _environment().from_string(_MACROS + section.template)
            head = {"name": section.name, "title": section.title, "lede": section.lede}
            found.append({**head, **values, "content": Markup(template.render(values))})
    return found


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("edgetransfer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["column"] = _column
    return environment


def _column(told: str | tuple[str, str, str]) -> tuple[str, ...]:
    """Return head, classes and name of a column, see ``macros.html.j2``."""
    return told if isinstance(told, tuple) else (*told.split(":"), "", "")[:3]
