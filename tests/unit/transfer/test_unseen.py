"""What a group costs that nothing was fitted on."""

import numpy as np
import pytest

from edgetransfer.tasks.classification.checks.transferability import ask_unseen
from edgetransfer.tasks.classification.head.linear_heads import Known

CLASSES, GROUPS, EACH, WIDTH = 3, 5, 8, 30


def spoken(own_way, seed=0):
    """Examples whose class shows the same way in all groups, and in a way of each group's own."""
    generator = np.random.default_rng(seed)
    labels = np.tile(np.repeat(np.arange(CLASSES), EACH), GROUPS)
    groups = np.repeat(np.arange(GROUPS), CLASSES * EACH)
    common = generator.normal(size=(CLASSES, WIDTH))
    own = generator.normal(size=(GROUPS, CLASSES, WIDTH))
    features = (1 - own_way) * common[labels] + own_way * own[groups, labels]
    return features + 1.2 * generator.normal(size=features.shape), labels, groups


def asked(own_way):
    features, labels, groups = spoken(own_way)
    return ask_unseen(features, labels, Known(groups=groups))


def test_a_group_with_ways_of_its_own_costs():
    found = asked(0.9)
    assert (found.groups, found.n) == (GROUPS, CLASSES * EACH * GROUPS)
    assert found.cost_pp == pytest.approx(100 * (found.mixed - found.apart))
    assert found.mixed > 0.8 > found.apart
    assert found.ci95_pp[0] > 0


def test_groups_that_are_alike_cost_nothing():
    found = asked(0.0)
    assert found.ci95_pp[0] < 0 < found.ci95_pp[1]
    assert abs(found.cost_pp) < 5


@pytest.mark.parametrize("groups", [None, np.arange(12) % 2], ids=["none", "two"])
def test_too_few_groups_tell_nothing(groups):
    features, labels = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 3
    assert ask_unseen(features, labels, Known(groups=groups)) is None
