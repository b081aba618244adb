import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.agent.outputs import Outputs
from edgetransfer.bundle.readers import ReportForm, SeriesForm, read_report
from edgetransfer.errors import IntegrityError, StageError
from edgetransfer.measure.measurement import Measurement, Timing
from edgetransfer.measure.plain import plain
from edgetransfer.measure.record import SCHEMA, make_report
from edgetransfer.measure.speed.latency import Samples
from edgetransfer.measure.target_match import Standing
from edgetransfer.spec.budget import Budget
from edgetransfer.spec.outside import validated
from edgetransfer.tasks.classification.task import TASK

OLD = Path(__file__).parent / "report-before-gates.json"


def samples(ms, seed, each=20):
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(3):
        block = np.repeat(np.arange(4), each)
        wall = ms * 1e6 * rng.lognormal(0, 0.05, len(block))
        tables.append(np.stack([block, wall, wall], axis=1).astype(np.int64))
    return Samples.from_processes(tables)


def facts(n=150, noise=0.02, **more):
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=n)
    reference = rng.normal(size=(n, 4)).astype(np.float32)
    reference[np.arange(n), truth] += 3
    candidate = (reference + noise * rng.normal(size=(n, 4))).astype(np.float32)
    given = {
        "target": "this-machine",
        "labels": ("a", "b", "c", "never"),
        "reference": reference,
        "candidate": candidate,
        "truth": truth,
        "budget": Budget(),
        "groups": {"site": ["north", "south"] * (n // 2)},
        "core": Timing(samples(10, 1), samples(5, 2)),
        "reference_bytes": 4_000_000,
        "candidate_bytes": 1_100_000,
        "residency": {"float_conv": 0, "int8_conv": 52, "float_ops": ["/head/Softmax"]},
        "environment": {"cpu": "test", "governor": None},
        "validity": {"valid": True, "violations": []},
    }
    outputs = {k: Outputs({"logits": {**given, **more}[k]}) for k in ("reference", "candidate")}
    return Measurement(**{"task": TASK, **given, **more, **outputs})


def nulls(value, path=""):
    if value is None:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from nulls(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from nulls(item, f"{path}[{i}]")


ELSEWHERE = Standing("preview", ("measured on x86_64, the target is arm64",))
CASES = {
    "full": facts(),
    "unlabelled": facts(truth=None, groups={}),
    "untimed": facts(core=None, residency=None),
    "few": facts(n=10, core=Timing(samples(10, 1, each=1), samples(5, 2, each=1))),
    "identical": facts(noise=0.0, budget=Budget(min_sqnr_db=20)),
    "constant": facts(reference=np.zeros((150, 4), np.float32)),
    "macro-f1": facts(metric="macro-f1"),
    "elsewhere": facts(standing=ELSEWHERE, verify_with="to verify: edgetransfer bench OUT"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_report_is_plain_json_with_a_reason_for_every_null(name):
    report = make_report(CASES[name])
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(nulls(report)) == set(report["unavailable"])
    assert all(report["unavailable"].values())
    validated(ReportForm, report, "report.json")


@pytest.mark.parametrize("name", ["full", "macro-f1"])
def test_the_same_facts_give_the_same_report(name):
    assert json.dumps(make_report(CASES[name])) == json.dumps(make_report(CASES[name]))


def test_the_sections_of_the_interface():
    report = make_report(CASES["full"])
    assert report["schema"] == "edgetransfer.report/2"
    assert (report["target"], report["verdict"]) == ("this-machine", "PASS")
    assert {"p50_ms", "p90_ms"} <= set(report["latency"]["candidate"])
    assert report["latency"]["speedup"]["ratio"] == pytest.approx(2, rel=0.05)
    assert report["latency"]["speedup"]["class"] == "FASTER"
    assert report["accuracy"]["n"] == report["agreement"]["n"] == 150
    assert len(report["accuracy"]["ci95_pp"]) == 2
    assert (
        report["accuracy"]["method"]
        == "exact unconditional limits, tables ordered by Tango's score"
    )
    assert [row["label"] for row in report["per_class"]] == ["a", "b", "c", "never"]
    assert [(g["column"], g["value"], g["n"]) for g in report["groups"]] == [
        ("site", "north", 75),
        ("site", "south", 75),
    ]
    assert sum(cell[2] for cell in report["confusion"]["candidate"]) == 150
    assert report["size"] == {"reference_bytes": 4_000_000, "candidate_bytes": 1_100_000}
    assert report["residency"]["int8_conv"] == 52


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("full", "environment.governor", "not given"),
        ("full", "budget.max_latency_ms", "no limit was set"),
        ("full", "end_to_end.candidate.p90_ms", "not timed in this run"),
        ("full", "per_class[3].recall_candidate", "no example of this class"),
        ("unlabelled", "accuracy.drop_ucb95_pp", "the examples have no labels"),
        ("untimed", "latency.speedup.ratio", "not timed in this run"),
        ("untimed", "residency.float_conv", "the runtime's graph was not looked at"),
        ("few", "latency.candidate.p90_ci95_ms", "needs 36 samples, there are 12"),
        ("identical", "numeric.sqnr_db", "identical"),
        ("identical", "gates[7].measured", "identical"),
        ("full", "gates[0].measured", "contract: not looked at in this run"),
        ("unlabelled", "calibration.reference_ece", "the examples have no labels"),
        ("constant", "numeric.sqnr_db", "the reference's outputs are constant"),
        (
            "macro-f1",
            "accuracy.reference_ci95",
            "Wilson's interval is one of a proportion, which this metric is not",
        ),
    ],
)
def test_reasons_of_nulls(name, path, reason):
    assert make_report(CASES[name])["unavailable"][path] == reason


def test_nan_in_the_candidate_fails_and_leaves_the_numbers_out():
    given = CASES["full"]
    candidate = given.candidate["logits"].copy()
    candidate[0, 0] = np.nan
    report = make_report(replace(given, candidate=Outputs({"logits": candidate})))
    assert report["verdict"] == "FAIL"
    assert report["numeric"] == {
        "sqnr_db": None,
        "kl_mean": None,
        "kl_ucb95": None,
        "cosine_mean": None,
        "non_finite": 1,
    }
    assert report["unavailable"]["numeric.kl_mean"] == (
        "1 of the shipped model's outputs are NaN or Inf"
    )


def test_measured_elsewhere_is_unverified_and_no_gate_decides():
    report = make_report(CASES["elsewhere"])
    assert report["verdict"] == "UNVERIFIED"
    assert report["reasons"] == [
        "measured on x86_64, the target is arm64: a preview",
        "not measured on the target; to verify: edgetransfer bench OUT",
    ]
    assert report["gates"]
    assert not any(gate["decides"] for gate in report["gates"])


def test_times_that_are_not_valid_decide_nothing():
    validity = {"valid": False, "violations": ["the machine was busy"]}
    report = make_report(facts(budget=Budget(max_latency_ms=100), validity=validity))
    assert report["verdict"] == "INCONCLUSIVE"
    assert report["reasons"][0].endswith(
        " ms of 100.0 ms allowed, but not valid: the machine was busy"
    )


def test_a_report_from_before_the_gates_still_opens():
    """Made by the program of docs/report.md as of the 0.1 reports, before G0 to G12 were in it."""
    report = json.loads(OLD.read_text(encoding="utf-8"))
    validated(ReportForm, report, "report.json")
    assert "calibration" not in report
    assert not any("code" in gate for gate in report["gates"])


def test_check_names_every_key_that_lacks():
    report = make_report(CASES["full"])
    del report["agreement"]
    del report["numeric"]["cosine_mean"]
    with pytest.raises(IntegrityError) as caught:
        validated(ReportForm, report, "report.json")
    assert str(caught.value) == (
        "report.json: agreement: Field required; numeric.cosine_mean: Field required"
    )


def test_required_keys_are_those_of_the_interface():
    assert SCHEMA == "edgetransfer.report/2"
    assert {"reference", "candidate", "speedup"} <= SeriesForm.model_fields.keys()


def test_labels_and_logits_have_to_fit():
    with pytest.raises(ValueError, match=r".") as caught:
        facts(labels=("a", "b"))
    assert str(caught.value) == "2 labels, but outputs of shapes {'logits': (4,)}"


def test_a_broken_reference_stops_the_measurement():
    with pytest.raises(StageError):
        make_report(facts(reference=np.full((150, 4), np.nan, np.float32)))


def test_plain_refuses_what_has_no_json_form():
    with pytest.raises(TypeError, match=r".") as caught:
        plain({"a": [object()]})
    assert str(caught.value) == "a[0]: object has no JSON form"


def test_a_report_of_schema_1_is_read_as_one_of_classification(tmp_path):
    old = json.loads(OLD.read_text(encoding="utf-8"))
    assert (old["schema"], "task" in old) == ("edgetransfer.report/1", False)
    (tmp_path / "report.json").write_text(json.dumps(old))
    assert read_report(tmp_path / "report.json") == {**old, "task": "classification"}
    (tmp_path / "report.json").write_text(json.dumps({**old, "task": "weather"}))
    with pytest.raises(IntegrityError) as caught:
        read_report(tmp_path / "report.json")
    assert str(caught.value) == (
        f"{tmp_path}/report.json: a task that this version does not know\n"
        "  found: 'weather'\n"
        "  expected: as `edgetransfer build` wrote it\n"
        "  fix: build it again, or copy the bundle again"
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_a_report_of_few_processes_or_coarse_clocks_is_read(tmp_path, processes):
    block = np.repeat(np.arange(3), 10)

    def times(wall_ns):
        rows = np.stack([block, np.full(30, wall_ns), np.zeros(30)], axis=1).astype(np.int64)
        return Samples.from_processes([rows] * processes)

    for core in (Timing(times(10**7), times(5 * 10**6)), Timing(times(0), times(0))):
        report = make_report(facts(core=core))
        (tmp_path / "report.json").write_text(json.dumps(report))
        assert read_report(tmp_path / "report.json") == report
