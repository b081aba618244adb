"""A section of the report is one value: a toy of one, registered here, is shown like any other."""

import re

import pytest

from edgetransfer.cli import render
from edgetransfer.report.page import render_page
from edgetransfer.report.sections import SECTIONS, Section

TOY = Section(
    name="battery",
    place=95,
    title="Battery",
    lede="How long it lasts.",
    block="battery",
    rows=lambda block: {
        "shown": [[row["cell"].value, row["hours"].show(str)] for row in block["cells"].rows()]
    },
    template='{{ table(("Cell", "Hours:number"), shown, label="Cells") }}',
    figures=lambda block: [("battery", "6 h", f"{block['cells'][0]['hours']} h", "+50 %")],
    lines=lambda block: [f"the battery has {len(block['cells'])} cells"],
    of_build=True,
)
BLOCK = {"cells": [{"cell": "<main>", "hours": 9}, {"cell": "spare", "hours": None}]}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setitem(SECTIONS, TOY.name, TOY)


def test_it_stands_in_its_place_on_the_page(reports, manifest):
    reasons = reports["pass"]["unavailable"] | {"battery.cells[1].hours": "it was not charged"}
    page = render_page({**reports["pass"], "battery": BLOCK, "unavailable": reasons}, manifest)
    order = re.findall(r'<section id="([^"]*)"', page)
    assert order[order.index("battery") - 1 :][:3] == ["size", "battery", "residency"]
    shown = page.partition('<section id="battery"')[2].partition("</section>")[0]
    assert re.sub(r">\s+<", "><", shown.strip("\n")) == (
        ' aria-labelledby="battery-heading"><header class="rail">'
        '<h2 id="battery-heading">Battery</h2><p>How long it lasts.</p></header>'
        '<div class="content"><div class="scroller" role="region" aria-label="Cells" tabindex="0">'
        '<table><thead><tr><th scope="col">Cell</th><th scope="col" class="number">Hours</th></tr>'
        '</thead><tbody><tr><th scope="row">&lt;main&gt;</th><td class="number">9</td></tr>'
        '<tr><th scope="row">spare</th><td class="number"><span class="absent">it was not charged'
        "</span></td></tr></tbody></table></div></div>"
    )


def test_the_terminal_tells_of_it_below_its_figures(reports, tmp_path, capsys):
    render.verdict({**reports["pass"], "battery": BLOCK}, tmp_path)
    told = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    (row,) = (line for line in told if line.startswith("  battery"))
    assert row.split()[1:] == ["6", "h", "9", "h", "+50", "%"]
    assert told.index("  the battery has 2 cells") > told.index(row)


def test_a_bench_does_not_tell_again_what_its_build_saw(reports, tmp_path, capsys):
    render.verdict({**reports["pass"], "battery": BLOCK}, tmp_path, again=True)
    assert "the battery has" not in capsys.readouterr().out


def test_a_report_without_its_block_does_not_have_it(reports, manifest, tmp_path, capsys):
    assert "battery" not in render_page(reports["pass"], manifest)
    render.verdict(reports["pass"], tmp_path)
    assert "battery" not in capsys.readouterr().out
