"""Renders a report and the manifest of its bundle as one self-contained HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import verdict
from edgetransfer.report.node import Node
from edgetransfer.report.sections import Section, sections_of
from edgetransfer.report.template import rendered
from edgetransfer.spec import tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def render_page(report: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Render the page.

    Args:
        report: ``report.json``, see docs/report.md.
        manifest: ``manifest.json`` of the bundle; what it lacks is left out.

    Returns:
        A whole HTML document.
    """
    tasks.load(report.get("task", tasks.CLASSIFICATION))  # which declares its sections
    told = Node(report, reasons=report.get("unavailable", {}), reason="not in this report")
    made = Node(manifest)
    banner = verdict.verdict(told, made)
    return document(
        title=f"{banner['name']}: {report['target']} · edgetransfer report",
        verdict=banner,
        tiles=verdict.tiles(told),
        sections=shown(sections_of(report), told, made),
        schema=str(report["schema"]),
    )


def document(**values: object) -> str:
    """Render a whole page of ``page.html.j2``."""
    return str(rendered("{% include 'page.html.j2' %}", **values)).lstrip()


def shown(sections: Iterable[Section], report: Node, manifest: Node) -> list[dict[str, Any]]:
    """Return heading and content of every section that has something to show, in order."""
    found = []
    for section in sorted(sections, key=lambda each: each.place):
        values = section.values(report, manifest)
        if values:
            head = {"name": section.name, "title": section.title, "lede": section.lede}
            found.append({**head, **values, "content": rendered(section.template, **values)})
    return found
