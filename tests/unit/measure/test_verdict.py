from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.agent.outputs import Outputs
from edgetransfer.measure.agreement import OnHost
from edgetransfer.measure.measurement import Measurement, Timing
from edgetransfer.measure.proofs import IntendedPrecision, Proofs, Repeats
from edgetransfer.measure.speed.latency import Samples
from edgetransfer.measure.verdict import examine, exit_code, judge, unverified, worst
from edgetransfer.spec.budget import Budget
from edgetransfer.tasks.classification.task import TASK

BUDGET = Budget()


def found(budget=BUDGET, *, n=200, wrong=0, labelled=True, nan=0, **more):
    """What is found in a candidate with a little noise."""
    truth = np.arange(n) % 4
    reference = np.eye(4, dtype=np.float32)[truth]
    candidate = reference + np.float32(0.01) * np.sin(np.arange(4 * n)).reshape(n, 4)
    candidate[:wrong] = np.roll(candidate[:wrong], 1, axis=1)
    candidate[:nan, 0] = np.nan
    given = {
        "target": "this-machine",
        "labels": ("a", "b", "c", "d"),
        "reference": Outputs({"logits": reference}),
        "candidate": Outputs({"logits": candidate}),
        "truth": truth if labelled else None,
        "budget": budget,
        "candidate_bytes": 3 * 2**20,
    }
    return examine(Measurement(**{"task": TASK, **given, **more}))


def test_without_other_limits_accuracy_alone_decides():
    verdict = judge(found())
    assert verdict.name == "PASS"
    assert verdict.reasons == (
        "accuracy: quantising costs at most 1.5 pp of accuracy (95 % bound), limit 2.0 pp; "
        "lost 0.00 pp on 200 examples",
    )


CODED = [
    *(("G0", "contract"), ("G0", "integrity"), ("G1", "preprocessing"), ("G2", "export")),
    *(("G3", "finite"), ("G3", "accuracy"), ("G3", "flips"), ("G3", "sqnr"), ("G3", "kl")),
    ("", "chance"),
    *(("G4", "fusion"), ("G5", "preview"), ("G6", "device"), ("G7", "determinism")),
    *(("G8", "residency"), ("G9", "classes"), ("G10", "calibration"), ("G11", "performance")),
    ("G12", "rebuild"),
]
ALWAYS = {
    "chance",
    "contract",
    "integrity",
    "preprocessing",
    "export",
    "finite",
    "accuracy",
    "preview",
}
ALWAYS |= {"device", "determinism", "residency"}


def test_all_gates_stand_in_their_order_and_those_that_nobody_named_only_warn():
    gates = judge(found()).gates
    assert [(gate.code, gate.name) for gate in gates] == CODED
    assert {gate.name for gate in gates if gate.decides} == ALWAYS


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
    gates = judge(found(budget)).gates
    assert {gate.name for gate in gates if gate.decides} == ALWAYS | named


def test_what_was_not_looked_at_decides_nothing_and_is_no_news():
    verdict = judge(found())
    not_run = {gate.name for gate in verdict.gates if gate.status == "NOT RUN"}
    assert not_run >= {"contract", "integrity", "preprocessing", "export", "determinism"}
    assert verdict.name == "PASS"


def test_a_run_that_is_not_right_fails_however_good_the_numbers_are():
    proofs = Proofs(repeats=Repeats({"reference": True, "candidate": False}, 32))
    verdict = judge(found(proofs=proofs))
    assert verdict.name == "FAIL"
    assert verdict.reasons == ("determinism: the candidate gave other bits when run again",)


def test_agreement_takes_its_place_and_decides():
    here = found().raw
    there = Outputs({"logits": np.roll(here.candidate["logits"], 1, axis=1)})
    verdict = judge(found(candidate=there, on_host=OnHost(here.candidate, {})))
    other = [gate for gate in verdict.gates if gate.code in ("G5", "G6")]
    assert [(gate.name, gate.status) for gate in other] == [
        ("preview", "NOT RUN"),
        ("device", "FAIL"),
    ]
    assert verdict.name == "FAIL"
    assert other[1].message in verdict.reasons


def test_the_worst_deciding_gate_is_the_verdict_and_tells_why():
    verdict = judge(found(Budget(max_size_mib=2.5), n=60))
    assert verdict.name == "FAIL"
    assert verdict.reasons == (
        "size: 3.00 MiB of 2.5 MiB allowed",
        "accuracy: 60 examples bound a drop at 4.9 pp at best;"
        " 149 without a flip would bound it under 2.0 pp",
    )


def test_a_limit_that_was_not_measured_is_not_passed():
    verdict = judge(found(Budget(max_latency_ms=5)))
    assert verdict.name == "INCONCLUSIVE"
    assert verdict.reasons == ("latency: not measured, of 5.0 ms allowed",)


def test_nan_fails_whatever_the_accuracy():
    verdict = judge(found(n=4000, nan=1))
    assert verdict.name == "FAIL"
    assert verdict.reasons == ("finite: 1 of 16000 outputs are NaN or Inf",)


def test_unlabelled_examples_are_judged_by_the_rest():
    verdict = judge(found(Budget(max_flips_pct=2), labelled=False))
    assert verdict.name == "PASS"
    assert verdict.reasons == (
        "flips: 0 of 200 decisions changed (95 % bound 1.5 %) of 2.0 % allowed",
        "accuracy: not judged, the examples have no labels",
    )


def test_unlabelled_examples_without_any_limit_give_no_pass():
    verdict = judge(found(labelled=False))
    assert verdict.name == "INCONCLUSIVE"
    assert verdict.reasons == (
        "accuracy: not judged, the examples have no labels",
        "nothing to judge by: no labels, and the budget names no other limit",
    )


def test_times_that_are_not_valid_recommend_nothing():
    rng = np.random.default_rng(0)

    def times(ms):
        wall_ns = ms * 1e6 * rng.lognormal(0, 0.01, 240)
        table = np.stack([np.repeat(np.arange(24), 10), wall_ns, wall_ns], axis=1)
        return Samples.from_processes([table.astype(np.int64)] * 3)

    slow = found(core=Timing(times(1), times(2)))
    (gate,) = [g for g in judge(slow).gates if g.name == "performance"]
    assert gate.status == "FAIL"
    invalid = {"valid": False, "violations": ["throttled"]}
    slow = replace(slow, raw=replace(slow.raw, validity=invalid))
    (gate,) = [g for g in judge(slow).gates if g.name == "performance"]
    assert (gate.status, gate.message) == ("NOT RUN", "performance: the times are not valid")


def test_noise_warns_unless_the_budget_names_it():
    candidate = np.eye(4, dtype=np.float32)[np.arange(200) % 4]
    noisy = candidate + np.float32(0.2) * np.sin(np.arange(800)).reshape(200, 4)
    both = {"reference": Outputs({"logits": candidate}), "candidate": Outputs({"logits": noisy})}
    verdict = judge(found(**both))
    assert verdict.name == "PASS"
    assert "warning: sqnr: 10.8 dB, where at least 20.0 dB is usual" in verdict.reasons
    verdict = judge(found(Budget(min_sqnr_db=20), **both))
    assert verdict.name == "FAIL"
    assert "sqnr: 10.8 dB, at least 20.0 dB demanded" in verdict.reasons


def test_a_convolution_left_in_float_fails_unless_the_bundle_says_so():
    residency = {"float_conv": 1, "int8_conv": 51, "float_ops": ["Conv /stem/Conv"]}
    surprised = Proofs(intended=IntendedPrecision(52, ()))
    verdict = judge(found(residency=residency, proofs=surprised))
    assert verdict.name == "FAIL"
    message = "residency: 1 Conv that the bundle has in int8 run in float: Conv /stem/Conv"
    assert verdict.reasons == (message,)
    meant = Proofs(intended=IntendedPrecision(51, ("/stem/Conv",)))
    assert judge(found(residency=residency, proofs=meant)).name == "PASS"


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
    [("PASS", 0, 0), ("FAIL", 8, 8), ("INCONCLUSIVE", 0, 10), ("UNVERIFIED", 0, 11)],
)
def test_exit_codes(name, relaxed, strict):
    assert exit_code(name, strict=False) == relaxed
    assert exit_code(name, strict=True) == strict
