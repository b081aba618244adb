"""Heads on frozen features where classes have few examples: 1, 5 and 10 a class.

Usage: python benchmarks/few_labels.py [RESULT.json [CASE ...]]

Where cases are named, the rows of the others in RESULT.json stay.

Draw number n takes its examples with the seed n; the test set is whole and every head sees the same
draws. Ten draws are what is judged; a hundred say what ten are worth, as draws of one example a
class spread by ten points. `regression` is scikit-learn's at C = 0.1 on the raw features;
`no prior` is the probe without what the backbone's own classifier says of the classes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.demo import write_digits
from edgetransfer.pipeline.fit.trace import proving_batch, traced
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.episodes import fit_prototypes, mean_and_half_width
from edgetransfer.tasks.classification.head.linear_heads import Known
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.transfer.features import run_over
from edgetransfer.transfer.looks import looks_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Array = np.ndarray[Any, Any]
SHARED = Path(__file__).parents[2] / "shared"
V2 = str(SHARED / "backbones" / "mobilenet_v2_1.0_224")
V1 = str(SHARED / "backbones" / "mobilenet_v1_0.25_128")
HYMENOPTERA = str(SHARED / "datasets" / "hymenoptera")
FSDD = str(SHARED / "datasets" / "fsdd-spectrograms")
SHOTS, DRAWS, MORE_DRAWS = (1, 5, 10), 10, 100
MOST_TRAIN = 60
"""Training examples a class that are drawn from: more would only cost time."""


def _regression(rows: Array, _: Known, truth: Array) -> Callable[[Array], Array]:
    fitted = LogisticRegression(C=0.1, max_iter=2000).fit(rows, truth)
    return lambda judged: np.asarray(fitted.predict(judged))


def _prototypes(rows: Array, _: Known, truth: Array) -> Callable[[Array], Array]:
    head = fit_prototypes(rows, truth)
    return lambda judged: head.logits(judged).argmax(axis=1)


def _no_prior(rows: Array, known: Known, truth: Array) -> Callable[[Array], Array]:
    return _probe(rows, replace(known, source=None), truth)


def _probe(rows: Array, known: Known, truth: Array) -> Callable[[Array], Array]:
    head = fit_probe(rows, truth, known=known).head
    return lambda judged: head.logits(judged).argmax(axis=1)


HEADS = {
    "regression": _regression,
    "prototypes": _prototypes,
    "no prior": _no_prior,
    "probe": _probe,
}


def rows_of(data: str, backbone: str) -> tuple[Array, Known, Array, Array, Array]:
    """Return features [N, D], what else is known and labels [N], then those to judge."""
    manifest = sources.load(DataSpec(source=data), CLASSES, seed=0)
    opened = backbones.load(backbones.locate(backbone), "image")
    prepare = preparer(opened.preprocessing, None)
    graph, _ = traced(opened.network, proving_batch(manifest, prepare))
    pool = (*manifest.split("train"), *manifest.split("validation"))
    truth = manifest.label_index(pool)
    generator = np.random.default_rng(0)
    kept = [
        generator.permutation(np.flatnonzero(truth == each))[:MOST_TRAIN]
        if (truth == each).sum() > 5 * MOST_TRAIN
        else np.flatnonzero(truth == each)
        for each in range(len(manifest.labels))
    ]
    chosen = np.sort(np.concatenate(kept))
    examples = [pool[int(row)] for row in chosen]
    test = manifest.split("test")
    looks = looks_over(graph, prepare, examples, 0)
    judged = run_over(graph, prepare, test)
    return (
        run_over(graph, prepare, examples),
        Known(looks=looks, source=opened.classifier),
        truth[chosen],
        judged,
        manifest.label_index(test),
    )


def measure(name: str, data: str, backbone: str) -> Iterator[dict[str, Any]]:
    """Yield one row for each number of examples a class."""
    features, known, truth, judged, answers = rows_of(data, backbone)
    for shots in SHOTS:
        right: dict[str, list[float]] = {head: [] for head in HEADS}
        for draw in range(MORE_DRAWS if truth.max() == 1 else DRAWS):
            generator = np.random.default_rng(draw)
            rows = np.concatenate(
                [
                    generator.choice(np.flatnonzero(truth == each), shots, replace=False)
                    for each in range(int(truth.max()) + 1)
                ]
            )
            assert known.looks is not None
            drawn = replace(known, looks=known.looks[:, rows])
            for head, fit in HEADS.items():
                decide = fit(features[rows], drawn, truth[rows])
                right[head].append(float((decide(judged) == answers).mean()))
        row: dict[str, Any] = {"case": name, "shots": shots, "test": len(answers)}
        for head, values in right.items():
            mean, half = mean_and_half_width(np.array(values))
            row[head] = {
                "ten_draws": round(float(np.mean(values[:DRAWS])), 4),
                "draws": len(values),
                "all_draws": round(mean, 4),
                "half_width": round(half, 4),
            }
        gain = np.array(right["probe"]) - np.array(right["regression"])
        mean, half = mean_and_half_width(gain)
        row["probe_minus_regression"] = {"mean": round(mean, 4), "half_width": round(half, 4)}
        yield row


def main() -> None:
    """Print the rows, and write them where the caller asks."""
    with tempfile.TemporaryDirectory() as scratch:
        digits = Path(scratch) / "digits"
        write_digits(digits)
        cases = {
            "hymenoptera / mobilenet_v2_1.0_224": (HYMENOPTERA, V2),
            "hymenoptera / mobilenet_v1_0.25_128": (HYMENOPTERA, V1),
            "fsdd-spectrograms / mobilenet_v2_1.0_224": (FSDD, V2),
            "digits / mobilenet_v2_1.0_224": (str(digits), V2),
            "hymenoptera / tiny-64": (HYMENOPTERA, "builtin:tiny-64"),
            "fsdd-spectrograms / tiny-64": (FSDD, "builtin:tiny-64"),
            "digits / tiny-64": (str(digits), "builtin:tiny-64"),
        }
        named = sys.argv[2:] or list(cases)
        rows = [row for row in _old_rows() if row["case"] not in named]
        with threadpool_limits(limits=1):
            for name in named:
                data, backbone = cases[name]
                for row in measure(name, data, backbone):
                    rows.append(row)
                    print(json.dumps(row), flush=True)
                    _write(rows)


def _old_rows() -> list[dict[str, Any]]:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if file is None or not file.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return rows


def _write(rows: list[dict[str, Any]]) -> None:
    """Write what there is so far, so that a run that is stopped leaves its rows."""
    if len(sys.argv) > 1:
        record = {"environment": fingerprint(runtime_facts()), "rows": rows}
        Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
