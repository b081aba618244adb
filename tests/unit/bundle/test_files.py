"""Files appear whole or not at all, and equal contents have equal digests."""

import errno
import hashlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.bundle import files
from edgetransfer.errors import IntegrityError, StageError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["022", "002", "077"])
def mode(request):
    """Under each umask, the mode of a file that it leaves."""
    mask = int(request.param, 8)
    before = os.umask(mask)
    yield 0o666 & ~mask
    os.umask(before)


def test_a_file_is_written_and_replaced_for_those_whom_the_umask_lets(tmp_path, mode):
    """Fault E6: it was 0644 whatever the umask."""
    target = tmp_path / "a.bin"
    for content in (b"one", b"two", b""):
        files.write_whole(target, content)
        assert target.read_bytes() == content
    assert names(tmp_path) == ["a.bin"]
    assert target.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    target = tmp_path / "a.bin"
    files.write_whole(target, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_whole(tmp_path / "a.bin", b"new")
    assert names(tmp_path) == []


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    steps = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)
        monkeypatch.setattr(os, step, lambda *a, s=step, r=real: (steps.append(s), r(*a))[1])
    files.write_whole(tmp_path / "a.bin", b"new")
    assert steps == ["fsync", "replace"]


@pytest.mark.parametrize(
    ("number", "what", "fix"),
    [
        (
            errno.ENOSPC,
            "no space left on the disk",
            "free some space and run the same command again",
        ),
        (
            errno.EROFS,
            "the file system is read-only",
            "choose another folder with --out or --cache",
        ),
        (errno.EACCES, "no right to write here", "choose another folder with --out or --cache"),
        (
            errno.ENOTDIR,
            "a file stands where a folder is needed",
            "choose another --out or --cache",
        ),
    ],
)
def test_a_failed_write_says_what_to_do(tmp_path, number, what, fix):
    with pytest.raises(StageError) as caught, files.writing(tmp_path):
        raise OSError(number, os.strerror(number), "a.bin")
    found = f"[Errno {number}] {os.strerror(number)}: 'a.bin'"
    assert str(caught.value) == f"{tmp_path}: {what}\n  found: {found}\n  fix: {fix}"


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(StageError) as caught, files.writing(tmp_path):
        files.write_whole(tmp_path / "a.bin", b"new")
    assert str(caught.value).splitlines()[0] == (
        f"{tmp_path}: a folder stands where a file is needed"
    )
    assert names(tmp_path) == ["a.bin"]


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StageError) as caught, files.writing(tmp_path):
        files.write_whole(tmp_path / "out" / "a.bin", b"new")
    assert str(caught.value).splitlines()[0] == (
        f"{tmp_path}: a file stands where a folder is needed"
    )


def test_other_errors_are_not_touched(tmp_path):
    with pytest.raises(TimeoutError), files.writing(tmp_path):
        raise TimeoutError(errno.ETIMEDOUT, "late")
    with pytest.raises(ValueError, match="a bug"), files.writing(tmp_path):
        raise ValueError("a bug")


@given(PLAIN)
def test_canonical_json_is_json(value):
    assert json.loads(files.canonical_json(value)) == value


@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_the_order_of_keys_does_not_matter(value):
    turned = dict(reversed(value.items()))
    assert files.digest_of_value(turned) == files.digest_of_value(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [([1, 2], [2, 1]), (1, 1.5), ("1", 1), (None, False), ({"a": 1}, {"a": 2}), ([], {})],
)
def test_different_values_have_different_digests(one, other):
    assert files.digest_of_value(one) != files.digest_of_value(other)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_does_not_know_is_not_written(tmp_path, number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.canonical_json({"a": number})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", number)
    assert names(tmp_path) == []


def test_json_files_are_readable_and_come_back(tmp_path):
    value = {"b": ["été", 1.5], "a": None}
    files.write_json(tmp_path / "a.json", value)
    assert "été" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert files.read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "no such file"),
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'"\xe9"', "not UTF-8: byte 0xe9 at offset 1"),
    ],
)
def test_what_is_no_json_file(tmp_path, content, found):
    file = tmp_path / "a.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        files.read_json(file)
    assert str(caught.value) == (f"{file}: not a readable JSON file\n  found: {found}")


def test_digests_of_a_folder_are_by_relative_name(tmp_path):
    (tmp_path / "golden").mkdir()
    contents = {"a.bin": b"a", "golden/b.bin": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert files.digests_below(tmp_path) == expected
    assert files.digest_of(tmp_path / "a.bin") == expected["a.bin"]
