"""`compare`: two bundles or reports beside each other, and what of them may be compared."""

import copy
import json

import pytest

from edgetransfer.report.comparison import ComparedReport, compare


@pytest.fixture
def report(built):
    """A report that a test may change."""
    return copy.deepcopy(built.reports["this-machine"])


def timed(report, *medians, **environment):
    changed = copy.deepcopy(report)
    changed["latency"]["candidate"]["process_p50_ms"] = list(medians)
    changed["environment"] |= environment
    changed["validity"] |= {"valid": True, "measured_on_target": True}
    return changed


def held(first, second, *judged_on):
    one, other = judged_on or (None, None)
    return compare(ComparedReport("x", first, one), ComparedReport("y", second, other))


def test_twice_as_fast(report):
    found = held(timed(report, 2.0, 2.0, 2.2), timed(report, 1.0, 1.1, 1.0), "one", "one")
    cpu = report["environment"]["cpu"]
    assert found.told == (
        f"B is 2.00 times as fast as A [1.77, 2.27], on {cpu}, in two runs, not side by side\n"
        "judged on the same test examples"
    )


def test_times_of_one_process_have_a_ratio_without_an_interval(report):
    found = held(timed(report, 2.0), timed(report, 4.0), "one", "other")
    cpu = report["environment"]["cpu"]
    assert found.told == (
        f"B is 0.50 times as fast as A, on {cpu}, in two runs, not side by side\n"
        "judged on different test examples: the accuracies are not of one set"
    )


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"cpu": "a Pi"}, "timed on an i7 and on a Pi"),
        (
            {"digest": "x"},
            "timed in two environments of one processor: another system, runtime or setting",
        ),
    ],
)
def test_times_of_two_machines_are_not_compared(report, environment, told):
    mine = {"cpu": "an i7", "digest": "mine"}
    found = held(timed(report, 1.0, **mine), timed(report, 1.0, **{**mine, **environment}))
    assert (found.ratio, found.why) == (None, told)
    assert found.told.splitlines() == [
        f"times not compared: {told}",
        "whether both were judged on the same examples is not known",
    ]


@pytest.mark.parametrize(
    ("validity", "told"),
    [
        ({"measured_on_target": False}, "the second was not timed on its target"),
        ({"valid": False}, "the times of the second are not valid"),
    ],
)
def test_times_that_count_nowhere_are_not_compared(report, validity, told):
    other = timed(report, 1.0)
    other["validity"] |= validity
    assert held(timed(report, 1.0), other).why == told
    other["latency"]["candidate"]["process_p50_ms"] = None
    assert held(timed(report, 1.0), other).why == "the second was not timed"


def test_the_table_fits_into_80_columns(built, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder = built.folders["this-machine"]
    code, out, _ = command("compare", folder, folder / "report.json")
    lines = [line.rstrip() for line in out.splitlines()]
    name = built.verdict
    assert code == 0
    assert lines[0] == f"{'':17} {'A':30} B"
    assert f"{'verdict':17} {name:30} {name}" in lines
    assert f"{'':17} {'95 % interval 94.0 to 100.0 %':30} 95 % interval 94.0 to 100.0 %" in lines
    assert f"{'Changed decisions':17} {'0 of 60':30} 0 of 60" in lines
    assert lines[-1] == "whether both were judged on the same examples is not known"
    assert max(map(len, lines)) <= 80


def test_plain_json(built, command):
    folder = built.folders["this-machine"]
    code, out, _ = command("compare", folder, folder, "--json")
    found = json.loads(out)
    report = built.reports["this-machine"]
    assert (code, found["schema"], found["same_examples"]) == (0, "edgetransfer.comparison/1", True)
    assert found["first"] == found["second"]
    for key in ("verdict", "accuracy", "agreement", "size", "target"):
        assert found["first"][key] == report[key]
    assert found["first"]["latency_ms"]["p50"] == report["latency"]["candidate"]["p50_ms"]


def test_what_is_no_bundle_and_no_report(command, tmp_path, built):
    code, _, error = command("compare", built.folders["this-machine"], tmp_path)
    assert (code, error) == (
        3,
        f"error: {tmp_path}: not a bundle\n  found: no manifest.json\n"
        "  expected: a folder that `edgetransfer build` wrote: OUT/TARGET\n",
    )


@pytest.mark.parametrize("opens", [True, False])
def test_a_report_is_shown_in_a_browser(built, command, monkeypatch, opens):
    asked = []
    monkeypatch.setattr("webbrowser.open", lambda page: asked.append(page) or opens)
    page = built.folders["this-machine"] / "report.html"
    code, out, error = command("report", built.folders["this-machine"], "--open")
    assert (code, asked) == (0, [page.as_uri()])
    assert f"  {page}\n" in out
    assert error == ("" if opens else f"no browser was found: open {page}\n")
