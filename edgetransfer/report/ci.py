"""What was judged as a Markdown table and as JUnit's XML: for the pages of CI systems."""

from __future__ import annotations

import re
from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

from edgetransfer.measure.verdict import is_sound, worst
from edgetransfer.report.node import Node
from edgetransfer.report.page import tiles
from edgetransfer.spec.outside import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Reports = Mapping[str, Mapping[str, Any]]
    """``report.json`` by target, or by place."""


SHORT = {
    "Change from float": "change",
    "Changed decisions": "changed",
    "Speed-up": "speed",
    "Latency, median": "median",
    "Size": "size",
}
"""Heads of the summary where there is little room."""


def summary(reports: Reports) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of a table: each target, its verdict and the numbers of its tiles."""
    shown = {
        name: {
            row["label"]: "-" if row["missing"] else plain(row["value"])
            for row in tiles(Node(report, reasons=report.get("unavailable", {})))
        }
        for name, report in reports.items()
    }
    labels = dict.fromkeys(label for row in shown.values() for label in row)
    rows = [
        [name, str(reports[name]["verdict"]), *(row.get(label, "-") for label in labels)]
        for name, row in shown.items()
    ]
    return ["target", "verdict", *labels], rows


def plain(text: str) -> str:
    """Return a text of the page as a terminal shows it."""
    return str(Markup(text).striptags()).replace("\N{NO-BREAK SPACE}", " ")


def markdown(reports: Reports) -> str:
    """Return the summary, and a row for each gate of each target."""
    heads, rows = summary(reports)
    gates = [
        [name, gate["name"], gate["status"], "yes" if gate["decides"] else "no", _found(gate)]
        for name, report in reports.items()
        for gate in report["gates"]
    ]
    verdict = worst(report["verdict"] for report in reports.values())
    parts = (
        f"## edgetransfer: {verdict}\n",
        *_table(heads, rows),
        "",
        *(
            f"* {_cell(name)}: {_cell(reason)}"
            for name, report in reports.items()
            for reason in report["reasons"]
        ),
        "",
        *_table(("target", "check", "status", "decides", "what was found"), gates),
    )
    return "\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    r"""Return a text that starts no markup of Markdown or HTML.

    >>> _cell("a|b\n<c> *d*")
    'a\\|b &lt;c&gt; \\*d\\*'
    """
    text = " ".join(printable(text).split())
    return escape(re.sub(r"[\\`*_\[\]|]", r"\\\g<0>", text), quote=False)


def junit(reports: Reports, *, strict: bool) -> str:
    """Return a suite for each target: its verdict and each gate is a test case.

    What decides nothing never fails; what is open, or was not measured, is skipped, and with
    `strict` a failure.
    """
    root = ElementTree.Element("testsuites", name="edgetransfer")
    for name, report in reports.items():
        reasons = "; ".join(report["reasons"])
        doubtful = strict and report["verdict"] == "PASS" and not is_sound(report)
        cases = [("verdict", "FAIL" if doubtful else report["verdict"], True, reasons)]
        cases += [(g["name"], g["status"], g["decides"], _found(g)) for g in report["gates"]]
        suite = ElementTree.SubElement(root, "testsuite", name=printable(name))
        counts = Counter[str]()
        for case, status, decides, message in cases:
            found = ElementTree.SubElement(suite, "testcase", classname=printable(name), name=case)
            kind = _ends(status, decides=decides, strict=strict)
            counts[kind] += 1
            told = printable(f"{status}: {message}")
            if kind:
                ElementTree.SubElement(found, kind, message=told)
            else:
                ElementTree.SubElement(found, "system-out").text = told
        suite.attrib |= {"tests": str(len(cases)), "errors": "0"}
        suite.attrib |= {"failures": str(counts["failure"]), "skipped": str(counts["skipped"])}
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _found(gate: Mapping[str, Any]) -> str:
    return str(gate["message"]).removeprefix(f"{gate['name']}: ")


def _ends(status: str, *, decides: bool, strict: bool) -> str:
    """Return what a test case holds: a failure, that it was skipped, or nothing."""
    if status == "PASS" or (status == "FAIL" and not decides):
        return ""
    if status == "FAIL" or (strict and decides and status != "NOT RUN"):
        return "failure"
    return "skipped"
