from math import inf, isnan

import numpy as np
import pytest
from scipy import special, stats

from edgetransfer.agent.outputs import Outputs
from edgetransfer.errors import StageError
from edgetransfer.measure.drift import cosine_mean, farthest, measure_drift, sqnr_db
from edgetransfer.tasks.classification.judge.shares import divergence, kl_each, mean_bounds
from edgetransfer.tasks.classification.task import TASK


def drift_of(reference, candidate):
    return measure_drift(Outputs({"logits": reference}), Outputs({"logits": candidate}), TASK)


@pytest.fixture
def logits():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(80, 6)).astype(np.float32)
    return reference, reference + rng.normal(0, 0.2, size=(80, 6)).astype(np.float32)


def test_a_model_does_not_drift_from_itself(logits):
    drift = drift_of(logits[0], logits[0])
    assert (drift.flips, drift.agreement) == (0, 1.0)
    assert divergence(logits[0], logits[0]).mean == 0.0
    assert drift.sqnr_db == inf
    assert drift.cosine_mean == pytest.approx(1)
    assert drift.flip_rate_lcb95 == 0
    assert drift.flip_rate_ucb95 == pytest.approx(1 - 0.05 ** (1 / 80))


def test_numbers_agree_with_scipy(logits):
    reference, candidate = (x.astype(np.float64) for x in logits)
    p, q = special.softmax(reference, axis=1), special.softmax(candidate, axis=1)
    entropies = [stats.entropy(a, b) for a, b in zip(p, q, strict=True)]
    assert kl_each(*logits) == pytest.approx(entropies)
    bounds = stats.t.interval(0.9, len(p) - 1, np.mean(entropies), stats.sem(entropies))
    assert mean_bounds(kl_each(*logits)) == pytest.approx(bounds)
    cosines = np.diag(reference @ candidate.T)
    cosines = cosines / np.linalg.norm(reference, axis=1) / np.linalg.norm(candidate, axis=1)
    assert cosine_mean(*logits) == pytest.approx(cosines.mean())


def test_a_common_offset_of_the_logits_does_not_count(logits):
    reference, candidate = (x.astype(np.float64) for x in logits)
    offset = np.random.default_rng(1).normal(0, 50, size=(80, 1))
    assert sqnr_db(reference, candidate + offset) == pytest.approx(sqnr_db(reference, candidate))
    assert kl_each(reference, candidate + offset) == pytest.approx(kl_each(reference, candidate))


def test_sqnr_follows_the_size_of_the_noise(logits):
    reference, candidate = (x.astype(np.float64) for x in logits)
    noise = candidate - reference
    louder = sqnr_db(reference, reference + 10 * noise)
    assert sqnr_db(reference, candidate) - louder == pytest.approx(20)


def test_noise_without_a_signal_is_minus_infinity():
    assert sqnr_db(np.ones((3, 2)), np.eye(3)[:, :2]) == -inf


def test_cosine_of_zero_rows():
    zero, one = np.zeros((1, 2)), np.ones((1, 2))
    assert (cosine_mean(zero, zero), cosine_mean(zero, one)) == (1.0, 0.0)


def test_nan_and_inf_are_counted_and_flip(logits):
    reference, candidate = logits[0], logits[0].copy()
    candidate[3, :2] = np.nan
    candidate[5, 0] = np.inf
    drift = drift_of(reference, candidate)
    assert (drift.non_finite, drift.flips) == (3, 2)
    assert isnan(drift.sqnr_db)
    assert isnan(divergence(reference, candidate).mean)
    assert isnan(drift.cosine_mean)


def test_a_reference_that_is_not_finite_is_refused(logits):
    broken = logits[0].copy()
    broken[0, 0] = np.nan
    with pytest.raises(StageError) as caught:
        drift_of(broken, logits[1])
    assert str(caught.value) == (
        "measure: the float reference gives NaN or Inf, so nothing can be held against it\n"
        "  found: 1 such outputs of 480\n"
        "  fix: check the model and its preprocessing in float first"
    )


def test_shapes_that_differ_are_refused(logits):
    with pytest.raises(ValueError, match=r".") as caught:
        drift_of(logits[0], logits[1][:, :5])
    assert str(caught.value) == (
        "both models need the same outputs [N, ...], found {'logits': (80, 6)} and"
        " {'logits': (80, 5)}"
    )


class Boxes:
    """Decides by the largest score; boxes move as they like."""

    shift_invariant = False

    def changed(self, reference, candidate, ties=()):
        return reference["scores"].argmax(axis=1) != candidate["scores"].argmax(axis=1)


def test_of_several_outputs_the_worst_is_told():
    rng = np.random.default_rng(0)
    boxes = rng.normal(size=(40, 7, 4)).astype(np.float32)
    scores = rng.normal(size=(40, 7)).astype(np.float32)
    reference = Outputs({"boxes": boxes, "scores": scores})
    moved = boxes + 0.1 * rng.normal(size=boxes.shape).astype(np.float32)
    candidate = Outputs({"boxes": moved, "scores": scores})
    drift = measure_drift(reference, candidate, Boxes())
    assert (drift.flips, drift.n) == (0, 40)
    assert drift.sqnr_db == pytest.approx(20, abs=0.5)
    assert drift.sqnr_db == drift.by_output["boxes"]
    assert drift.by_output["scores"] == inf
    assert drift.cosine_mean == pytest.approx(0.995, abs=0.002)
    assert farthest(reference, candidate)[0] == "boxes"
    with pytest.raises(ValueError, match="both models need the same outputs"):
        measure_drift(reference, Outputs({"scores": scores, "boxes": moved[:, :3]}), Boxes())
