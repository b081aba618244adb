"""The built-in backbone against random initialisations of itself: a probe on ten labels a class.

Usage: python benchmarks/builtin.py [RESULT.json] [WEIGHTS]

Digits (scikit-learn's), spoken digits as spectrograms, ants and bees. Of each, ten training
examples a class are drawn ten times; the probe is fitted on frozen features of the built-in
network, and of networks of the same architecture drawn anew with three seeds and scaled to the
data, as `edgetransfer build` does to tell whether a transfer is sound. The differences are paired
by draw; their intervals are Student's over the draws. WEIGHTS is a folder with other weights.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.demo import write_digits
from edgetransfer.pipeline.fit.trace import proving_batch, traced
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.transfer.features import run_over
from edgetransfer.transfer.study.baselines import drawn_anew

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Manifest
    from edgetransfer.graph.prepare import Preparer

SHARED = Path(__file__).parents[2] / "shared"
LABELS, DRAWS, STARTS = 10, 10, 3
Array = np.ndarray[Any, Any]


def load() -> dict[str, Manifest]:
    """Read the three data sets."""
    folder = Path(tempfile.mkdtemp())
    write_digits(folder)
    places = {
        "digits": next(folder.glob("*.csv")),
        "fsdd-spectrograms": SHARED / "datasets" / "fsdd-spectrograms",
        "hymenoptera": SHARED / "datasets" / "hymenoptera",
    }
    return {
        name: sources.load(DataSpec(source=str(at)), CLASSES, seed=0) for name, at in places.items()
    }


def features(network: torch.nn.Module, manifest: Manifest, prepare: Preparer) -> dict[str, Array]:
    """Return the features of training and test examples."""
    graph, _ = traced(network, proving_batch(manifest, prepare))
    return {split: run_over(graph, prepare, manifest.split(split)) for split in ("train", "test")}


def scores(taken: dict[str, Array], manifest: Manifest) -> Array:
    """Return the test accuracy of a probe for every draw."""
    truth, answers = (manifest.label_index(manifest.split(each)) for each in ("train", "test"))
    found = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        rows = np.concatenate(
            [rng.permutation(np.flatnonzero(truth == label))[:LABELS] for label in np.unique(truth)]
        )
        head = fit_probe(taken["train"][rows], truth[rows], seed=draw).head
        found.append(float((head.logits(taken["test"]).argmax(axis=1) == answers).mean()))
    return np.array(found)


def compare(name: str, manifest: Manifest, weights: Path | None) -> dict[str, Any]:
    """Compare on one data set."""
    opened = backbones.load(backbones.locate("builtin:tiny-64"), "image")
    if weights is not None:
        from safetensors.torch import load_file

        opened.network.load_state_dict(load_file(weights / "model.safetensors"), strict=False)
    prepare = preparer(opened.preprocessing, None)
    few = manifest.split("train")[:32]
    batch = [torch.from_numpy(each) for each in prepare.join(
        [prepare.prepare(example) for example in few]).values()]  # fmt: skip
    trained = scores(features(opened.network, manifest, prepare), manifest)
    anew = []
    for seed in range(STARTS):
        fresh = drawn_anew(opened.network, [batch], seed=seed)
        anew.append(scores(features(fresh, manifest, prepare), manifest))
    better = trained - np.mean(anew, axis=0)
    half = stats.t.ppf(0.975, DRAWS - 1) * better.std(ddof=1) / DRAWS**0.5
    return {
        "data": name, "pretrained": float(trained.mean()), "random": float(np.mean(anew)),
        "difference_pp": round(100 * float(better.mean()), 2),
        "ci95_pp": [round(100 * float(better.mean() + sign * half), 2) for sign in (-1, 1)],
    }  # fmt: skip


def main() -> None:
    """Print the table, and write it where the caller asks."""
    torch.set_num_threads(1)
    weights = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    rows = []
    for name, manifest in load().items():
        rows.append(compare(name, manifest, weights))
        print(json.dumps(rows[-1]), flush=True)
    if len(sys.argv) > 1 and sys.argv[1] != "-":
        record = {"environment": fingerprint(runtime_facts()), "rows": rows}
        Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
