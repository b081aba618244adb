"""The device's side, called as ssh calls it: what it holds, takes and forgets."""

import ast
import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgetransfer.transport.ssh import far, look

BLOB = bytes(range(256)) * 40
NAME = hashlib.sha256(BLOB).hexdigest() + ".npy"


@pytest.fixture
def work(tmp_path):
    for part in ("files", "jobs", "sites"):
        (tmp_path / "work" / part).mkdir(parents=True)
    return tmp_path / "work"


def ask(work, call, body=b"", **asked):
    given = io.BytesIO()
    head = json.dumps({"call": call, "work": str(work), **asked}).encode() + b"\n"
    far.main(io.BufferedReader(io.BytesIO(head + body)), given)
    mark, *answers = given.getvalue().decode().splitlines()
    assert mark == far.MARK
    return [json.loads(each) for each in answers]


def held(work):
    (answer,) = ask(work, "missing", files={NAME: len(BLOB)})
    assert answer["free"] > 0
    return answer["held"]


def frame(offset, body, count=None):
    fields = {"name": NAME, "offset": offset, "bytes": len(body) if count is None else count}
    return json.dumps(fields).encode() + b"\n" + body


def test_a_push_that_was_cut_goes_on_where_it_was(work):
    assert held(work) == {NAME: 0}
    assert ask(work, "receive", frame(0, BLOB[:100], len(BLOB))) == []
    assert held(work) == {NAME: 100}
    assert ask(work, "receive", frame(100, BLOB[100:]) + b"\n") == [{"wrong": []}]
    assert held(work) == {}
    assert (work / "files" / NAME).read_bytes() == BLOB


@pytest.mark.parametrize("end", [b"", b'{"name": "a', frame(0, b"", len(BLOB))])
def test_a_push_that_is_cut_between_files(work, end):
    assert ask(work, "receive", end) == []
    assert held(work) == {NAME: 0}


def test_a_push_that_was_whole_but_had_no_name_yet(work):
    (work / "files" / f"{NAME}.part").write_bytes(BLOB)
    assert held(work) == {NAME: len(BLOB)} or held(work) == {}
    assert (work / "files" / NAME).read_bytes() == BLOB


def test_what_arrives_changed_is_thrown_away(work):
    assert ask(work, "receive", frame(0, BLOB[::-1]) + b"\n") == [{"wrong": [NAME]}]
    assert held(work) == {NAME: 0}


@pytest.mark.parametrize("kept", [True, False])
def test_of_two_that_send_one_file_the_other_was_faster(work, monkeypatch, kept):
    digest = far.digest_of

    def slower(part):
        part.replace(work / "files" / NAME) if kept else part.unlink()
        return digest(part)

    monkeypatch.setattr(far, "digest_of", slower)
    wrong = [] if kept else [NAME]
    assert ask(work, "receive", frame(0, BLOB) + b"\n") == [{"wrong": wrong}]


def test_what_was_changed_on_the_device_is_asked_for_again(work):
    (work / "files" / NAME).write_bytes(BLOB[::-1])
    assert held(work) == {NAME: 0}


def test_a_full_disk_is_told(work, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", str(work / "files"))

    monkeypatch.setattr(far.os, "fsync", full)
    assert ask(work, "receive", frame(0, BLOB) + b"\n") == [
        {"failed": "ENOSPC", "words": "No space left on device", "file": str(work / "files")}
    ]


def test_the_work_folder_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "edgetransfer-device"
    assert ask("", "hello") == [{"work": str(folder)}]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_read_is_not_used(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "edgetransfer-device"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(far.tempfile, "gettempdir", lambda: str(tmp_path))
    other = tmp_path / f"edgetransfer-device-{os.getuid()}"
    assert ask("", "hello") == [{"work": str(other)}]
    other.chmod(0o755)
    assert ask("", "hello") == [
        {"failed": "EACCES", "words": "not private to this user (mode 700)", "file": str(folder)}
    ]


def test_what_stays_is_bounded_by_age_and_size(work):
    now = time.time()
    for name, days, size in (("new", 0, 60), ("older", 1, 60), ("old", 40, 1)):
        (work / "files" / name).write_bytes(bytes(size))
        os.utime(work / "files" / name, (now - days * 86400,) * 2)
    for folder in ("jobs/left", "sites/left", "jobs/mine", "jobs/other"):
        (work / folder).mkdir()
    for folder in ("jobs/left", "sites/left"):
        os.utime(work / folder, (now - 40 * 86400,) * 2)
    asked = {"jobs": ["mine", "absent"], "keep_days": 30, "keep_bytes": 100}
    assert ask(work, "close", **asked) == [{"closed": True}]
    assert [each.name for each in (work / "files").iterdir()] == ["new"]
    assert [each.name for each in (work / "jobs").iterdir()] == ["other"]
    assert list((work / "sites").iterdir()) == []


@pytest.mark.parametrize("module", [far, look], ids=str)
def test_it_needs_the_standard_library_at_python_3_9(module):
    file = Path(module.__file__)
    for node in ast.walk(ast.parse(file.read_text(), feature_version=(3, 9))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.partition(".")[0] in sys.stdlib_module_names, name
    vermin = Path(sys.executable).with_name("vermin")
    if vermin.is_file():
        command = [str(vermin), "--no-tips", "--eval-annotations", "--target=3.9-", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
