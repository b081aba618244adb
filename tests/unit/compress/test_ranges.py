"""Ranges by every method, on tensors whose best range is known."""

import math

import numpy as np
import pytest
import torch

from edgetransfer.compress.encoding import grid_over
from edgetransfer.compress.observe import (
    ActivationHistogram,
    choose_grids,
    entropy,
    ranges,
    squared_error,
)
from edgetransfer.errors import StageError
from edgetransfer.spec.catalogue import CalibrationRecipe, calibration_recipe, names
from edgetransfer.spec.target import Int8Scheme

METHODS = ("minmax", "moving", "percentile", "entropy", "mse", "auto")
SCHEME = Int8Scheme()


def seen_of(*batches):
    histogram = ActivationHistogram()
    for batch in batches:
        histogram.add(torch.as_tensor(batch, dtype=torch.float32))
    return histogram


def recipe(method, **fields):
    return CalibrationRecipe(name=method, method=method, **fields)


def outliers(seed=0):
    """Rectified normal numbers, and very few that are forty times as large."""
    rng = np.random.default_rng(seed)
    numbers = np.maximum(rng.normal(size=(4, 20_000)), 0)
    numbers[0, :2] = 40.0
    return seen_of(*numbers)


def chosen(seen, method, scheme=SCHEME, **fields):
    return choose_grids({"x": seen}, recipe(method, **fields), scheme)["x"]


def test_minmax_takes_all():
    low, high = chosen(seen_of([-1.0, 2.0], [0.0, 3.0]), "minmax").bounds
    assert (low, high) == (pytest.approx(-1.0, abs=0.01), pytest.approx(3.0, abs=0.01))


def test_moving_takes_the_mean_of_the_extremes():
    seen = seen_of([-1.0, 2.0], [-3.0, 4.0], [0.0, 6.0])
    assert ranges(seen, recipe("moving")) == [pytest.approx((-4 / 3, 4.0))]


@pytest.mark.parametrize("kept", [99.9, 90.0, 60.0])
def test_the_percentile_is_taken_half_from_either_end(kept):
    seen = seen_of(np.linspace(-1, 1, 100_001))
    ((low, high),) = ranges(seen, recipe("percentile", percentile=kept))
    assert (low, high) == pytest.approx((-kept / 100, kept / 100), abs=0.003)


def test_the_percentile_keeps_zero_inside():
    seen = seen_of(np.linspace(1, 2, 10_001))
    ((low, high),) = ranges(seen, recipe("percentile", percentile=99.0))
    assert low == 0.0
    assert high == pytest.approx(1.995, abs=0.01)


def test_entropy_cuts_outliers_off():
    seen = outliers()
    assert entropy(seen)[1] < 20
    assert chosen(seen, "entropy").bounds[1] < 20
    assert chosen(seen, "minmax").bounds[1] == pytest.approx(40, rel=0.01)


def test_mse_cuts_off_what_costs_less_than_a_coarser_step():
    rng = np.random.default_rng(0)
    tailed = seen_of(rng.laplace(size=20_000) * (rng.random(20_000) < 0.5))
    whole, best = (chosen(tailed, each) for each in ("minmax", "mse"))
    assert best.bounds[1] < whole.bounds[1]
    assert squared_error(tailed, best) < squared_error(tailed, whole)


def test_nothing_is_cut_off_where_all_numbers_are_alike():
    seen = seen_of(np.linspace(0, 1, 100_000))
    for method in ("mse", "auto"):
        assert chosen(seen, method).bounds[1] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(4))
def test_auto_is_never_worse_than_any_other(method, seed):
    rng = np.random.default_rng(seed)
    shapes = [outliers(seed), seen_of(rng.normal(size=5000)), seen_of(rng.exponential(size=5000))]
    for seen in shapes:
        auto, other = (squared_error(seen, chosen(seen, each)) for each in ("auto", method))
        assert auto <= other


def test_the_squared_error_is_that_of_rounding():
    numbers = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    seen = seen_of(numbers)
    for high in (4.0, 2.0, 1.0):
        grid = grid_over(-high, high, "u8", symmetric=False)
        measured = float((grid.round(numbers) - numbers).square().mean())
        assert squared_error(seen, grid) == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_alone_are_no_trouble(method):
    grid = chosen(seen_of(np.zeros(100)), method)
    assert grid.round(torch.zeros(1)).tolist() == [0.0]


@pytest.mark.parametrize("kind", ["u8", "s8"])
def test_schemes_reach_the_grids(kind):
    scheme = Int8Scheme(activation=kind, symmetric_activation=True)
    grid = chosen(seen_of([-1.0, 2.0]), "auto", scheme)
    assert grid.zero_point == (128 if kind == "u8" else 0)


@pytest.mark.parametrize(
    ("number", "told"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")]
)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_finite_is_an_error(number, told, method):
    with pytest.raises(StageError) as caught:
        chosen(seen_of([0.0, 1.0], [number, 1.0]), method)
    low = {"inf": "0.0", "-inf": "-inf", "nan": "nan"}[told]
    high = {"inf": "inf", "-inf": "1.0", "nan": "nan"}[told]
    assert str(caught.value) == (
        "tensor x: the float network gives NaN or Inf on the calibration examples\n"
        f"  found: values from {low} to {high}\n"
        "  fix: check the network and its preprocessing in float first"
    )


@pytest.mark.parametrize("name", names("calibration/recipes"))
def test_shipped_recipes_choose_a_grid(name):
    grid = choose_grids({"x": outliers()}, calibration_recipe(name), SCHEME)["x"]
    assert 0 < grid.bounds[1] <= 40.5
