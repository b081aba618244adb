"""A student with a teacher against the same student without: test accuracy, five paired seeds.

Usage: python benchmarks/distillation.py RESULT.json [CACHE]

The student is MobileNetV1-0.25 at 128 pixels, the teacher MobileNetV2-1.0 at 224, on two data
sets: hymenoptera, and ten classes of tiny-imagenet-64 drawn by a seed, 50 training pictures each.
Of those classes the next 100 training pictures a class serve without their labels as a condition of
its own (`--unlabelled`); all others are the test set. Nothing was chosen on these test sets, nor on
these ten classes: defaults were tuned on ten others and on folds of hymenoptera's training
pictures. (Both networks have seen tiny-imagenet's pictures in their pretraining, taught or not.)

A pair shares its seed, and with it the split, the start, the schedule, the looks at the pictures
and their order. The seed draws the validation set, so that teacher and students are fitted afresh.
As the plain student has a schedule of its own by default, it is measured with that as well. All
stages are kept in CACHE: a run that was stopped goes on.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from scipy import stats

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.run import Run
from edgetransfer.pipeline.stage.stage import Stage, versions
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.recipe import recipe_from
from edgetransfer.tasks.classification.fit.fit import fit
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgetransfer.spec.progress import Progress

SHARED = Path(__file__).parents[2] / "shared"
STUDENT = str(SHARED / "backbones" / "mobilenet_v1_0.25_128")
TEACHER = str(SHARED / "backbones" / "mobilenet_v2_1.0_224")
SEEDS = range(5)
CLASSES, CLASS_SEED, TRAIN, UNLABELLED = 10, 1, 50, 100
SCHEDULE = {"fit": "finetune", "epochs": 30, "learning_rate": 2e-3}


@dataclass(frozen=True)
class Data:
    """A data set, and a folder of more pictures of its classes where there are some."""

    name: str
    folder: Path
    unlabelled: Path | None = None


def write_subset(folder: Path) -> Data:
    """Write the subset of tiny-imagenet: classes by a seed, pictures in the order of names."""
    data = Data("tiny-imagenet-10x50", folder / "labelled", folder / "unlabelled")
    if (folder / "whole").exists():
        return data
    source = SHARED / "sources" / "tiny-imagenet-64"
    with (source / "classes.csv").open(encoding="utf-8") as table:
        known = sorted(row["wnid"] for row in csv.DictReader(table))
    chosen = set(random.Random(CLASS_SEED).sample(known, CLASSES))
    found = sorted(_pictures(source, chosen))
    for wnid in sorted(chosen):
        train = [each for each in found if each[:2] == (wnid, "train")]
        test = [each for each in found if each[:2] == (wnid, "val")]
        parts = {
            data.folder / "train" / wnid: train[:TRAIN],
            folder / "unlabelled": train[TRAIN : TRAIN + UNLABELLED],
            data.folder / "test" / wnid: train[TRAIN + UNLABELLED :] + test,
        }
        for place, pictures in parts.items():
            place.mkdir(parents=True, exist_ok=True)
            for _, _, name, content in pictures:
                (place / name).write_bytes(content)
    (folder / "whole").write_text("\n".join(sorted(chosen)) + "\n")
    return data


def _pictures(source: Path, chosen: set[str]) -> Iterator[tuple[str, str, str, bytes]]:
    for archive in sorted(source.glob("*.tar")):
        with tarfile.open(archive) as tar:
            for member in tar:
                wnid, _, name = member.name.rpartition("/")
                if wnid in chosen:
                    content = tar.extractfile(member)
                    assert content is not None
                    yield wnid, archive.stem.partition("-")[0], name, content.read()


def measure(data: Data, store: Store, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Fit as `build` does up to the float graph, and judge it on the test set."""
    recipe = recipe_from({"data": str(data.folder), "backbone": STUDENT, "seed": seed, **options})
    asked = recipe.distill.source
    teacher = None if asked is None else backbones.locate(asked, option="--distill-from")
    source = backbones.locate(recipe.backbone.source)
    fitted = fit(Run(recipe, (), source, store, SilentReporter(), teacher))
    test = fitted.manifest.split("test")

    def make(_: Path, __: Progress) -> dict[str, Any]:
        logits = run_over(onnx.load(fitted.graph), fitted.preparer(), test)
        right = logits.argmax(axis=1) == fitted.manifest.label_index(test)
        return {"accuracy": float(right.mean()), "n": len(test)}

    inputs = {"graph": fitted.key, "data": fitted.manifest.digest}
    kept = store.keep(Stage("benchmark", inputs, make))
    record = fitted.facts["fit"]
    taught = record.get("distilled")
    if taught is not None:
        taught = {**taught, "teacher": Path(taught["teacher"]).name}
    return {
        **kept.record,
        "validation": record["held_out"]["value"],
        "best_epoch": record.get("best_epoch"),
        "epochs_run": len(record.get("history", [None])) - 1,
        "distilled": taught,
        "unlabelled_left_out": [note for note in fitted.manifest.notes if "unlabelled" in note],
    }


def conditions(data: Data) -> dict[str, dict[str, Any]]:
    """Return the options of every condition; `alone` is what the taught ones are compared with."""
    taught = {**SCHEDULE, "distill_from": TEACHER}
    found: dict[str, dict[str, Any]] = {
        "teacher": {"fit": "probe", "backbone": TEACHER},
        "probe": {"fit": "probe"},
        "alone": SCHEDULE,
        "alone, default schedule": {"fit": "finetune"},
        "taught": taught,
    }
    if data.unlabelled is not None:
        found["taught, unlabelled too"] = {**taught, "unlabelled": str(data.unlabelled)}
    return found


def gain(rows: list[dict[str, Any]], condition: str, baseline: str) -> dict[str, Any]:
    """Return the mean gain in percentage points and its paired-t interval of 95 %."""
    pairs = [(row[condition], row[baseline]) for row in rows if condition in row]
    gains = [100 * (one["accuracy"] - other["accuracy"]) for one, other in pairs]
    mean, n = float(np.mean(gains)), len(gains)
    found = {"of": condition, "over": baseline, "n": n, "each_pp": gains, "mean_pp": mean}
    if n > 1:
        half = float(stats.t.ppf(0.975, n - 1) * np.std(gains, ddof=1) / n**0.5)
        found["ci95_pp"] = [mean - half, mean + half]
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean accuracies and gains of one data set."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "seed"))
    of = {name: [row[name]["accuracy"] for row in rows if name in row] for name in names}
    taught = [name for name in names if name.startswith("taught")]
    baselines = [name for name in names if name.startswith("alone")]
    return {
        "mean_accuracy": {name: float(np.mean(found)) for name, found in of.items()},
        "gains": [gain(rows, name, baseline) for name in taught for baseline in baselines],
        "seeds": rows,
    }


def main() -> None:
    """Measure condition by condition, and write what there is after each."""
    result = Path(sys.argv[1])
    cache = Path(sys.argv[2] if len(sys.argv) > 2 else "distillation-cache")
    torch.set_num_threads(1)
    store, began = Store(cache / "stages"), time.monotonic()
    sets = [
        Data("hymenoptera", SHARED / "datasets" / "hymenoptera"),
        write_subset(cache / "tiny-imagenet"),
    ]
    rows: dict[str, list[dict[str, Any]]] = {d.name: [{"seed": s} for s in SEEDS] for d in sets}
    for name in conditions(sets[-1]):
        for data, seed in itertools.product(sets, SEEDS):
            if name not in conditions(data):
                continue
            row = measure(data, store, seed, conditions(data)[name])
            rows[data.name][seed][name] = row
            print(f"{time.monotonic() - began:7.0f} s  {data.name}  seed {seed}  {name}: ", end="")
            print(f"{row['accuracy']:.4f} of {row['n']}", flush=True)
        record = {
            "environment": fingerprint(runtime_facts()),
            "versions": versions(),
            "schedule": SCHEDULE,
            "data": {name: summary(found) for name, found in rows.items()},
        }
        result.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for data in sets:
        for found in summary(rows[data.name])["gains"]:
            print(data.name, json.dumps(found))


if __name__ == "__main__":
    main()
