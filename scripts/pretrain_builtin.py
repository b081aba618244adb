"""Train the built-in backbone tiny-64 on Tiny ImageNet and write its weights and card.

It does not run in the product or in CI: it shows how the shipped weights came to be. It may be
stopped at any time; the same command goes on after the last whole epoch.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pretraining.pictures import MEAN, STD, Looks, decode, held_out, read_classes
from pretraining.run import Options, Run, replace, top1, train_epoch
from pretraining.teacher import Teacher
from pretraining.weights import silence
from safetensors.torch import save
from torch import nn

from edgetransfer.backbone.builtin import TINY_64, MobileNetV2

ROOT = Path(__file__).resolve().parents[1]


def count_macs(network: MobileNetV2) -> int:
    """Count the multiply-accumulates of the convolutions for one picture."""
    counts: list[int] = []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            counts.append(output[0, 0].numel() * module.weight.numel())

    with nn.modules.module.register_module_forward_hook(count), torch.no_grad():
        network.eval()(torch.zeros(1, 3, *network.config.input_size))
    return sum(counts)


def ship(run: Run, facts: dict[str, Any], out: Path) -> None:
    """Write model.safetensors (features only, float32) and the card that belongs to it."""
    out.mkdir(parents=True, exist_ok=True)
    state = {k: v.contiguous() for k, v in run.backbone.state_dict().items() if v.ndim > 0}
    weights = save(state, {"format": "pt"})
    chosen = {k: v for k, v in vars(run.options).items() if v != "" and k != "threads"}
    told = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in chosen.items() if k != "teacher")
    card: dict[str, Any] = {
        "name": "tiny-64",
        "architecture": "mobilenetv2",
        **dataclasses.asdict(TINY_64),
        "parameters": sum(p.numel() for p in run.backbone.parameters()),
        "macs": count_macs(run.backbone),
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "interpolation": "bilinear",
        "license": "Apache-2.0 (weights; trained by this project)",
        **facts,
        "how": f"scripts/pretrain_builtin.py {told}",
        "seed": run.options.seed,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    replace(out / "model.safetensors", weights)
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in card.items())
    replace(out / "card.json", f"{{\n{lines}\n}}\n".encode())


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=ROOT.parent / "shared/sources/tiny-imagenet-64")
    add("--work", type=Path, default=Path("/tmp/pretrain-tiny-64"))
    add("--out", type=Path, default=ROOT / "edgetransfer/backbone/weights/tiny-64")
    for name, value in vars(Options()).items():
        add(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


def main() -> None:
    """Decode, ask the teacher, train from the last whole epoch on, tell the accuracy, ship."""
    arguments = parse()
    options = Options(**{f.name: vars(arguments)[f.name] for f in dataclasses.fields(Options)})
    torch.set_num_threads(options.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    names = read_classes(arguments.data)
    kept = np.setdiff1d(np.arange(len(names)), held_out(len(names), options.hold_out))
    archives = sorted(arguments.data.glob("train-*.tar"))
    train = decode(archives, names, arguments.work / "train.npy").of(kept)
    validation = decode([arguments.data / "val.tar"], names, arguments.work / "val.npy").of(kept)
    looks = Looks(options.looks, options.seed)
    facts = {
        "data": f"tiny-imagenet-64 (ImageNet terms, research use): {len(train.labels):,} "
        f"pictures, {len(kept)} classes"
    }
    said = None
    if options.teacher:
        teacher = Teacher(options.teacher, options.teacher_side, arguments.work / "teacher")
        said = teacher.say(train, looks)
        facts["teacher"] = f"{Path(options.teacher).name}, {teacher.source.digest}"
    run = Run(options, arguments.work, len(kept), said)
    run.load()
    while run.epoch < options.epochs:
        start = time.monotonic()
        loss = train_epoch(run, train, looks)
        speed = len(train.labels) / (time.monotonic() - start)
        run.save()
        told = f"top-1 {top1(run, validation):.4f}, {speed:.0f} pictures/s"
        print(f"epoch {run.epoch}/{options.epochs}: loss {loss:.3f}, {told}", flush=True)
    print(f"{silence(run.backbone)} dead channels silenced")
    right = {"validation_top1": round(top1(run, validation), 4)}
    ship(run, facts | right | {"validation_n": len(validation.labels)}, arguments.out)


if __name__ == "__main__":
    main()
