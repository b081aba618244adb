"""Grids: an exact zero, bounds that cover what they were made for, rounding once is enough."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetransfer.compress.encoding import LIMITS, Codes, Grid, grid_over

EDGES = st.floats(-1e4, 1e4, width=32)
KINDS = [(kind, symmetric) for kind in LIMITS for symmetric in (False, True)]
laws = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.mark.parametrize(("kind", "symmetric"), KINDS)
@laws
@given(low=EDGES, high=EDGES)
def test_zero_is_exact_and_the_range_is_covered(kind, symmetric, low, high):
    grid = grid_over(min(low, high), max(low, high), kind, symmetric=symmetric)
    assert float(grid.round(torch.zeros(()))) == 0.0
    assert grid.low <= grid.zero_point <= grid.high
    least, most = grid.bounds
    room = 0.501 * grid.scale  # the zero point is rounded
    assert least <= min(low, high, 0.0) + room
    assert most >= max(low, high, 0.0) - room
    assert np.float32(grid.scale) == grid.scale > 0


@pytest.mark.parametrize(("kind", "symmetric"), KINDS)
@laws
@given(low=EDGES, high=EDGES, seed=st.integers(0, 99))
def test_rounding_is_to_the_nearest_and_once_is_enough(kind, symmetric, low, high, seed):
    grid = grid_over(min(low, high), max(low, high), kind, symmetric=symmetric)
    least, most = grid.bounds
    numbers = torch.empty(64).uniform_(0, 1, generator=torch.Generator().manual_seed(seed))
    numbers = least + numbers * (most - least)
    once = grid.round(numbers)
    assert torch.equal(grid.round(once), once)
    assert float((once - numbers).abs().max()) <= 0.5001 * grid.scale
    codes = grid.codes(numbers)
    assert torch.equal(codes, codes.round())
    assert grid.low <= float(codes.min()) <= float(codes.max()) <= grid.high
    outside = torch.tensor([least - 1 - abs(least), most + 1 + abs(most)])
    assert grid.codes(outside).tolist() == [grid.low, grid.high]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((0.0, 2.55, "u8", False), Grid(pytest.approx(0.01), 0, 0, 255)),
        ((0.5, 2.55, "u8", False), Grid(pytest.approx(0.01), 0, 0, 255)),
        ((-2.55, 0.0, "u8", False), Grid(pytest.approx(0.01), 255, 0, 255)),
        ((0.0, 2.55, "s8", False), Grid(pytest.approx(0.01), -128, -128, 127)),
        ((-1.0, 1.27, "u8", True), Grid(pytest.approx(0.01), 128, 0, 255)),
        ((-1.27, 1.0, "s8", True), Grid(pytest.approx(0.01), 0, -127, 127)),
    ],
)
def test_examples(args, expected):
    assert grid_over(*args[:3], symmetric=args[3]) == expected


def test_nothing_but_zeros_has_a_grid_too():
    grid = grid_over(0.0, 0.0, "u8", symmetric=False)
    assert grid.scale > 0
    assert grid.round(torch.zeros(3)).tolist() == [0.0] * 3


def test_halves_go_to_the_even_code():
    grid = Grid(1.0, 0, 0, 255)
    assert grid.codes(torch.tensor([0.5, 1.5, 2.5])).tolist() == [0, 2, 2]


def test_codes_stand_for_numbers():
    codes = Codes(np.array([[[1, -2]], [[127, 0]]], np.int8), np.array([0.5, 2.0], np.float32))
    assert codes.numbers().tolist() == [[[0.5, -1.0]], [[254.0, 0.0]]]
    assert codes.numbers().dtype == np.float32
