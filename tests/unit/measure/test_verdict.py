from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.measure.comparison import compare
from edgetransfer.measure.drift import measure_drift
from edgetransfer.measure.evidence import Evidence
from edgetransfer.measure.gates import Gate
from edgetransfer.measure.metrics import Outcomes, decisions
from edgetransfer.measure.proofs import Intended, Proofs, Repeats
from edgetransfer.measure.speed.latency import Ratio, Speedup
from edgetransfer.measure.verdict import exit_code, judge, unverified, worst
from edgetransfer.spec.budget import Budget


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
    assert verdict.reasons == (
        "accuracy: quantising costs at most 1.5 pp of accuracy (95 % bound), limit 2.0 pp; "
        "lost 0.00 pp on 200 examples",
    )


CODED = [
    *(("G0", "contract"), ("G0", "integrity"), ("G1", "preprocessing"), ("G2", "export")),
    *(("G3", "finite"), ("G3", "accuracy"), ("G3", "flips"), ("G3", "sqnr"), ("G3", "kl")),
    *(("G4", "fusion"), ("G5", "preview"), ("G6", "device"), ("G7", "determinism")),
    *(("G8", "residency"), ("G9", "classes"), ("G10", "calibration"), ("G11", "performance")),
    ("G12", "rebuild"),
]
ALWAYS = {"contract", "integrity", "preprocessing", "export", "finite", "accuracy", "preview"}
ALWAYS |= {"device", "determinism", "residency"}


def test_all_gates_stand_in_their_order_and_those_that_nobody_named_only_warn():
    found = judge(evidence(), Budget()).gates
    assert [(gate.code, gate.name) for gate in found] == CODED
    assert {gate.name for gate in found if gate.decides} == ALWAYS


def test_what_the_budget_names_decides():
    budget = Budget(
        max_latency_ms=5,
        max_size_mib=4,
        max_flips_pct=2,
        min_sqnr_db=20,
        max_kl=0.01,
        max_ece_change=0.02,
        max_class_drop_pp=5,
    )
    named = {"latency", "size", "flips", "sqnr", "kl", "classes", "calibration"}
    found = judge(evidence(), budget).gates
    assert {gate.name for gate in found if gate.decides} == ALWAYS | named


def test_what_was_not_looked_at_decides_nothing_and_is_no_news():
    verdict = judge(evidence(), Budget())
    not_run = {gate.name for gate in verdict.gates if gate.status == "NOT RUN"}
    assert not_run >= {"contract", "integrity", "preprocessing", "export", "determinism"}
    assert verdict.name == "PASS"


def test_a_run_that_is_not_right_fails_however_good_the_numbers_are():
    proofs = Proofs(repeats=Repeats({"reference": True, "candidate": False}, 32))
    verdict = judge(evidence(proofs=proofs), Budget())
    assert verdict.name == "FAIL"
    assert verdict.reasons == ("determinism: the candidate gave other bits when run again",)


def test_agreement_takes_its_places_and_decides():
    other = Gate("device", "FAIL", True, 3, 0, "flips", "device: 3 flips", code="G6")
    verdict = judge(evidence(proofs=Proofs(agreement=(other,))), Budget())
    assert [gate.status for gate in verdict.gates if gate.code in ("G5", "G6")] == [
        "NOT RUN",
        "FAIL",
    ]
    assert (verdict.name, verdict.reasons) == ("FAIL", ("device: 3 flips",))


def test_the_worst_deciding_gate_is_the_verdict_and_tells_why():
    verdict = judge(evidence(n=60), Budget(max_size_mib=2.5))
    assert verdict.name == "FAIL"
    assert verdict.reasons == (
        "size: 3.00 MiB of 2.5 MiB allowed",
        "accuracy: 60 examples bound a drop at 4.9 pp at best;"
        " 149 without a flip would bound it under 2.0 pp",
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


def test_times_that_are_not_valid_recommend_nothing():
    wall = Ratio(0.5, (0.4, 0.6), "SLOWER", "")
    slow = evidence(speedup=Speedup(wall, wall, 24))
    (found,) = [g for g in judge(slow, Budget()).gates if g.name == "performance"]
    assert found.status == "FAIL"
    invalid = replace(slow, timing_invalid=("throttled",))
    (found,) = [g for g in judge(invalid, Budget()).gates if g.name == "performance"]
    assert (found.status, found.message) == ("NOT RUN", "performance: the times are not valid")


def test_noise_warns_unless_the_budget_names_it():
    noisy = evidence()
    candidate = np.eye(4, dtype=np.float32)[np.arange(200) % 4]
    drift = measure_drift(candidate, candidate + 0.2 * np.sin(np.arange(800)).reshape(200, 4))
    noisy = replace(noisy, drift=drift)
    verdict = judge(noisy, Budget())
    assert verdict.name == "PASS"
    assert "warning: sqnr: 10.8 dB, where at least 20.0 dB is usual" in verdict.reasons
    verdict = judge(noisy, Budget(min_sqnr_db=20))
    assert verdict.name == "FAIL"
    assert "sqnr: 10.8 dB, at least 20.0 dB demanded" in verdict.reasons


def test_a_convolution_left_in_float_fails_unless_the_bundle_says_so():
    residency = {"float_conv": 1, "int8_conv": 51, "float_ops": ["Conv /stem/Conv"]}
    surprised = Proofs(intended=Intended(52, ()))
    verdict = judge(evidence(residency=residency, proofs=surprised), Budget())
    assert verdict.name == "FAIL"
    message = "residency: 1 Conv that the bundle has in int8 run in float: Conv /stem/Conv"
    assert verdict.reasons == (message,)
    meant = Proofs(intended=Intended(51, ("/stem/Conv",)))
    assert judge(evidence(residency=residency, proofs=meant), Budget()).name == "PASS"


def test_unverified_names_the_command():
    why = ("measured on x86_64, the target is arm64",)
    verdict = unverified(why, "to verify: edgetransfer bench out/pi --on ssh:HOST")
    assert verdict.name == "UNVERIFIED"
    assert verdict.reasons == (
        "measured on x86_64, the target is arm64: a preview",
        "not measured on the target; to verify: edgetransfer bench out/pi --on ssh:HOST",
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
