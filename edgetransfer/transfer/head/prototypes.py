"""Nearest-prototype heads: a class is the mean direction of its few examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgetransfer.backbone.head import LinearHead
from edgetransfer.transfer.head.linear_heads import scaling

Array = np.ndarray[Any, Any]

SHARPNESS = 10.0
"""What cosines are multiplied by to become logits (Gidaris & Komodakis 2018, "Dynamic Few-Shot
Visual Learning without Forgetting", section 3.2, where it is the start of a learnt number)."""


def fit_prototypes(features: Array, labels: Array) -> LinearHead:
    """Fit a nearest-prototype head (Snell et al. 2017) on the cosine between centred features.

    With prototypes of length 1 the nearest one is the one with the largest product, so the
    decision is linear in the features: centring and scaling are folded into the head. Its logits
    are `SHARPNESS` times the cosine for an example as far from the middle as the examples
    given were on average. Features are divided by the root of their spread as in `fit_probe`.

    Args:
        features: float [N, D].
        labels: int [N]; every class from 0 to C - 1 occurs.

    >>> head = fit_prototypes(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([0, 1]))
    >>> head.logits(np.array([[0.2, 5.0], [-3.0, 1.0]])).argmax(axis=1).tolist()
    [0, 1]
    """
    mean, scale = scaling(features)
    centred = (features - mean) / scale
    lengths = np.linalg.norm(centred, axis=1)
    typical = float(lengths.mean()) or 1.0
    directions = _unit(centred)
    classes = range(int(labels.max()) + 1)
    prototypes = _unit(np.stack([directions[labels == each].mean(axis=0) for each in classes]))
    weight = SHARPNESS / typical * prototypes / scale
    return LinearHead(weight.astype(np.float32), (-weight @ mean).astype(np.float32))


def _unit(rows: Array) -> Array:
    """Divide rows by their lengths; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = rows / np.where(lengths > 0, lengths, 1.0)
    return unit
