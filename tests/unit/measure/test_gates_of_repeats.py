"""Gates that run the same examples again, unfused, varied or rebuilt: G4, G7, G12."""

import numpy as np
import pytest

from edgetransfer.agent.outputs import Outputs
from edgetransfer.measure import proofs
from edgetransfer.measure.plain import Missing
from edgetransfer.measure.proofs import NO_ENGINE, Rebuilds, Repeats, Twice
from edgetransfer.tasks.classification.task import TASK


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32) * 3


def twice(first, second):
    return Twice.of(Outputs({"logits": first}), Outputs({"logits": second}), TASK)


def noisy(logits, size):
    noise = np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)
    return logits + np.float32(size) * noise


def test_fusion_that_keeps_the_numbers_passes(logits):
    gate = proofs.fusion(twice(logits, noisy(logits, 0.001)))
    assert (gate.status, gate.decides) == ("PASS", False)
    assert gate.message == (
        "fusion: 69.6 dB between the runtime's own kernels and the same arithmetic unfused,"
        " 0 of 32 decisions differ; at least 30 dB is usual"
    )
    same = proofs.fusion(twice(logits, logits))
    assert same.message.startswith("fusion: no noise at all between")
    assert same.status == "PASS"


def test_saturation_is_found_by_fusion(logits):
    gate = proofs.fusion(twice(logits, noisy(logits, 1.0)))
    assert gate.status == "FAIL"
    assert gate.message.endswith(
        "at least 30 dB is usual: kernels that saturate, or an optimisation that changes the "
        "graph; build with the target of that processor's class (edgetransfer targets), or "
        "--precision fp32"
    )


def test_determinism(logits):
    rounded = twice(logits, noisy(logits, 1e-6))
    proof = Repeats(
        {"reference": True, "candidate": True},
        32,
        {"1 and 2 threads": twice(logits, logits), "batches of 1 and 8": rounded},
    )
    gate = proofs.determinism(proof)
    assert gate.status == "PASS"
    assert gate.message == (
        "determinism: the same bits twice on 32 examples; 1 and 2 threads: the same bits on 32"
        " examples; batches of 1 and 8: 0 of 32 decisions differ, outputs by 2.0e-07 of their range"
    )


@pytest.mark.parametrize(
    ("size", "dynamic", "status"),
    [(1e-6, False, "PASS"), (1e-2, False, "FAIL"), (1e-2, True, "PASS"), (9.0, True, "FAIL")],
)
def test_a_batch_may_move_bits_only_where_it_sets_the_scale(logits, size, dynamic, status):
    varied = {"batches of 1 and 8": twice(logits, noisy(logits, size))}
    gate = proofs.determinism(Repeats({"candidate": True}, 32, varied, dynamic))
    assert gate.status == status


def test_a_run_that_does_not_repeat_itself_fails_even_if_all_else_agrees(logits):
    varied = {"1 and 2 threads": twice(logits, logits)}
    gate = proofs.determinism(Repeats({"reference": True, "candidate": False}, 32, varied))
    assert (gate.status, gate.measured) == ("FAIL", 1)
    assert gate.message == "determinism: the candidate gave other bits when run again"


def test_nan_is_no_agreement(logits):
    broken = logits.copy()
    broken[0, 0] = np.nan
    gate = proofs.determinism(Repeats({}, 32, {"1 and 2 threads": twice(logits, broken)}))
    assert gate.status == "FAIL"


def test_what_could_not_be_varied_is_said():
    proof = Repeats({"candidate": True}, 5, {"batches of 1 and 8": Missing("texts differ")})
    assert proofs.determinism(proof).message == (
        "determinism: the same bits twice on 5 examples; batches of 1 and 8: texts differ"
    )


def test_rebuild():
    assert proofs.rebuild(Rebuilds(3, 100, 0)).status == "PASS"
    gate = proofs.rebuild(Rebuilds(3, 100, 2))
    assert (gate.status, gate.decides) == ("FAIL", False)
    assert gate.message == (
        "rebuild: 2 of 100 decisions differ among 3 builds of the engine:"
        " keep the engine that was measured"
    )
    assert proofs.rebuild(NO_ENGINE).message == (
        "rebuild: only TensorRT builds an engine on the device"
    )
