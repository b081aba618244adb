"""A student is taught: who taught it is told, what was kept is kept, and the split is the same."""

import shutil

import numpy as np
import pytest
from PIL import Image

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.backbone import sources as backbones
from edgetransfer.errors import SpecError
from edgetransfer.pipeline.stage.run import Run
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.recipe import EPOCHS, recipe_from
from edgetransfer.tasks.classification.fit.fit import fit

BUILTIN = "builtin:tiny-64"


class Stages:
    def __init__(self):
        self.reused, self.summaries = {}, {}

    def begin(self, stage):
        return lambda done, total: None

    def end(self, stage, summary, *, reused):
        self.reused[stage], self.summaries[stage] = reused, summary


@pytest.fixture
def fitted(pictures, cache):
    """Fit as `build` does, up to the float graph."""

    def run(data=pictures, stages=None, recipe_file=None, **options):
        options = {"distill_from": BUILTIN, "epochs": 2, **options}
        recipe = recipe_from({"data": str(data), **options}, recipe_file)
        teacher = None
        if recipe.distill.source is not None:
            teacher = backbones.locate(recipe.distill.source, option="--distill-from")
        source = backbones.locate(recipe.backbone.source)
        return fit(Run(recipe, (), source, Store(cache), stages or Stages(), teacher))

    return run


@pytest.fixture
def more(tmp_path):
    """Pictures that are unlike each other and unlike those with labels."""
    folder = tmp_path / "more"
    (folder / "deeper").mkdir(parents=True)
    for seed in range(7):
        noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(noise).resize((36, 30)).save(folder / "deeper" / f"{seed}.png")
    return folder


def test_who_taught_is_told(fitted):
    stages = Stages()
    record = fitted(stages=stages).facts["fit"]
    taught = record["distilled"]
    assert (record["method"], len(record["history"])) == ("finetune", 3)
    assert (taught["teacher"], taught["method"]) == (BUILTIN, "probe")
    assert taught["digest"] == backbones.locate(BUILTIN).digest
    assert taught["held_out"]["value"] > 0.6
    assert (taught["views"], taught["unlabelled"]) == (2, 0)
    assert set(taught["weights"]) == {"labels", "soft", "hints", "relations"}
    assert list(stages.reused) == [
        "data", "teacher backbone", "teacher features", "teacher probe views", "teacher probe",
        "teacher views", "backbone", "features", "neighbours", "probe views", "probe", "preview",
        "labels",
        "near duplicates", "finetune time", "finetune parts", "finetune",
        "trace", "random start", "soundness",
    ]  # fmt: skip
    assert stages.summaries["teacher views"] == "2 of each of 36 examples"


def test_a_second_run_does_nothing_again(fitted):
    stages = Stages()
    once = fitted()
    again = fitted(stages=stages)
    assert [name for name, reused in stages.reused.items() if not reused] == []
    assert (again.key, again.facts) == (once.key, once.facts)


def test_more_epochs_ask_about_new_looks_only(fitted, monkeypatch):
    asked, keep = [], Store.keep

    def noted(*given):
        kept = keep(*given)
        asked.extend([kept.key] if given[1].name == "look" and not kept.reused else [])
        return kept

    fitted()
    monkeypatch.setattr(Store, "keep", noted)
    fitted(epochs=3)
    assert len(asked) == 1


def test_the_teacher_makes_a_difference(fitted):
    taught = fitted()
    alone = fitted(distill_from=None, fit="finetune")
    assert "distilled" not in alone.facts["fit"]
    assert taught.facts["fit"]["history"][0] == alone.facts["fit"]["history"][0]
    assert taught.facts["fit"]["history"][1:] != alone.facts["fit"]["history"][1:]
    assert taught.manifest.split_digests() == alone.manifest.split_digests()


def test_a_teacher_can_be_finetuned_for_longer_than_its_student(fitted, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[distill]\nfit = "finetune"\n')
    stages = Stages()
    taught = fitted(stages=stages, recipe_file=recipe).facts["fit"]["distilled"]
    assert taught["method"] == "finetune"
    run = int(stages.summaries["teacher finetune"].rpartition(" of ")[2])
    assert 2 < run <= EPOCHS
    assert stages.summaries["teacher trace"].startswith("equal to the fitted network within ")


def test_unlabelled_pictures_are_taught_too(fitted, more, pictures):
    shutil.copy(pictures / "test" / "disc" / "00.png", more / "of the test set.png")
    stages = Stages()
    found = fitted(unlabelled=str(more), stages=stages)
    assert found.facts["fit"]["distilled"]["unlabelled"] == 7
    assert stages.summaries["unlabelled"] == "7 pictures, 1 left out"
    assert stages.summaries["teacher views"] == "2 of each of 43 examples"
    assert found.manifest.notes[-1] == (
        "1 of 8 unlabelled pictures was dropped: 1 duplicate of a test example"
    )
    assert found.key != fitted().key
    assert found.manifest.digest == fitted().manifest.digest


@pytest.fixture
def own(fitted, tmp_path, more):
    """A fitted .onnx file, its classes in another order than the data's."""
    import json

    import onnx
    from onnx import numpy_helper

    made = fitted(distill_from=None, fit="probe")
    graph = onnx.load(made.graph)
    order = [2, 0, 1]
    for weight in graph.graph.initializer:
        if weight.name.startswith("head") or "head" in weight.name:
            turned = numpy_helper.to_array(weight)[order]
            weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(turned), weight.name))
    folder = tmp_path / "own"
    folder.mkdir()
    onnx.save(graph, folder / "mine.onnx")
    labels = [made.manifest.labels[index] for index in order]
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")
    contract = made.preprocessing.model_dump(mode="json")
    (folder / "preprocess.json").write_text(json.dumps(contract))
    return folder / "mine.onnx", made


def test_a_fitted_file_teaches_its_decisions(fitted, own):
    file, made = own
    stages = Stages()
    found = fitted(distill_from=str(file), stages=stages)
    taught = found.facts["fit"]["distilled"]
    assert (taught["teacher"], taught["method"]) == (str(file), "none")
    # As good as it is with its classes in order.
    assert taught["held_out"]["value"] == made.facts["fit"]["held_out"]["value"]
    assert "teacher probe" not in stages.reused
    assert OnnxSession(str(found.graph)).input_names == OnnxSession(str(made.graph)).input_names


def test_an_absent_teacher_is_named_by_its_option(fitted):
    with pytest.raises(SpecError) as caught:
        fitted(distill_from="builtin:giant")
    assert str(caught.value) == (
        "--distill-from builtin:giant: no such built-in backbone\n  expected: builtin:tiny-64"
    )


def test_a_teacher_of_pictures_does_not_teach_texts(fitted, tmp_path):
    rows = [f"a text number {i},{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(SpecError) as caught:
        fitted(data=tmp_path / "texts.csv")
    assert str(caught.value) == (
        f"--distill-from {BUILTIN}: the built-in backbone takes pictures, and the examples are "
        "texts\n  fix: give a text encoder: --backbone hf:ORG/NAME or a local folder"
    )


def test_the_plan_names_teacher_and_looks(cache, more):
    from edgetransfer.pipeline.build import plan, resolve

    options = {"data": "photos", "distill_from": BUILTIN, "unlabelled": str(more)}
    run = resolve(recipe_from(options), Store(cache), Stages())
    assert [(step.stage, step.what) for step in plan(run)][:4] == [
        ("data", "read, check and split photos"),
        ("unlabelled", f"read {more}, leave out what is judged on"),
        ("teacher", f"open {BUILTIN} (builtin), fit a probe on the same split"),
        ("teacher views", "run it over every augmentation of the examples to train on"),
    ]
    assert ("finetune", "all layers, at most 30 epochs") in [(s.stage, s.what) for s in plan(run)]
