"""A build says when its transfer is the wrong idea, and keeps quiet when it is not."""

import shutil

import numpy as np
import pytest
from PIL import Image

import edgetransfer
from edgetransfer.backbone.sources import WEIGHTS
from edgetransfer.bundle.files import read_json
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.bundle.readers import ReportForm
from edgetransfer.pipeline.build import resolve
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.outside import validated
from edgetransfer.spec.recipe import recipe_from
from edgetransfer.tasks.classification.checks.soundness import _look, told_after
from edgetransfer.transfer.study.domain import describe_source, save_statistics

COUNTS = {"train": 50, "val": 20, "test": 10}
QUICK = {"precision": "fp32", "timing": "quick", "fit": "probe"}


def faint(label, rng):
    """Noise whose left half is 3 levels lighter or darker than its right one: no edge, no shape.

    Each pixel is far noisier than that, but the mean of a block is not.
    """
    picture = np.full((64, 64, 3), float(rng.integers(90, 160))) + rng.normal(0, 5, (64, 64, 3))
    step = 1.5 if label else -1.5
    picture[:, :32] += step
    picture[:, 32:] -= step
    return picture.round().astype(np.uint8)


@pytest.fixture(scope="module")
def faint_pictures(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("data") / "faint", np.random.default_rng(0)
    for split, count in COUNTS.items():
        for label in (0, 1):
            folder = root / split / "ab"[label]
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(faint(label, rng)).save(folder / f"{index:02d}.png")
    return root


@pytest.fixture(scope="module")
def discarded(faint_pictures, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("faint")
    return edgetransfer.build(faint_pictures, out=out, cache=cache, **QUICK)


def test_negative_transfer_is_detected_where_the_backbone_discards_what_the_labels_say(discarded):
    report = discarded.reports["this-machine"]
    validated(ReportForm, report, "report.json")
    rows = {row["rival"]: row for row in report["soundness"]["comparisons"]}
    worse = rows["logistic regression on 8 x 8 pixels"]
    assert worse["finding"] == "worse"
    assert worse["n"] == 140  # train out of fold, and validation
    assert worse["rival_score"] > 0.97
    assert worse["ci95_pp"][1] < 0
    (message,) = [w for w in report["reasons"] if "8 x 8 pixels" in w]
    low, high = worse["ci95_pp"]
    assert message == (
        "warning: transfer: this backbone, frozen, knows less about these examples than logistic "
        f"regression on 8 x 8 pixels: {worse['subject_score']:.3f} against "
        f"{worse['rival_score']:.3f}, difference {worse['delta_pp']:+.1f} pp "
        f"[{low:+.1f}, {high:+.1f}] on 140 held-out examples"
    )


def test_the_line_tells_of_the_network_that_is_shipped():
    def row(subject, finding, low):
        return {
            "subject": subject, "rival": "pixels", "finding": finding, "subject_score": 0.8,
            "rival_score": 0.7, "delta_pp": 10.0, "ci95_pp": [low, 20.0], "n": 50,
            "examples": "validation examples",
        }  # fmt: skip

    rows = [row("the frozen backbone", "worse", -9.0), row("the fitted network", "better", 1.0)]
    assert told_after({"warnings": [], "comparisons": rows}) == (
        "the fitted network: better than pixels: 0.800 against 0.700, difference +10.0 pp "
        "[+1.0, +20.0] on 50 validation examples"
    )


def test_the_warning_does_not_decide(discarded):
    report = discarded.reports["this-machine"]
    gates = [gate for gate in report["gates"] if gate["name"] == "transfer"]
    assert gates
    assert not any(gate["decides"] for gate in gates)
    assert {gate["status"] for gate in gates} == {"FAIL"}


def test_the_page_and_the_manifest_tell_the_same(discarded):
    folder = discarded.folders["this-machine"]
    page = (folder / "report.html").read_text()
    assert "Is this transfer sound?" in page
    assert "worse: negative transfer" in page
    manifest = open_bundle(folder).manifest
    assert manifest["soundness"] == read_json(folder / "report.json")["soundness"]


def test_it_can_be_switched_off(faint_pictures, cache, tmp_path):
    outcome = edgetransfer.build(
        faint_pictures, out=tmp_path, cache=cache, soundness=False, **QUICK
    )
    report = outcome.reports["this-machine"]
    assert report["soundness"] == {
        "tested": False,
        "reason": "switched off in the recipe",
        "comparisons": [],
        "warnings": [],
    }
    assert (
        "Not tested. Switched off in the recipe."
        in (outcome.folders["this-machine"] / "report.html").read_text()
    )


def test_a_fine_tuned_network_is_judged_itself(pictures, cache, tmp_path):
    outcome = edgetransfer.build(
        pictures, out=tmp_path, cache=cache, **{**QUICK, "fit": "finetune", "epochs": 2}
    )
    rows = outcome.reports["this-machine"]["soundness"]["comparisons"]
    counts = {row["subject"]: row["n"] for row in rows}
    assert counts == {"probe on this backbone": 54, "fitted network": 18}


def test_shapes_are_known_better_than_by_chance(built):
    block = built.reports["this-machine"]["soundness"]
    assert block["neighbours"]["p"] < 0.05
    assert block["comparisons"][-1]["rival"] == "always the commonest class"
    assert block["comparisons"][-1]["finding"] == "better"


def test_the_learning_curve_is_told(discarded):
    curve = discarded.reports["this-machine"]["labelling"]["curve"]
    assert (curve["judged"], curve["now"], curve["sizes"][-1]) == (140, 100, 100)
    assert len(curve["error"]) == len(curve["sizes"])
    assert {"falls", "gains", "classes"} < set(curve)


def test_what_an_unseen_group_costs_and_how_far_the_source_is(faint_pictures, cache, tmp_path):
    files = sorted(faint_pictures.glob("train/*/*.png"))
    rows = [f"{file},{file.parent.name},{index % 10}" for index, file in enumerate(files)]
    (tmp_path / "table.csv").write_text("\n".join(["file,label,camera", *rows]) + "\n")
    own = shutil.copytree(WEIGHTS / "tiny-64", tmp_path / "own")
    save_statistics(describe_source(np.random.default_rng(0).normal(50, 1, (100, 768))), own)
    asked = {"data": str(tmp_path / "table.csv"), "backbone": str(own), "split_by": "camera"}
    run = resolve(recipe_from(asked), Store(cache), SilentReporter())
    manifest = read_data(run)
    opened = OpenedBackbone(run, manifest)
    kept = run.store.keep(_look(run, manifest, opened, opened.features(manifest)))
    unseen, source = kept.record["unseen"], kept.record["source"]
    assert unseen["column"] == "camera"
    assert 3 <= unseen["groups"] < 10
    assert unseen["cost_pp"] == pytest.approx(100 * (unseen["mixed"] - unseen["apart"]))
    assert source["median"] > 1  # no network gives such features
    assert source["far"] == 1
