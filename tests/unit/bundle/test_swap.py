"""A rebuild replaces what it made, keeps what else lies there, and is alone while it does."""

import os
import signal
import subprocess
import sys
import time

import pytest

from edgetransfer.bundle import swap
from edgetransfer.bundle.opened import open_bundle, seal
from edgetransfer.errors import SpecError, StageError

FILES = ("model.onnx", "core.onnx", "reference.onnx", "labels.txt", "preprocess.json")


FACTS = {
    "target": {
        "name": "mine",
        "title": "a machine",
        "evidence": {"status": "declared", "source": "me", "date": "2026-11-29"},
    },
    "recipe": {"data": {"source": "photos"}},
    "session": {"threads": 1, "config": {}},
    "compression": {"precision": "w8a8", "ladder": []},
}


def fill(place, content, *more):
    for name in (*FILES, *more):
        (place.folder / name).write_text(content)
    seal(place.folder, {**FACTS, "content": content}, place.beside)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "out" / "board"
    with swap.replacing(folder) as place:
        fill(place, "old", "statistics.safetensors")
    return folder


def listed(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def leave_foreign_files(folder):
    for name in ("notes.txt", "bench/ssh-pi/report.json", "mine/deep/a.txt", "portability.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return {"notes.txt", "bench/ssh-pi/report.json", "mine/deep/a.txt", "portability.json"}


@pytest.mark.parametrize("exchange", [True, False])
def test_what_is_not_the_bundles_stays(folder, exchange, monkeypatch):
    """Fault E4: a rebuild deleted bench/, portability.json and notes."""
    if not exchange:
        monkeypatch.setattr(swap, "_exchange", lambda *_: False)
    kept = leave_foreign_files(folder)
    for content in ("new", "newer"):
        with swap.replacing(folder) as place:
            assert open_bundle_content(folder) != content
            fill(place, content)
        assert listed(folder) == {*FILES, "manifest.json", *kept}
        assert all((folder / name).read_text() == name for name in kept)
        assert open_bundle(folder).manifest["content"] == content
        assert entries(folder.parent) == ["board"]


def open_bundle_content(folder):
    return (folder / "labels.txt").read_text()


def test_a_file_of_somebody_else_is_not_written_over(folder):
    (folder / "optimum.onnx").write_text("mine")
    with pytest.raises(SpecError) as caught, swap.replacing(folder) as place:
        fill(place, "new", "optimum.onnx")
    assert str(caught.value) == (
        f"{folder / 'optimum.onnx'}: a file that is not the bundle's has the name of one that is\n"
        "  fix: move it away, and run the same command again"
    )
    assert (folder / "optimum.onnx").read_text() == "mine"
    assert open_bundle_content(folder) == "old"


def test_a_failure_leaves_the_old_bundle(folder):
    with pytest.raises(ZeroDivisionError), swap.replacing(folder) as place:
        fill(place, 1 // 0)
    assert open_bundle(folder).manifest["content"] == "old"
    assert entries(folder.parent) == ["board"]


@pytest.mark.parametrize("what", ["folder", "file", "link", "manifest"])
def test_what_is_no_bundle_of_ours_is_refused(tmp_path, what):
    """Fault E4: any folder of that name was deleted."""
    path = tmp_path / "board"
    if what == "file":
        path.write_text("mine")
    else:
        real = tmp_path / "real" if what == "link" else path
        real.mkdir()
        (real / "thesis.tex").write_text("mine")
        if what == "manifest":
            (real / "manifest.json").write_text('{"name": "an app"}')
        if what == "link":
            path.symlink_to(real)
    before = listed(tmp_path)
    with (
        pytest.raises(SpecError, match="stands where the bundle goes") as caught,
        swap.replacing(path),
    ):
        pytest.fail("began")
    assert "fix: move it away, or name another folder with --out" in str(caught.value)
    assert listed(tmp_path) == before


def test_what_a_killed_run_had_moved_aside_is_put_back(folder):
    folder.rename(folder.parent / ".board.old-1a2b")
    (folder.parent / ".board.new-3c4d").mkdir()
    (folder.parent / ".board.x.new-3c4d").mkdir()
    with pytest.raises(ZeroDivisionError), swap.replacing(folder):
        assert 1 // 0
    assert open_bundle(folder).manifest["content"] == "old"
    assert entries(folder.parent) == [".board.x.new-3c4d", "board"]


KILLED = """
import sys, time
from pathlib import Path
from edgetransfer.bundle import placing
from tests.unit.bundle.test_placing import fill
folder = Path(sys.argv[1])
print("ready", flush=True)
while True:
    with placing.locked(placing.bundle_lock(folder)), placing.replacing(folder) as place:
        fill(place, "new")
"""


@pytest.mark.parametrize("wait_s", [0.0, 0.011, 0.023, 0.041])
def test_whenever_it_is_killed_a_whole_bundle_is_in_place(folder, wait_s):
    """Fault E4: rmtree and then rename: a kill in between lost the old bundle."""
    kept = leave_foreign_files(folder)
    with swap.replacing(folder) as place:
        fill(place, "old")
    run = [sys.executable, "-c", KILLED, str(folder)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}) as it:
        it.stdout.readline()
        time.sleep(wait_s)
        it.send_signal(signal.SIGKILL)
    assert open_bundle(folder).manifest["content"] in ("old", "new")
    assert kept <= listed(folder)
    with swap.locked(swap.bundle_lock(folder)), swap.replacing(folder) as place:
        fill(place, "last")
    assert entries(folder.parent) == ["board"]


def refusal(file, **options):
    with pytest.raises(StageError) as caught, swap.locked(file, **options):
        pytest.fail("two at once")
    return str(caught.value)


def test_two_runs_do_not_write_one_folder(tmp_path):
    """Fault E5: of two builds into one OUT one died."""
    file = tmp_path / ".lock"
    with swap.locked(file):
        told = refusal(file).splitlines()
        assert told[0] == f"{tmp_path}: another run works in this folder"
        assert told[1].startswith(f"  found: process {os.getpid()} on ")
        assert told[2] == "  fix: wait until it ends, or name another folder with --out"
        refusal(file, shared=True)
    assert not file.exists()


def test_those_that_only_read_share_a_lock(tmp_path):
    file = tmp_path / ".lock"
    with swap.locked(file, shared=True):
        with swap.locked(file, shared=True):
            refusal(file)
        refusal(file)
    assert not file.exists()


def test_the_lock_of_a_dead_run_is_no_lock(tmp_path):
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "\\u001b[2J", "since": "long ago"}')
    with swap.locked(tmp_path / ".lock"):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    assert entries(tmp_path) == []
