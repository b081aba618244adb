"""The fine-tuning stage: all layers, from the probe's head, with a teacher or without.

It does not decide whether to fine-tune: the recipe does.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file, save_file

from edgetransfer.agent.environment import isa_flags
from edgetransfer.graph.prepare import TextPreparer, stack
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.run import Run, code, leave, versions
from edgetransfer.pipeline.store import scratch
from edgetransfer.transfer import machine as machines
from edgetransfer.transfer.finetune import Examples, Lesson, Machine, Schedule
from edgetransfer.transfer.finetune import finetune as train_network
from edgetransfer.transfer.objective import UNLABELLED, CrossEntropy
from edgetransfer.transfer.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.distilling import Teaching
    from edgetransfer.pipeline.training import FittedNetwork
    from edgetransfer.spec.progress import Progress
    from edgetransfer.transfer.objective import Objective


def schedule_of(run: Run) -> Schedule:
    """Return what the recipe says of training."""
    recipe = run.recipe
    return Schedule(recipe.epochs, recipe.learning_rate, recipe.fit.batch_size, recipe.seed)


def finetune(
    run: Run, manifest: Manifest, fitted: FittedNetwork, teaching: Teaching | None
) -> FittedNetwork:
    """Fine-tune the network in place, or load what an earlier run came to.

    Which way of training is fastest here depends on timing, so it is found once, kept, and taken
    again by every later run with the same start: a resumed run does the same arithmetic.
    """
    schedule = schedule_of(run)
    inputs = {
        "probe": fitted.kept.key,
        "schedule": asdict(schedule),
        "code": code("transfer", "graph"),
        "versions": versions("torch", "transformers", "timm"),
    }
    with telling(run.reporter, "finetune") as line:
        work = _Work(manifest, fitted, schedule, teaching)
        machine = {"isa": sorted(isa_flags()), "cores": len(_cores())}
        chosen = run.store.keep("machine", {**inputs, **machine}, work.choose_machine)
        taught = None if teaching is None else teaching.key

        def make(folder: Path) -> None:
            way = Machine(**chosen.record("machine.json"))
            objective = CrossEntropy() if not teaching else teaching.objective(run, fitted.opened)
            record = work.train(folder, objective, way, line.progress)
            leave(folder, "fit.json", record)

        kept = run.keep(
            line, "finetune", {**inputs, "teaching": taught, "machine": chosen.key}, make
        )
        fitted.network.load_state_dict(load_file(kept.file("network.safetensors")))
        record = kept.record("fit.json")
        loss, accuracy = record["history"][record["best_epoch"]]
        line.summary = (
            f"validation accuracy {accuracy:.3f} (log loss {loss:.3f}), "
            f"epoch {record['best_epoch']} of {len(record['history']) - 1}"
        )
    return replace(fitted, kept=kept, record=record)


def _cores() -> range:
    import torch

    return range(torch.get_num_threads())


class _Work:
    """Prepares examples only where they are needed."""

    def __init__(
        self,
        manifest: Manifest,
        fitted: FittedNetwork,
        schedule: Schedule,
        teaching: Teaching | None,
    ) -> None:
        self._manifest = manifest
        self._prepare = fitted.opened.prepare
        self._network = fitted.network
        self._schedule = schedule
        self._teaching = teaching

    def choose_machine(self, folder: Path) -> None:
        """Find the fastest way to train on a few examples."""
        with scratch(folder) as room:
            few = self._examples(self._manifest.split("train")[:16], room)
            found = machines.measure(self._network, few, self._schedule)
        leave(folder, "machine.json", asdict(found))

    def train(
        self, folder: Path, objective: Objective, machine: Machine, progress: Progress
    ) -> dict[str, Any]:
        """Train, save the weights, and return the record."""
        taught = self._teaching
        with scratch(folder) as room:
            chosen = self._manifest.split("train") if taught is None else taught.examples
            train = self._examples(chosen, room)
            validation = self._examples(self._manifest.split("validation"), room)
            lesson = Lesson(train, validation, objective)
            tuned = train_network(self._network, lesson, self._schedule, machine, progress=progress)
        state = {name: value.contiguous() for name, value in self._network.state_dict().items()}
        save_file(state, folder / "network.safetensors")
        return {
            "method": "finetune",
            "best_epoch": tuned.best_epoch,
            "history": [list(each) for each in tuned.history],
            "validation_accuracy": tuned.history[tuned.best_epoch][1],
            "schedule": asdict(self._schedule),
            "machine": asdict(machine),
            **({} if taught is None else {"distilled": taught.record}),
        }

    def _examples(self, chosen: Sequence[Example], room: Path) -> Examples:
        labelled = [example for example in chosen if example.label is not None]
        labels = np.full(len(chosen), UNLABELLED)
        labels[: len(labelled)] = self._manifest.label_index(labelled)  # which come first
        if isinstance(self._prepare, TextPreparer):
            joined = self._prepare.join([self._prepare.prepare(example) for example in chosen])
            return Texts.of(joined, labels)
        folder = room / f"{len(list(room.iterdir()))}"
        folder.mkdir()
        files = stack(self._prepare.prepare, chosen, folder)
        return Examples([np.load(file, mmap_mode="r") for file in files.values()], labels)
