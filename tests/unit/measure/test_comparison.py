import numpy as np
import pytest

from edgetransfer.measure.stats.paired import Pairs, drop_upper
from edgetransfer.tasks.classification.judge.comparison import by_group, compare, examples_to_decide
from edgetransfer.tasks.classification.judge.metrics import Outcomes

METRIC_NAMES = ["top1", "macro-f1", "balanced-accuracy"]


def outcomes(n=600, classes=5, seed=0, flips=0.1):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    reference = np.where(rng.random(n) < 0.9, truth, rng.integers(classes, size=n))
    candidate = np.where(rng.random(n) < flips, rng.integers(classes, size=n), reference)
    return Outcomes(truth, reference, candidate, classes)


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_bounds_enclose_the_loss_and_agree_on_its_sign(metric):
    result = compare(outcomes(), metric, seed=0)
    drop_pp = -result.delta_pp
    assert result.drop_lcb95_pp < drop_pp < result.drop_ucb95_pp
    assert result.ci95_pp[0] < -result.drop_ucb95_pp < -result.drop_lcb95_pp < result.ci95_pp[1]
    assert result.delta_pp == pytest.approx(100 * (result.candidate - result.reference))


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_swapping_the_models_changes_the_sign(metric):
    data = outcomes()
    swapped = Outcomes(data.truth, data.candidate, data.reference, data.classes)
    there, back = compare(data, metric, seed=0), compare(swapped, metric, seed=0)
    assert back.delta_pp == -there.delta_pp
    assert back.drop_ucb95_pp == pytest.approx(-there.drop_lcb95_pp, abs=0.3)


@pytest.mark.parametrize("metric", METRIC_NAMES[1:])
def test_without_a_flip_exact_limits_stand_in_and_say_so(metric):
    data = outcomes(n=60, flips=0)
    result = compare(data, metric, seed=0)
    assert result.method == "exact unconditional limits (no flip, so the bootstrap is degenerate)"
    assert result.delta_pp == 0
    assert result.n_effective == 60
    assert result.drop_ucb95_pp == pytest.approx(100 * drop_upper(Pairs(0, 0, 60)))


@pytest.mark.parametrize("metric", METRIC_NAMES[1:])
def test_a_flip_between_wrong_answers_makes_the_bound_no_tighter(metric):
    quiet = outcomes(n=60, flips=0)
    candidate = quiet.candidate.copy()
    wrong = np.flatnonzero(candidate != quiet.truth)[0]
    others = set(range(5)) - {int(quiet.truth[wrong]), int(candidate[wrong])}
    candidate[wrong] = min(others)
    flipped = Outcomes(quiet.truth, quiet.reference, candidate, 5)
    result = compare(flipped, metric, seed=0)
    assert result.drop_ucb95_pp >= compare(quiet, metric, seed=0).drop_ucb95_pp
    assert result.method == (
        "paired bootstrap, 10000 resamples, stratified by class;"
        " not inside the exact limits of as many equally weighted examples"
    )


def test_a_small_class_widens_the_bound_of_balanced_accuracy():
    truth = np.repeat([0, 1], [100, 5])
    data = Outcomes(truth, truth, truth, 2)
    assert compare(data, "balanced-accuracy", seed=0).n_effective == 10
    assert compare(data, "top1", seed=0).n_effective == 105


def test_the_bootstrap_bound_covers_about_its_level():
    rng = np.random.default_rng(11)
    truth = np.repeat([0, 1, 2], [40, 60, 100])
    held = 0
    for trial in range(120):
        right = rng.random(200) < 0.9
        changed = rng.random(200) < 0.15
        reference = np.where(right, truth, (truth + 1) % 3)
        candidate = np.where(changed, (truth + 1) % 3, reference)
        # recall falls from 0.9 to 0.9 * 0.85 in every class
        result = compare(Outcomes(truth, reference, candidate, 3), "balanced-accuracy", seed=trial)
        held += result.drop_ucb95_pp >= 100 * 0.9 * 0.15
    assert held / 120 >= 0.89


@pytest.mark.parametrize("metric", METRIC_NAMES)
@pytest.mark.parametrize("limit_pp", [1.0, 2.0, 30.0])
def test_enough_examples_are_more_than_there_are_exactly_when_undecided(metric, limit_pp):
    result = compare(outcomes(), metric, seed=0)
    decided = result.drop_ucb95_pp < limit_pp or result.drop_lcb95_pp > limit_pp
    assert (examples_to_decide(result, limit_pp) <= result.n) == decided


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_without_a_flip_all_metrics_need_the_same_examples_when_balanced(metric):
    result = compare(outcomes(n=60, flips=0), metric, seed=0)
    assert examples_to_decide(result, 2.0) == 149


def test_groups_split_the_examples_by_every_column():
    data = outcomes(n=90)
    site = ["north", "south", "north"] * 30
    results = by_group(data, {"site": site, "year": [2020] * 90}, "top1", seed=0)
    assert [(column, value, found.n) for column, value, found in results] == [
        ("site", "north", 60),
        ("site", "south", 30),
        ("year", "2020", 90),
    ]
    assert results[2][2] == compare(data, "top1", seed=0)


def test_a_column_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r".") as caught:
        by_group(outcomes(n=10), {"site": ["a"]}, "top1", seed=0)
    assert str(caught.value) == "column site has 1 values for 10 examples"
