"""Does the interval of an extrapolated learning curve hold? Measured on real data.

Usage: python benchmarks/learning_curve.py [RESULT.json]

Half of the examples of a data set (at most 1,600) may be learnt from, the rest judge. A curve is
measured on a half, or on a quarter, of the former as a build would see it (four fifths train, the
rest validation), and says what fitting on all of them, at most four times as many, should gain.
That gain is then measured on the rest, with its own standard error; five seeds each.
`covered` counts gains inside the interval; `covered_noise_apart` allows the measured gain its own
95 % noise. `MISFIT` was chosen on hymenoptera, digits and fsdd; banking77 and afrisenti were not
looked at.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from real_data import CASES, Rows, rows_of

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.measure.stats.power_law import FARTHEST, extrapolate
from edgetransfer.tasks.classification.checks.labels import CurveData, measure_curve, nested_order
from edgetransfer.tasks.classification.head.probe import fit_at, fit_probe

PARTS, SEEDS, MOST, JUDGES = (2, 4), 5, 1600, 4000


def measure(rows: Rows, part: int, seed: int) -> dict[str, Any] | None:
    """Predict one gain and measure it; None where a part is too small for a curve."""
    order = nested_order(rows.truth, None, seed)
    half = len(order) // 2
    learnt, judges = order[: min(half, MOST)], order[half : half + JUDGES]
    known = np.random.default_rng(seed).permutation(learnt[: len(learnt) // part])
    features, truth = rows.features[known], rows.truth[known]
    if len(np.unique(truth)) < len(rows.classes) or np.bincount(truth).min() < 2:
        return None
    strength = fit_probe(features, truth, seed=seed).strength
    data = CurveData(features, truth, round(0.8 * len(known)), strength)
    curve = measure_curve(data, seed=seed)
    if curve is None:
        return None
    now = int(curve.sizes[-1])
    then = int(min(len(learnt), FARTHEST * now))
    found = extrapolate(curve.sizes, curve.wrong, now, [then], seed=seed)
    draws = [np.random.default_rng([seed, each]).permutation(known)[:now] for each in range(3)]
    before = np.mean([_wrong(rows, draw, judges, strength) for draw in draws], axis=0)
    gains = before - _wrong(rows, learnt[:then], judges, strength)
    return {
        "seed": seed,
        "from": now,
        "to": then,
        "predicted_pp": round(found.gains[0].gain_pp, 2),
        "ci95_pp": [round(end, 2) for end in found.gains[0].ci95_pp],
        "measured_pp": round(100 * float(gains.mean()), 2),
        "standard_error_pp": round(100 * float(gains.std() / np.sqrt(len(gains))), 2),
        "falls": found.falls,
    }


def _wrong(rows: Rows, fitted: np.ndarray, judges: np.ndarray, strength: float) -> np.ndarray:
    head = fit_at(rows.features[fitted], rows.truth[fitted], strength)
    return np.asarray(head.logits(rows.features[judges]).argmax(axis=1) != rows.truth[judges])


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Count how often the interval held."""
    ends = np.array([each["ci95_pp"] for each in trials])
    measured, middle, noise = (
        np.array([each[key] for each in trials])
        for key in ("measured_pp", "predicted_pp", "standard_error_pp")
    )
    low, high = ends.T
    noise = 1.96 * noise
    return {
        "trials": len(trials),
        "covered": int(((low <= measured) & (measured <= high)).sum()),
        "covered_noise_apart": int(((low - noise <= measured) & (measured <= high + noise)).sum()),
        "mean_width_pp": round(float((high - low).mean()), 2),
        "mean_measured_pp": round(float(measured.mean()), 2),
        "mean_error_pp": round(float((middle - measured).mean()), 2),
        "mean_abs_error_pp": round(float(abs(middle - measured).mean()), 2),
    }


def main() -> None:
    """Print one row for each case and part, and write them where the caller asks."""
    rows, every = [], []
    for name in CASES:
        data = rows_of(name)
        for part in PARTS:
            tried = [measure(data, part, seed) for seed in range(SEEDS)]
            trials = [each for each in tried if each is not None]
            if not trials:
                continue
            every += trials
            rows.append({"case": name, "part": f"1/{part}", **summary(trials), "each": trials})
            print(json.dumps({k: v for k, v in rows[-1].items() if k != "each"}), flush=True)
            if len(sys.argv) > 1:
                all_of_it = {"case": "all", **summary(every)}
                record = {"environment": fingerprint(runtime_facts()), "rows": [*rows, all_of_it]}
                Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
