"""How often a candidate that loses exactly the limit passes, by enumeration of all outcomes.

Nothing is drawn: for every number of test examples the outcomes that pass are found with the rule
that a build judges by, and their probability is summed, at rates of discordance from the limit (all
changed decisions are losses) to 10 %.

    python benchmarks/false_pass.py --out benchmarks/results/false_pass.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binom

from edgetransfer.measure.stats.intervals import z_value
from edgetransfer.measure.stats.paired import Pairs, is_under, tango_excess

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = (0.005, 0.01, 0.02, 0.05)
MOST_DISCORDANT = 0.10
RATES = 60


def tango_alone(limit: float, pairs: Pairs) -> bool:
    """Judge as up to commit 29b3ffe: by Tango's score interval whatever the counts."""
    lost, won, n = pairs.reference_only, pairs.candidate_only, pairs.n
    return pairs.drop < limit and bool(tango_excess(lost, won, n, limit, z_value(0.95)) > 0)


def passing(rule: Callable[[float, Pairs], bool], limit: float, n: int) -> list[int]:
    """For each count of gains the most losses that pass, -1 where none does.

    Counts of gains that are all but impossible at `MOST_DISCORDANT` are left out.
    """
    most = min(n, int(binom.isf(1e-12, n, (MOST_DISCORDANT - limit) / 2)) + 1)
    losses, lost = [], -1
    for won in range(most + 1):
        while lost + 1 + won <= n and rule(limit, Pairs(lost + 1, won, n)):
            lost += 1
        lost = min(lost, n - won)
        while lost >= 0 and not rule(limit, Pairs(lost, won, n)):
            lost -= 1
        losses.append(lost)
    return losses


def false_pass(losses: list[int], limit: float, n: int) -> tuple[float, float]:
    """Highest probability of a pass at a true loss equal to the limit, and that discordance."""
    discordance = np.linspace(limit, MOST_DISCORDANT, RATES)[:, None]
    won, lost = np.arange(len(losses)), np.array(losses)
    gain = (discordance - limit) / 2
    mass = binom.pmf(won, n, gain) * binom.cdf(lost, n - won, (gain + limit) / (1 - gain))
    chances = mass.sum(axis=1)
    return float(chances.max()), float(discordance[chances.argmax(), 0])


def row(rule: Callable[[float, Pairs], bool], limit: float, largest_n: int) -> dict[str, Any]:
    """Enumerate every n for one limit."""
    found = [(*false_pass(passing(rule, limit, n), limit, n), n) for n in range(1, largest_n + 1)]
    worst, discordance, n = max(found)
    over = sum(chance > 0.05 for chance, _, _ in found)
    return {
        "limit_pp": 100 * limit,
        "largest_n": largest_n,
        "worst": worst,
        "at_n": n,
        "at_discordance": discordance,
        "n_over_5_pct": over,
        "passes_without_a_flip_from": next(
            k for k in range(1, 10**6) if rule(limit, Pairs(0, 0, k))
        ),
    }


def main() -> None:
    """Write the table of the rule and of Tango's interval alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest-n", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rules = {"rule": is_under, "tango": tango_alone}
    record = {
        name: [row(rule, limit, asked.largest_n) for limit in LIMITS]
        for name, rule in rules.items()
    }
    text = json.dumps(record, indent=1) + "\n"
    if asked.out is None:
        print(text)
    else:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
