"""A run of pretraining: network, losses, optimiser, and how they are kept on disk."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from edgetransfer.backbone.builtin import TINY_64, MobileNetV2
from edgetransfer.spec.recipe import DistillSpec
from edgetransfer.tasks.classification.train.distill import Distillation, Hints, TeacherLogits
from edgetransfer.tasks.classification.train.lesson import Seen
from pretraining.pictures import Looks, Pictures, look_at, normalise, recolour
from pretraining.weights import initialise

if TYPE_CHECKING:
    from pathlib import Path

WARM_UP = 0.1
HEAD_SCALE = 0.15
MICRO_BATCH = 32
"""Pictures whose activations stay in the cache: 1.6 times as fast as 128 at once. Batch norms see
that many, the optimiser the mean of the whole batch."""
STATE = ("step", "exp_avg", "exp_avg_sq")
LESSON = DistillSpec(source="teacher", temperature=2.0, labels=0.5, soft=1.0, hints=1.0)


@dataclass(frozen=True)
class Options:
    """What decides the weights; all but `threads` must be the same when a run goes on.

    Attributes:
        teacher: backbone whose decisions and features are learnt too; none where it is empty.
        hold_out: classes left out, spread evenly, for episodes on classes never seen.
    """

    teacher: str = ""
    teacher_side: int = 160
    looks: int = 4
    hold_out: int = 0
    epochs: int = 40
    small_side: int = 32
    growth: float = 0.6
    batch: int = 128
    rate: float = 0.008
    decay: float = 0.05
    seed: int = 0
    threads: int = 1


class Head(nn.Module):
    """Classifier of the pretraining alone, which is not shipped.

    Features after a ReLU6 share a large mean, from which a linear layer first learns how often
    the classes occur in a batch; centred and made small they let the rest learn.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(TINY_64.feature_dim, affine=False)
        self.linear = nn.Linear(TINY_64.feature_dim, classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features [N, D] to logits [N, C]."""
        logits: torch.Tensor = self.linear(self.norm(features) * HEAD_SCALE)
        return logits


class Run:
    """Network, head, losses, optimiser and number of finished epochs."""

    def __init__(
        self, options: Options, folder: Path, classes: int, said: TeacherLogits | None
    ) -> None:
        self.options, self.folder, self.epoch = options, folder, 0
        self.backbone, self.head = MobileNetV2(TINY_64), Head(classes)
        network = nn.Sequential(self.backbone, self.head)
        initialise(network, torch.Generator().manual_seed(options.seed))
        self.objective: nn.Module = _LabelsAlone()
        if said is not None:
            assert said.features is not None
            unknown = np.zeros((2048, TINY_64.feature_dim))  # the map starts at the mean
            hints = Hints(unknown, np.asarray(said.features[0][: len(unknown)]))
            nn.init.normal_(hints.map.weight, 0.0, TINY_64.feature_dim**-0.5)
            self.objective = Distillation(LESSON, said, hints)
        self.model = nn.ModuleList([network, self.objective])
        convert_conv2d_weight_memory_format(self.model, torch.channels_last)
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


class _LabelsAlone(nn.Module):
    """Cross-entropy to smoothed labels (Szegedy et al. 2016, section 7)."""

    def forward(self, seen: Seen) -> torch.Tensor:
        return nn.functional.cross_entropy(seen.logits, seen.labels, label_smoothing=0.1)


def rate_at(progress: float, peak: float) -> float:
    """Return the learning rate after a share `progress` of the run: a line up, a cosine down."""
    if progress < WARM_UP:
        return peak * max(progress / WARM_UP, 0.02)
    return peak * 0.5 * (1.0 + math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP)))


def side_at(progress: float, options: Options) -> int:
    """Return the side of the pictures, in eights: small is cheap at first (Tan and Le 2021)."""
    small, full = options.small_side, TINY_64.input_size[0]
    return int(small + (full - small) * min(1.0, progress / options.growth)) // 8 * 8


def train_epoch(run: Run, train: Pictures, looks: Looks) -> float:
    """Train one epoch of whole batches, seeded by its number, and return the mean loss."""
    options, losses = run.options, []
    generator = torch.Generator().manual_seed(options.seed * 100_003 + run.epoch + 1)
    side, look = side_at(run.epoch / options.epochs, options), run.epoch % looks.count
    theta = looks.theta(look, len(train.labels))
    order = torch.randperm(len(train.labels), generator=generator)
    steps = len(order) // options.batch
    run.model.train()
    for step, batch in enumerate(order[: steps * options.batch].view(steps, -1)):
        for group in run.optimiser.param_groups:
            group["lr"] = rate_at((run.epoch + step / steps) / options.epochs, options.rate)
        run.optimiser.zero_grad()
        for rows in batch.split(MICRO_BATCH):
            chosen = rows.numpy()
            shown = look_at(normalise(train.values[chosen]), theta[rows], side)
            features = run.backbone(recolour(shown, generator))
            labels = torch.from_numpy(train.labels[chosen])
            seen = Seen(features, run.head(features), labels, chosen, look)
            loss = run.objective(seen) * (len(rows) / options.batch)
            loss.backward()
            losses.append(loss.item() * options.batch / len(rows))
        run.optimiser.step()
    run.epoch += 1
    return float(np.mean(losses))


@torch.no_grad()
def top1(run: Run, pictures: Pictures) -> float:
    """Return the share of pictures whose highest logit is the right one."""
    run.model.eval()
    parts = np.array_split(pictures.values, 32)
    guesses = torch.cat([run.head(run.backbone(normalise(p))).argmax(1) for p in parts])
    return float((guesses.numpy() == pictures.labels).mean())


def replace(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    path.with_suffix(".part").write_bytes(content)
    path.with_suffix(".part").replace(path)
