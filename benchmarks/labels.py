"""How many of the labels listed as probably wrong are wrong: known errors put into real data.

Usage: python benchmarks/labels.py [RESULT.json]

Of train and validation (at most 2,000 examples) a share gets another label, drawn evenly from the
other classes; three draws each. `plain` is confident learning without our second condition. With no
error put in, whatever is listed counts as false, though these data sets have errors of their own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from real_data import CASES, Rows, rows_of
from scipy.special import softmax

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.tasks.classification.checks.labels import confident_joint, find_suspects
from edgetransfer.tasks.classification.head.probe import fit_probe

SHARES, DRAWS, MOST = (0.0, 0.02, 0.05, 0.15), 3, 2000


def measure(rows: Rows, share: float, draw: int) -> dict[str, Any]:
    """Put errors in and list suspects."""
    generator = np.random.default_rng(draw)
    pool = generator.permutation(np.flatnonzero(rows.roles != "test"))[:MOST]
    truth, classes = rows.truth[pool], len(rows.classes)
    wrong = np.zeros(len(pool), dtype=bool)
    wrong[generator.permutation(len(pool))[: round(share * len(pool))]] = True
    labels = np.where(wrong, (truth + generator.integers(1, classes, len(pool))) % classes, truth)
    said = softmax(fit_probe(rows.features[pool], labels, seed=draw).held_out, axis=1)
    sure = confident_joint(said, labels)[1]
    lists = {
        "ours": np.array([each.row for each in find_suspects(said, labels)], dtype=int),
        "plain": np.flatnonzero((sure >= 0) & (sure != labels)),
    }
    found = {
        name: {"listed": len(listed), "right": int(wrong[listed].sum())}
        for name, listed in lists.items()
    }
    return {"examples": len(pool), "wrong": int(wrong.sum()), **found}


def main() -> None:
    """Print one row for each case and share, and write them where the caller asks."""
    rows = []
    for name in CASES:
        data = rows_of(name)
        for share in SHARES:
            draws = [measure(data, share, draw) for draw in range(DRAWS)]
            row = {"case": name, "share": share, "draws": draws}
            wrong = sum(each["wrong"] for each in draws)
            for rule in ("ours", "plain"):
                listed = sum(each[rule]["listed"] for each in draws)
                right = sum(each[rule]["right"] for each in draws)
                row[rule] = {
                    "listed_pct": round(100 * listed / sum(each["examples"] for each in draws), 2),
                    "precision": round(right / listed, 3) if listed and wrong else None,
                    "recall": round(right / wrong, 3) if wrong else None,
                }
            rows.append(row)
            print(json.dumps({key: row[key] for key in row if key != "draws"}), flush=True)
            if len(sys.argv) > 1:
                record = {"environment": fingerprint(runtime_facts()), "rows": rows}
                Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
