"""The training examples that ranges of activations are taken from.

It does not run a model.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.errors import SpecError

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest

_STREAM = 0xCA1
"""Keeps these draws apart from those of the splits, which use the bare seed."""


def calibration_sample(manifest: Manifest, count: int, seed: int) -> tuple[Example, ...]:
    """Draw training examples, labels in proportion.

    The i-th of n shuffled examples of a label has rank i/n, and the lowest ranks are taken: every
    label is there once before any label is there in more than its share.

    Args:
        manifest: only its train split is read.
        count: how many; all of train where it has fewer.
        seed: of the shuffle.

    Returns:
        `count` examples in reading order.

    Raises:
        SpecError: `count` is below 1.
    """
    if count < 1:
        raise SpecError("too few calibration examples", found=str(count), expected="at least 1")
    train = manifest.split("train")
    rng = np.random.default_rng([seed, _STREAM])
    members: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(train, key=lambda e: (e.digest, e.key)):
        members[example.label or ""].append(example)
    ranked = []
    for label in sorted(members):
        order = rng.permutation(len(members[label]))
        ties = rng.random(len(order))
        ranked += [
            (i / len(order), tie, members[label][j].key)
            for i, (j, tie) in enumerate(zip(order, ties, strict=True))
        ]
    chosen = {key for _, _, key in sorted(ranked)[:count]}
    return tuple(e for e in train if e.key in chosen)
