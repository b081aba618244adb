"""Fine-tunes a network in two processes, once for each rank that is to fail, or NONE.

They are told of each other as torchrun tells them (`tests/pipeline/test_shared.py` has that start
them), and are forks of one that has imported what takes far longer than what they do.

Usage: shared_fit.py FOLDER (RANK | NONE)...; what they say and the weights are left in the folder.
"""

import os
import socket
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from edgetransfer.backbone.model import LinearHead
from edgetransfer.errors import EdgeTransferError
from edgetransfer.tasks.classification.train.finetune import finetune
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.tasks.classification.train.lesson import (
    CrossEntropy,
    Lesson,
    PreparedExamples,
    Schedule,
    Technique,
)
from edgetransfer.transfer.machine_settings import Machine
from edgetransfer.transfer.team import ALONE

SCHEDULE = Schedule(3, 0.02, 7, 3, Technique(smoothing=0.1, averaging=0.5, gradual=True))


class Failing(CrossEntropy):
    """Fails at the fourth batch."""

    def __init__(self):
        super().__init__()
        self.left = 3

    def forward(self, seen):
        if not self.left:
            raise ZeroDivisionError
        self.left -= 1
        return super().forward(seen)


def some(count, seed):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pictures = generator.normal(size=(count, 3, 16, 16)).astype(np.float32)
    pictures[np.arange(count), labels] += 0.7
    return PreparedExamples([pictures], labels.astype(np.int64))


def fit(team=ALONE, objective=None):
    """22 examples in batches of 7: the last of an epoch is one, so that one process has none."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip
    weights = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    classifier = Classifier(network, LinearHead(weights, np.zeros(3, np.float32)))
    lesson = Lesson(some(22, 0), some(12, 1), objective or CrossEntropy(0.1))
    tuned = finetune(classifier, lesson, SCHEDULE, Machine(1, bf16=False), team=team)
    return classifier.state_dict(), tuned.history


def take_part(out, failing):
    torch.set_num_threads(1)
    team = Processes(cpu=True)
    objective = Failing() if str(team.rank) == failing else None
    try:
        state, history = fit(team, objective)
    except (EdgeTransferError, ZeroDivisionError) as error:
        team.fail(repr(error))
        sys.exit(f"process {team.rank}: {error}")
    team.part()
    save_file({**state, "history": torch.tensor(history, dtype=torch.float64)}, out)
    sys.stdout.write(f"{team.told}\n")


def begin(rank, port, folder, failing):
    """Fork one process; return its number."""
    child = os.fork()
    if child:
        return child
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in told.items()}
    for number, name in enumerate(("out", "err"), start=1):
        os.dup2(
            os.open(folder / f"{failing}.{name}", os.O_CREAT | os.O_APPEND | os.O_WRONLY), number
        )
    code = 0
    try:
        take_part(folder / f"{failing}.safetensors", failing)
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):
            sys.stderr.write(f"{code}\n")
            code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main():
    folder, cases = Path(sys.argv[1]), sys.argv[2:]
    for failing in cases:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        for child in [begin(rank, port, folder, failing) for rank in (0, 1)]:
            os.waitpid(child, 0)


if __name__ == "__main__":
    from edgetransfer.transfer.accelerated import Processes

    main()
