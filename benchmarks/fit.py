"""What fitting costs: an epoch of fine-tuning against the Trainer's, a probe against one pass.

Usage: python benchmarks/fit.py [RESULT.json [BACKBONE [DATA ...]]]

It needs transformers and accelerate. BACKBONE is a folder of ../shared/backbones, MobileNetV2 if
none is named. Both fine-tune it from the same weights on the same prepared pictures of hymenoptera,
with the same batch, threads and number of epochs; the Trainer with all its defaults (AdamW at 5e-5,
float32), ours with its own (raced rate, bf16 where the processor has it, channels last). Epochs of
the two alternate; times are of the process's own CPU and of the wall. Accuracy is that on the test
pictures after EPOCHS epochs. A probe is everything but the pass: folds, strengths, the final fit;
it and the pass are timed in turn, and the ratio is the median of REPEATED.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoModelForImageClassification, Trainer, TrainingArguments

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.fit.trace import proving_batch, traced
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.tasks.classification.train import finetune as machines
from edgetransfer.tasks.classification.train.choice import race
from edgetransfer.tasks.classification.train.finetune import finetune
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.tasks.classification.train.lesson import Lesson, PreparedExamples, Schedule
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = Path(__file__).parents[2] / "shared"
BACKBONE = "mobilenet_v2_1.0_224"
DATA = ("hymenoptera", "fsdd-spectrograms")
EPOCHS, BATCH, TIMED, REPEATED = 4, 32, 3, 5
BATCH_OF_PASS = 8


class Pictures(torch.utils.data.Dataset[dict[str, Any]]):
    """Prepared pictures in the form that the Trainer takes."""

    def __init__(self, examples: PreparedExamples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        picture = torch.from_numpy(self._examples.inputs[0][row])
        return {"pixel_values": picture, "labels": int(self._examples.labels[row])}


def clocked(work: Callable[[], object]) -> dict[str, float]:
    """Return the wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def trainer(backbone: str, train: PreparedExamples, classes: int, epochs: int) -> Trainer:
    """Return the default Trainer over a fresh network."""
    model = AutoModelForImageClassification.from_pretrained(
        backbone, num_labels=classes, ignore_mismatched_sizes=True
    )
    told = TrainingArguments(
        tempfile.mkdtemp(), num_train_epochs=epochs, per_device_train_batch_size=BATCH,
        use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    return Trainer(model=model, args=told, train_dataset=Pictures(train))


def right(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy."""
    return float((logits.argmax(axis=1) == labels).mean())


class Case:
    """One data set, prepared once for both."""

    def __init__(self, data: str, backbone: str) -> None:
        self.backbone = str(SHARED / "backbones" / backbone)
        manifest = sources.load(DataSpec(source=str(SHARED / "datasets" / data)), CLASSES, seed=0)
        self.opened = backbones.load(backbones.locate(self.backbone), "image")
        prepare = preparer(self.opened.preprocessing, None)
        self.graph, _ = traced(self.opened.network, proving_batch(manifest, prepare))
        self.parts = {}
        for split in ("train", "validation", "test"):
            examples = manifest.split(split)
            rows = [next(iter(prepare.prepare(each).values())) for each in examples]
            self.parts[split] = PreparedExamples(
                [np.concatenate(rows)], manifest.label_index(examples)
            )
        self.train_examples, self.prepare = manifest.split("train"), prepare
        self.classes = len(manifest.labels)

    def probe(self) -> dict[str, Any]:
        """Time the probe against one bare pass over prepared pictures, in turn."""
        train = self.parts["train"]
        session = OnnxSession(self.graph.SerializeToString())
        name, rows = session.input_names[0], train.inputs[0]

        def bare() -> None:
            for start in range(0, len(rows), BATCH_OF_PASS):
                session.run({name: rows[start : start + BATCH_OF_PASS]})

        kept: list[np.ndarray] = []
        fit_probe(np.eye(4), np.array([0, 0, 1, 1]))  # so that no import is timed
        taken = clocked(
            lambda: kept.append(run_over(self.graph, self.prepare, self.train_examples))
        )
        self.features = kept[0]
        times = [
            (clocked(bare)["cpu_s"], clocked(lambda: fit_probe(kept[0], train.labels))["cpu_s"])
            for _ in range(REPEATED)
        ]
        ratios = [(one + fitted) / one for one, fitted in times]
        return {
            "features_with_decoding_cpu_s": taken["cpu_s"],
            "bare_pass_cpu_s": [one for one, _ in times],
            "probe_cpu_s": [fitted for _, fitted in times],
            "probe_and_pass_over_pass": float(np.median(ratios)),
        }

    def finetuning(self) -> dict[str, Any]:
        """Time epochs in turn, then judge both after the same number."""
        head = fit_probe(self.features, self.parts["train"].labels).head
        train, test = self.parts["train"], self.parts["test"]
        lesson = Lesson(train, self.parts["validation"])
        schedule = Schedule(EPOCHS, 1e-3, BATCH, 0)

        def fresh() -> Classifier:
            again = backbones.load(backbones.locate(self.backbone), "image")
            return Classifier(again.network, head)

        way = machines.measure(fresh(), train, schedule)
        nothing = Lesson(train, train.take(np.arange(1)))
        once = replace(schedule, epochs=1)
        times: dict[str, list[dict[str, float]]] = {"trainer": [], "ours": []}
        for _ in range(TIMED):
            other, own = trainer(self.backbone, train, self.classes, 1), fresh()
            times["trainer"].append(clocked(other.train))
            times["ours"].append(clocked(partial(finetune, own, nothing, once, way)))
        rates = race(fresh(), lesson, schedule, way)
        best = min(rates, key=lambda rate: rates[rate])
        own = fresh()
        finetune(own, lesson, replace(schedule, learning_rate=best), way)
        other = trainer(self.backbone, train, self.classes, EPOCHS)
        other.train()
        with torch.no_grad():
            accuracy = {
                "ours": right(own(torch.from_numpy(test.inputs[0])).numpy(), test.labels),
                "trainer": right(other.predict(Pictures(test)).predictions, test.labels),
            }
        ratio = {
            clock: float(
                np.median([one[clock] for one in times["ours"]])
                / np.median([one[clock] for one in times["trainer"]])
            )
            for clock in ("wall_s", "cpu_s")
        }
        return {"epochs": times, "ours_over_trainer": ratio, "accuracy": accuracy, "rate": best}


def main() -> None:
    """Print the table, and write it where the caller asks."""
    torch.set_num_threads(1)
    rows = []
    backbone, *data_sets = sys.argv[2:] or (BACKBONE,)
    for data in data_sets or DATA:
        case = Case(data, backbone)
        row: dict[str, Any] = {"data": data, "backbone": backbone, "probe": case.probe()}
        if data == DATA[0]:
            row["finetuning"] = case.finetuning()
        rows.append(row)
        print(json.dumps(row), flush=True)
    if len(sys.argv) > 1:
        record = {"environment": fingerprint(runtime_facts()), "rows": rows}
        Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
