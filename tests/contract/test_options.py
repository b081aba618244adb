"""An option is said once: recipe, command line and Python API take name, type and help from it."""

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, get_args, get_origin

import pytest
import typer

import edgetransfer
from edgetransfer.cli import bundle, commands
from edgetransfer.spec import tasks
from edgetransfer.spec.base import Spec
from edgetransfer.spec.options import BENCH, OPTIONS, SHELL, TYPES, BenchOptions, Options
from edgetransfer.spec.recipe import PLACES, DataSpec, Recipe

PYTHON_ONLY = {"learning_rate", "batch_size"}
IN_FILES_ONLY = {
    "fit": {"label_smoothing", "averaging", "l2_sp", "balanced", "gradual", "rank"},
    "distill": {
        "fit",
        "temperature",
        "labels",
        "soft",
        "hints",
        "relations",
    },
}
OWN = {
    "bench": {"data"},
    "add-class": {"data"},
    "matrix": {"backbone"},
    "doctor": {"on", "target"},
    "backbones rank": {"backbone"},
}
"""What only shares a name with an option: it is the command's own."""
PROGRAM = typer.main.get_command(commands.app)


def fields(spec=Recipe, above=()):
    """Yield every field of a recipe that holds a value, with its place."""
    for name, field in spec.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, Spec):
            yield from fields(field.annotation, (*above, name))
        else:
            yield (*above, name), field


FIELDS = dict(fields())


def plain(kind):
    """Return a type without limits and without None, as an option has it."""
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    if get_origin(kind) is tuple:
        return Sequence[str]
    if inspect.isclass(get_origin(kind)) and issubclass(get_origin(kind), Mapping):
        return Mapping[str, float] | Sequence[str]
    if NoneType in get_args(kind):
        (kind,) = (plain(each) for each in get_args(kind) if each is not NoneType)
    return kind


def parameters(group=PROGRAM):
    """Yield every command with its parameters by name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {each}", found) for each, found in parameters(command))
        else:
            yield name, {each.name: each for each in command.params}


COMMANDS = dict(parameters())


def test_every_field_of_a_recipe_has_an_option_or_is_named_here():
    without = {(section, name) for section, names in IN_FILES_ONLY.items() for name in names}
    assert set(FIELDS) - set(PLACES.values()) == without
    assert len(set(PLACES.values())) == len(PLACES)
    assert {*SHELL, *PYTHON_ONLY} == set(PLACES)
    assert set(OPTIONS) == {*PLACES, *BENCH}


def test_what_has_no_option_is_described_all_the_same():
    places = set(FIELDS) - set(PLACES.values())
    assert [place for place in places if not FIELDS[place].description] == []


@pytest.mark.parametrize("name", PLACES)
def test_an_option_is_its_field(name):
    field = FIELDS[PLACES[name]]
    assert OPTIONS[name].help == field.description
    if name == "metric":  # the command line knows those of classification, a recipe any task's
        assert field.annotation is str
        assert get_args(TYPES[name]) == tasks.TASKS[tasks.CLASSIFICATION].metrics
    else:
        assert TYPES[name] == plain(field.annotation)
    told = re.search(r"\(([\d.]+)\)\.$", field.description)
    assert told is None or float(told[1]) == field.default


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_the_help_of_the_field(name):
    """Options of its own that share a name say something else of something else."""
    shared = COMMANDS[name].keys() & OPTIONS.keys() - OWN.get(name, set())
    for each in shared:
        found, option = COMMANDS[name][each], OPTIONS[each]
        assert (found.help, found.default) == (option.help, None)
        if each != "data":
            assert (found.rich_help_panel, found.metavar) == (option.panel, option.metavar)
            assert found.opts == ["--" + each.replace("_", "-")]


def test_commands_take_what_their_use_cases_take():
    assert [each for each in COMMANDS["build"] if each in OPTIONS] == list(SHELL)
    assert list(COMMANDS["plan"]) == list(COMMANDS["build"])
    matrix = {"seed", "candidate", "processes", "markdown", "junit", "verify_on"}
    assert COMMANDS["build"].keys() - COMMANDS["matrix"].keys() == matrix
    assert set(BENCH) <= COMMANDS["bench"].keys()
    assert list(inspect.signature(bundle.bench).parameters)[: len(BENCH)] == list(BENCH)


def test_the_api_names_its_keywords_with_types_and_defaults():
    given = inspect.signature(edgetransfer.build).parameters
    assert {each for each in given if each in OPTIONS} == set(PLACES)
    assert set(Options.__optional_keys__) == set(PLACES) - {"data"}
    for name in Options.__optional_keys__:
        default = FIELDS[PLACES[name]].default
        assert given[name].default == default
        kind = TYPES[name]
        assert given[name].annotation == (kind | None if default is None else kind)
        assert given[name].kind is inspect.Parameter.KEYWORD_ONLY
    bench = inspect.signature(edgetransfer.bench).parameters
    assert list(bench)[:4] == ["bundle", "data", "out", "reporter"]
    assert list(bench)[4:] == list(BenchOptions.__annotations__) == list(BENCH)


@pytest.mark.parametrize("function", [edgetransfer.build, edgetransfer.bench])
def test_an_unknown_keyword_is_one_clear_error(function):
    has = ", ".join(sorted(inspect.signature(function).parameters))
    with pytest.raises(TypeError) as caught:
        function(Path("x"), colour="red", size=3)
    name = function.__name__
    assert str(caught.value) == f"{name}() has no option colour, size; it has {has}"


def test_a_keyword_that_is_close_to_one():
    with pytest.raises(TypeError) as caught:
        edgetransfer.build("x", targt="x", back_bone="x")
    assert str(caught.value).endswith(", unlabelled, verify_on; did you mean backbone, target?")


def test_a_required_field_stays_required():
    assert [place for place, field in FIELDS.items() if field.is_required()] == [("data", "source")]
    assert DataSpec.model_fields["source"].is_required()
