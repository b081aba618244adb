import copy
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from edgetransfer.report import words
from edgetransfer.report.node import Node
from edgetransfer.report.page import render_page
from edgetransfer.report.sections.ladder import ladder

OLD = Path(__file__).parents[1] / "measure" / "report-before-gates.json"
CASES = ("pass", "inconclusive", "fail", "unverified", "unlabelled", "fp32")
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks that tags balance, and keeps elements and text."""

    def __init__(self, document):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(document)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if not {"style", "pre"} & set(self.open):
            self.words.append((self.open[-1] if self.open else "", data.strip()))

    def text(self):
        return " ".join(word for _, word in self.words if word)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def pages(reports, manifest):
    return {name: render_page(report, manifest) for name, report in reports.items()}


@pytest.mark.parametrize("name", CASES)
def test_the_document_is_whole_and_its_tags_balance(pages, name):
    page = Page(pages[name])
    assert pages[name].startswith("<!doctype html>\n<html lang=")
    assert [tag for tag, _ in page.elements if tag in ("h1", "main", "footer")] == [
        "h1",
        "main",
        "footer",
    ]


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_comes_first_as_a_word_with_a_shape(reports, pages, name):
    body = pages[name].partition("<body>")[2]
    verdict = reports[name]["verdict"]
    assert Page(body.partition("</h1>")[0] + "</h1></div></header>").text() == verdict
    assert '<svg class="icon"' in body.partition("</h1>")[0]
    assert f"<title>{verdict}: {reports[name]['target']}" in pages[name]


def test_all_verdicts_are_among_the_cases_and_have_shapes_of_their_own(reports, pages):
    found = {reports[name]["verdict"]: name for name in CASES}
    assert set(found) == {"PASS", "FAIL", "INCONCLUSIVE", "UNVERIFIED"}
    icon = re.compile(r'<h1><svg class="icon"[^>]*>(.*?)</svg>')
    assert len({icon.search(pages[name]).group(1) for name in found.values()}) == 4


@pytest.mark.parametrize("name", CASES)
def test_it_needs_nothing_from_outside(pages, name):
    document = pages[name].lower()
    for word in ("http:", "https:", "//cdn", "<script", "url(", "@import", "@font-face", "<img"):
        assert word not in document
    page = Page(pages[name])
    loading = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href")]
    assert loading == ["data:,"]
    assert not [k for _, attrs in page.elements for k in attrs if k.startswith("on")]
    assert "default-src 'none'" in pages[name]


@pytest.mark.parametrize("name", CASES)
def test_no_absent_value_is_shown_as_a_value(pages, name):
    text = Page(pages[name]).text()
    assert not re.search(r"\b(None|nan|inf|null|undefined|Markup)\b", text)


@pytest.mark.parametrize("name", CASES)
def test_names_that_users_gave_are_escaped(reports, pages, name):
    hostile = json.loads(json.dumps(reports[name]).replace("this-machine", "<b onclick=x>"))
    hostile["labels"][0] = hostile["target"] = "<img src=x onerror=alert(1)>"
    for row in hostile["per_class"][:1]:
        row["label"] = hostile["labels"][0]
    hostile["reasons"].append("size: <script>x</script>")
    hostile["environment"]["cpu"] = "\"><svg onload='x'>"
    document = render_page(hostile, {"data": {"notes": ["<script>y</script>"]}})
    assert "<img" not in document
    assert "<script" not in document
    assert "&lt;img src=x onerror=alert(1)&gt;" in document
    page = Page(document)
    assert not [k for _, attrs in page.elements for k in attrs if k.startswith("on")]


@pytest.mark.parametrize("name", CASES)
def test_rendering_is_pure(reports, pages, manifest, name):
    before = copy.deepcopy((reports[name], manifest))
    assert render_page(reports[name], manifest) == pages[name]
    assert (reports[name], manifest) == before


@pytest.mark.parametrize("name", CASES)
def test_tables_pictures_and_headings_are_accessible(pages, name):
    page = Page(pages[name])
    assert all("scope" in th for th in page.all("th"))
    idents = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(idents) == len(set(idents))
    named = [
        attrs["aria-labelledby"].split() for _, attrs in page.elements if "aria-labelledby" in attrs
    ]
    assert {ident for idents in named for ident in idents} <= set(idents)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_pictures_have_a_title_and_a_description(pages):
    found = re.findall(
        r'<svg class="histogram" role="img"[^>]*>(.*?)</desc>', pages["pass"], re.DOTALL
    )
    assert len(found) == 2
    assert all("<title " in each and "600 inferences" in each for each in found)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unlabelled", "Not judged. The examples have no labels."),
        ("unverified", "Not timed in this run."),
        ("unverified", "Memory and load time are not in this report."),
        ("fail", "Wilson's interval is one of a proportion, which this metric is not."),
        ("fp32", "identical"),
        ("pass", "not given"),
    ],
)
def test_a_reason_stands_where_a_value_is_absent(pages, name, reason):
    assert reason in Page(pages[name]).text()


def test_a_broken_candidate_says_so(reports, manifest):
    report = copy.deepcopy(reports["pass"])
    report["numeric"] = dict.fromkeys(report["numeric"]) | {"non_finite": 3}
    reason = "3 of the candidate's logits are NaN or Inf"
    report["unavailable"] |= {f"numeric.{key}": reason for key in ("sqnr_db", "kl_mean")}
    assert Page(render_page(report, manifest)).text().count(reason) == 2


def test_whole_sections_that_are_null_do_not_break_it(reports):
    report = dict(reports["pass"])
    for key in ("latency", "end_to_end", "numeric", "residency", "memory", "load", "accuracy"):
        report[key] = None
    report["unavailable"] = {"latency": "the device has no clock"}
    assert "The device has no clock." in Page(render_page(report, {})).text()


@pytest.mark.parametrize("part", ["backbone", "fit", "target", "data", "compression"])
def test_a_manifest_may_know_little(reports, part):
    page = Page(render_page(reports["pass"], {part: {"source": "x", "splits": {"test": {}}}}))
    assert not re.search(r"\b(None|nan)\b", page.text())


def test_titles_for_the_pointer_hold_no_markup(pages):
    titles = re.findall(r"<title>(.*?)</title>", pages["inconclusive"])
    assert any(title.startswith("jackson: ") for title in titles)
    assert not any("&lt;" in title for title in titles)


def test_an_empty_manifest_is_enough(reports):
    text = Page(render_page(reports["pass"], {})).text()
    assert "The manifest of the bundle does not say." in text


def test_the_command_that_verifies_is_shown(pages):
    assert "<code>edgetransfer bench out/raspberry-pi-5 --data photos</code>" in pages["unverified"]


def test_a_ladder_is_shown_where_there_is_one(pages):
    assert 'id="ladder"' in pages["fail"]
    assert 'id="ladder"' not in pages["pass"]


def test_a_rung_tells_what_was_measured_of_it(reports):
    first, why, second = ladder(Node(reports["fail"]["ladder"]))["rows"]
    plain = [cell.replace(words.SPACE, " ") for cell in first]
    assert plain == [
        "post-training",
        "misses",
        "90.0 % (85.0 to 94.0 %)",
        "8 of 200",
        "9.1 dB",
        "2.00 ms",
        "0.90×",
        "0.954 MiB",
        "3.2 s",
    ]
    assert why == [
        "Loses 4.00 pp of 2 allowed; slower than floats on this target; "
        "most of the noise comes from: a.weight, b.weight."
    ]
    assert second == ["32-bit floats (shipped)", "holds", *["–"] * 7]


def test_how_it_was_made(pages):
    text = Page(pages["pass"]).text()
    for part in ("mobilenet_v2_1.0_224", "not stated by the source", "2.22 M", "60e0cc15d775"):
        assert part in text
    assert "3 × duplicate of a test example" in text
    assert "The given validation set is the test set".lower() in text.lower()


def test_disturbances_stand_with_the_times(reports, manifest):
    report = copy.deepcopy(reports["pass"])
    report["validity"] |= {
        "valid": False,
        "violations": ["the frequency changed"],
        "not_warmed_up": ["candidate"],
        "deterministic": {"reference": True, "candidate": False},
    }
    report["environment"]["warnings"] = ["load average is 2.1 on 2 cores: other work is running"]
    latency = render_page(report, manifest).partition('id="latency"')[2].partition("<h3>")[0]
    assert re.findall(r"<li>(.*?)</li>", latency) == [
        "The frequency changed.",
        "Load average is 2.1 on 2 cores: other work is running.",
        "Times had not settled after the warm-up: candidate.",
        "The same input gave different outputs: candidate.",
    ]


def test_a_report_from_before_the_gates_is_shown():
    report = json.loads(OLD.read_text(encoding="utf-8"))
    text = Page(render_page(report, {})).text()
    assert "60 examples bound a drop at 4.3 pp at best" in text
