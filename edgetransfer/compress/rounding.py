"""Rounds the weights of one layer so that its outputs, not its weights, stay what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

WIDEST = 4608
"""Inputs of a row that are seen together, as many as 512 channels of 3 x 3; longer rows are cut.
All of 25,088 (the first matrix product of VGG16) would be 5 GB for one matrix."""
DAMPING = 0.01
"""Share of the mean of the diagonal that is added to it (Frantar et al. 2022, section 3.3)."""
RIDGE = 0.1
"""Share of the mean of the diagonal: 0.01 won on MobileNetV2 with 64 examples, lost elsewhere."""
BLOCK = 64
"""Inputs that are rounded before those after the block hear of their errors, in one product."""
SHRINKS = 1 - torch.arange(21) / 40
"""Shares of the largest weight that a scale is tried for."""


def refit(weights: Tensor, covariance: Tensor, cross: Tensor) -> Tensor:
    """Return the float weights that give most of the wanted outputs from quantised inputs.

    Least squares towards what the float weights make of the float inputs, drawn to the float
    weights by a ridge: a few calibration examples do not know everything. The same idea as the
    asymmetric calibration of Li et al. (2025), GPTAQ, arXiv 2504.02692. Weights are float64 [G, R,
    K], the covariance of the quantised inputs [G, K, K], and `cross` [G, K, K] of the float inputs
    (first) with the quantised ones.
    """
    ridge = RIDGE * (covariance.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-9)[:, None, None]
    wanted = torch.baddbmm(ridge * weights, weights, cross)
    known = covariance.clone()
    known.diagonal(dim1=1, dim2=2).add_(ridge[:, 0])
    lower, bad = torch.linalg.cholesky_ex(known)
    solved: Tensor = (
        torch.linalg.solve(known, wanted, left=False)
        if bad.any()  # rounding left a matrix that is not positive definite
        else torch.cholesky_solve(wanted.transpose(1, 2), lower).transpose(1, 2)
    )
    return solved


def best_scales(weights: Tensor, importance: Tensor, limit: int) -> Tensor:
    """Return the scale [..., R, 1] of every row [..., R, K] that loses least when it is rounded.

    It is the largest weight over the largest code `limit`, or some share of that; importance is the
    mean squares of the K inputs, [..., 1, K] or broadcast.
    """
    widest = weights.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / limit
    best, least = widest, torch.full_like(widest, torch.inf)
    steps, importance = (weights / widest).float(), importance.float()
    for shrink in SHRINKS.tolist():
        finer = steps / shrink
        error = finer.round().clamp_(-limit, limit).sub_(finer).square_().mul_(importance)
        lost = error.sum(dim=-1, keepdim=True) * shrink**2
        best = torch.where(lost < least, widest * shrink, best)
        least = torch.minimum(lost, least)
    return best


def to_grid(weights: Tensor, scale: Tensor, limit: int) -> Tensor:
    """Round weights to the nearest multiple of their scale, at most `limit` of them."""
    return (weights / scale).round_().clamp_(-limit, limit).mul_(scale)


def second_order(weights: Tensor, gram: Tensor, scale: Tensor, limit: int) -> Tensor:
    """Round one input at a time and let those not rounded yet make up for the error.

    Frantar et al. (2022), GPTQ, arXiv 2210.17323, in blocks (section 3.2 there), with the inputs of
    largest energy first. The sum of squared errors of the outputs, ``tr(E gram E^T)``, is what it
    keeps small. Weights are float [G, R, K]: groups, rows (output channels), inputs; gram, float
    [G, K, K], their second moments; scales [G, R, 1]; `limit` the largest code. Returns multiples
    of the scales, [G, R, K].
    """
    order = gram.diagonal(dim1=-2, dim2=-1).argsort(dim=-1, descending=True)
    rows = gram.gather(1, order[:, :, None].expand_as(gram))
    upper = _factor(rows.gather(2, order[:, None, :].expand_as(gram)))
    upper = upper / upper.diagonal(dim1=-2, dim2=-1)[:, :, None]
    turned, steps = weights.transpose(1, 2), scale.transpose(1, 2)
    places = order[:, :, None].expand_as(turned)
    work = turned.gather(1, places) / steps
    inputs = work.shape[1]
    for start in range(0, inputs, BLOCK):
        end = min(start + BLOCK, inputs)
        off = _round_block(work[:, start:end], upper[:, start:end, start:end], limit)
        work[:, end:] -= upper[:, start:end, end:].transpose(1, 2) @ off
    return torch.empty_like(work).scatter_(1, places, work.mul_(steps)).transpose(1, 2)


def _round_block(work: Tensor, upper: Tensor, limit: int) -> Tensor:
    """Round some inputs [G, K, R] in place, in units of their scales, and return what they lose.

    In NumPy, which begins a small operation in a third of the time that torch takes.
    """
    numbers, factors = work.numpy(), upper.numpy()
    off = np.empty_like(numbers)
    for k in range(numbers.shape[1]):
        rounded = np.rint(numbers[:, k])
        np.minimum(rounded, limit, out=rounded)
        np.maximum(rounded, -limit, out=rounded)
        error = np.subtract(numbers[:, k], rounded, out=off[:, k])
        numbers[:, k] = rounded
        numbers[:, k + 1 :] -= factors[:, k, k + 1 :, None] * error[:, None]
    return torch.from_numpy(off)


def _factor(gram: Tensor) -> Tensor:
    """Return the upper Cholesky factor of the inverse, [G, K, K].

    Where rounding left a matrix that is not positive definite, its damping is raised until it is.
    With J the matrix that turns the order around and ``J A J = L L^T``, ``R = J L J`` is upper
    triangular, ``A = R R^T``, and ``R^-1`` the factor: nothing is inverted and factored again.
    """
    if not torch.isfinite(gram).all():
        raise FloatingPointError("moments that are not finite")
    mean = gram.diagonal(dim1=-2, dim2=-1).mean(dim=-1).clamp(min=1e-12)
    damping, turned, bad = DAMPING * mean, gram.flip(-1, -2), torch.ones(len(gram))
    while bad.any():
        damped = turned.clone()
        damped.diagonal(dim1=-2, dim2=-1).add_(damping[:, None])
        lower, bad = torch.linalg.cholesky_ex(damped)
        damping = torch.where(bad > 0, 10 * damping, damping)
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype)
    factor: Tensor = torch.linalg.solve_triangular(
        lower.flip(-1, -2), identity.expand_as(gram), upper=True
    )
    return factor


def blocks_of(inputs: int) -> int:
    """Return into how many blocks a row of so many inputs is cut.

    >>> blocks_of(1280), blocks_of(WIDEST), blocks_of(25088)
    (1, 1, 6)
    """
    return -(-inputs // WIDEST)


def blocks(rows: Tensor, count: int) -> Tensor:
    """Cut rows [G, R, K] into [G * count, R, K / count], the last filled up with zeros.

    >>> blocks(torch.arange(5.0).reshape(1, 1, 5), 2).tolist()
    [[[0.0, 1.0, 2.0]], [[3.0, 4.0, 0.0]]]
    """
    groups, height, width = rows.shape
    narrow = -(-width // count)
    wide = torch.nn.functional.pad(rows, (0, narrow * count - width))
    cut = wide.reshape(groups, height, count, narrow).transpose(1, 2)
    return cut.reshape(groups * count, height, narrow)


def joined(cut: Tensor, count: int, width: int) -> Tensor:
    """Put what `blocks` cut together again: [G, R, width].

    >>> joined(blocks(torch.arange(5.0).reshape(1, 1, 5), 2), 2, 5).tolist()
    [[[0.0, 1.0, 2.0, 3.0, 4.0]]]
    """
    parts, height, narrow = cut.shape
    whole = cut.reshape(parts // count, count, height, narrow).transpose(1, 2)
    return whole.reshape(parts // count, height, -1)[..., :width]
