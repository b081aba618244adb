"""A look at a picture depends on its seed, its number and the picture's row, and on no more."""

import numpy as np
import pytest
import torch

from edgetransfer.transfer.looks import MAX_SHIFT, MAX_ZOOM, Views

VIEWS = Views(seed=5, count=4)
ROWS = np.arange(6)


@pytest.fixture
def pictures():
    return torch.rand(6, 3, 16, 20, generator=torch.Generator().manual_seed(0))


def test_the_same_three_numbers_give_the_same_look(pictures):
    once = VIEWS.show(pictures, 2, ROWS)
    torch.manual_seed(1)
    assert torch.equal(once, Views(seed=5, count=9).show(pictures, 2, ROWS))
    assert (once.shape, once.dtype) == (pictures.shape, pictures.dtype)
    assert not torch.equal(once, VIEWS.show(pictures, 3, ROWS))
    assert not torch.equal(once, Views(seed=6, count=4).show(pictures, 2, ROWS))


def test_neither_order_nor_company_matters(pictures):
    whole = VIEWS.show(pictures, 1, ROWS)
    order = np.array([4, 0, 3])
    torch.testing.assert_close(VIEWS.show(pictures[order], 1, order), whole[order])


def test_a_network_of_another_input_size_sees_the_same():
    """A smooth picture at twice the size moves by the same share."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij"
    )
    large = torch.stack([rows, columns, rows * columns])[None]
    small = torch.nn.functional.avg_pool2d(large, 2)
    of_large = torch.nn.functional.avg_pool2d(VIEWS.show(large, 0, np.array([3])), 2)
    inner = (..., slice(4, -4), slice(4, -4))
    of_small = VIEWS.show(small, 0, np.array([3]))
    assert (of_large[inner] - of_small[inner]).abs().max() < 0.02
    assert (small[inner] - of_small[inner]).abs().max() > 0.05


def test_every_picture_is_moved_by_its_own_amount(pictures):
    equal = pictures[:1].expand(6, -1, -1, -1).contiguous()
    moved = VIEWS.show(equal, 0, ROWS)
    assert all(not torch.equal(moved[0], other) for other in moved[1:])


def test_no_colours_are_invented(pictures):
    flat = torch.full((2, 3, 16, 16), 0.4)
    torch.testing.assert_close(VIEWS.show(flat, 0, ROWS[:2]), flat)
    moved = VIEWS.show(pictures, 0, ROWS)
    assert pictures.min() <= moved.min() < moved.max() <= pictures.max()


def test_moves_are_small_and_fill_their_range():
    theta = VIEWS.theta(0, np.arange(500))
    zoom, shift = theta[:, 0, 0], theta[:, :, 2] / 2
    assert torch.equal(theta[:, 1, 1], zoom)
    assert not theta[:, 0, 1].any()
    assert not theta[:, 1, 0].any()
    assert (zoom - 1).abs().max() == pytest.approx(MAX_ZOOM, rel=0.05)
    assert shift.abs().max() == pytest.approx(MAX_SHIFT, rel=0.05)
    assert theta.mean(dim=0)[:, 2].abs().max() < 0.02
