"""Examples in the report: few, small, escaped, and named where they are not at hand."""

import base64
import copy
import re
from types import SimpleNamespace

import numpy as np
import pytest

from edgetransfer.agent.outputs import Outputs
from edgetransfer.errors import DataError
from edgetransfer.report.page import render_page
from edgetransfer.report.thumbnails import MOST_BYTES, OF_A_LIST, kept, thumbnails
from edgetransfer.tasks.classification.judge.judged import MOST_NOTABLE, notable
from edgetransfer.tasks.classification.report.examples import NOT_AT_HAND

HOSTILE = "a\"><script>alert('x')</script><img src=x onerror=y>.png"
JPEG = b"\xff\xd8 no picture"


def of(name, **fields):
    row = {"example": name, "label": "ants", "reference": "ants", "candidate": "bees"}
    return {**row, "share": 0.75, **fields}


def report_of(reports, *changed):
    return {**copy.deepcopy(reports["pass"]), "notable": {"changed": list(changed), "wrong": []}}


def shown(report, show, names=(HOSTILE,)):
    return thumbnails({"notable": report["notable"]}, dict.fromkeys(names), show)


def examples_in(document):
    return document.partition('<section id="examples"')[2].partition("</section>")[0]


def test_a_picture_stands_in_the_page_with_its_name_and_both_decisions(reports, manifest):
    report = report_of(reports, of("ants/1.png"))
    found = shown(report, lambda _: JPEG, ["ants/1.png"])
    section = examples_in(render_page(report, manifest, found))
    encoded = base64.b64encode(JPEG).decode()
    assert f'<img alt="" src="data:image/jpeg;base64,{encoded}">' in section
    words = re.sub(r"<[^>]*>", " ", section.partition("<ul")[2]).split()
    told = "Label: ants Float: ants Shipped: bees ( 75.0 % )".replace("( 75.0 % )", "(75.0 %)")
    assert " ".join(words[words.index("ants/1.png") + 1 :]) == told


@pytest.mark.parametrize("show", [lambda _: JPEG, lambda _: HOSTILE])
def test_no_name_and_no_text_breaks_out_of_the_page(reports, manifest, show):
    report = report_of(reports, of(HOSTILE, label=HOSTILE, reference=HOSTILE))
    report["labelling"] = {
        "judged": 1,
        "suspect": 1,
        "suspects": [
            {"example": HOSTILE, "split": "train", "given": HOSTILE, "likely": "bees",
             "given_probability": 0.1, "likely_probability": 0.9}
        ],
    }  # fmt: skip
    blocks = {key: report[key] for key in ("notable", "labelling")}
    found = thumbnails(blocks, {HOSTILE: None}, show)
    document = render_page(report, manifest, found)
    assert "<script" not in document
    assert "onerror=y>" not in document
    assert document.count("&lt;script&gt;") > 3
    assert document.count("<img") == 2 * (show(None) == JPEG)
    assert kept(document) == found
    assert render_page(report, manifest, kept(document)) == document


def test_what_is_no_thumbnail_of_ours_is_not_kept():
    head = '<span class="thumbnail" data-of="notable" data-key="1">'
    assert kept(f'{head}<img alt="" src="http://x/"></span>') == {}
    assert kept(f"{head}<q><script>x</script></q></span>") == {}
    assert kept(f"{head}<q>sound</q></span>").keys() == {"notable"}


def test_a_page_made_again_without_the_data_says_so_in_a_line(reports, manifest):
    section = examples_in(render_page(report_of(reports, of("ants/1.png")), manifest))
    assert f'<p class="absent">{NOT_AT_HAND}</p>' in section
    assert "ants/1.png" in section
    assert "<img" not in section


def test_without_named_examples_there_is_no_such_section(reports, manifest):
    assert 'id="examples"' not in render_page(reports["pass"], manifest, {})


def test_lists_are_cut_and_the_page_has_a_limit(reports):
    names = [f"{i}.png" for i in range(100)]
    report = report_of(reports, *map(of, names))
    assert list(shown(report, lambda _: "words", names)["notable"]) == names[:OF_A_LIST]
    large = shown(report, lambda _: bytes(MOST_BYTES // 4), names)["notable"]
    assert 0 < sum(map(len, large.values())) <= 1.1 * MOST_BYTES
    assert len(large) == 2


def test_what_cannot_be_read_any_more_is_named_alone(reports, manifest):
    def gone(_):
        raise DataError("the picture cannot be read")

    report = report_of(reports, of("ants/1.png"))
    section = examples_in(render_page(report, manifest, shown(report, gone, ["ants/1.png"])))
    assert "ants/1.png" in section
    assert "<img" not in section
    assert NOT_AT_HAND not in section


def raw(reference, candidate, truth=(0, 1, 1, 0, 1)):
    rows = [np.array(each, np.float32) for each in (reference, candidate)]
    return SimpleNamespace(
        reference=Outputs({"logits": rows[0]}),
        candidate=Outputs({"logits": rows[1]}),
        truth=None if truth is None else np.array(truth),
        labels=("ants", "bees"),
        names=[f"{i}.png" for i in range(len(rows[0]))],
    )


BEFORE = [[2, 0], [2, 0], [2, 0], [0, 3], [0, 1]]
AFTER = [[2, 0], [0, 2], [3, 0], [0, 1], [1, 0]]


def test_changed_decisions_come_lost_ones_first_then_errors_the_surest_first():
    found = notable(raw(BEFORE, AFTER))
    assert [row["example"] for row in found["changed"]] == ["4.png", "1.png"]
    assert found["changed"][0] == {
        "example": "4.png", "label": "bees", "reference": "bees", "candidate": "ants",
        "share": 0.7311,
    }  # fmt: skip
    assert [row["example"] for row in found["wrong"]] == ["2.png", "3.png"]


def test_without_labels_only_changes_are_named_and_no_decision_is_none():
    after = [*AFTER[:4], [np.nan, 0]]
    found = notable(raw(BEFORE, after, truth=None))
    assert found["wrong"] == []
    assert [row["example"] for row in found["changed"]] == ["1.png", "4.png"]
    assert found["changed"][1] == {
        "example": "4.png", "label": None, "reference": "bees", "candidate": None, "share": None,
    }  # fmt: skip


def test_no_more_are_named_than_are_of_use():
    rows = 5 * MOST_NOTABLE
    found = notable(raw([[2, 0]] * rows, [[2, 0]] * rows, [1] * rows))
    assert len(found["wrong"]) == MOST_NOTABLE
