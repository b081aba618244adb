"""Extrapolation: known curves are met, noise is owned up to, nothing goes too far."""

import numpy as np
import pytest

from edgetransfer.measure.stats.power_law import extrapolate

SIZES = np.array([20, 36, 64, 112, 200])


def curve(error, examples, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.random((4, 5, examples)) < error[None, :, None]).astype(np.float32)


def test_a_known_curve_is_within_the_interval():
    def error(size):
        return 0.05 + 0.2 * (size / 200) ** -0.5

    found = extrapolate(SIZES, curve(error(SIZES), 2000), 200, [400])
    (gain,) = found.gains
    low, high = gain.ci95_pp
    assert low < 100 * (error(200) - error(400)) < high
    assert found.falls


def test_a_flat_curve_is_said_not_to_fall():
    found = extrapolate(SIZES, curve(np.full(5, 0.3), 200), 200, [400])
    assert not found.falls
    assert found.gains[0].ci95_pp[0] < 1.0


def test_fewer_examples_judged_give_a_wider_interval():
    error = 0.05 + 0.2 * (SIZES / 200) ** -0.5

    def width(examples):
        low, high = extrapolate(SIZES, curve(error, examples), 200, [400]).gains[0].ci95_pp
        return high - low

    assert width(60) > width(2000)


def test_the_same_seed_gives_the_same_and_no_change_gives_no_gain():
    wrong = curve(np.full(5, 0.3), 200)
    found = extrapolate(SIZES, wrong, 200, [200, 400])
    assert found == extrapolate(SIZES, wrong, 200, [200, 400])
    assert found.gains[0].gain_pp == 0.0


def test_no_further_than_four_times_the_data():
    with pytest.raises(ValueError, match=r"^801 is more than 4\.0 times the largest size, 200$"):
        extrapolate(SIZES, curve(np.full(5, 0.3), 20), 200, [801])
