"""A stage's key holds its inputs, the code that makes it, and every version."""

import json
import os
from functools import partial

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from edgetransfer.backbone.model import LinearHead
from edgetransfer.pipeline.stage import reached, stage
from edgetransfer.pipeline.stage.stage import Stage, made_by
from edgetransfer.pipeline.stage.store import ENTRY, Store, given_threads

PROBE = "edgetransfer.tasks.classification.fit.probe"


def made(folder, progress):
    progress(1, 1)
    (folder / "file").write_text("made")
    return {"number": 1}


def of_probe():
    """Return a make that counts as standing in the module of the probe."""

    def make(_, __):
        return {}

    make.__module__ = PROBE
    return make


def test_a_stage_is_made_once_and_found_again(tmp_path):
    store, asked = Store(tmp_path), Stage("one", {"a": 1}, made, lambda record: str(record))
    assert not store.has(asked)
    first, second = store.keep(asked), store.keep(Stage("one", {"a": 1}, made))
    assert (first.reused, second.reused) == (False, True)
    assert second.record == {"number": 1}
    assert second.file("file").read_text() == "made"
    assert asked.told(first.record) == "{'number': 1}"
    assert [(each.stage, each.key) for each in store.entries()] == [("one", asked.key[:24])]
    assert store.has(asked)


def test_what_an_older_version_kept_without_its_cost_is_made_anew(tmp_path):
    asked = Stage("one", {"a": 1}, made)
    entry = Store(tmp_path).keep(asked).folder / ENTRY
    told = json.loads(entry.read_text())
    assert told.keys() == {"key", "files", "seconds", "cpu_seconds", "peak_memory_mib"}
    del told["cpu_seconds"]
    entry.write_text(json.dumps(told))
    assert not Store(tmp_path).keep(asked).reused
    assert Store(tmp_path).keep(asked).reused


def test_a_stage_computes_with_one_thread_and_training_may_ask_for_more(tmp_path):
    """Threads that wait for each other in a loop are 8 to 40 times slower on busy cores."""
    seen = []

    def look(folder, progress):
        libraries = {each["num_threads"] for each in threadpool_info()}
        seen.append((torch.get_num_threads(), libraries, given_threads()))
        if folder.parent.name != "inner":
            Store(tmp_path).keep(Stage("inner", {}, look))
            seen.append((torch.get_num_threads(), libraries, given_threads()))
        return {}

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Store(tmp_path).keep(Stage("outer", {}, look))
        assert seen == [(1, {1}, 2)] * 3
        assert torch.get_num_threads() == given_threads() == 2

        def fail(folder, progress):
            raise RuntimeError

        with pytest.raises(RuntimeError):
            Store(tmp_path).keep(Stage("failing", {}, fail))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_of_two_runs_the_first_that_is_done_is_kept(tmp_path):
    def slower(folder, progress):
        Store(tmp_path).keep(Stage("one", {}, made))  # meanwhile another run keeps the same stage
        (folder / "file").write_text("late")
        return {"number": 2}

    late = Stage("one", {}, slower)
    vars(late)["key"] = Stage("one", {}, made).key
    kept = Store(tmp_path).keep(late)
    assert (kept.record, kept.file("file").read_text()) == ({"number": 1}, "made")
    assert [each.name for each in (tmp_path / "one").iterdir()] == [kept.folder.name]


def test_finished_stages_are_deleted_by_their_age(tmp_path):
    store = Store(tmp_path)
    old, new = (store.keep(Stage("one", {"a": number}, made)) for number in (1, 2))
    os.utime(old.folder / ENTRY, (0, 0))
    size = sum(each.stat().st_size for each in old.folder.iterdir())
    assert store.clean(older_than_s=3600.0) == size
    assert [each.key for each in store.entries()] == [new.key[:24]]
    assert store.clean() > 0
    assert store.entries() == []


@pytest.mark.parametrize(
    "other",
    [
        Stage("two", {"a": 1}, made),
        Stage("one", {"a": 2}, made),
        Stage("one", {"a": 1}, made, packages=("pillow",)),
        Stage("one", {"a": 1}, of_probe()),
    ],
    ids=["name", "inputs", "packages", "make"],
)
def test_b1_what_a_key_depends_on(other):
    assert other.key != Stage("one", {"a": 1}, made).key


@pytest.mark.parametrize("package", ["edgetransfer", "scikit-learn", "safetensors", "numpy"])
def test_b1_another_version_is_another_key(monkeypatch, package):
    before = Stage("probe", {}, of_probe()).key
    known = stage.version
    monkeypatch.setattr(stage, "version", lambda name: f"{known(name)}{'.1' * (name == package)}")
    assert Stage("probe", {}, of_probe()).key != before


def test_b1_a_library_that_is_not_reached_is_no_part_of_a_key(monkeypatch):
    before = Stage("probe", {}, of_probe()).key
    known = stage.version
    monkeypatch.setattr(stage, "version", lambda name: f"{known(name)}{'.1' * (name == 'pyarrow')}")
    assert Stage("probe", {}, of_probe()).key == before


def test_b1_functions_that_make_was_given_are_part_of_it():
    inner = of_probe()

    def closing(folder, progress):
        return inner(folder, progress)

    for make in (closing, partial(made, inner), partial(made, other=partial(inner, 1))):
        assert PROBE in Stage("one", {}, make).modules


def test_b1_of_a_bound_method_the_class_counts_too():
    class Child(Store):
        __module__ = PROBE

    assert set(Stage("one", {}, Child.entries.__get__(object.__new__(Child))).modules) == {
        PROBE, "edgetransfer.pipeline.stage.store",
    }  # fmt: skip


def test_every_library_is_known_by_the_name_that_it_is_installed_by():
    """So that no library's version is left out of a key for its name."""
    from importlib.metadata import packages_distributions, version

    by_import = packages_distributions()
    sources = reached.installed()
    everything = {
        ".".join(("edgetransfer", *file.relative_to(reached.FOLDER).with_suffix("").parts))
        for file in reached.FOLDER.rglob("*.py")
    }
    for name in sources.libraries(*everything):
        if name in by_import:
            distribution = stage.DISTRIBUTIONS.get(name, name)
            assert version(distribution) in {version(each) for each in by_import[name]}, name


def test_what_is_not_a_stage_of_ours_reaches_its_own_file_alone():
    assert made_by((__name__,))["source"] != made_by((PROBE,))["source"]


def test_b1_networks_that_make_was_given_are_part_of_it():
    """A fitted network is a value: what it computes stands in the modules of its layers."""
    from torch import nn

    from edgetransfer.tasks.classification.train.layers import Classifier

    network = nn.Sequential(Classifier(nn.Identity(), LinearHead(np.eye(2), np.zeros(2))))

    def closing(_, __):
        return network

    for make in (closing, partial(made, network)):
        assert "edgetransfer.tasks.classification.train.layers" in Stage("one", {}, make).modules
