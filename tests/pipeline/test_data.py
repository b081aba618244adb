"""Unlabelled examples: what nearly repeats a judged one goes, and nothing else does (A9)."""

import csv
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.data.unlabelled import load
from edgetransfer.pipeline.fit import unlabelled
from edgetransfer.pipeline.fit.unlabelled import near_judged, read_unlabelled
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.run import Run
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.recipe import DataSpec, recipe_from
from edgetransfer.tasks.classification.labels import CLASSES

SPOKEN = Path(__file__).parents[3] / "shared" / "datasets" / "fsdd-spectrograms"


def run_over(data, unlabelled, cache):
    recipe = recipe_from(
        {
            "data": str(data), "unlabelled": str(unlabelled),
            "distill_from": "builtin:tiny-64", "fit": "finetune",
        }
    )  # fmt: skip
    source = backbones.locate("builtin:tiny-64")
    return Run(recipe, (), source, Store(Path(cache)), SilentReporter())


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """100 labelled recordings, and 100 others with changed copies of 10 judged ones among them."""
    if not SPOKEN.is_dir():
        pytest.skip(f"needs the data in {SPOKEN}")
    root = tmp_path_factory.mktemp("spoken")
    with (SPOKEN / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    drawn = {split: rng.permutation([r for r in rows if r["split"] == split]) for split in
             ("train", "test")}  # fmt: skip
    name = next(key for key in rows[0] if rows[0][key].endswith(".png"))
    for split, count in (("train", 100), ("test", 150)):
        for row in drawn[split][:count]:
            folder = root / "data" / split / row["label"]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(SPOKEN / row[name], folder)
    (root / "more").mkdir()
    for row in drawn["train"][100:200]:
        shutil.copy(SPOKEN / row[name], root / "more")
    for number, row in enumerate(drawn["test"][:10]):
        picture = Image.open(SPOKEN / row[name]).convert("RGB")
        picture.save(root / "more" / f"copy {number} saved.jpg", quality=40)
        picture.resize((32, 32)).save(root / "more" / f"copy {number} halved.png")
    return root


def test_distinct_recordings_stay_and_copies_go(spoken, tmp_path):
    run = run_over(spoken / "data", spoken / "more", tmp_path)
    manifest = sources.load(run.recipe.data, CLASSES, seed=0)
    kept = {e.key for e in read_unlabelled(run, manifest).examples}
    assert not {key for key in kept if key.startswith("copy")}
    assert len(kept) >= 98  # 29 of 100 went by their thumbnails alone


def photo(path, seed, size=(40, 30)):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)


def test_where_the_surface_leaves_no_doubt_no_network_runs(tmp_path, monkeypatch):
    for split, first, count in (("train", 0, 6), ("val", 10, 4), ("test", 20, 4)):
        for i in range(count):
            photo(tmp_path / "data" / split / "ab"[i % 2] / f"{i}.png", first + i)
    labelled = sources.load(DataSpec(source=str(tmp_path / "data")), CLASSES, seed=0)
    photo(tmp_path / "more" / "new.png", 30)
    for split, seed in (("test", 21), ("validation", 11), ("train", 1)):
        photo(tmp_path / "more" / f"small of {split}.png", seed, size=(32, 24))
    monkeypatch.delattr(unlabelled, "_with_judged")
    run = SimpleNamespace(recipe=SimpleNamespace(task="classification"))
    near = partial(near_judged, run, labelled)
    more = load(str(tmp_path / "more"), labelled, near=near)
    assert [e.key for e in more.examples] == ["new.png", "small of train.png"]
    assert more.notes == (
        "2 of 4 unlabelled pictures were dropped: 1 near-duplicate of a test example, "
        "1 near-duplicate of a validation example",
    )
