"""Labels that are numbers with fractions: refused for classes, taken by a task that says so."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.data.manifest import SPLITS
from edgetransfer.data.split import calibration_sample
from edgetransfer.errors import DataError, SpecError
from edgetransfer.pipeline.bench.bench import bench
from edgetransfer.pipeline.build import build, resolve
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.predict import LoadedModel
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.spec import tasks
from edgetransfer.spec.recipe import BackboneSpec, DataSpec, QuantSpec, Recipe

COUNT, TARGET = 80, "this-machine"


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """A table of pictures of discs; the label is how large each is."""
    root, rng = tmp_path_factory.mktemp("sizes"), np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    table = ["file,label"]
    for index, size in enumerate(rng.uniform(0, 3, COUNT)):
        disc = np.hypot(rows - 16, columns - 16) < 3 + 4 * size
        noise = rng.integers(0, 30, (32, 32, 3)).astype(np.uint8)
        picture = np.where(disc[..., None], 200, 0).astype(np.uint8) + noise
        Image.fromarray(picture).save(root / f"{index}.png")
        table.append(f"{index}.png,{size:.3f}")
    (root / "metadata.csv").write_text("\n".join(table))
    return root


@pytest.fixture(scope="module")
def asked(registered, sizes):
    def of(task, source=sizes, **budget):
        return Recipe(
            task=task,
            data=DataSpec(source=str(source)),
            backbone=BackboneSpec(source="builtin:tiny-64"),
            quant=QuantSpec(precision="fp32"),
            timing="quick",
            budget={"max_drop_pp": 20, **budget},
        )

    return of


@pytest.fixture
def read(asked, toys):
    return lambda *given, **limits: read_data(
        resolve(asked(*given, **limits), toys, SilentReporter())
    )


def test_classification_refuses_them(read, sizes):
    with pytest.raises(DataError) as caught:
        read("classification")
    assert str(caught.value) == (
        f"{sizes / 'metadata.csv'}: the column label does not hold classes\n"
        "  found: 80 different numbers in 80 rows\n"
        "  expected: one of a few class names in each row\n"
        "  fix: this software fits classifiers only: no regression, detection or several labels"
    )


def test_every_split_and_sample_holds_small_and_large(read):
    manifest, rules = read("measured"), tasks.load("measured").labels
    quarter = dict(
        zip(
            (each.key for each in manifest.examples),
            rules.strata([each.label for each in manifest.examples]),
            strict=True,
        )
    )
    held = {split: Counter(quarter[each.key] for each in manifest.split(split)) for split in SPLITS}
    assert held == {
        "train": dict.fromkeys("0123", 14),
        "validation": dict.fromkeys("0123", 3),
        "test": dict.fromkeys("0123", 3),
    }
    drawn = calibration_sample(manifest, 20, 0, rules)
    assert set(Counter(quarter[each.key] for each in drawn).values()) == {5}


def test_a_cell_that_is_no_number_is_named_with_its_row(read, sizes, tmp_path):
    text = (sizes / "metadata.csv").read_text().splitlines()
    cells = [f"{sizes}/{line}" for line in text[1:]]
    cells[2], cells[5] = f"{sizes}/2.png,large", f"{sizes}/5.png,nan"
    (tmp_path / "sizes.csv").write_text("\n".join([text[0], *cells]))
    with pytest.raises(DataError) as caught:
        read("measured", tmp_path / "sizes.csv")
    assert str(caught.value) == (
        f"{tmp_path / 'sizes.csv'}: 2 problems in the data\n"
        "  - sizes.csv row 4: label 'large', which is no number\n"
        "  - sizes.csv row 7: label 'nan', which is no finite number\n"
        "  fix: correct the data and start again"
    )


def test_a_folder_that_is_no_number_is_refused(read, sizes, tmp_path):
    for label in ("0.5", "large"):
        for index in range(3):
            place = tmp_path / "folders" / label / f"{index}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((sizes / f"{index + 3 * (label == 'large')}.png").read_bytes())
    with pytest.raises(DataError, match=r"large/0.png: label 'large', which is no number"):
        read("measured", tmp_path / "folders")


def test_a_limit_that_nothing_would_hold_is_refused(read):
    with pytest.raises(SpecError) as caught:
        read("measured", min_accuracy=0.9, min_recall={"value": 0.5}, min_sqnr_db=20)
    assert str(caught.value) == (
        "budget: limits that the task does not hold\n  found: min_accuracy, min_recall"
        "\n  expected: of max_drop_pp, max_flips_pct, max_latency_ms, max_size_mib, min_sqnr_db"
        "\n  fix: leave the others out of the recipe"
    )


def test_it_is_fitted_measured_and_asked(asked, sizes, toys, tmp_path):
    out = tmp_path / "out"
    outcome = build(asked("measured"), out, toys, SilentReporter())
    report = outcome.reports[TARGET]
    assert (report["task"], report["verdict"]) == ("measured", "PASS")
    assert report["error"]["n"] == 12
    assert report["error"]["candidate"] < 0.3
    assert open_bundle(out / TARGET).labels == ("value",)
    again = bench(out / TARGET, DataSpec(source=str(sizes)), tmp_path / "again", SilentReporter())
    assert again["error"] == report["error"]
    (told,) = LoadedModel(out / TARGET).predict([str(sizes / "0.png")])
    size = float((sizes / "metadata.csv").read_text().splitlines()[1].split(",")[1])
    assert told.best[0] == ("value", pytest.approx(size, abs=0.5))
