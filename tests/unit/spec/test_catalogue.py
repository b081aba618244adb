"""Targets and calibration recipes are found by name, merged and validated."""

import pytest

from edgetransfer.errors import SpecError
from edgetransfer.spec import catalogue

SHIPPED = (
    "arm64-dotprod",
    "arm64-generic",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "this-machine",
    "x86-avx2",
    "x86-vnni",
)
EVIDENCE = '[evidence]\nstatus = "declared"\nsource = "a test"\ndate = "2026-11-22"\n'
NAMED = 'name = "mine"\ntitle = "Mine"\n'
ZEN_4 = frozenset({"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16"})
HASWELL = frozenset({"avx2", "fma"})


def refused(call, *arguments):
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_target_is_valid(name):
    spec = catalogue.target(name)
    assert spec.name == name
    assert spec.detect or (spec.runtime and spec.isa)


@pytest.mark.parametrize("name", ["default", "percentile"])
def test_every_shipped_calibration_recipe_is_valid(name):
    assert catalogue.calibration_recipe(name).name == name


def test_the_names_are_those_that_can_be_asked_for(project):
    assert catalogue.names("targets") == sorted(SHIPPED)
    assert catalogue.names("calibration/recipes") == ["default", "percentile"]
    project("mine", NAMED + EVIDENCE)
    assert catalogue.names("targets") == sorted([*SHIPPED, "mine"])


def test_extends_merges_tables_and_overrides_values():
    board, generic = catalogue.target("raspberry-pi-5"), catalogue.target("arm64-generic")
    assert board.extends == "arm64-dotprod"
    assert (board.runtime, board.int8) == (generic.runtime, generic.int8)
    assert board.isa.arch == "arm64"
    assert board.isa.all_of == ("asimddp",)
    assert board.evidence.status == "declared"


def test_a_board_is_no_class_though_it_extends_one():
    assert catalogue.target("arm64-dotprod").device_class
    assert not catalogue.target("raspberry-pi-5").device_class


def test_a_users_target_wins_over_a_shipped_one_and_may_extend_it(project):
    project("x86-vnni", NAMED + EVIDENCE)
    project("mine", 'extends = "arm64-generic"\n[session]\nthreads = 4\n' + NAMED_LAST + EVIDENCE)
    assert catalogue.target("x86-vnni").title == "Mine"
    mine = catalogue.target("mine")
    assert (mine.session.threads, mine.isa.arch) == (4, "arm64")


NAMED_LAST = 'config = {}\n[runtime]\nmin_version = "1.20.0"\n'
NAMED_LAST = ""


def test_a_target_can_be_given_by_its_path(tmp_path):
    file = tmp_path / "board.toml"
    file.write_text(NAMED + EVIDENCE)
    assert catalogue.target(str(file)).name == "mine"
