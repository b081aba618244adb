"""The networks that are quantised: float graph, calibration rows, test rows and answers.

Fine-tuned networks come from bundles of `edgetransfer build --precision fp32`; timm's come with
random weights, so that only their residency and times say something.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from compressing.envs import ROOT, Environments, PeerError, last_words, run_peer
from edgetransfer.bundle.files import digest_of, read_json
from edgetransfer.bundle.opened import Bundle, open_bundle
from edgetransfer.data import sources
from edgetransfer.data.split import calibration_sample
from edgetransfer.graph.prepare import preparer
from edgetransfer.spec.preprocess import PREPROCESSING, ImagePreprocessing
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example, Manifest

SHARED = ROOT.parent / "shared"
CALIBRATION = 128
TIMED = 16
DATA = ("hymenoptera", "fsdd-spectrograms")
BACKBONES = ("mobilenet_v2_1.0_224", "mobilenet_v1_0.25_128")
TIMM = ("mobilenetv3_small_100", "efficientnet_lite0", "vit_tiny_patch16_224")
IMAGENET = ImagePreprocessing(
    shortest_edge=256, crop=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


@dataclass(frozen=True)
class Case:
    """One float network with what it is quantised and judged on.

    Attributes:
        folder: holds ``float.onnx``, ``calibration.npy``, ``test.npy``, the contract and labels.
        data: folder of the data set.
        judged: whether its decisions mean anything; ``answers.npy`` is there where they do.
    """

    name: str
    folder: Path
    data: Path
    seed: int
    judged: bool

    @property
    def model(self) -> Path:
        """The float graph."""
        return self.folder / "float.onnx"

    @property
    def rows(self) -> Path:
        """The prepared test examples, float32 [N, 3, h, w]."""
        return self.folder / "test.npy"

    def exported_by(self) -> dict[str, str]:
        """Return the versions that exported it, none where it came from a bundle."""
        made = self.folder / "made.json"
        return dict(read_json(made)["versions"]) if made.is_file() else {}

    def fit(self) -> dict[str, int]:
        """Return how long it was fine-tuned and which epoch was kept; 0 is the probe's head."""
        made = self.folder / "manifest.json"
        if not made.is_file():
            return {}
        told = read_json(made)["fit"]
        return {"epochs": told["schedule"]["epochs"], "kept": told["best_epoch"]}

    def input_name(self) -> str:
        """Return what the graph calls its only input."""
        graph = onnx.load(self.model, load_external_data=False).graph
        return str(graph.input[0].name)


@dataclass(frozen=True)
class Makings:
    """Where cases come from and go to.

    Attributes:
        epochs: of fine-tuning at most; None: as many as `edgetransfer build` runs.
    """

    work: Path
    bundles: Path | None
    cache: Path | None
    environments: Environments
    epochs: int | None = None


def fitted_case(data: str, backbone: str, seed: int, makings: Makings) -> Case:
    """Return a fine-tuned network, its bundle built where it is not there yet."""
    name = f"{data}-{backbone}-{seed}"
    place = (makings.bundles or makings.work / "bundles") / name
    bundle = place / "this-machine"
    if not (bundle / "manifest.json").is_file():
        build(
            [str(SHARED / "datasets" / data), "--backbone", str(SHARED / "backbones" / backbone),
             "--fit", "finetune", "--precision", "fp32", "--seed", str(seed),
             *(["--epochs", str(makings.epochs)] if makings.epochs else [])],
            place, makings.cache,
        )  # fmt: skip
    case = Case(name, makings.work / name, SHARED / "datasets" / data, seed, judged=True)
    case.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(open_bundle(bundle).file("reference.onnx"), case.model)
    for file in ("manifest.json", "preprocess.json", "labels.txt"):
        shutil.copyfile(bundle / file, case.folder / file)
    manifest = _manifest(case)
    opened = Bundle(bundle, {})
    if opened.labels != manifest.labels:
        raise ValueError(f"{bundle}: labels {opened.labels} are not those of {case.data}")
    contract = opened.preprocessing
    assert isinstance(contract, ImagePreprocessing)  # only pictures are compared here
    _fill(case, manifest, contract, manifest.split("test"))
    return case


def random_case(model: str, makings: Makings) -> Case:
    """Return a timm network with random weights, calibrated on pictures all the same.

    Raises:
        PeerError: timm could not be installed or could not export it.
    """
    case = Case(
        f"timm-{model}", makings.work / f"timm-{model}", SHARED / "datasets" / DATA[0], 0,
        judged=False,
    )  # fmt: skip
    case.folder.mkdir(parents=True, exist_ok=True)
    if not case.model.is_file():
        job = {"out": str(case.folder / "new.onnx"), "options": {"model": model, "size": 224}}
        (case.folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        run_peer(makings.environments.python("timm"), "timm_export.py", case.folder, nice=True)
        (case.folder / "new.onnx").rename(case.model)
    manifest = _manifest(case)
    _fill(case, manifest, IMAGENET, manifest.split("test")[:TIMED])
    return case


def build(arguments: Sequence[str], out: Path, cache: Path | None) -> None:
    """Run ``edgetransfer build`` as a user would, but behind other people's work.

    Raises:
        PeerError: it failed; its last words are given.
    """
    command = ["nice", "-n", "5", sys.executable, "-m", "edgetransfer", "build"]
    command += [*arguments, "--timing", "quick", "--out", str(out)]
    command += ["--cache", str(cache)] if cache else []
    print("  " + " ".join(command[3:]), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    log = out.parent / f"{out.name}.log"
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        words = last_words(log.read_text(encoding="utf-8", errors="replace"))
        raise PeerError(f"edgetransfer build ended with code {done.returncode}: {words}")


def _manifest(case: Case) -> Manifest:
    return sources.load(DataSpec(source=str(case.data)), CLASSES, seed=case.seed)


def _fill(
    case: Case, manifest: Manifest, contract: ImagePreprocessing, judged: Sequence[Example]
) -> None:
    """Prepare the rows by the bundle's own contract, where that has not been done."""
    key = [manifest.digest, PREPROCESSING.dump_json(contract).decode(), len(judged), CALIBRATION]
    done = case.folder / "rows.json"
    if done.is_file() and json.loads(done.read_text(encoding="utf-8")) == key:
        return
    prepare = preparer(contract, None).prepare
    chosen = calibration_sample(manifest, CALIBRATION, case.seed, CLASSES)
    for name, examples in (("calibration", chosen), ("test", judged)):
        rows = [next(iter(prepare(example).values())) for example in examples]
        np.save(case.folder / f"{name}.npy", np.concatenate(rows))
    np.save(case.folder / "answers.npy", manifest.label_index(judged))
    done.write_text(json.dumps(key), encoding="utf-8")


def digest(case: Case) -> list[str]:
    """Return what a quantised file depends on."""
    return [digest_of(case.model), digest_of(case.folder / "calibration.npy")]
