"""Backbones x seeds: a cell that fails loses no other; Ray comes to what a serial run does."""

import importlib.util
import sys
import threading
import time

import pytest

from edgetransfer.bundle.files import read_json
from edgetransfer.cli.build import exit_code
from edgetransfer.errors import EdgeTransferError, MissingExtraError
from edgetransfer.pipeline import matrix
from edgetransfer.pipeline.matrix import Trouble, cells_of
from edgetransfer.pipeline.on_ray import prepare_all
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.recipe import recipe_from

TINY = "builtin:tiny-64"
HAS_RAY = importlib.util.find_spec("ray") is not None
TIMED = ("machine", "measure", "trial")
"""Stages that keep what the clock said."""


def recipe_of(pictures):
    how = {"fit": "finetune", "epochs": 1, "learning_rate": 1e-3, "soundness": False}
    return recipe_from({"data": str(pictures), **how, "precision": "fp32", "timing": "quick"})


def kept(cache):
    return {
        file.parent.relative_to(cache).as_posix(): read_json(file)["files"]
        for file in cache.glob("*/*/stage.json")
        if file.parent.parent.name not in TIMED
    }


def results(record):
    timed = ("p90_ms", "folder", "verdict", "reasons")
    return [
        {key: value for key, value in row.items() if key not in timed} for row in record["cells"]
    ]


@pytest.fixture(scope="module")
def serial(pictures, begun, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    cells = cells_of(recipe_of(pictures), [TINY, "builtin:none"], [0, 1], folder / "out")
    store = Store(begun(folder / "cache"))
    return folder, matrix.run(cells, store, SilentReporter(), cores=1, known={})


def test_a_cell_that_fails_loses_no_other(serial):
    folder, record = serial
    rows = record["cells"]
    assert [(row["backbone"], row["seed"], "error" in row) for row in rows] == [
        (TINY, 0, False), (TINY, 1, False), ("builtin:none", 0, True), ("builtin:none", 1, True),
    ]  # fmt: skip
    for row in rows[:2]:
        bundle = folder / "out" / "builtin-tiny-64" / f"seed-{row['seed']}" / "this-machine"
        assert row["folder"] == str(bundle)
        report = read_json(bundle / "report.json")
        assert row["verdict"] == report["verdict"]
        assert row["accuracy"] == report["accuracy"]["candidate"]
    assert rows[0]["model"] != rows[1]["model"]
    assert rows[2]["error"] == (
        "--backbone builtin:none: no such built-in backbone\n  expected: builtin:tiny-64"
    )
    assert exit_code(record, strict=False) == rows[2]["exit_code"] == 3
    tiny, none = record["summary"]
    assert (tiny["built"], tiny["failed"]) == (2, 0)
    assert set(tiny["accuracy"]) == {"mean", "sd"}
    assert none == {
        "backbone": "builtin:none", "target": "this-machine", "built": 0, "failed": 2,
        "verdicts": {},
    }  # fmt: skip


def test_backbones_that_would_share_a_folder_are_refused(pictures, tmp_path):
    with pytest.raises(EdgeTransferError) as caught:
        cells_of(recipe_of(pictures), ["./a b", "./a-b"], [0], tmp_path)
    assert str(caught.value) == (
        "--backbone: two backbones would share a folder\n"
        "  found: ./a b, ./a-b\n"
        "  fix: run them into different --out folders"
    )


def test_what_is_known_to_fail_is_not_built(pictures, tmp_path):
    cells = cells_of(recipe_of(pictures), [TINY], [0], tmp_path / "out")
    known = {cells[0].name: Trouble("no", 4)}
    record = matrix.run(cells, Store(tmp_path / "cache"), SilentReporter(), cores=1, known=known)
    assert record["cells"] == [
        {"backbone": TINY, "seed": 0, "target": "this-machine", "error": "no", "exit_code": 4}
    ]
    assert record["verdict"] is None
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    cells = cells_of(recipe_of(pictures), [TINY], [0], tmp_path)
    with pytest.raises(MissingExtraError) as caught:
        prepare_all(cells, Store(tmp_path / "cache"), SilentReporter(), cores=1, address="local")
    assert str(caught.value) == (
        "--ray needs the package ray, which is not installed\n"
        "  fix: pip install 'edgetransfer[ray]'"
    )


class Killer(threading.Thread):
    """Kills the first worker of Ray that has kept a stage, without warning."""

    def __init__(self, cache):
        super().__init__(daemon=True)
        self._cache = cache
        self.killed = []
        self.over = threading.Event()

    def run(self):
        import psutil

        while not self.over.is_set() and not self.killed:
            if list(self._cache.glob("backbone/*/stage.json")):
                workers = [
                    each
                    for each in psutil.Process().children(recursive=True)
                    if each.cmdline()[:1] == ["ray::prepare"]
                ]
                if len(workers) == 2:
                    workers[0].kill()
                    self.killed.append(workers[0].pid)
            time.sleep(0.05)


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: make test-ray")
def test_ray_comes_to_what_a_serial_run_comes_to_though_a_worker_is_killed(
    serial, pictures, tmp_path
):
    store = Store(tmp_path / "cache")
    cells = cells_of(recipe_of(pictures), [TINY, "builtin:none"], [0, 1], tmp_path / "out")
    killer = Killer(store.root)
    killer.start()
    known = prepare_all(cells, store, SilentReporter(), cores=1, address="local")
    killer.over.set()
    assert len(killer.killed) == 1
    assert sorted(known) == ["builtin-none 0", "builtin-none 1"]
    folder, alone = serial
    before = kept(store.root)
    assert {name.partition("/")[0] for name in before} >= {"finetune", "rung"}
    record = matrix.run(cells, store, SilentReporter(), cores=1, known=known)
    assert results(record) == results(alone)
    after = kept(store.root)
    assert {name: after[name] for name in before} == before
    assert {name for name in set(after) - set(before) if name.startswith("finetune")} == set()
    same = kept(folder / "cache")
    shared = set(after) & set(same)
    assert {name.partition("/")[0] for name in shared} >= {"finetune", "rung"}
    assert {name: after[name] for name in shared} == {name: same[name] for name in shared}
