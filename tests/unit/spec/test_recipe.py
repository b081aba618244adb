"""Flat options and a recipe file become one recipe; problems are named as the user wrote them."""

import pytest

from edgetransfer.errors import SpecError
from edgetransfer.spec.recipe import PLACES, Recipe, recipe_from


def message(options, file=None):
    with pytest.raises(SpecError) as caught:
        recipe_from(options, file)
    return str(caught.value)


@pytest.fixture
def recipe_file(tmp_path):
    def write(content):
        file = tmp_path / "recipe.toml"
        file.write_text(content)
        return file

    return write


def test_the_data_alone_is_enough():
    assert recipe_from({"data": "photos"}) == Recipe.model_validate({"data": {"source": "photos"}})


def test_every_option_stands_where_the_table_says():
    recipe = recipe_from(
        {
            "data": "photos",
            "group_by": ["site", "camera"],
            "target": ("a", "b"),
            "max_drop": 0.5,
            "min_sqnr": -3.0,
            "precision": "fp16",
            "seed": 7,
        }
    )
    assert recipe.data.group_by == ("site", "camera")
    assert recipe.targets == ("a", "b")
    assert (recipe.budget.max_drop_pp, recipe.budget.min_sqnr_db) == (0.5, -3.0)
    assert (recipe.quant.precision, recipe.seed) == ("fp16", 7)


def test_the_table_names_fields_that_exist():
    shape = Recipe.model_validate({"data": {"source": "photos"}}).model_dump()
    for place in PLACES.values():
        table = shape
        for part in place:
            assert part in table
            table = table[part]


@pytest.mark.parametrize("nothing", [None, (), []])
def test_what_was_not_given_leaves_the_default(nothing):
    assert recipe_from({"data": "photos", "target": nothing}).targets == ("this-machine",)


def test_zero_was_given(recipe_file):
    file = recipe_file('seed = 3\n[data]\nsource = "photos"\n')
    assert recipe_from({"seed": 0}, file).seed == 0


def test_options_go_over_the_file(recipe_file):
    file = recipe_file(
        'targets = ["x86-avx2"]\nseed = 3\n[data]\nsource = "photos"\n[budget]\nmax_drop_pp = 1.0\n'
    )
    recipe = recipe_from({"data": "others", "seed": 4, "max_size_mib": 2.0}, file)
    assert (recipe.data.source, recipe.seed, recipe.targets) == ("others", 4, ("x86-avx2",))
    assert (recipe.budget.max_drop_pp, recipe.budget.max_size_mib) == (1.0, 2.0)


def test_no_data(recipe_file):
    expected = "\n  expected: a folder of pictures or a table: edgetransfer build DATA"
    file = recipe_file("seed = 3\n")
    assert message({}) == f"command line: no data was named{expected}"
    assert message({"seed": 1}, file) == f"{file}: no data was named{expected}"


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("max_drop", -1.0, "--max-drop: should be greater than 0 (found -1.0)"),
        ("max_drop", float("inf"), "--max-drop: should be a finite number (found inf)"),
        ("max_latency_ms", 0, "--max-latency-ms: should be greater than 0 (found 0)"),
        ("max_size_mib", -2, "--max-size-mib: should be greater than 0 (found -2)"),
        ("max_flips", -0.5, "--max-flips: should be greater than 0 (found -0.5)"),
        ("min_sqnr", float("nan"), "--min-sqnr: should be a finite number (found nan)"),
        (
            "precision",
            "int4",
            "--precision: should be 'auto', 'fp32', 'fp16' or 'w8a8' (found 'int4')",
        ),
        ("threads", 0, "--threads: should be greater than or equal to 1 (found 0)"),
        ("seed", 2**32, "--seed: should be less than 4294967296 (found 4294967296)"),
    ],
)
def test_problems_are_spelled_as_options(option, value, problem):
    assert message({"data": "photos", option: value}) == f"command line: {problem}"


def test_all_problems_of_file_and_options_in_one_message(recipe_file):
    file = recipe_file('[data]\nsource = "photos"\n[fit]\nepohs = 3\n[budget]\nmax_drop_pp = -3\n')
    assert message({"seed": -1}, file) == (
        f"command line and {file}: "
        "fit.epohs: no such field, did you mean epochs?; "
        "--max-drop: should be greater than 0 (found -3); "
        "--seed: should be greater than or equal to 0 (found -1)"
    )


def test_a_task_that_is_close_to_one():
    assert message({"data": "photos", "task": "clasification"}) == (
        "command line: --task: expected classification, did you mean classification? "
        "(found 'clasification')"
    )


@pytest.mark.parametrize("options", [{}, {"data": "others"}, {"label_column": "kind"}])
def test_a_value_where_a_table_belongs(recipe_file, options):
    file = recipe_file('data = "photos"\n')
    assert message(options, file) == (
        f"command line and {file}: data: should be an object (found 'photos')"
    )


def test_a_recipe_file_that_is_not_there(tmp_path):
    file = tmp_path / "absent.toml"
    assert message({"data": "photos"}, file) == (
        f"{file}: not a readable TOML file\n  found: no such file"
    )


def test_a_teacher_needs_a_network_whose_layers_learn():
    recipe = recipe_from({"data": "photos", "distill_from": "hf:a/b", "unlabelled": "more"})
    assert (recipe.distill.source, recipe.distill.unlabelled) == ("hf:a/b", "more")
    assert recipe.trains_all_layers
    for fit in ("probe", "lora", "contrastive", "none"):
        assert message({"data": "photos", "distill_from": "hf:a/b", "fit": fit}) == (
            "command line: distill: a teacher trains all layers: take --fit auto or finetune, "
            f"not {fit}"
        )


def test_adapters_have_a_rank(recipe_file):
    assert [recipe_from({"data": "texts.csv", "fit": fit}).rank for fit in ("lora", "auto")] == [
        8,
        0,
    ]
    told = "--fit lora takes a rank and frees no layers; other methods have no rank"
    for method, field, value in (("lora", "gradual", "true"), ("probe", "rank", "4")):
        file = recipe_file(f'[fit]\nmethod = "{method}"\n{field} = {value}\n')
        assert message({"data": "texts.csv"}, file) == (
            f"command line and {file}: fit.{field}: {told} (found {value.title()})"
        )


def test_unlabelled_examples_serve_a_teacher_an_adaptation_or_a_head_of_texts():
    assert message({"data": "photos", "unlabelled": "more"}) == (
        "command line: distill: --unlabelled needs --distill-from or --adapt, or for texts "
        "--fit contrastive or probe"
    )


@pytest.mark.parametrize("fit", ["probe", "contrastive"])
def test_texts_without_labels_need_no_teacher(fit):
    recipe = recipe_from({"data": "texts.csv", "unlabelled": "more.txt", "fit": fit})
    assert (recipe.guesses, recipe.adapts) == (True, False)
    assert not recipe_from({"data": "texts.csv", "fit": fit}).guesses


ADAPTED = {"data": "photos", "unlabelled": "more", "adapt": "align"}


def test_an_adaptation_reports_the_device_part_as_a_group():
    recipe = recipe_from({**ADAPTED, "device_part": "site=roof", "group_by": ["hour", "site"]})
    assert (recipe.adapts, recipe.trains_all_layers) == (True, False)
    assert recipe.grouped_by == ("hour", "site")
    assert recipe_from({"data": "photos"}).grouped_by == ()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"unlabelled": None},
            "distill: --adapt needs the device's pictures: --unlabelled DIR",
        ),
        (
            {"distill_from": "hf:a/b"},
            "distill: a teacher trains all layers, and --adapt goes with a frozen backbone",
        ),
        (
            {"fit": "finetune"},
            "adapt: goes with a frozen backbone: take --fit probe or auto, not finetune",
        ),
        (
            {"adapt": "auto"},
            "--device-part: --adapt auto chooses by labelled examples of the device: "
            "name them COLUMN=VALUE",
        ),
        (
            {"adapt": None, "distill_from": "hf:a/b", "device_part": "site=roof"},
            "--device-part: judges an adaptation, and --adapt names none (found 'site=roof')",
        ),
        ({"device_part": "roof"}, "--device-part: expected COLUMN=VALUE (found 'roof')"),
    ],
)
def test_an_adaptation_that_cannot_be(options, told):
    assert message({**ADAPTED, **options}) == f"command line: {told}"


@pytest.mark.parametrize(
    ("fit", "trains"), [("auto", False), ("probe", False), ("finetune", True), ("none", False)]
)
def test_without_a_teacher_only_finetuning_trains_all_layers(fit, trains):
    assert recipe_from({"data": "photos", "fit": fit}).trains_all_layers is trains


def test_who_is_taught_goes_further_unless_told_otherwise():
    alone, taught = ({"data": "photos", **more} for more in ({}, {"distill_from": "hf:a/b"}))
    assert (recipe_from(alone).epochs, recipe_from(taught).epochs) == (12, 30)
    rates = [recipe_from(each).learning_rate for each in (alone, taught)]
    assert rates == [None, 2e-3]
    asked = recipe_from({**taught, "epochs": 5, "learning_rate": 1e-3})
    assert (asked.epochs, asked.learning_rate) == (5, 1e-3)
