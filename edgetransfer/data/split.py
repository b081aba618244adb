"""Parts of the examples: splits, and what ranges of activations are taken from.

All draws depend on the seed, the digests, the strata and the groups only, so neither the order of
files on disk nor the order of rows in a table changes them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.data.manifest import Example, Manifest, Split, count
from edgetransfer.errors import DataError, SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgetransfer.data.labels import LabelRules

_STREAM = 0xCA1
"""Keeps these draws apart from those of the splits, which use the bare seed."""


def calibration_sample(
    manifest: Manifest, count: int, seed: int, rules: LabelRules
) -> tuple[Example, ...]:
    """Draw training examples, strata in proportion; SpecError for fewer than one."""
    if count < 1:
        raise SpecError("too few calibration examples", found=str(count), expected="at least 1")
    return drawn(manifest.split("train"), count, [seed, _STREAM], rules)


def drawn(
    examples: Sequence[Example], count: int, seed: Sequence[int], rules: LabelRules
) -> tuple[Example, ...]:
    """Draw examples, strata in proportion, in the order in which they were given.

    The i-th of n shuffled examples of a stratum has rank i/n, and the lowest ranks are taken: every
    stratum is there once before any is there in more than its share.
    """
    rng = np.random.default_rng(seed)
    members: dict[str, list[Example]] = defaultdict(list)
    ordered = sorted(examples, key=lambda e: (e.digest, e.key))
    strata = rules.strata([each.label or "" for each in ordered])
    for example, stratum in zip(ordered, strata, strict=True):
        members[stratum].append(example)
    ranked = []
    for stratum in sorted(members):
        order = rng.permutation(len(members[stratum]))
        ties = rng.random(len(order))
        ranked += [
            (i / len(order), tie, members[stratum][j].key)
            for i, (j, tie) in enumerate(zip(order, ties, strict=True))
        ]
    chosen = {key for _, _, key in sorted(ranked)[:count]}
    return tuple(e for e in examples if e.key in chosen)


ALL_SHARES: Mapping[Split, float] = {"train": 0.70, "validation": 0.15, "test": 0.15}
"""Of data without any split."""
MOST_CALIBRATION, CALIBRATION_SHARE = 128, 0.2
"""Of data without any split where nothing is fitted: what ranges are taken from, without
labels. All the rest is judged on."""
VALIDATION_SHARES: Mapping[Split, float] = {"train": 0.80, "validation": 0.20}
"""Of the training data, where a test set but no validation set was given."""
Records = tuple[Example, ...]


def name_roles(records: Records) -> tuple[Records, list[str]]:
    """Settle what the given splits are: without a test set, the validation set is the test set.

    Data of which all is for training counts as data without splits.
    """
    given = {r.split for r in records}
    if given <= {"train", None}:
        return tuple(replace(r, split=None) for r in records), []
    if "validation" in given and "test" not in given:
        turned = tuple(replace(r, split="test") if r.split == "validation" else r for r in records)
        return turned, ["no test set was given, so the given validation set is the test set"]
    return records, []


def shares_to_carve(records: Records, *, fitted: bool = False) -> Mapping[Split, float]:
    """What `carve` will have to do: the shares of each new split, empty for nothing."""
    given = {r.split for r in records}
    if given == {None} and fitted:
        contents = len({r.digest for r in records})
        share = min(CALIBRATION_SHARE, MOST_CALIBRATION / contents)
        return {"train": share, "test": 1 - share}
    if given == {None}:
        return ALL_SHARES
    return {} if "validation" in given else VALIDATION_SHARES


def carve(
    records: Records, rules: LabelRules, *, seed: int, split_by: str | None, fitted: bool = False
) -> tuple[Records, list[str]]:
    """Give every record a split.

    Every stratum gets its share of each split, at least one example; equal contents stay together.
    With `split_by` whole values of that column are dealt out instead, largest first, each to the
    split that lacks most of what it holds; shares and strata then hold only roughly. DataError
    where the column has fewer values than there are splits.
    """
    shares = shares_to_carve(records, fitted=fitted)
    if not shares:
        return records, []
    pool = [r for r in records if r.split != "test"]
    units: dict[str, list[Example]] = defaultdict(list)
    for record in pool:
        units[record.digest if split_by is None else record.metadata[split_by].strip()].append(
            record
        )
    if len(units) < len(shares):
        raise DataError(
            f"too few values of {split_by or 'the contents'} to keep them apart",
            where="--split-by" if split_by else None,
            found=f"{count(len(units), 'value')} in {count(len(pool), 'example')}",
            expected=f"at least {len(shares)}, one each for {', '.join(shares)}",
            fix="leave --split-by out, or add a column split",
        )
    names = sorted(units)
    drawn = zip(pool, rules.strata([r.label or "" for r in pool]), strict=True)
    stratum = {record.key: each for record, each in drawn}
    counts = [Counter(stratum[r.key] for r in units[name]) for name in names]
    dealt = deal(counts, shares, np.random.default_rng(seed))
    place = dict(zip(names, dealt, strict=True))
    split_of = {r.key: place[name] for name, members in units.items() for r in members}
    done = tuple(replace(r, split=split_of.get(r.key, r.split)) for r in records)
    return done, [_carved_note(shares, Counter(split_of.values()), seed, split_by)]


def deal(
    units: Sequence[Counter[str]], shares: Mapping[Split, float], rng: np.random.Generator
) -> list[Split]:
    """Deal units, each with its counts of strata, out to splits.

    Greedy, largest first, equal sizes in seeded order: a unit goes to the split that still lacks
    most of its strata, which lowers the squared distance to the wanted counts most. Where all
    units hold one example the wanted counts are met exactly. A unit that alone has
    some stratum goes to the first split (train), as one cannot judge on what was never seen.
    """
    parts = list(shares)
    lacks = _quotas(units, shares)
    holders = Counter(stratum for unit in units for stratum in unit)
    shuffled = [int(i) for i in rng.permutation(len(units))]
    sole = [any(holders[stratum] == 1 for stratum in unit) for unit in units]
    order = sorted(shuffled, key=lambda i: (not sole[i], -units[i].total()))
    dealt: dict[int, Split] = {}
    empty = dict.fromkeys(parts)
    for position, i in enumerate(order):
        unit = units[i]
        options = list(empty) if len(units) - position <= len(empty) else parts
        if sole[i] and parts[0] in options:
            options = parts[:1]
        chosen = max(options, key=lambda p: sum(n * lacks[p][k] for k, n in unit.items()))
        dealt[i] = chosen
        lacks[chosen].subtract(unit)
        empty.pop(chosen, None)
    return [dealt[i] for i in range(len(units))]


def _quotas(
    units: Sequence[Counter[str]], shares: Mapping[Split, float]
) -> dict[Split, Counter[str]]:
    """Wanted counts by split and stratum: rounded, at least one, the first split gets the rest."""
    total: Counter[str] = Counter()
    for unit in units:
        total.update(unit)
    first, *others = shares
    wanted: dict[Split, Counter[str]] = {first: Counter(total)}
    for part in others:
        rounded = {k: max(1, math.floor(shares[part] * n + 0.5)) for k, n in total.items()}
        wanted[part] = Counter(rounded)
        wanted[first].subtract(rounded)
    return wanted


def _carved_note(
    shares: Mapping[Split, float], sizes: Counter[Split], seed: int, split_by: str | None
) -> str:
    total = sizes.total()
    parts = ", ".join(f"{sizes[p]:,} for {p} ({sizes[p] / total:.0%})" for p in shares)
    how = f"by label, seed {seed}"
    if split_by is not None:
        how += f", every {split_by} on one side"
    if "test" in shares and "validation" not in shares:
        took, left = sizes["train"], sizes["test"]
        return (
            f"the model comes fitted: {took:,} of {total:,} examples are for calibration, without "
            f"their labels, and {left:,} are judged on (seed {seed})"
        )
    if "test" in shares:
        return f"no split was given, so all examples were split {how}: {parts}"
    return f"without a validation set, the training examples were split {how}: {parts}"


def across_note(records: Records, split_by: str) -> str | None:
    """Say if values of a column stand on both sides of the test set."""
    test = {r.metadata[split_by].strip() for r in records if r.split == "test"}
    rest = {r.metadata[split_by].strip() for r in records if r.split != "test"}
    if not (both := len(test & rest)):
        return None
    return (
        f"{both:,} of the {count(len(test), 'value')} of {split_by} in the test set also "
        f"{'stands' if both == 1 else 'stand'} in train or validation: "
        f"the test score does not tell how a new {split_by} fares"
    )
