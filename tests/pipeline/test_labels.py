"""The stages of labels: a wrong label and a copy in the test set are listed; nothing is dropped."""

import io

import numpy as np
import pytest
from PIL import Image

from edgetransfer.pipeline.build import resolve
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.recipe import recipe_from
from edgetransfer.tasks.classification.checks import near_duplicates
from edgetransfer.tasks.classification.fit.network import look_at_labels
from edgetransfer.tasks.classification.fit.probe import fit_head


class Said(SilentReporter):
    """Keeps what was told of every stage."""

    def __init__(self):
        self.stages = {}

    def end(self, stage, summary, *, reused):
        self.stages[stage] = summary, reused


@pytest.fixture(scope="module")
def spoilt(pictures, tmp_path_factory):
    """A disc labelled as a square, and a training picture saved again as a test picture."""
    root = tmp_path_factory.mktemp("spoilt") / "shapes"
    for file in pictures.rglob("*.png"):
        copy = root / file.relative_to(pictures)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (root / "train" / "disc" / "03.png").rename(root / "train" / "square" / "disc-03.png")
    saved = io.BytesIO()
    Image.open(root / "train" / "stripes" / "05.png").save(saved, "JPEG", quality=90)
    (root / "test" / "stripes" / "again.jpg").write_bytes(saved.getvalue())
    return root


def look(data, cache, seed=0):
    said = Said()
    recipe = recipe_from({"data": str(data), "fit": "probe", "seed": seed})
    run = resolve(recipe, Store(cache), said)
    manifest = read_data(run)
    opened = OpenedBackbone(run, manifest)
    kept, _ = fit_head(run, manifest, opened)
    return look_at_labels(run, manifest, opened, kept), said.stages, manifest, kept


def test_what_is_wrong_is_listed_and_kept(spoilt, cache):
    block, stages, manifest, probe = look(spoilt, cache)
    assert (block["judged"], len(manifest.examples)) == (54, 115)
    assert [(row["example"], row["split"], row["given"], row["likely"])
            for row in block["suspects"]] == [
        ("train/square/disc-03.png", "train", "square", "disc")
    ]  # fmt: skip
    near = block["near_duplicates"]
    ours = [(row["example"], row["other"], row["other_split"]) for row in near["listed"]]
    assert ours == [("train/stripes/05.png", "test/stripes/again.jpg", "test")]
    counts = [near[key] for key in ("compared", "pairs", "across", "contrary", "test_examples")]
    assert counts == [115, 1, 1, 0, 1]
    assert stages["near duplicates"] == (
        "1 pair is nearly the same, 1 across splits; 1 test example may raise the score", False,
    )  # fmt: skip
    held_out = np.load(probe.file("held_out.npy"))
    assert held_out.shape == (54, 3)
    assert np.isfinite(held_out).all()
    again, stages, _, _ = look(spoilt, cache)
    assert again == block
    assert stages["near duplicates"][1]
    assert stages["labels"][1]


def test_of_very_many_a_part_is_compared(pictures, cache, monkeypatch):
    monkeypatch.setattr(near_duplicates, "MOST_COMPARED", 20)
    near = look(pictures, cache, seed=3)[0]["near_duplicates"]
    assert (near["compared"], near["examples"]) == (40, 114)
