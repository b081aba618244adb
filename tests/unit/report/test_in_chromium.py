"""Reports as a real Chromium draws and prints them; skipped where there is none, or no axe-core."""

import re

import pytest

from edgetransfer.report.index import render_index
from edgetransfer.report.page import render_page
from tests.chromium import opened

CASES = ("pass", "fail", "inconclusive", "unverified")
HIDDEN = """
[...document.querySelectorAll("html, .scroller, table, .gallery")]
  .filter((each) => each.scrollWidth > each.clientWidth + 1)
  .map((each) => `${each.tagName} ${each.className} in ${each.closest("section")?.id}`)
"""


def sheets(pdf):
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.fixture(scope="module")
def tab():
    with opened() as tab:
        yield tab


@pytest.fixture(scope="module")
def pages(reports, manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    found = {name: render_page(reports[name], manifest) for name in CASES}
    both = {name: {**reports[name], "target": name} for name in CASES}
    found["index"] = render_index(both, {name: name for name in CASES})
    for name, document in found.items():
        (folder / f"{name}.html").write_text(document, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", [*CASES, "index"])
def test_nothing_is_out_of_sight_and_axe_finds_nothing_serious(tab, pages, name):
    tab.open((pages / f"{name}.html").as_uri())
    for width in (390, 768, 1280, 1920):
        tab.wide(width)
        assert (width, tab.say(HIDDEN)) == (width, [])
    tab.say("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert tab.faults() == {}


@pytest.mark.parametrize("name", CASES)
def test_it_prints_as_one_sheet_unless_all_is_asked_for(tab, pages, name):
    tab.open((pages / f"{name}.html").as_uri())
    assert sheets(tab.printed()) == 1
    tab.say("document.getElementById('whole').open = true")
    assert sheets(tab.printed()) > 2
