"""Stages are made again where what they depend on changed, and found where it did not."""

import json
from dataclasses import replace
from importlib.metadata import version

import pytest

from edgetransfer.backbone import sources as backbones
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.fit.frozen import open_frozen
from edgetransfer.pipeline.stage import reached
from edgetransfer.pipeline.stage import stage as stages
from edgetransfer.pipeline.stage.reached import FOLDER, Sources
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.run import Run
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.progress import silent
from edgetransfer.spec.recipe import recipe_from
from edgetransfer.tasks.classification.fit.probe import fit_head

OF_A_BUILD = {
    "backbone", "data", "features", "labels", "measure", "near-duplicates", "neighbours", "probe",
    "probe-views", "random start", "reference", "rung", "soundness", "statistics", "trace", "trial",
}  # fmt: skip


def test_b1_all_that_ran_in_a_stage_is_in_its_key(built, ran):
    """What objects bring along is not seen in imports; here it is seen as it runs."""
    assert set(ran) >= OF_A_BUILD
    sources = reached.installed()
    missed = {
        name: ours - sources.reached(*modules)
        for name, (modules, ours) in ran.items()
        if ours - sources.reached(*modules)
    }
    assert missed == {}


NEWER = "+newer"


@pytest.fixture
def again(built, pictures, cache, monkeypatch):
    """Ask for the stages up to the probe again, as if a line of some modules had been changed.

    Returns what each was: found, or to be made. For the latter, what was kept before the change
    stands in, so that nothing is made.
    """
    before, keep, found, was = reached.installed(), Store.keep, {}, {}

    def look(store, stage, progress=silent):
        found[stage.name] = store.has(stage)
        if found[stage.name]:
            return keep(store, stage)
        # Rules for labels are told with versions.
        text = json.dumps(stage.inputs).replace(NEWER, "")
        for new, old in was.items():
            text = text.replace(new, old)
        with monkeypatch.context() as then:
            then.setattr(reached, "installed", lambda: before)
            then.setattr(stages, "version", version)
            kept = keep(store, replace(stage, inputs=json.loads(text)))
        assert kept.reused
        was[stage.key] = kept.key
        return replace(kept, key=stage.key)

    def run(*edited):
        files = {FOLDER / f"{name}.py" for name in edited}
        assert all(file.is_file() for file in files)
        sources = Sources(FOLDER, lambda file: file.read_bytes() + b"\n" * (file in files))
        monkeypatch.setattr(reached, "installed", lambda: sources)
        monkeypatch.setattr(Store, "keep", look)
        recipe = recipe_from({"data": str(pictures)})
        source = backbones.locate(recipe.backbone.source)
        run = Run(recipe, (), source, Store(cache), SilentReporter())
        manifest = read_data(run)
        fit_head(run, manifest, OpenedBackbone(run, manifest))
        return found

    return run


CLASSES = "tasks/classification"
FOUND = {"data": True, "backbone": True, "features": True, "probe-views": True, "probe": True}


@pytest.mark.parametrize(
    ("edited", "made"),
    [
        (["cli/app", "report/page", f"{CLASSES}/train/finetune", f"{CLASSES}/task"], []),
        (["pipeline/build", f"{CLASSES}/judge/judged"], []),
        ([f"{CLASSES}/fit/probe"], ["probe"]),
        ([f"{CLASSES}/head/probe"], ["probe"]),
        (["transfer/features"], ["features", "probe-views", "probe"]),
        (["transfer/looks"], ["probe-views", "probe"]),
        (["pipeline/fit/frozen"], ["backbone", "features", "probe-views", "probe"]),
        (["data/split"], ["data"]),
    ],
    ids=lambda value: "+".join(value),
)
def test_b1_changed_code_remakes_what_reaches_it(again, edited, made):
    """The proofs of B1: a probe that saves a negated head, and features that are all zeros."""
    assert again(*edited) == {**FOUND, **dict.fromkeys(made, False)}


def test_b1_a_version_that_was_installed_since_finds_nothing_of_before(again, monkeypatch):
    def newer(name):
        return version(name) + NEWER * (name == reached.PACKAGE)

    monkeypatch.setattr(stages, "version", newer)
    assert again() == dict.fromkeys(FOUND, False)


def test_a_backbone_is_traced_once_for_all_that_use_it(built, pictures, cache):
    recipe = recipe_from({"data": str(pictures)})
    source = backbones.locate(recipe.backbone.source)
    run = Run(recipe, (), source, Store(cache), SilentReporter())
    backbone, _, kept = open_frozen(run, read_data(run))
    assert kept.reused
    assert kept.file("features.onnx").is_file()
    assert kept.record["feature_dim"] == backbone.feature_dim
    assert kept.record["parameters"] == sum(each.numel() for each in backbone.network.parameters())
