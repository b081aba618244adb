import numpy as np
import pytest

from edgetransfer.measure.comparison import compare
from edgetransfer.measure.drift import measure_drift
from edgetransfer.measure.metrics import Outcomes, decisions
from edgetransfer.measure.verdict import Evidence, exit_code, judge, unverified, worst
from edgetransfer.spec.recipe import Budget


def evidence(n=200, wrong=0, labelled=True, nan=0, **more):
    truth = np.arange(n) % 4
    reference = np.eye(4, dtype=np.float32)[truth]
    candidate = reference + np.float32(0.01) * np.sin(np.arange(4 * n)).reshape(n, 4)
    candidate[:wrong] = np.roll(candidate[:wrong], 1, axis=1)
    candidate[:nan, 0] = np.nan
    outcomes = Outcomes(truth, truth, decisions(candidate), 4)
    return Evidence(
        drift=measure_drift(reference, candidate),
        classes=4,
        accuracy=compare(outcomes, "top1", seed=0) if labelled else None,
        latency=None,
        candidate_bytes=3 * 2**20,
        **more,
    )


def test_without_other_limits_accuracy_alone_decides():
    verdict = judge(evidence(), Budget())
    assert verdict.name == "PASS"
    assert verdict.reasons == ("accuracy: lost 0.00 pp (95 % bound 1.3 pp) of 2.0 pp allowed",)
    assert [gate.name for gate in verdict.gates] == ["finite", "accuracy"]


def test_gates_exist_only_where_the_budget_names_them():
    budget = Budget(max_latency_ms=5, max_size_mib=4, max_flips_pct=2, min_sqnr_db=20)
    names = [gate.name for gate in judge(evidence(), budget).gates]
    assert names == ["finite", "accuracy", "latency", "size", "flips", "sqnr"]


def test_the_worst_deciding_gate_is_the_verdict_and_tells_why():
    verdict = judge(evidence(n=60), Budget(max_size_mib=2.5))
    assert verdict.name == "FAIL"
    assert verdict.reasons == (
        "size: 3.00 MiB of 2.5 MiB allowed",
        "accuracy: 60 examples bound a drop at 4.3 pp at best;"
        " 133 without a flip would bound it under 2.0 pp",
    )


def test_a_limit_that_was_not_measured_is_not_passed():
    verdict = judge(evidence(), Budget(max_latency_ms=5))
    assert verdict.name == "INCONCLUSIVE"
    assert verdict.reasons == ("latency: not measured, of 5.0 ms allowed",)


def test_nan_fails_whatever_the_accuracy():
    verdict = judge(evidence(n=4000, nan=1), Budget())
    assert verdict.name == "FAIL"
    assert verdict.reasons == ("finite: 1 of 16000 logits are NaN or Inf",)


def test_unlabelled_examples_are_judged_by_the_rest():
    verdict = judge(evidence(labelled=False), Budget(max_flips_pct=2))
    assert verdict.name == "PASS"
    assert verdict.reasons == (
        "flips: 0 of 200 decisions changed (95 % bound 1.5 %) of 2.0 % allowed",
        "accuracy: not judged, the examples have no labels",
    )


def test_unlabelled_examples_without_any_limit_give_no_pass():
    verdict = judge(evidence(labelled=False), Budget())
    assert verdict.name == "INCONCLUSIVE"
    assert verdict.reasons == (
        "accuracy: not judged, the examples have no labels",
        "nothing to judge by: no labels, and the budget names no other limit",
    )


@pytest.mark.parametrize("quantised", [True, False])
def test_a_convolution_left_in_float_warns_only_in_a_quantised_model(quantised):
    residency = {"float_conv": 1, "int8_conv": 51, "float_ops": ["/stem/Conv"]}
    verdict = judge(evidence(residency=residency, quantised=quantised), Budget())
    assert verdict.name == "PASS"
    warning = "warning: residency: 1 Conv left in float: /stem/Conv"
    assert (warning in verdict.reasons) == quantised


def test_unverified_names_the_command():
    verdict = unverified("edgetransfer bench out/pi --target raspberry-pi-5")
    assert verdict.name == "UNVERIFIED"
    assert verdict.reasons == (
        "not measured on the target; to verify, run there: "
        "edgetransfer bench out/pi --target raspberry-pi-5",
    )


def test_the_worst_of_several_targets_counts():
    assert worst(["PASS", "PASS"]) == "PASS"
    assert worst(["PASS", "UNVERIFIED", "INCONCLUSIVE"]) == "INCONCLUSIVE"
    assert worst(["UNVERIFIED", "FAIL", "INCONCLUSIVE"]) == "FAIL"


@pytest.mark.parametrize(
    ("name", "relaxed", "strict"),
    [("PASS", 0, 0), ("FAIL", 8, 8), ("INCONCLUSIVE", 0, 8), ("UNVERIFIED", 0, 8)],
)
def test_exit_codes(name, relaxed, strict):
    assert exit_code(name, strict=False) == relaxed
    assert exit_code(name, strict=True) == strict
