"""A task of one folder, registered: fitted, quantised, shipped, measured, shown, asked."""

import numpy as np
import pytest
from PIL import Image

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.bundle.readers import read_golden, read_report
from edgetransfer.cli import render
from edgetransfer.measure.verdict import refuse_untrue
from edgetransfer.pipeline.bench.bench import bench
from edgetransfer.pipeline.build import build, plan, resolve
from edgetransfer.pipeline.predict import LoadedModel
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.spec import tasks
from edgetransfer.spec.recipe import BackboneSpec, DataSpec, Recipe

RANKS, TARGET = ("1", "2", "3", "4"), "this-machine"


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Pictures of discs: the larger, the higher the rank."""
    root, rng = tmp_path_factory.mktemp("ranks"), np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    for split, count in (("train", 12), ("val", 6), ("test", 20)):
        for place, rank in enumerate(RANKS):
            folder = root / split / rank
            folder.mkdir(parents=True)
            for index in range(count):
                disc = np.hypot(rows - 16, columns - 16) < 3 + 3 * place
                noise = rng.integers(0, 60, (32, 32, 3)).astype(np.uint8)
                picture = np.where(disc[..., None], 200, 0).astype(np.uint8) + noise // 2
                Image.fromarray(picture).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def recipe(registered, ranks):
    return Recipe(
        task="ordinal",
        data=DataSpec(source=str(ranks)),
        backbone=BackboneSpec(source="builtin:tiny-64"),
        timing="quick",
        budget={"max_drop_pp": 20},
    )


@pytest.fixture(scope="module")
def made(recipe, toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ordinal")
    return build(recipe, folder / "out", toys, SilentReporter()), folder / "out" / TARGET


def test_the_recipe_knows_the_task_and_its_metric(recipe):
    assert recipe.metric == "mean-error"
    stages = [step.stage for step in plan(resolve(recipe, None, SilentReporter()))]
    assert stages[:2] == ["data", "ridge"]


def test_it_is_fitted_quantised_and_judged(made):
    outcome, folder = made
    report = outcome.reports[TARGET]
    assert (report["task"], report["precision"]) == ("ordinal", "w8a8")
    assert report["error"]["n"] == 80
    assert report["error"]["candidate"] < 0.3
    noise = report["numeric"]["sqnr_db_by_output"]
    assert list(noise) == ["score", "beyond"]
    assert report["numeric"]["sqnr_db"] == min(noise.values()) > 20
    assert "accuracy" not in report
    gates = {gate["name"]: gate["status"] for gate in report["gates"]}
    assert gates["mean-error"] == "PASS"
    assert not {"accuracy", "kl", "classes", "calibration", "chance"} & gates.keys()
    assert outcome.verdict == "PASS"
    bundle = open_bundle(folder)
    assert bundle.manifest["ranks"] == list(RANKS)
    case = read_golden(folder / "measure/golden" / "index.json")[0]
    assert list(case["core"]) == ["score", "beyond"]
    (score,), (beyond,) = case["core"]["score"], case["core"]["beyond"]
    assert beyond == pytest.approx([score - 0.5, score - 1.5, score - 2.5], abs=1e-5)
    assert bundle.manifest["task"] == "image ordinal"


def test_it_is_measured_again(made, ranks, tmp_path):
    found = bench(made[1], DataSpec(source=str(ranks)), tmp_path / "again", SilentReporter())
    assert found["verdict"] == "PASS"
    assert found["error"] == made[0].reports[TARGET]["error"]
    bare = bench(made[1], None, tmp_path / "bare", SilentReporter())
    assert bare["error"]["reference"] is None
    assert bare["unavailable"]["error.reference"] == "the examples have no labels"


def test_it_is_shown(made, capsys):
    report = read_report(made[1] / "report.json")
    refuse_untrue(report, "report.json", tasks.load("ordinal").claims)
    page = (made[1] / "report.html").read_text()
    assert "Mean error" in page
    assert "How far the score is from the right rank." in page
    assert "SQNR of beyond" in page
    assert "KL divergence" not in page
    assert "Every class" not in page
    render.verdict(report, made[1])
    assert "mean error" in capsys.readouterr().out


def test_it_is_asked(made, ranks):
    model = LoadedModel(made[1])
    answers = model.predict(sorted((ranks / "test" / "4").iterdir())[:5])
    assert [each.best[0][0] for each in answers] == ["4"] * 5
    assert model.columns == ("rank", "score")
