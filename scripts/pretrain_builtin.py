"""Train the built-in backbone tiny-64 on Tiny ImageNet and write its weights and card.

It does not run in the product or in CI: it shows how the shipped weights came to be. It may be
stopped at any time; the same command goes on after the last whole epoch.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import io
import json
import math
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional

from edgetransfer.backbone.mobilenet import TINY_64, MobileNetV2, initialise, silence

ROOT = Path(__file__).resolve().parents[1]
MEAN = STD = 0.5
WARM_UP = 0.15
CLASSES = 200
HEAD_SCALE = 0.15
STATE = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Options:
    """What decides the weights; all but `threads` must be the same when a run goes on."""

    epochs: int = 44
    small_side: int = 32
    growth: float = 0.6
    batch: int = 128
    rate: float = 0.008
    decay: float = 0.05
    smoothing: float = 0.1
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures: values uint8 [N, 64, 64, 3] and labels int64 [N]."""

    values: np.ndarray
    labels: np.ndarray


def decode(archives: list[Path], classes: list[str], cache: Path) -> Pictures:
    """Decode tar archives of WNID/FILE.JPEG once into `cache`, and map the result."""
    labels_file, part = cache.with_suffix(".labels.npy"), cache.with_suffix(".part.npy")
    if not cache.exists():
        values, labels = [], []
        for archive in archives:
            with tarfile.open(archive) as members:
                for member in members:
                    stream = members.extractfile(member)
                    if stream is not None:
                        picture = Image.open(io.BytesIO(stream.read())).convert("RGB")
                        values.append(np.asarray(picture))
                        labels.append(classes.index(member.name.split("/")[0]))
        np.save(labels_file, np.array(labels))
        np.save(part, np.stack(values))
        part.replace(cache)
    return Pictures(np.load(cache, mmap_mode="r"), np.load(labels_file))


def normalise(values: np.ndarray) -> torch.Tensor:
    """Turn uint8 [N, H, W, 3] into float [N, 3, H, W] in -1..1, channels last in memory."""
    scaled = torch.from_numpy(np.array(values)).float().div_(255.0).sub_(MEAN).div_(STD)
    return scaled.permute(0, 3, 1, 2)


def augment(x: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Crop, mirror and recolour at random: [N, 3, H, W] -> [N, 3, side, side]."""

    def draw(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(len(x), generator=generator)

    zoom, aspect, mirror = draw(0.7, 1.05), draw(-0.12, 0.12).exp(), draw(-1.0, 1.0).sign()
    theta = torch.zeros(len(x), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * aspect * mirror, zoom / aspect
    theta[:, 0, 2], theta[:, 1, 2] = draw(-0.25, 0.25), draw(-0.25, 0.25)
    grid = functional.affine_grid(theta, [len(x), 3, side, side], align_corners=False)
    y = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    colour = (draw(0.75, 1.25), draw(-0.2, 0.2), draw(0.6, 1.4))
    contrast, brightness, saturation = (c[:, None, None, None] for c in colour)
    grey = y.mean(1, keepdim=True)
    y = (grey + (y - grey) * saturation) * contrast + brightness
    return y.clamp_(-1.0, 1.0).contiguous(memory_format=torch.channels_last)


def rate_at(progress: float, peak: float) -> float:
    """Return the learning rate after a share `progress` of the run: a line up, a cosine down."""
    if progress < WARM_UP:
        return peak * max(progress / WARM_UP, 0.02)
    return peak * 0.5 * (1.0 + math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP)))


def side_at(progress: float, options: Options) -> int:
    """Return the side of the pictures, in eights: small is cheap at first (Tan and Le 2021)."""
    small, full = options.small_side, TINY_64.input_size[0]
    return int(small + (full - small) * min(1.0, progress / options.growth)) // 8 * 8


class Head(nn.Module):
    """Classifier of the pretraining alone, which is not shipped.

    Features after a ReLU6 share a large mean, from which a linear layer first learns how often
    the classes occur in a batch; centred and made small they let the rest learn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(TINY_64.feature_dim, affine=False)
        self.linear = nn.Linear(TINY_64.feature_dim, CLASSES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features [N, D] to logits [N, 200]."""
        logits: torch.Tensor = self.linear(self.norm(features) * HEAD_SCALE)
        return logits


class Run:
    """Network, head, optimiser and number of finished epochs, and how they are kept on disk."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options, self.folder, self.epoch = options, folder, 0
        self.backbone = MobileNetV2(TINY_64)
        self.model = nn.Sequential(self.backbone, Head())
        initialise(self.model, torch.Generator().manual_seed(options.seed))
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.decay},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99))

    def save(self) -> None:
        """Write the state; the rename of the JSON file is what makes it count."""
        tensors = {f"model.{k}": v.contiguous() for k, v in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            state = self.optimiser.state[parameter]
            tensors |= {f"{key}.{name}": state[key].contiguous() for key in STATE}
        name = f"checkpoint-{self.epoch}.safetensors"
        replace(self.folder / name, save(tensors))
        facts = {"epoch": self.epoch, "file": name, "options": dataclasses.asdict(self.options)}
        replace(self.folder / "checkpoint.json", json.dumps(facts).encode())
        for path in {*self.folder.glob("checkpoint-*.safetensors")} - {self.folder / name}:
            path.unlink()

    def load(self) -> None:
        """Take up the state of an earlier run of the same options, if there is one."""
        path = self.folder / "checkpoint.json"
        if not path.exists():
            return
        facts = json.loads(path.read_text())
        if facts["options"] | {"threads": 0} != dataclasses.asdict(self.options) | {"threads": 0}:
            message = f"{path}: made with {facts['options']}; give another --work or delete it"
            raise SystemExit(message)
        tensors = load_file(self.folder / facts["file"])
        self.model.load_state_dict({k: tensors[f"model.{k}"] for k in self.model.state_dict()})
        for name, parameter in self.model.named_parameters():
            for key in STATE:
                value = tensors[f"{key}.{name}"]
                value = value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
                self.optimiser.state[parameter][key] = value
        self.epoch = facts["epoch"]


def train_epoch(run: Run, train: Pictures) -> float:
    """Train one epoch of whole batches, seeded by its number, and return the mean loss."""
    options, losses = run.options, []
    generator = torch.Generator().manual_seed(options.seed * 100_003 + run.epoch + 1)
    side = side_at(run.epoch / options.epochs, options)
    order = torch.randperm(len(train.labels), generator=generator)
    steps = len(order) // options.batch
    run.model.train()
    for step, chosen in enumerate(order[: steps * options.batch].view(steps, -1).numpy()):
        for group in run.optimiser.param_groups:
            group["lr"] = rate_at((run.epoch + step / steps) / options.epochs, options.rate)
        logits = run.model(augment(normalise(train.values[chosen]), side, generator))
        labels = torch.from_numpy(train.labels[chosen])
        loss = functional.cross_entropy(logits, labels, label_smoothing=options.smoothing)
        run.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimiser.step()
        losses.append(loss.item())
    run.epoch += 1
    return float(np.mean(losses))


@torch.no_grad()
def top1(run: Run, pictures: Pictures) -> float:
    """Return the share of pictures whose highest logit is the right one."""
    run.model.eval()
    parts = np.array_split(pictures.values, 8)
    guesses = torch.cat([run.model(normalise(part)).argmax(1) for part in parts])
    return float((guesses.numpy() == pictures.labels).mean())


def count_macs(network: MobileNetV2) -> int:
    """Count the multiply-accumulates of the convolutions for one picture."""
    counts: list[int] = []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            counts.append(output[0, 0].numel() * module.weight.numel())

    with nn.modules.module.register_module_forward_hook(count), torch.no_grad():
        network.eval()(torch.zeros(1, 3, *network.config.input_size))
    return sum(counts)


def replace(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    path.with_suffix(".part").write_bytes(content)
    path.with_suffix(".part").replace(path)


def ship(run: Run, accuracy: float, counted: int, out: Path) -> None:
    """Write model.safetensors (features only, float32) and the card that belongs to it."""
    out.mkdir(parents=True, exist_ok=True)
    state = {k: v.contiguous() for k, v in run.backbone.state_dict().items() if v.ndim > 0}
    weights = save(state, {"format": "pt"})
    options = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in vars(run.options).items())
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
        "data": "tiny-imagenet-64 (ImageNet terms, research use): 50,000 pictures, 200 classes",
        "how": f"scripts/pretrain_builtin.py {options}",
        "seed": run.options.seed,
        "validation_top1": round(accuracy, 4),
        "validation_n": counted,
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
    """Decode, train from the last whole epoch on, tell the accuracy of each, ship."""
    arguments = parse()
    options = Options(**{f.name: vars(arguments)[f.name] for f in dataclasses.fields(Options)})
    torch.set_num_threads(options.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    with (arguments.data / "classes.csv").open() as rows:
        classes = [row["wnid"] for row in csv.DictReader(rows)]
    archives = sorted(arguments.data.glob("train-*.tar"))
    train = decode(archives, classes, arguments.work / "train.npy")
    held_out = decode([arguments.data / "val.tar"], classes, arguments.work / "val.npy")
    run = Run(options, arguments.work)
    run.load()
    while run.epoch < options.epochs:
        start = time.monotonic()
        loss = train_epoch(run, train)
        speed = len(train.labels) / (time.monotonic() - start)
        run.save()
        told = f"top-1 {top1(run, held_out):.4f}, {speed:.0f} pictures/s"
        print(f"epoch {run.epoch}/{options.epochs}: loss {loss:.3f}, {told}", flush=True)
    print(f"{silence(run.backbone)} dead channels silenced")
    ship(run, top1(run, held_out), len(held_out.labels), arguments.out)


if __name__ == "__main__":
    main()
