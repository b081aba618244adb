"""What a build ends on: answers in the order of a user's questions; a row a target."""

import copy
from pathlib import Path

import pytest

from edgetransfer.cli import render
from edgetransfer.report.index import INDEX, write_index

UNMEASURED = (
    "measured on x86_64, the target is arm64: a preview",
    "not measured on the target; to verify: edgetransfer bench out/pi --data shapes --on ssh:HOST",
)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def report(built):
    """A report that a test may change, without what the load of the machine decides."""
    found = copy.deepcopy(built.reports["this-machine"])
    found["environment"] |= {"warnings": [], "cpu": "an i7"}
    return found


def printed(capsys):
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_questions_are_answered_in_their_order(built, report, capsys):
    folder = built.folders["this-machine"]
    render.verdict({**report, "verdict": "PASS", "reasons": ["it holds"]}, folder)
    lines = printed(capsys)
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert heads == [
        "PASS  this-machine",
        "Is the model any good?",
        "What did quantising cost?",
        "How fast is it?",
        "How large is it?",
        "Also",
        "What next?",
    ]
    good, cost = (lines.index(head) for head in heads[1:3])
    assert lines[good + 1 : good + 4] == [
        "  100.0 % of 60 test examples are right, 95 % interval 94.0 to 100.0 %",
        "  always answering 'disc' is 33.3 %",
        "  soundness: better than chance; no simpler baseline was better",
    ]
    assert lines[good + 4].startswith("  better than ")
    assert lines[cost + 1 : cost + 3] == [
        "                               float     shipped   difference",
        "  top1 (n = 60)                1.000     1.000     +0.00 pp [-5.97, +5.97]",
    ]
    told = " ".join(line.strip() for line in lines[lines.index("What next?") :])
    assert f" use it: edgetransfer predict {folder} PICTURE " in told
    assert lines[-2:] == [f"  {folder}/report.html", f"  {folder}/report.json"]


def test_rivals_that_were_not_beaten_are_all_named(report, tmp_path, capsys):
    row = report["soundness"]["comparisons"][0]
    wide = {"delta_pp": 1.0, "ci95_pp": [-3.0, 5.0], "finding": "undecided"}
    rows = [{**row, **wide, "rival": rival} for rival in ("one", "two")]
    report["soundness"]["comparisons"] = [row, *rows]
    render.verdict(report, tmp_path)
    told = [line for line in printed(capsys) if " than " in line and "[" in line]
    assert told == [
        f"  not shown to be better than {rival}: +1.0 pp [-3.0, +5.0] on 54 held-out examples"
        for rival in ("one", "two")
    ]


def test_a_class_that_lags_is_named(report, tmp_path, capsys):
    report["per_class"][1]["recall_candidate"] = 0.5
    render.verdict(report, tmp_path)
    name = report["per_class"][1]["label"]
    lines = printed(capsys)
    next_steps = lines[lines.index("What next?") + 1 :]
    assert f"  more labels of {name!r}: 50 % of its 20 test examples are found" in next_steps


def test_a_weak_model_is_told_of_a_larger_backbone(built, report, pictures, capsys):
    report["accuracy"]["candidate_ci95"] = [0.7, 0.85]
    render.verdict(report, built.folders["this-machine"])
    told = " ".join(line.strip() for line in printed(capsys))
    command = f"edgetransfer build {pictures} --backbone hf:google/mobilenet_v2_1.0_224"
    assert f" a larger backbone: {command} use it: " in told


def test_a_device_that_nothing_ran_on_is_no_failure(report, capsys):
    """The command stands in a line of its own, whole, so that it can be pasted."""
    far = {**report, "verdict": "UNVERIFIED", "target": "pi", "reasons": UNMEASURED}
    render.verdict(far, Path("out/pi"))
    assert printed(capsys)[1:9] == [
        "UNVERIFIED  pi",
        "  Built. Not measured on pi yet. To measure it there:",
        "    edgetransfer bench out/pi --data shapes --on ssh:HOST",
        "  with the device's name or address, as ssh takes it, for HOST",
        "  measured on x86_64, the target is arm64: a preview",
        "",
        "  What follows is a preview, measured on an i7, not there.",
        "",
    ]


def test_what_no_transport_measures_is_told_with_the_preview_there(report, capsys):
    why = "no transport measures on Android; the preview there: edgetransfer bench out/a --on adb"
    reasons = ("x", f"not measured on the target; {why}")
    render.verdict({**report, "verdict": "UNVERIFIED", "reasons": reasons}, Path("out/a"))
    assert printed(capsys)[2:5] == [
        "  Built. Not measured on this-machine yet: no transport measures on Android",
        "    edgetransfer bench out/a --on adb",
        "  x",
    ]


@pytest.fixture
def two(report):
    far = {**report, "verdict": "UNVERIFIED", "target": "pi", "reasons": UNMEASURED}
    far["latency"] = {**far["latency"], "candidate": {"p50_ms": None, "p90_ms": None}}
    return {"this-machine": {**report, "verdict": "PASS", "reasons": ["it <holds>"]}, "pi": far}


def test_several_targets_have_a_row_each_and_their_notes_once(two, capsys):
    render.targets(two, Path("out"))
    lines = printed(capsys)
    at = lines.index("target       verdict    accuracy change  changed speed median   size")
    assert lines[at - 1].split() == ["Top-1"]
    rows = [line.split() for line in lines[at + 1 : at + 3]]
    assert [row[:6] for row in rows] == [
        ["this-machine", "PASS", "100.0", "%", "0.00", "pp"],
        ["pi", "UNVERIFIED", "100.0", "%", "0.00", "pp"],
    ]
    assert lines[1:3] == ["PASS  this-machine", "  it <holds>"]
    assert sum("labels look wrong" in line for line in lines) == 1
    good = lines.index("Is the model any good?")
    assert (
        lines[good + 1] == "  100.0 % of 60 test examples are right, 95 % interval 94.0 to 100.0 %"
    )
    assert lines[-1] == "  out/index.html"
    assert max(map(len, lines)) <= 80


def test_what_is_not_of_all_targets_names_its_own(two, capsys):
    worse = copy.deepcopy(two["pi"])
    worse["accuracy"] |= {"candidate": 0.95, "candidate_ci95": [0.9, 0.99]}
    render.targets({**two, "pi": worse}, Path("out"))
    lines = printed(capsys)
    good = lines.index("Is the model any good?")
    assert lines[good + 1 : good + 3] == [
        "  this-machine: 100.0 % of 60 test examples are right, 95 % interval 94.0 to",
        "  100.0 %",
    ]
    assert "  pi: 95.0 % of 60 test examples are right, 95 % interval 90.0 to 99.0 %" in lines


def test_a_page_over_the_targets_leads_to_theirs(two, tmp_path):
    folders = {name: tmp_path / name for name in two}
    write_index(tmp_path, {"pi": two["pi"]}, folders)
    assert not (tmp_path / INDEX).exists()
    write_index(tmp_path, two, folders)
    page = (tmp_path / INDEX).read_text()
    for name in two:
        assert f'<a href="{name}/report.html">{name}</a>' in page
    assert "it &lt;holds&gt;" in page
    write_index(tmp_path, {**two, "pi": {**two["pi"], "reasons": ["again"]}}, folders)
    assert "<li>again</li>" in (tmp_path / INDEX).read_text()


def test_a_page_of_somebody_else_is_left_as_it_is(two, tmp_path):
    (tmp_path / INDEX).write_text("mine")
    write_index(tmp_path, two, {name: tmp_path / name for name in two})
    assert (tmp_path / INDEX).read_text() == "mine"
