import copy
import re
from importlib.resources import files

import pytest

from edgetransfer.report import page, words
from edgetransfer.report.charts import Bars, Marker, Scale, draw
from edgetransfer.report.node import Node
from edgetransfer.report.sections import gates, latency, size
from edgetransfer.tasks.classification.report import accuracy


def node(report):
    return Node(report, reasons=report["unavailable"], reason="not in this report")


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        (
            "pass",
            "Quantising costs at most 1.9 pp of accuracy: every limit that was set is met.",
        ),
        ("inconclusive", "No limit is shown to be missed, but not every limit is shown to be met."),
        ("fail", "3 checks failed."),
        ("unverified", "Built, but not measured on the target."),
        ("unlabelled", "Every limit that could be judged is met."),
    ],
)
def test_headlines(reports, name, headline):
    assert page.verdict(node(reports[name]), Node({}))["headline"] == headline


def test_reasons_are_sentences_with_the_name_of_the_gate(reports):
    reasons = page.verdict(node(reports["pass"]), Node({}))["reasons"]
    assert [name for name, _ in reasons] == [
        "Accuracy",
        "Changed decisions",
        "SQNR",
        "Latency",
        "Size",
    ]
    assert reasons[4] == ("Size", "2.38 MiB of 4.0 MiB allowed.")


def test_a_long_reason_names_a_few_and_says_where_the_rest_is(reports):
    reasons = page.verdict(node(reports["fail"]), Node({}))["reasons"]
    (text,) = [text for name, text in reasons if name == "Int8 residency"]
    assert text.startswith(
        "17 Conv that the bundle has in int8 run in float: Conv /features/0/conv/Conv, "
    )
    assert text.endswith(", and more, all named under Residency.")
    assert len(text) < 220


def groups_of(report):
    return gates.gates(node(report)["gates"])["groups"]


def rows_of(report):
    return {row["name"]: row for group in groups_of(report) for row in group["gates"]}


def test_every_gate_has_a_row_with_limit_and_measurement(reports):
    rows = rows_of(reports["pass"])
    assert len(rows) == len(reports["pass"]["gates"])
    shown = {
        name: tuple(row[key].replace("\u00a0", " ") for key in ("measured", "limit", "takes"))
        for name, row in rows.items()
    }
    assert shown["Size"] == ("2.38 MiB", "at most 4 MiB", "")
    assert shown["SQNR"][1] == "at least 20 dB"
    assert shown["Finite outputs"][1] == "none"
    assert shown["Changed decisions"] == ("1.94 %", "under 5 %", "59 at least")
    assert shown["Export"] == ("2.2 × 10⁻⁶", "at most 0.001", "")
    assert shown["Preprocessing"] == ("1.00 levels", "at most 2 levels", "")
    assert shown["Faster than floats"][1] == "over 1×"
    assert rows["Finite outputs"]["meter"] == ""
    assert "<svg" in rows["Accuracy"]["meter"]


def test_gates_are_grouped_by_whether_they_count(reports):
    groups = {group["key"]: group for group in groups_of(reports["inconclusive"])}
    assert list(groups) == ["claim", "proof", "warns", "not run"]
    named = {key: [row["name"] for row in group["gates"]] for key, group in groups.items()}
    assert named["claim"] == ["Accuracy"]
    assert named["proof"][:2] == ["Inputs and outputs", "Same files"]
    assert "Changed decisions" in named["warns"]
    assert named["not run"] == ["Other instruction set", "Device against host", "Rebuilt engines"]


def test_a_gate_that_did_not_run_says_why(reports):
    row = rows_of(reports["unlabelled"])["Accuracy"]
    assert row["group"] == "not run"
    assert row["message"] == "Not judged, the examples have no labels."


def test_noise_that_nobody_limited_is_a_warning_not_a_fail(reports):
    assert rows_of(reports["fail"])["SQNR"]["status"] == "WARNING"
    assert rows_of(reports["fail"])["Int8 residency"]["status"] == "FAIL"


def test_tiles_of_an_untimed_run_say_why(reports):
    tiles = {tile["label"]: tile for tile in page.tiles(node(reports["unverified"]))}
    assert tiles["Speed-up"]["value"] == '<span class="absent">not timed in this run</span>'
    assert tiles["Speed-up"]["notes"] == []
    assert tiles["Size"]["notes"][1] == "3.6× smaller"


def test_the_class_that_lost_most_comes_first(reports):
    report = reports["inconclusive"]
    shown = accuracy.classes(node(report))["shown"]
    worst = min(report["per_class"], key=lambda row: row["change_pp"])
    assert shown[0][0][2] == worst["label"]
    changes = [float(re.sub("[^0-9.-]", "", row[5][0].replace("−", "-"))) for row in shown]
    assert changes == sorted(changes)


def test_many_classes_are_drawn_in_part_and_listed_whole(reports):
    found = accuracy.classes(node(reports["fail"]))
    assert (len(found["shown"]), len(found["rest"])) == (accuracy.SHOWN_CLASSES, 120)


def test_classes_without_examples_are_named(reports):
    report = copy.deepcopy(reports["pass"])
    report["labels"].append("wasps")
    empty = dict.fromkeys(("recall_reference", "recall_candidate", "change_pp", "p_holm"))
    report["per_class"].append({"label": "wasps", "n": 0, **empty})
    report["unavailable"]["per_class[2].recall_candidate"] = "no example of this class"
    found = accuracy.classes(node(report))
    assert found["empty"] == ["<bdi>wasps</bdi>"]
    assert found["empty_reason"] == "no example of this class"


def test_few_classes_have_a_full_table_with_the_change_in_every_cell(reports):
    report = copy.deepcopy(reports["pass"])
    report["confusion"] = {
        "reference": [[0, 0, 77], [1, 1, 76]],
        "candidate": [[0, 0, 77], [1, 0, 2], [1, 1, 74]],
    }
    matrix = accuracy.confusion(node(report))["matrix"]
    cells = [[(c["count"], c["change"], c["way"]) for c in row["cells"]] for row in matrix["rows"]]
    assert cells[1] == [(2, "+2", "loss"), (74, "−2", "loss")]
    assert cells[0] == [(77, "", "none"), (0, "", "none")]
    assert matrix["heads"] == ["<bdi>ants</bdi>", "<bdi>bees</bdi>"]


def test_examples_without_a_decision_get_a_column(reports):
    report = copy.deepcopy(reports["pass"])
    report["confusion"]["candidate"] = [[0, 0, 77], [1, 1, 70]]
    matrix = accuracy.confusion(node(report))["matrix"]
    assert matrix["heads"][-1] == "no decision"
    assert [row["cells"][-1]["count"] for row in matrix["rows"]] == [0, 6]


def test_many_classes_have_a_list_of_confusions(reports):
    lists = accuracy.confusion(node(reports["fail"]))
    often, grown = lists["lists"].values()
    counts = [int(row[2]) for row in often]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == accuracy.LISTED
    assert all(row[3][0].startswith("+") for row in grown)


def test_groups_stand_under_their_column(reports):
    whole, group, *rows = accuracy.accuracy(node(reports["inconclusive"]))["changes"]
    assert (whole["kind"], group) == (
        "whole",
        {"kind": "group", "cells": ["by <bdi>speaker</bdi>"]},
    )
    labels = [row["cells"][0].removeprefix('<span class="label">') for row in rows]
    assert labels[0] == '<span class="absent">(empty)</span></span>'
    named = [f"<bdi>{value}</bdi></span>" for value in ("jackson", "lucas", "nicolas", "theo")]
    assert labels[1:] == named


def test_float_operators_are_named_and_plain_in_float_precision(reports):
    assert len(size.residency(node(reports["fail"]))["names"]) == 17
    assert 'class="loss"' in size.residency(node(reports["fail"]))["bar"]
    assert 'class="loss"' not in size.residency(node(reports["fp32"]))["bar"]


def test_the_histogram_marks_only_what_lies_on_its_axis():
    bars = Bars([1.0, 2.0, 3.0], [0, 4], [4, 0])
    markers = [Marker("candidate", 1.5, "candidate: p50 1.5"), Marker("limit", 9, "limit 9 ms")]
    drawn = draw(bars, markers, "latency", "times")
    inside = drawn.partition('<g class="markers">')[2].partition("</g>")[0]
    assert "candidate: p50 1.5" in inside
    assert "limit" not in inside
    assert "M0 100V3.85H50.0V100.0H100.0V100" in drawn


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.3, 0.01), (1e-6, 3e-6), (0.9, 1), (5, 5000)])
def test_ticks_are_on_the_axis_and_apart_when_written(low, high):
    scale = Scale(low, high)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 8
    assert all(low <= tick <= high * (1 + 1e-9) for tick in ticks)
    written = [f"{tick:.{scale.digits()}f}" for tick in ticks]
    assert len(set(written)) == len(written)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (1234, "1,234"),
        (0.00002, "2.0\u00a0×\u00a010⁻⁵"),
        ([], "none"),
        (["<a>", "b"], "&lt;a&gt;, b"),
        ({"a_b": 1, "c": None}, 'a b 1, c <span class="absent">not recorded</span>'),
        (None, '<span class="absent">not recorded</span>'),
        (float("nan"), '<span class="absent">not recorded</span>'),
    ],
)
def test_any_json_value_can_be_written(value, shown):
    assert str(words.anything(Node(value))) == shown


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_have_the_contrast_that_wcag_asks_for(scheme):
    css = files("edgetransfer.report").joinpath("templates/base.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for name in ("ink", "muted", "candidate", "loss", "gain", "pass", "fail", "inconclusive"):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    for name in ("pass", "fail", "inconclusive", "unverified"):
        for text in (name, "ink", "muted"):
            assert contrast(colours[text], colours[f"{name}-tint"]) >= 4.5, (name, text)
    assert contrast(colours["reference"], colours["paper"]) >= 3


def test_a11_a_ratio_that_is_not_of_the_medians_beside_it_says_so(reports):
    """2.90 x beside 0.44 -> 0.26 ms: processes differed, and the ratio is of turns side by side."""
    report = copy.deepcopy(reports["pass"])
    assert (
        "side by side" not in latency.series(Node(report), "latency", "Network alone")["conclusion"]
    )
    timed = report["latency"]
    timed["reference"]["p50_ms"], timed["candidate"]["p50_ms"] = 0.44, 0.26
    timed["speedup"] |= {"ratio": 2.9, "ci95": [2.1, 4.0], "class": "FASTER"}
    told = latency.series(Node(report), "latency", "Network alone")["conclusion"]
    assert told.replace(words.SPACE, " ").endswith(
        " The medians of all inferences have a ratio of 1.69×: the speed-up is of turns that were "
        "taken side by side, as processes differed."
    )
