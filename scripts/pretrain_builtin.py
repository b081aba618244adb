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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from edgetransfer.backbone.mobilenet import TINY_64, MobileNetV2, initialise

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
MEAN = STD = 0.5
MOMENTUM = 0.9
WARM_UP = 0.15
CLASSES = 200


@dataclass(frozen=True)
class Options:
    """What decides the weights; all but `threads` must be the same when a run goes on."""

    epochs: int
    small_epochs: int
    small_side: int
    batch: int
    rate: float
    decay: float
    smoothing: float
    seed: int
    threads: int


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures: values uint8 [N, 64, 64, 3] and labels int64 [N]."""

    values: np.ndarray
    labels: np.ndarray


def decode(archives: list[Path], classes: list[str], cache: Path) -> Pictures:
    """Decode tar archives of WNID/FILE.JPEG once into `cache`, and map the result."""
    labels_file = cache.with_suffix(".labels.npy")
    if not (cache.exists() and labels_file.exists()):
        values, labels = [], []
        for archive in archives:
            with tarfile.open(archive) as members:
                for member in members:
                    stream = members.extractfile(member)
                    if stream is None:
                        continue
                    picture = Image.open(io.BytesIO(stream.read())).convert("RGB")
                    values.append(np.asarray(picture))
                    labels.append(classes.index(member.name.split("/")[0]))
        for path, array in ((cache, np.stack(values)), (labels_file, np.array(labels))):
            part = path.with_suffix(".part.npy")
            np.save(part, array)
            part.replace(path)
    return Pictures(np.load(cache, mmap_mode="r"), np.load(labels_file))


def normalise(values: np.ndarray) -> torch.Tensor:
    """Turn uint8 [N, H, W, 3] into float [N, 3, H, W] in -1..1, channels last in memory."""
    scaled = torch.from_numpy(np.ascontiguousarray(values)).float().div_(255.0)
    return scaled.sub_(MEAN).div_(STD).permute(0, 3, 1, 2)


def augment(x: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Crop, zoom and mirror by one affine map; then contrast, brightness and saturation.

    Args:
        x: normalised pictures, [N, 3, H, W].
        side: height and width of the result.
        generator: where every draw comes from.

    Returns:
        Pictures [N, 3, side, side].
    """
    count = len(x)

    def draw(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    zoom, aspect = draw(0.7, 1.05), draw(-0.12, 0.12).exp()
    mirror = torch.where(draw(0.0, 1.0) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * aspect * mirror, zoom / aspect
    theta[:, 0, 2], theta[:, 1, 2] = draw(-0.25, 0.25), draw(-0.25, 0.25)
    grid = functional.affine_grid(theta, [count, 3, side, side], align_corners=False)
    y = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    contrast, brightness, saturation = (
        d[:, None, None, None] for d in (draw(0.75, 1.25), draw(-0.2, 0.2), draw(0.6, 1.4))
    )
    grey = y.mean(1, keepdim=True)
    y = (grey + (y - grey) * saturation) * contrast + brightness
    return y.clamp_(-1.0, 1.0).contiguous(memory_format=torch.channels_last)


def rate_at(progress: float, peak: float) -> float:
    """Return the learning rate after a share `progress` of the run: up in a line, down a cosine.

    The one cycle of Smith and Topin (2017), without its cycle of the momentum.
    """
    if progress < WARM_UP:
        return peak * max(progress / WARM_UP, 0.02)
    return peak * 0.5 * (1.0 + math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP)))


class Run:
    """Network, head, optimiser and number of finished epochs, and how they are kept on disk."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options, self.folder, self.epoch = options, folder, 0
        self.backbone = MobileNetV2(TINY_64)
        self.model = nn.Sequential(self.backbone, nn.Linear(TINY_64.feature_dim, CLASSES))
        initialise(self.model, torch.Generator().manual_seed(options.seed))
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.decay},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, nesterov=True)

    def save(self) -> None:
        """Write the state; the rename of the JSON file is what makes it count."""
        tensors = {f"model.{k}": v.contiguous() for k, v in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            buffer = self.optimiser.state[parameter]["momentum_buffer"]
            tensors[f"momentum.{name}"] = buffer.contiguous()
        name = f"checkpoint-{self.epoch}.safetensors"
        save_file(tensors, self.folder / name)
        facts = {"epoch": self.epoch, "file": name, "options": dataclasses.asdict(self.options)}
        replace_text(self.folder / "checkpoint.json", json.dumps(facts))
        for path in self.folder.glob("checkpoint-*.safetensors"):
            if path.name != name:
                path.unlink()

    def load(self) -> None:
        """Take up the state of an earlier run of the same options, if there is one."""
        path = self.folder / "checkpoint.json"
        if not path.exists():
            return
        facts = json.loads(path.read_text())
        wanted = dataclasses.asdict(self.options) | {"threads": facts["options"]["threads"]}
        if facts["options"] != wanted:
            message = f"{path}: made with {facts['options']}; give another --work or delete it"
            raise SystemExit(message)
        tensors = load_file(self.folder / facts["file"])
        self.model.load_state_dict({k: tensors[f"model.{k}"] for k in self.model.state_dict()})
        for name, parameter in self.model.named_parameters():
            buffer = torch.empty_like(parameter).copy_(tensors[f"momentum.{name}"])
            self.optimiser.state[parameter]["momentum_buffer"] = buffer
        self.epoch = facts["epoch"]


def batches(run: Run, train: Pictures) -> Iterator[tuple[float, torch.Tensor, torch.Tensor]]:
    """Yield (share of the whole run, pictures, labels) of one epoch, whole batches only."""
    options = run.options
    generator = torch.Generator().manual_seed(options.seed * 100_003 + run.epoch + 1)
    side = options.small_side if run.epoch < options.small_epochs else TINY_64.input_size[0]
    order = torch.randperm(len(train.labels), generator=generator).numpy()
    steps = len(order) // options.batch
    for step in range(steps):
        chosen = np.sort(order[step * options.batch : (step + 1) * options.batch])
        pictures = augment(normalise(train.values[chosen]), side, generator)
        progress = (run.epoch + step / steps) / options.epochs
        yield progress, pictures, torch.from_numpy(train.labels[chosen])


def train_epoch(run: Run, train: Pictures) -> float:
    """Train one epoch and return the mean loss."""
    run.model.train()
    losses = []
    for progress, pictures, labels in batches(run, train):
        for group in run.optimiser.param_groups:
            group["lr"] = rate_at(progress, run.options.rate)
        loss = functional.cross_entropy(
            run.model(pictures), labels, label_smoothing=run.options.smoothing
        )
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
    hits = 0
    for start in range(0, len(pictures.labels), 250):
        chosen = slice(start, start + 250)
        guesses = run.model(normalise(pictures.values[chosen])).argmax(1).numpy()
        hits += int((guesses == pictures.labels[chosen]).sum())
    return hits / len(pictures.labels)


def count_macs(network: MobileNetV2) -> int:
    """Count the multiplications and additions of the convolutions for one picture."""
    counts: list[int] = []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            counts.append(output[0, 0].numel() * module.weight.numel())

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, *network.config.input_size))
    for hook in hooks:
        hook.remove()
    return sum(counts)


def replace_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def ship(run: Run, accuracy: float, counted: int, out: Path) -> None:
    """Write model.safetensors (features only, float32) and the card that belongs to it."""
    out.mkdir(parents=True, exist_ok=True)
    state = run.backbone.state_dict()
    kept = {k: v.contiguous() for k, v in state.items() if v.dtype == torch.float32}
    part = out / "model.part"
    save_file(kept, part, metadata={"format": "pt"})
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    options = " ".join(
        f"--{name.replace('_', '-')} {value}" for name, value in vars(run.options).items()
    )
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
        "sha256": digest,
    }
    part.replace(out / "model.safetensors")
    replace_text(out / "card.json", json.dumps(card, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    sources = ROOT.parent / "shared" / "sources" / "tiny-imagenet-64"
    parser.add_argument("--data", type=Path, default=sources)
    parser.add_argument("--work", type=Path, default=Path("/tmp/pretrain-tiny-64"))
    shipped = ROOT / "edgetransfer" / "backbone" / "weights" / "tiny-64"
    parser.add_argument("--out", type=Path, default=shipped)
    defaults = Options(36, 18, 48, 128, 0.2, 5e-5, 0.1, 0, 1)
    for name, value in vars(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


def main() -> None:
    """Decode, train from the last whole epoch on, tell the accuracy of each, ship."""
    arguments = parse()
    names = [field.name for field in dataclasses.fields(Options)]
    options = Options(**{name: getattr(arguments, name) for name in names})
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
        seconds = time.monotonic() - start
        run.save()
        line = f"epoch {run.epoch}/{options.epochs}: loss {loss:.3f}, top-1 "
        line += f"{top1(run, held_out):.4f}, {len(train.labels) / seconds:.0f} pictures/s"
        print(line, flush=True)
    ship(run, top1(run, held_out), len(held_out.labels), arguments.out)


if __name__ == "__main__":
    main()
