"""What is fitted moves to the device's pictures: judged by labels of its own, never fitted on."""

import numpy as np
import pytest
from PIL import Image

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.errors import DataError, SpecError
from edgetransfer.pipeline.stage.run import Run
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.recipe import DataSpec, recipe_from
from edgetransfer.tasks.classification.fit.adapt import set_aside
from edgetransfer.tasks.classification.fit.fit import fit
from edgetransfer.tasks.classification.labels import CLASSES

SHAPES = ("square", "stripes", "checks")


class Stages:
    def __init__(self):
        self.reused = {}

    def begin(self, stage):
        return lambda done, total: None

    def end(self, stage, summary, *, reused):
        self.reused[stage] = reused


def draw(shape, rng):
    """Return uint8 [30, 36, 3]: one of three shapes, in a shade that is always another."""
    rows, columns = np.mgrid[:30, :36]
    box = np.maximum(abs(rows - rng.integers(10, 20)), abs(columns - rng.integers(12, 24)))
    checks = (columns // 6 + rows // 6) % 2 == 0
    inside = {"square": box < 7, "stripes": columns // 3 % 2 == 0, "checks": checks}[shape]
    shade = Image.fromarray(rng.integers(0, 160, (3, 4), np.uint8)).resize((36, 30))
    picture = np.array(shade)[..., None] + inside[..., None] * rng.integers(70, 95, 3)
    return picture.astype(np.uint8)


def negative(shape, rng):
    return Image.fromarray(255 - draw(shape, rng) // 2)


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """A table of pictures from a lab and from a roof, and a folder of more from the roof."""
    root = tmp_path_factory.mktemp("sites")
    rng = np.random.default_rng(0)
    rows = ["file,label,split,site"]
    (root / "roof").mkdir()
    for split, lab, roof in (("train", 12, 12), ("validation", 4, 4), ("test", 4, 4)):
        for shape in SHAPES:
            for index in range(lab + roof):
                site = "lab" if index < lab else "roof"
                name = f"{split}-{shape}-{index}.png"
                made = negative(shape, rng) if site == "roof" else Image.fromarray(draw(shape, rng))
                made.save(root / name)
                rows.append(f"{name},{shape},{split},{site}")
    for shape in SHAPES:
        for index in range(15):
            negative(shape, rng).save(root / "roof" / f"{shape}-{index}.png")
    table = root / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.fixture
def adapted(sites, cache):
    def run(stages=None, data=sites, **options):
        options = {"unlabelled": str(sites.parent / "roof"), "soundness": False, **options}
        recipe = recipe_from({"data": str(data), **options})
        source = backbones.locate(recipe.backbone.source)
        return fit(Run(recipe, (), source, Store(cache), stages or Stages()))

    return run


def graph_right(fitted, examples):
    """Return how often the graph that is shipped is right."""
    session, prepare = OnnxSession(fitted.graph.read_bytes()), fitted.preparer()
    decided = [int(session.run(prepare.prepare(each))[0].argmax()) for each in examples]
    return (np.array(decided) == fitted.manifest.label_index(examples)).mean()


@pytest.mark.parametrize("method", ["reweight", "align", "norms"])
def test_a_method_is_judged_by_labels_that_nothing_was_fitted_on(adapted, method):
    stages = Stages()
    fitted = adapted(stages, adapt=method, device_part="site=roof")
    block = fitted.facts["adaptation"]
    assert (block["asked"], block["method"]) == (method, method)
    assert block["comparison"]["n"] == 48  # 12 + 4 of each of 3 shapes; the test set is left alone
    assert block["comparison"]["examples"] == "labelled examples of the device (site=roof)"
    assert block["shift"]["auc"] > 0.95
    assert block["unlabelled"] == len(fitted.unlabelled) >= 40  # but near-duplicates
    kept = [e for e in fitted.manifest.examples if e.split != "test"]
    assert {example.metadata["site"] for example in kept} == {"lab"}
    assert "48 labelled examples of the device (site=roof) were set aside" in fitted.manifest.notes
    assert list(stages.reused)[:8] == [
        "data", "unlabelled", "backbone", "features", "shift", "probe views", "probe",
        f"adapt {method}",
    ]  # fmt: skip
    again = Stages()
    assert adapted(again, adapt=method, device_part="site=roof").facts == fitted.facts
    assert set(again.reused.values()) == {True}


@pytest.mark.parametrize("method", ["align", "norms"])
def test_what_is_shipped_is_what_was_judged(adapted, sites, method):
    manifest = sources.load(DataSpec(source=str(sites)), CLASSES, seed=0)
    device = set_aside(manifest, "site=roof").device
    fitted = adapted(adapt=method, device_part="site=roof")
    said = fitted.facts["adaptation"]["comparison"]["subject_score"]
    assert graph_right(fitted, device) == pytest.approx(said)


def test_without_labels_of_the_device_nothing_is_claimed(adapted):
    block = adapted(adapt="align").facts["adaptation"]
    assert "comparison" not in block
    assert block["unmeasured"] == "no labelled examples of the device were named (--device-part)"
    assert block["warnings"] == []


def test_auto_chooses_by_all_labels_and_each_half_is_judged_by_the_other(adapted):
    """A14: half of the labels chose, by a test of significance of the accuracy."""
    block = adapted(adapt="auto", device_part="site=roof").facts["adaptation"]
    assert {row["method"] for row in block["tried"]} == {"reweight", "align", "norms"}
    assert {row["n"] for row in block["tried"]} == {48}
    taken = [row["method"] for row in block["tried"] if row["taken"]]
    assert block["method"] == (taken[0] if taken else "none")
    assert ("comparison" in block) == bool(taken)
    if taken:
        assert block["comparison"]["n"] == 48


def test_a_part_that_nobody_has(adapted):
    with pytest.raises(DataError) as caught:
        adapted(adapt="align", device_part="site=cellar")
    assert str(caught.value) == (
        "--device-part site=cellar: no example is of that part\n"
        "  found: site is lab, roof\n"
        "  expected: a column of the table and one of its values, as COLUMN=VALUE"
    )


def test_texts_are_refused(adapted, tmp_path):
    table = tmp_path / "texts.csv"
    rows = "\n".join(f"a text of kind {i % 2} number {i},{'ab'[i % 2]}" for i in range(40))
    table.write_text(f"text,label\n{rows}\n")
    with pytest.raises(SpecError) as caught:
        adapted(data=table, adapt="align")
    assert str(caught.value) == (
        "--adapt align: the examples are texts, and only pictures can be moved to\n"
        "  fix: leave --adapt out: texts without labels serve by --unlabelled alone"
    )
