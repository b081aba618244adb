"""The page over the targets of a build: a row each, and where its report is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.bundle.files import write_whole
from edgetransfer.report import page
from edgetransfer.report.ci import SHORT, summary
from edgetransfer.report.node import Node
from edgetransfer.report.section import Section
from edgetransfer.report.template import rendered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Reports = Mapping[str, Mapping[str, Any]]

INDEX = "index.html"
_OURS = b'<meta name="generator" content="edgetransfer">'
_LINK = Markup('<a href="{0}/report.html">{0}</a>')
_FULL_LINK = Markup('<a href="file://{}/report.html">{}</a>')
_PLAIN_TABLE = (
    "<table><tr>{% for each in heads %}<th>{{ each }}</th>{% endfor %}</tr>"
    "{% for row in rows %}<tr>{% for each in row %}<td>{{ each }}</td>{% endfor %}</tr>"
    "{% endfor %}</table>"
)
TARGETS = Section(
    "targets",
    10,
    "Targets",
    "What was built for each device, and what was found of it. The name of a target leads to its "
    "report.",
    "targets",
    lambda block: block.value,
    '{{ table(heads, rows, kind="targets reflow", label="Targets") }}'
    '{% for name, reasons in why %}<h3>{{ name }}</h3><ul class="notes">'
    "{% for reason in reasons %}<li>{{ reason }}</li>{% endfor %}</ul>{% endfor %}",
)


def render_index(reports: Reports, folders: Mapping[str, str]) -> str:
    """Render a whole HTML page; `folders` are those of the targets, seen from the page."""
    heads, rows = summary(reports)
    block = {
        "heads": [*heads[:2], *(f"{h}:number:{h}" for h in (SHORT.get(h, h) for h in heads[2:]))],
        "rows": [[_LINK.format(folders[row[0]]), *row[1:]] for row in rows],
        "why": [(name, list(report["reasons"])) for name, report in reports.items()],
    }
    sections = page.shown([TARGETS], Node({"targets": block}), Node({}))
    title = f"{len(reports)} targets · edgetransfer"
    return page.document(title=title, verdict=None, sections=sections)


def outcome_table(reports: Reports, folders: Mapping[str, Path]) -> str:
    """Return a table for a notebook: a row for each target, with a link to its report."""
    heads, rows = summary(reports)
    cells = [[_FULL_LINK.format(folders[row[0]].absolute(), row[0]), *row[1:]] for row in rows]
    return str(rendered(_PLAIN_TABLE, heads=heads, rows=cells))


def write_index(out: Path, reports: Reports, folders: Mapping[str, Path]) -> None:
    """Write the page where there are several targets; somebody else's is left alone."""
    file = out / INDEX
    if len(reports) < 2 or (os.path.lexists(file) and not _is_ours(file)):
        return
    names = {name: folder.name for name, folder in folders.items()}
    write_whole(file, render_index(reports, names).encode())


def _is_ours(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and _OURS in file.read_bytes()[:4096]
