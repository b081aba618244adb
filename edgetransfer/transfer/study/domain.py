"""Says how far examples lie from what a backbone was trained on, by statistics of its features."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from edgetransfer.bundle.files import read_tensors
from edgetransfer.errors import IntegrityError
from edgetransfer.spec.outside import Kind

Array = np.ndarray[Any, Any]
STATISTICS = "feature_statistics.safetensors"
MOST_COMPONENTS = 64
PERCENTILES = np.arange(101)
FAR = 99
"""The percentile of the source's own distances beyond which an example counts as far."""


@dataclass(frozen=True)
class DomainStatistics:
    """The source's features as a Gaussian of low rank, and how far its own examples lie from it.

    Float32: mean [D]; orthonormal components [R, D], the directions of largest variance, and the
    variances [R] along them; noise [1], the mean variance along all others; distances [101],
    percentiles of the distances of held-out source examples.
    """

    mean: Array
    components: Array
    variances: Array
    noise: Array
    distances: Array


_KEPT = Kind("file of feature statistics", 1 << 34)
_FORMS = {
    "mean": "number D",
    "components": "number R D",
    "variances": "positive R",
    "noise": "positive 1",
    "distances": "spread 101",
}


@dataclass(frozen=True)
class Distance:
    """How far n examples lie from the source.

    `median` is their median distance over that of the source's own held-out examples: 1 is at home;
    `far` the share of them further away than 99 % of the source's own.
    """

    n: int
    median: float
    far: float


def describe_source(features: Array, *, seed: int = 0) -> DomainStatistics:
    """Compute the statistics from features of source examples, float [N, D], N at least 20.

    The Gaussian is that of probabilistic principal components (Tipping and Bishop 1999,
    "Probabilistic principal component analysis"): at most 64 directions have their own variance,
    the others share one. It is fitted on four fifths, and the distances are those of the last
    fifth, for examples lie nearer to a Gaussian that was fitted on them.

    Raises:
        ValueError: fewer than 20 examples.
    """
    if len(features) < 20:
        msg = f"{len(features)} examples do not tell how features spread: 20 are needed"
        raise ValueError(msg)
    order = np.random.default_rng(seed).permutation(len(features))
    held_out, fitted = np.split(features[order].astype(np.float64), [len(features) // 5])
    mean = fitted.mean(axis=0)
    covariance = np.cov(fitted - mean, rowvar=False)
    values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    rank = min(MOST_COMPONENTS, len(values) - 1, len(fitted) // 4)
    rest = values[rank:].mean() if rank < len(values) else 0.0
    noise = np.array([max(rest, 1e-6 * values.mean(), 1e-12)])
    found = DomainStatistics(
        mean=mean.astype(np.float32),
        components=vectors[:, :rank].T.astype(np.float32),
        variances=np.maximum(values[:rank], noise).astype(np.float32),
        noise=noise.astype(np.float32),
        distances=np.zeros(len(PERCENTILES), np.float32),
    )
    own = np.percentile(distances(found, held_out), PERCENTILES)
    return replace(found, distances=own.astype(np.float32))


def distances(source: DomainStatistics, features: Array) -> Array:
    """Return the Mahalanobis distance [N] of features [N, D], divided by the root of D.

    In the source's own Gaussian its mean square is 1. Lee et al. (2018, "A simple unified
    framework for detecting out-of-distribution samples") judge single examples by it.

    >>> axes = np.eye(2, dtype=np.float32)
    >>> unit = DomainStatistics(np.zeros(2), axes[:1], np.array([4.0]), np.array([1.0]), axes[0])
    >>> distances(unit, np.array([[2.0, 1.0], [0.0, 7.0]])).round(2).tolist()
    [1.0, 4.95]
    """
    centred = features - source.mean.astype(np.float64)
    along = centred @ source.components.T.astype(np.float64)
    rest = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
    squared = (along**2 / source.variances).sum(axis=1) + rest / float(source.noise[0])
    return np.asarray(np.sqrt(squared / features.shape[1]))


def compare_with_source(source: DomainStatistics, features: Array) -> Distance:
    """Hold the distances of examples, features float [N, D], against the source's own."""
    found = distances(source, features)
    typical = max(float(source.distances[50]), 1e-12)
    far = float((found > source.distances[FAR]).mean())
    return Distance(len(found), float(np.median(found)) / typical, far)


def save_statistics(source: DomainStatistics, folder: Path) -> None:
    """Write the statistics beside a backbone's weights."""
    save_file({k: np.ascontiguousarray(v) for k, v in asdict(source).items()}, folder / STATISTICS)


def read_statistics(folder: Path, feature_dim: int) -> DomainStatistics | None:
    """Read what `save_statistics` wrote; None where the backbone came without.

    Raises:
        IntegrityError: the file is damaged, or is of another network.
    """
    file = folder / STATISTICS
    if not file.is_file():
        return None
    found = DomainStatistics(**read_tensors(file, _KEPT, _FORMS)[0])
    if found.mean.shape != (feature_dim,):
        raise IntegrityError(
            "the feature statistics are those of another network",
            where=str(file),
            found=f"{len(found.mean)} features",
            expected=f"{feature_dim}",
            fix="delete the file, or compute it again with transfer.study.domain.describe_source",
        )
    return found
