"""Which code each stage's key holds: all that it reaches, by an independent graph, and no more."""

import ast
from functools import cache

import pytest

from edgetransfer.pipeline.stage.reached import FOLDER, Sources, installed

ALL = {
    ".".join(("edgetransfer", *file.relative_to(FOLDER).with_suffix("").parts)): file
    for file in sorted(FOLDER.rglob("*.py"))
    if file.name != "__init__.py"
}
COMPOSING = [
    *(
        f"edgetransfer.pipeline.{name}"
        for name in (
            "api", "build", "doctor", "bench.bench", "bench.judge", "ladder.ladder",
            "matrix", "on_ray", "ship.assemble",
        )
    ),
    *(
        f"edgetransfer.tasks.classification.{name}"
        for name in ("task", "rank", "fit.adapt", "fit.fit", "fit.network", "ship.add_class")
    ),
]  # fmt: skip
assert set(COMPOSING) <= set(ALL)
"""Modules that put stages together, so that they import nearly everything."""


def _calls(file):
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


STAGES = [name for name, file in ALL.items() if {"Stage", "rows_stage"} & {*_calls(file)}]
"""Modules that make stages; `judge` only names the one that `measure` makes."""
MAKING = [
    "edgetransfer.pipeline.bench.measure" if name.endswith("bench.judge") else name
    for name in STAGES
    if not name.endswith((".fit.network", ".stage.stage"))
]  # `network` has the rows of another stage kept


@cache
def graph():
    grimp = pytest.importorskip("grimp", reason="import-linter is not installed")
    return grimp.build_graph("edgetransfer", exclude_type_checking_imports=True, cache_dir=None)


def test_the_list_of_stages_is_whole():
    assert len(STAGES) >= 20
    assert "edgetransfer.tasks.classification.fit.probe" in STAGES


@pytest.mark.parametrize("module", MAKING)
def test_b1_a_stage_reaches_what_an_independent_graph_of_imports_says(module):
    """The independent graph knows no module that is imported by a name put together."""
    reached = installed().reached(module)
    known = {module, *graph().find_upstream_modules(module)}
    assert known - {"edgetransfer"} <= reached
    by_name = {name for name in reached - known if name.startswith("edgetransfer.transport.")}
    by_folder = {name for name in reached - known if name.startswith("edgetransfer.agent.")}
    beyond = {
        up for name in by_name | by_folder for up in (name, *graph().find_upstream_modules(name))
    }
    packages = {name for name in reached if name not in ALL}
    assert reached - known - beyond - packages == set()


@pytest.mark.parametrize("module", MAKING)
def test_a_stage_does_not_reach_what_puts_stages_together(module):
    reached = installed().reached(module)
    assert reached.isdisjoint(set(COMPOSING) - {module})
    assert [
        name for name in reached if name.startswith(("edgetransfer.cli", "edgetransfer.report"))
    ] == []


def edited(*names):
    """Return the sources with a line more in some modules."""
    files = {ALL[name] for name in names}
    sources = Sources(FOLDER, lambda path: path.read_bytes() + b"#" * (path in files))
    sources._read = {each: read for each, read in installed()._read.items() if each not in names}
    return sources


@pytest.mark.parametrize("module", MAKING)
def test_b1_one_changed_line_remakes_a_stage_where_it_is_reached_and_nowhere_else(module):
    before = installed().digest(module)
    reached = installed().reached(module) & set(ALL)
    assert [name for name in reached if edited(name).digest(module) == before] == []
    assert edited(*(set(ALL) - reached)).digest(module) == before
