"""Fits one more row of a linear head from a few examples, without examples of the old classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgetransfer.backbone.model import LinearHead
from edgetransfer.tasks.classification.head.linear_heads import in_16_bits, principal, scaling

Array = np.ndarray[Any, Any]
TRACE = 1e-10
"""Of the largest squared singular value: below it a direction holds rounding errors alone."""
COMPONENTS = 16
"""Directions of the spread within a class that are kept one by one; the rest by feature."""
DRAWN, DRAWN_NEW = 1200, 300
"""Examples drawn of all old classes together, at least 10 of each, and of the new one."""
WEIGHT = 50.0
"""How many examples a class counts for."""
STRENGTH = 0.1
"""Inverse L2 strength. Of 0.001 to 0.3 the best or within 1.2 points of it (mean recall of all
classes) at 1, 5 and 20 examples of three digits, four classes of tiny-imagenet, three intents."""


@dataclass(frozen=True)
class FeatureStatistics:
    """What is known of the features of the classes there are: no example, means and spreads.

    The covariance within a class is ``components.T @ diag(variances) @ components +
    diag(residual)``, the same for all classes.

    Means are float [C, D], counts int [C] (examples that each mean is of; 0 where the class had
    none), components float [K, D] of length 1, variances float [K], residual float [D].
    """

    means: Array
    counts: Array
    components: Array
    variances: Array
    residual: Array

    def noise(self, rng: np.random.Generator, count: int) -> Array:
        """Draw deviations [count, D] of examples from the mean of their class."""
        along = rng.standard_normal((count, len(self.variances))) * np.sqrt(self.variances)
        own = rng.standard_normal((count, self.means.shape[1])) * np.sqrt(self.residual)
        drawn: Array = along @ self.components + own
        return drawn

    def examples(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw features [N, D] of the classes there are, as many of each, and their labels [N]."""
        known = np.flatnonzero(self.counts)
        labels = np.repeat(known, max(10, DRAWN // len(known)))
        return self.means[labels] + self.noise(rng, len(labels)), labels

    def between(self) -> float:
        """Return the variance between class means over that within a class, both summed over D.

        What the means vary by being of few examples is taken off; 0.01 at least.

        >>> means, none = np.array([[0.0, 2.0], [0.0, -2.0]]), np.empty((0, 2))
        >>> FeatureStatistics(means, np.array([4, 4]), none, np.empty(0), np.ones(2)).between()
        3.75
        """
        within = float(self.variances.sum() + self.residual.sum())
        known = self.counts > 0
        if known.sum() < 2 or within == 0:
            return 1.0
        chance = within * float((1 / self.counts[known]).mean())
        return (
            max(float(self.means[known].var(axis=0, ddof=1).sum()) - chance, 0.01 * within) / within
        )

    def with_class(self, features: Array) -> FeatureStatistics:
        """Return the same with one more class, of which there are examples [N, D]."""
        return replace(
            self,
            means=np.vstack([self.means, features.mean(axis=0)]).astype(self.means.dtype),
            counts=np.append(self.counts, len(features)).astype(self.counts.dtype),
        )


def measure_statistics(features: Array, labels: Array, classes: int) -> FeatureStatistics | None:
    """Take means and spreads of features float [N, D] with class indices int [N].

    Memory is of the size of the features, whatever D is: a few of N x D, never D x D. None where no
    class has two examples, so that nothing tells how they vary.
    """
    counts = np.bincount(labels, minlength=classes)
    if counts.max(initial=0) < 2:
        return None
    means = np.zeros((classes, features.shape[1]))
    rest = np.empty(features.shape, dtype=np.float32)
    for each in np.flatnonzero(counts):
        own = labels == each
        means[each] = features[own].mean(axis=0, dtype=np.float64)
        rest[own] = features[own] - means[each]
    freedom = len(labels) - int(np.count_nonzero(counts))
    energy, directions = principal(rest.astype(np.float64))
    largest = np.flatnonzero(energy > TRACE * energy[-1])[::-1][: min(COMPONENTS, freedom)]
    kept, components = energy[largest] / freedom, directions[largest]
    variances = np.einsum("nd,nd->d", rest, rest, dtype=np.float64) / freedom
    residual = (variances - (components**2 * kept[:, None]).sum(axis=0)).clip(min=0)
    return FeatureStatistics(
        in_16_bits(means, np.sqrt(variances)),
        counts.astype(np.int32),
        components.astype(np.float16),
        kept.astype(np.float32),
        residual.astype(np.float32),
    )


def fit_row(
    statistics: FeatureStatistics, head: LinearHead, features: Array, max_drop: float, seed: int = 0
) -> LinearHead:
    """Return the head with one more row for features [N, D], its others as they were bit for bit.

    The new class is seen as one of the family that the old ones are of: all share the spread within
    a class, and their means scatter by `between` times that (the two-covariance model of
    probabilistic LDA, Ioffe 2006, "Probabilistic linear discriminant analysis"; Prince & Elder
    2007). What a few examples say of the new mean is weighed against that scatter, and examples are
    drawn from what the model then predicts: around a mean drawn back to the middle of all classes,
    and wider the fewer examples there are. Old classes are drawn from their own mean and spread
    (Zhu et al. 2021, "Prototype augmentation and self-supervision for incremental learning").
    On these draws the row is fitted by logistic regression against the logits of the old rows,
    every class weighing the same; then its bias is lowered until at most a share
    `max_drop` of the drawn old examples is lost to the new class.
    """
    rng = np.random.default_rng(seed)
    old, labels = statistics.examples(rng)
    new = _predicted(statistics, features.astype(np.float64), rng)
    rows = np.concatenate([old, new])
    mean, scale = scaling(old)
    truth = np.repeat([0.0, 1.0], [len(old), len(new)])
    classes = np.count_nonzero(statistics.counts)
    weights = np.where(truth == 0, WEIGHT * classes / len(old), WEIGHT / len(new))
    before = head.logits(rows)
    against = np.logaddexp.reduce(before.astype(np.float64), axis=1)
    weight, bias = _logistic((rows - mean) / scale, truth, weights, against)
    weight = weight / scale
    bias -= float(weight @ mean)
    longer = LinearHead(
        np.vstack([head.weight, weight]).astype(np.float32),
        np.append(head.bias, bias).astype(np.float32),
    )
    return capped(longer, old, labels, max_drop)


def capped(head: LinearHead, rows: Array, labels: Array, max_drop: float) -> LinearHead:
    """Lower the bias of the last row until at most a share of all old examples is lost to it.

    Rows [N, D] and labels [N] are of the old classes; the head's last row is the new class.
    """
    logits, allowed = head.logits(rows), int(max_drop * len(rows))
    old = logits[:, :-1]
    lead = np.sort((old.max(axis=1) - logits[:, -1])[old.argmax(axis=1) == labels])
    above = min(0.0, float(lead[allowed])) if allowed < len(lead) else 0.0
    return replace(head, bias=np.append(head.bias[:-1], head.bias[-1] + above).astype(np.float32))


def _predicted(statistics: FeatureStatistics, features: Array, rng: np.random.Generator) -> Array:
    """Draw examples [DRAWN_NEW, D] of the new class as the model predicts them from a few."""
    ratio, count = statistics.between(), len(features)
    middle = statistics.means[statistics.counts > 0].mean(axis=0, dtype=np.float64)
    mean = middle + ratio / (ratio + 1 / count) * (features.mean(axis=0) - middle)
    wider = np.sqrt(1 + ratio / (ratio * count + 1))
    drawn: Array = mean + wider * statistics.noise(rng, DRAWN_NEW)
    return drawn


def _logistic(rows: Array, truth: Array, weights: Array, against: Array) -> tuple[Array, float]:
    """Fit one row: ``STRENGTH * sum(weights * cross-entropy) + |w|^2 / 2``, others held fast.

    Rows are [N, D], truth [N] is 1 for the new class, else 0; `against` [N] is what the new logit
    competes with, the log of the sum of exponentials of the old.
    """
    from scipy.optimize import minimize

    def loss(flat: Array) -> tuple[float, Array]:
        margin = rows @ flat[:-1] + flat[-1] - against
        total = weights @ (np.logaddexp(0, margin) - truth * margin)
        error = STRENGTH * weights * (0.5 * (1 + np.tanh(margin / 2)) - truth)
        gradient = np.append(rows.T @ error + flat[:-1], error.sum())
        return STRENGTH * total + flat[:-1] @ flat[:-1] / 2, gradient

    solved = minimize(
        loss, np.zeros(rows.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 300}
    )
    return solved.x[:-1], float(solved.x[-1])


def expected_accuracy(statistics: FeatureStatistics, head: LinearHead, classes: int) -> float:
    """Return the share of examples drawn of the first `classes` classes that a head has right.

    All heads see the same examples. It is an estimate: the classes are drawn as
    clouds of one shape around their means.
    """
    means, counts = statistics.means[:classes], statistics.counts[:classes]
    known = replace(statistics, means=means, counts=counts)
    rows, labels = known.examples(np.random.default_rng(1))
    return float((head.logits(rows).argmax(axis=1) == labels).mean())


def held_out(
    statistics: FeatureStatistics, head: LinearHead, features: Array, max_drop: float, seed: int = 0
) -> int | None:
    """Return how many of the new examples a row fitted on all the others gives the new class.

    None for one example. This leave-one-out count is of rows that saw one example fewer.
    """
    count, new = len(features), len(head.bias)
    if count < 2:
        return None
    others = (np.delete(features, place, axis=0) for place in range(count))
    fitted = [fit_row(statistics, head, each, max_drop, seed) for each in others]
    pairs = zip(fitted, features, strict=True)
    return sum(int(own.logits(row[None]).argmax() == new) for own, row in pairs)
