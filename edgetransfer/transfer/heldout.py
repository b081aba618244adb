"""Decides every example by a probe that was not fitted on it.

It does not choose the probe's strength: `probe` does, the same way for whoever is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from edgetransfer.transfer.logistic import LogisticPath
from edgetransfer.transfer.probe import fit_probe, folds, scaling

if TYPE_CHECKING:
    from edgetransfer.transfer.probe import Probe

Array = np.ndarray[Any, Any]


def held_out_logits(
    features: Array, labels: Array, *, groups: Array | None = None, seed: int = 0
) -> tuple[Probe, Array]:
    """Fit a probe, and return it with logits float32 [N, C] by fits on the other folds.

    The folds are those that the probe's strength was chosen on, so that the logits are slightly
    too good; comparing two sets of features that were treated alike cancels that. They depend on
    labels, groups and seed alone: the same examples are held out together whatever the features.

    Args:
        features: float [N, D].
        labels: int [N], every class from 0 to C - 1 occurs.
        groups: int [N]; examples of one group are never on both sides of a fold.
        seed: of the folds.

    Returns:
        The probe on all examples, and logits; rows of NaN for examples that no fold held out, all
        of them where a class has one example only.
    """
    probe = fit_probe(features, labels, groups=groups, seed=seed)
    mean, scale = scaling(features)
    scaled = (features - mean) / scale
    logits = np.full((len(labels), int(labels.max()) + 1), np.nan, dtype=np.float32)
    splits = list(folds(labels, groups, seed))
    if not splits:
        return probe, logits
    with threadpool_limits(limits=1):
        path = LogisticPath(scaled)
        for train, held_out in splits:
            fitted = path.fit(train, labels[train], [probe.strength])
            weight, bias = fitted[probe.strength]
            logits[held_out] = scaled[held_out] @ weight.T + bias
    return probe, logits
