"""Fit the classifier of 200 source classes that ships beside the built-in backbone's weights.

It does not run in the product or in CI. The head of pretraining would do, but was trained with the
last epochs' looks; this one is fitted on the features that the shipped network gives.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from pretraining.pictures import Pictures, decode, normalise, read_classes
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits

from edgetransfer.backbone import sources
from edgetransfer.tasks.classification.head.linear_heads import LogisticPath

ROOT = Path(__file__).resolve().parents[1]
BATCH = 256


def features_of(network: torch.nn.Module, pictures: Pictures) -> np.ndarray:
    """Return float32 [N, D]."""
    starts = range(0, len(pictures.labels), BATCH)
    with torch.inference_mode():
        rows = [network(normalise(pictures.values[s : s + BATCH])).numpy() for s in starts]
    return np.concatenate(rows)


def main() -> None:
    """Fit on train, tell the accuracy on validation, write `classifier.safetensors` in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared/sources/tiny-imagenet-64"
    )
    parser.add_argument("--work", type=Path, default=Path("/tmp/pretrain-tiny-64"))
    parser.add_argument("--strength", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    names = read_classes(arguments.data)
    source = sources.locate("builtin:tiny-64")
    network = sources.load(source, "image").network
    archives = sorted(arguments.data.glob("train-*.tar"))
    train = decode(archives, names, arguments.work / "train.npy")
    validation = decode([arguments.data / "val.tar"], names, arguments.work / "val.npy")
    rows = features_of(network, train)
    mean = rows.mean(axis=0)
    with threadpool_limits(limits=1):
        every = np.arange(len(rows))
        path = LogisticPath(rows - mean)
        weight, bias = path.fit(every, train.labels, [arguments.strength])[arguments.strength]
    half = weight.astype(np.float16), (bias - weight @ mean).astype(np.float16)
    logits = features_of(network, validation) @ half[0].T.astype(np.float32) + half[1]
    right = float((logits.argmax(axis=1) == validation.labels).mean())
    print(json.dumps({"top1": round(right, 4), "n": len(validation.labels)}))
    save_file({"weight": half[0], "bias": half[1]}, source.path / "classifier.safetensors")


if __name__ == "__main__":
    main()
