"""What a backbone's own classifier already says of new classes: where the fit of a head starts.

It does not fit, and it knows nothing of the names of classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgetransfer.backbone.head import LinearHead

Array = np.ndarray[Any, Any]


def source_prior(source: LinearHead, features: Array, labels: Array) -> LinearHead:
    """Return the head whose logits are the source's, averaged over what the source sees a class as.

    With ``p(s | x)`` the softmax of the source's S logits and ``q[c, s]`` its mean over the
    examples of class c, the weight of class c is ``sum_s q[c, s] weight[s]``. The mean over
    classes is taken off, for it decides nothing. What a source class looks like was learnt
    from hundreds of examples; which source classes ours are like can be told from one. Where
    the source sees all our classes alike, the rows of q are alike and the prior is nearly zero, so
    it need not be switched off.

    q is the empirical conditional distribution of LEEP (Nguyen et al. 2020, "LEEP: a new measure
    to evaluate transferability of learned representations", section 3), turned round; that a
    penalty should pull to what is known and not to zero is Chelba and Acero 2006, "Adaptation of
    maximum entropy capitalizer", section 3.

    Args:
        source: S classes on the same features.
        features: float [N, D].
        labels: int [N], every class from 0 to C - 1 occurs.

    >>> ants_or_bees = LinearHead(np.eye(2, 3), np.zeros(2))
    >>> prior = source_prior(ants_or_bees, np.array([[9.0, 0, 5], [0, 9, 5]]), np.array([1, 0]))
    >>> prior.weight.round(2) + 0.0
    array([[-0.5,  0.5,  0. ],
           [ 0.5, -0.5,  0. ]], dtype=float32)
    """
    logits = source.logits(features).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    chances = np.exp(logits)
    chances /= chances.sum(axis=1, keepdims=True)
    seen_as = np.stack([chances[labels == c].mean(axis=0) for c in range(int(labels.max()) + 1)])
    seen_as -= seen_as.mean(axis=0)
    weight, bias = seen_as @ source.weight, seen_as @ source.bias
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32))
