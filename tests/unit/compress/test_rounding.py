"""Rounding of weights: never worse at the outputs than rounding to the nearest."""

import pytest
import torch

from edgetransfer.compress.rounding import best_scales, refit, second_order, to_grid

LIMIT = 127
SEEDS = range(5)


def drawn(seed, groups=2, rows=6, inputs=12, samples=40):
    """Weights [G, R, K] and the second moments [G, K, K] of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(groups, rows, inputs, generator=generator, dtype=torch.double)
    mixing = torch.randn(groups, inputs, inputs, generator=generator, dtype=torch.double)
    columns = mixing @ torch.randn(groups, inputs, samples, generator=generator, dtype=torch.double)
    return weights, columns @ columns.transpose(1, 2) / samples


def coarse(weights, levels=7):
    return weights.abs().amax(dim=-1, keepdim=True) / levels


def lost(weights, rounded, gram):
    error = rounded - weights
    return torch.einsum("grk,gkl,grl->gr", error, gram, error)


@pytest.mark.parametrize("seed", SEEDS)
def test_second_order_loses_less_at_the_outputs(seed):
    weights, gram = drawn(seed)
    scale = coarse(weights)
    nearest, ours = to_grid(weights, scale, LIMIT), second_order(weights, gram, scale, LIMIT)
    losses = lost(weights, nearest, gram).sum(), lost(weights, ours, gram).sum()
    assert losses[1] < 0.8 * losses[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_inputs_that_know_nothing_of_each_other_are_rounded_to_the_nearest(seed):
    weights, gram = drawn(seed)
    diagonal = torch.diag_embed(gram.diagonal(dim1=1, dim2=2))
    scale = coarse(weights)
    assert torch.equal(
        second_order(weights, diagonal, scale, LIMIT), to_grid(weights, scale, LIMIT)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_what_comes_out_are_codes(seed):
    weights, gram = drawn(seed)
    scale = coarse(weights, levels=200)
    codes = second_order(weights, gram, scale, LIMIT) / scale
    torch.testing.assert_close(codes, codes.round())
    assert codes.abs().max() <= LIMIT + 1e-9


def test_dead_inputs_do_no_harm():
    weights, gram = drawn(0)
    gram[:, 3] = gram[:, :, 3] = 0.0
    assert torch.isfinite(second_order(weights, gram, coarse(weights), LIMIT)).all()
    nothing = torch.zeros_like(gram)
    scale = coarse(weights)
    assert torch.equal(second_order(weights, nothing, scale, LIMIT), to_grid(weights, scale, LIMIT))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_scale_is_never_worse_than_that_of_the_largest_weight(seed):
    weights, gram = drawn(seed)
    importance = gram.diagonal(dim1=1, dim2=2)[:, None, :]
    for limit in (7, LIMIT):
        best = best_scales(weights, importance, limit)
        widest = weights.abs().amax(dim=-1, keepdim=True) / limit
        assert (best <= widest).all()
        losses = [
            ((to_grid(weights, scale, limit) - weights).square() * importance).sum(dim=-1)
            for scale in (best, widest)
        ]
        assert (losses[0] <= losses[1]).all()
        if limit == 7:
            assert losses[0].sum() < losses[1].sum()


def test_rows_of_zeros_have_a_scale_too():
    assert (best_scales(torch.zeros(1, 2, 3), torch.ones(1, 1, 3), LIMIT) > 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_refit_changes_nothing_where_nothing_was_lost(seed):
    weights, gram = drawn(seed)
    torch.testing.assert_close(refit(weights, gram, gram), weights)


@pytest.mark.parametrize("seed", SEEDS)
def test_refit_comes_nearer_to_what_the_float_inputs_gave(seed):
    weights, _ = drawn(seed)
    generator = torch.Generator().manual_seed(seed)
    floats = torch.randn(2, 12, 300, generator=generator, dtype=torch.double)
    quantised = 0.8 * floats + 0.1 * torch.randn(
        floats.shape, generator=generator, dtype=torch.double
    )
    covariance = quantised @ quantised.transpose(1, 2) / 300
    cross = floats @ quantised.transpose(1, 2) / 300
    found = refit(weights, covariance, cross)
    errors = [(each @ quantised - weights @ floats).square().sum() for each in (found, weights)]
    assert errors[0] < 0.8 * errors[1]


def test_moments_that_are_not_positive_definite_are_solved_all_the_same():
    weights, gram = drawn(0)
    gram[1] -= gram[1].diagonal().mean() * torch.eye(12)
    assert torch.isfinite(refit(weights, gram, gram)).all()


@pytest.mark.parametrize("depth", [1e-9, 1e-3, 10.0])
def test_moments_that_are_not_positive_definite_are_damped_until_they_are_d2(depth):
    weights, gram = drawn(0)
    gram[1] -= depth * gram[1].diagonal().mean() * torch.eye(12)
    scale = coarse(weights)
    rounded = second_order(weights, gram, scale, LIMIT)
    assert torch.isfinite(rounded).all()
    assert torch.equal(to_grid(rounded, scale, LIMIT), rounded)
    alone = second_order(weights[:1], gram[:1], scale[:1], LIMIT)
    assert torch.equal(rounded[:1], alone)  # the damping of one group is no other's


def test_moments_that_are_not_finite_are_refused_d2():
    weights, gram = drawn(0)
    gram[0, 0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match=r"^moments that are not finite$"):
        second_order(weights, gram, coarse(weights), LIMIT)
