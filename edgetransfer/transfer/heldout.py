"""Decides every example by a probe that was not fitted on it.

It does not choose the probe's strength: `probe` does, the same way for whoever is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from edgetransfer.transfer.probe import NOTHING, Heads, fit_probe, folds

if TYPE_CHECKING:
    from edgetransfer.transfer.probe import Known, Probe

Array = np.ndarray[Any, Any]


def held_out_logits(
    features: Array, labels: Array, *, known: Known = NOTHING, seed: int = 0
) -> tuple[Probe, Array]:
    """Fit a probe, and return it with logits float32 [N, C] by fits on the other folds.

    The folds are those that the probe's strength was chosen on, so that the logits are slightly
    too good; comparing two sets of features that were treated alike cancels that. They depend on
    labels, groups and seed alone: the same examples are held out together whatever the features.

    Args:
        features: float [N, D].
        labels: int [N], every class from 0 to C - 1 occurs.
        known: what else is known of the examples.
        seed: of the folds.

    Returns:
        The probe on all examples, and logits; rows of NaN for examples that no fold held out, all
        of them where a class has one example only.
    """
    probe = fit_probe(features, labels, known=known, seed=seed)
    logits = np.full((len(labels), int(labels.max()) + 1), np.nan, dtype=np.float32)
    with threadpool_limits(limits=1):
        heads = Heads(features, labels, known)
        for train, held_out in folds(labels, known.groups, seed):
            head = next(heads.walk(train, [probe.strength]))
            logits[held_out] = head.logits(features[held_out])
    return probe, logits
