"""`init`: a commented recipe from a look at the data, which `build --recipe` takes as it is."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.pipeline.first_recipe import FirstRecipe
from edgetransfer.spec.preprocess import TextPreprocessing
from edgetransfer.spec.recipe import PLACES, recipe_from

SEEN = """\
# edgetransfer build --recipe recipe.toml
#
# 114 pictures: 36 train, 18 validation, 60 test
# 3 labels:
#       38  disc
#       38  square
#       38  stripes
#
# Warnings:
# 60 test examples cannot show that quantising costs less than 2 points: 149 would, without \
a changed decision
#
# A line that begins with # is off: take the sign away, and give a value, to set it.

# Device to build for; repeatable. See `edgetransfer targets`.
targets = ["this-machine"]
# What a label is: classification, or a registered task.
# task = "classification"
"""


def test_what_was_seen_stands_above_the_options(command, pictures, cache, tmp_path):
    code, out, _ = command("init", pictures, "--cache", cache)
    text = (tmp_path / "recipe.toml").read_text()
    assert code == 0
    assert text.startswith(SEEN)
    assert out.endswith("\n\n  recipe.toml\n  build:  edgetransfer build --recipe recipe.toml\n")
    assert recipe_from({}, tmp_path / "recipe.toml") == recipe_from({"data": str(pictures)})
    assert all(
        f"\n{place[-1]} = " in text or f"\n# {place[-1]} = " in text for place in PLACES.values()
    )
    assert max(map(len, text.splitlines())) < 130


def test_build_takes_it_as_it_is(command, pictures, cache, tmp_path, built):
    command("init", pictures, "--cache", cache, "--quiet")
    words = ("--recipe", "recipe.toml", "--timing", "quick", "--cache", cache, "--quiet")
    code, out, error = command("build", *words)
    assert (code, error) == (0, "")
    assert out == f"{built.verdict}  this-machine  edgetransfer-out/this-machine/report.html\n"


def test_columns_that_were_found_are_named(command, tmp_path, cache):
    rows = ["sentence,intent,speaker"]
    rows += [f"{word} number {n},{word},{n % 4}" for word in ("rain", "bread") for n in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    code, _, _ = command(
        "init", "t.csv", "--cache", cache, "--seed", 3, "--target", "x86-avx2", "--out", "a b.toml"
    )
    assert code == 0
    found = tomllib.loads((tmp_path / "a b.toml").read_text())
    assert {key: value for key, value in found.items() if value} == {
        "targets": ["x86-avx2"],
        "seed": 3,
        "data": {"source": "t.csv", "label_column": "intent", "text_column": "sentence"},
        "backbone": {"source": TextPreprocessing.backbone},
        "budget": {"max_drop_pp": 2.0},
    }
    text = (tmp_path / "a b.toml").read_text()
    assert text.startswith("# edgetransfer build --recipe 'a b.toml'\n#\n# 24 texts: ")


def test_a_file_that_is_there_is_left_as_it_is(command, pictures, tmp_path):
    (tmp_path / "recipe.toml").write_text("mine")
    code, _, error = command("init", pictures)
    assert (code, error) == (
        3,
        "error: recipe.toml: is there already, and is not written over\n"
        "  fix: name another file with --out, or build with this one: "
        "edgetransfer build --recipe recipe.toml\n",
    )
    assert (tmp_path / "recipe.toml").read_text() == "mine"


def test_wrong_data_are_told_as_a_build_tells_them(command, tmp_path, cache):
    (tmp_path / "t.csv").write_text("text,kind\na,b\n")
    code, _, error = command("init", "t.csv", "--cache", cache)
    assert (code, error.rpartition("/")[2]) == (
        4,
        "t.csv: no column holds the labels\n"
        "  found: the columns text, kind\n"
        "  expected: a column named label, category, class or intent\n"
        "  fix: name it with --label-column\n",
    )
    assert not (tmp_path / "recipe.toml").exists()


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.floats(0.01, 0.99))
def test_whatever_names_there_are_it_reads_back(name, share):
    options = {"data": name, "label_column": name, "group_by": [name], "min_recall": {name: share}}
    recipe = recipe_from(options)
    text = FirstRecipe(recipe, (name,), (name,)).text(Path("r.toml"))
    read = tomllib.loads(text)
    assert read["data"] == {"source": name, "label_column": name, "group_by": [name]}
    assert read["budget"]["min_recall"] == {name: pytest.approx(share, abs=0)}
