"""Starts learnt over episodes, judged on classes that neither they nor the backbone have seen.

Usage: python benchmarks/meta.py BACKBONE [RESULT.json [WORK]]

BACKBONE is what `scripts/pretrain_builtin.py --hold-out 20 --out BACKBONE` wrote: tiny-64, by
labels alone, on 180 of Tiny ImageNet's 200 classes; WORK the folder that it kept pictures in, its
`--work`. ProtoNet, ANIL and first-order MAML go on over EPISODES episodes of those 180 (5 ways, 5
shots); 5-way 1- and 5-shot episodes of the other 20 judge them and the plain start. All are judged
on the same episodes; 95 % intervals are over them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from pretraining.pictures import Pictures, decode, held_out, normalise, read_classes

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources
from edgetransfer.tasks.classification.episodes import (
    INNER,
    RATES,
    Episodes,
    EpisodeShape,
    MetaTraining,
    accuracies,
    adapted_accuracies,
    fit_prototypes,
    mean_and_half_width,
)
from edgetransfer.tasks.classification.head.probe import fit_probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgetransfer.backbone.model import LinearHead
    from edgetransfer.spec.options import MetaMethod

Array = np.ndarray[Any, Any]

DATA = Path(__file__).parents[2] / "shared" / "sources" / "tiny-imagenet-64"
WORK = Path(sys.argv[3] if len(sys.argv) > 3 else "/tmp/pretrain-tiny-64")
HELD_OUT, EPISODES, JUDGED = 20, 400, 600
ADAPTED = 300
"""Episodes that judge what has to be fitted anew in each: the first of the same."""


def load_from(pictures: Pictures) -> Callable[[Array], torch.Tensor]:
    """Return what makes prepared pictures of rows."""
    return lambda rows: normalise(pictures.values[rows])


def features_of(network: torch.nn.Module, pictures: Pictures) -> Array:
    """Return float32 [N, D]."""
    load, rows = load_from(pictures), np.array_split(np.arange(len(pictures.labels)), 40)
    with torch.inference_mode():
        return np.concatenate([network(load(each)).numpy() for each in rows])


def _regression(features: Array, labels: Array) -> LinearHead:
    return fit_probe(features, labels).head


def judge(network: torch.nn.Module, other: Pictures, method: MetaMethod | None) -> dict[str, Any]:
    """Return mean accuracy, half its interval and the episodes, by shots and kind of head."""
    features, told = features_of(network, other), {}
    heads = {"prototypes": fit_prototypes, "regression": _regression}
    for shots in (1, 5):
        episodes = Episodes(other.labels, EpisodeShape(5, shots), seed=0)
        right = accuracies(features, episodes, JUDGED, heads)
        if method is not None and INNER[method].steps:
            inner, load = INNER[method], load_from(other)
            right["adapted"] = adapted_accuracies(network, load, episodes, ADAPTED, inner)
        for head, values in right.items():
            mean, half = mean_and_half_width(values)
            told[f"{shots}-shot {head}"] = [round(mean, 4), round(half, 4), len(values)]
    return told


def learn(network: torch.nn.Module, known: Pictures, method: MetaMethod) -> dict[str, Any]:
    """Train in place; returns the mean loss of each quarter and the time."""
    training = MetaTraining(network, method, INNER[method], RATES[method])
    episodes, load = Episodes(known.labels, EpisodeShape(5, 5), seed=1), load_from(known)
    begin = time.process_time()
    losses = np.array([training.step(load, episodes.draw(n)) for n in range(EPISODES)])
    means = [round(float(each.mean()), 4) for each in np.split(losses, 4)]
    return {"cpu_s": round(time.process_time() - begin, 1), "loss": means}


def main() -> None:
    """Train and judge each, printing and keeping rows as they come."""
    torch.set_num_threads(1)
    source = sources.locate(sys.argv[1])
    names = read_classes(DATA)
    out = held_out(len(names), HELD_OUT)
    everything = decode(sorted(DATA.glob("train-*.tar")), names, WORK / "train.npy")
    known = everything.of(np.setdiff1d(np.arange(len(names)), out))
    other, rows = everything.of(out), []
    card = json.loads((source.path / "card.json").read_text(encoding="utf-8"))
    methods: tuple[MetaMethod | None, ...] = (None, "protonet", "anil", "maml")
    for method in methods:
        network = sources.load(source, "image").network
        facts: dict[str, Any] = {"start": method or "supervised"}
        if method is not None:
            facts |= learn(network, known, method)
        rows.append({**facts, **judge(network, other, method)})
        print(json.dumps(rows[-1]), flush=True)
        if len(sys.argv) > 2:
            told = {name: card[name] for name in ("how", "data", "validation_top1")}
            environment = fingerprint(runtime_facts())
            record = {"environment": environment, "backbone": told, "rows": rows}
            Path(sys.argv[2]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
