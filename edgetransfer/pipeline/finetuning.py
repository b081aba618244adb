"""The fine-tuning stage: all layers, from the probe's head.

It does not decide whether to fine-tune: the recipe does.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file, save_file

from edgetransfer.agent.environment import isa_flags
from edgetransfer.graph.prepare import TextPreparer, stack
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.run import Run, code, leave, versions
from edgetransfer.pipeline.store import scratch
from edgetransfer.transfer import machine as machines
from edgetransfer.transfer.finetune import Examples, Machine, Schedule
from edgetransfer.transfer.finetune import finetune as train_network

if TYPE_CHECKING:
    from pathlib import Path

    from edgetransfer.data.manifest import Manifest, Split
    from edgetransfer.pipeline.opening import OpenedBackbone
    from edgetransfer.pipeline.store import Kept
    from edgetransfer.spec.progress import Progress
    from edgetransfer.transfer.classifier import Classifier


def finetune(
    run: Run, manifest: Manifest, opened: OpenedBackbone, network: Classifier, probe: Kept
) -> tuple[Kept, dict[str, Any]]:
    """Fine-tune `network` in place, or load what an earlier run came to.

    Which way of training is fastest here depends on timing, so it is found once, kept, and taken
    again by every later run with the same start: a resumed run does the same arithmetic.
    """
    fit = run.recipe.fit
    schedule = Schedule(fit.epochs, fit.learning_rate, fit.batch_size, run.recipe.seed)
    inputs = {
        "probe": probe.key,
        "schedule": asdict(schedule),
        "code": code("transfer", "graph"),
        "versions": versions("torch", "transformers", "timm"),
    }
    with telling(run.reporter, "finetune") as line:
        work = _Work(manifest, opened, network, schedule)
        machine = {"isa": sorted(isa_flags()), "cores": len(_cores())}
        chosen = run.store.keep("machine", {**inputs, **machine}, work.choose_machine)

        def make(folder: Path) -> None:
            record = work.train(folder, Machine(**chosen.record("machine.json")), line.progress)
            leave(folder, "fit.json", record)

        kept = run.keep(line, "finetune", {**inputs, "machine": chosen.key}, make)
        network.load_state_dict(load_file(kept.file("network.safetensors")))
        record = kept.record("fit.json")
        loss, accuracy = record["history"][record["best_epoch"]]
        line.summary = (
            f"validation accuracy {accuracy:.3f} (log loss {loss:.3f}), "
            f"epoch {record['best_epoch']} of {len(record['history']) - 1}"
        )
    return kept, record


def _cores() -> range:
    import torch

    return range(torch.get_num_threads())


class _Work:
    """Prepares examples only where they are needed."""

    def __init__(
        self, manifest: Manifest, opened: OpenedBackbone, network: Classifier, schedule: Schedule
    ) -> None:
        self._manifest = manifest
        self._opened = opened
        self._network = network
        self._schedule = schedule

    def choose_machine(self, folder: Path) -> None:
        """Find the fastest way to train on a few examples."""
        with scratch(folder) as room:
            few = self._examples("train", room, most=16)
            found = machines.measure(self._network, few, self._schedule)
        leave(folder, "machine.json", asdict(found))

    def train(self, folder: Path, machine: Machine, progress: Progress) -> dict[str, Any]:
        """Train, save the weights, and return the record."""
        with scratch(folder) as room:
            train = self._examples("train", room)
            validation = self._examples("validation", room)
            tuned = train_network(
                self._network, train, validation, self._schedule, machine, progress=progress
            )
        state = {name: value.contiguous() for name, value in self._network.state_dict().items()}
        save_file(state, folder / "network.safetensors")
        return {
            "method": "finetune",
            "best_epoch": tuned.best_epoch,
            "history": [list(each) for each in tuned.history],
            "validation_accuracy": tuned.history[tuned.best_epoch][1],
            "schedule": asdict(self._schedule),
            "machine": asdict(machine),
        }

    def _examples(self, split: Split, room: Path, most: int | None = None) -> Examples:
        chosen = self._manifest.split(split)[:most]
        prepare = self._opened.prepare
        arrays: list[Any]
        if isinstance(prepare, TextPreparer):
            joined = prepare.join([prepare.prepare(example) for example in chosen])
            arrays = list(joined.values())
        else:
            folder = room / split
            folder.mkdir()
            files = stack(prepare.prepare, chosen, folder)
            arrays = [np.load(file, mmap_mode="r") for file in files.values()]
        return Examples(arrays, self._manifest.label_index(chosen))
