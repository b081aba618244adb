"""Files are pushed once, by content; of what a device wrote only what was asked for is taken."""

import hashlib
import io
import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from edgetransfer.errors import StageError
from edgetransfer.transport.job import Job, Variant, written_files
from edgetransfer.transport.ssh import place
from edgetransfer.transport.ssh.link import Answer

VARIANT = Variant("candidate", "core.onnx", optimised_to="/host/graph.onnx")
UNREADABLE = "not a readable answer of the device\n  found: "
LINK = SimpleNamespace(client=SimpleNamespace(where="ssh:board"))


def test_what_each_job_writes():
    assert list(written_files(Job("outputs", (VARIANT,))))[:2] == ["output-0.npy", "output-1.npy"]
    assert list(written_files(Job("time", (VARIANT,)))) == ["candidate.npy"]
    assert list(written_files(Job("optimise", (VARIANT,)))) == ["graph.onnx"]
    assert written_files(Job("describe")) == {}


def test_what_was_not_asked_for_stays_there():
    files = {"output-0.npy": (4, "x"), "core.1234": (1 << 40, "y")}
    assert place._taken(LINK, files, {"output-0.npy": 10}) == {"output-0.npy": (4, "x")}


@pytest.mark.parametrize(
    "name", ["/../../ESC2", "..", "a/b", "/etc/passwd", "", ".ssh", "-o", "a\x1b[2J", "x" * 300]
)
def test_a_name_that_leads_elsewhere_is_refused(name):
    """Fault E6: ``"/../../ESC2"`` wrote outside."""
    with pytest.raises(StageError, match="names a file that is none of the job's"):
        place._taken(LINK, {name: (1, "x")}, {name: 10})


@pytest.mark.parametrize("size", [11, -1])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(StageError) as caught:
        place._taken(LINK, {"output-0.npy": (size, "x")}, {"output-0.npy": 10})
    assert str(caught.value) == (
        "ssh:board: the device gives a file of a size that the job cannot have written\n"
        f"  found: output-0.npy: {size} bytes\n  expected: at most 10"
    )


class Answers:
    """What a device's side answers, and the bytes that follow."""

    def __init__(self, answer):
        self.answer, self.stdout = answer, io.BytesIO(b"not")

    def __iter__(self):
        yield Answer(json.dumps(self.answer).encode(), "ssh:board")

    def one(self):
        return next(iter(self))

    def lost(self):
        return ConnectionError("lost")


@pytest.fixture
def answering():
    def make(answer):
        @contextmanager
        def request(*_, **__):
            yield Answers(answer)

        more = {"persistently": lambda f: f(), "moved": print, "came_closer": print}
        return SimpleNamespace(**vars(LINK), request=request, **more)

    return make


@pytest.mark.parametrize(
    "answer",
    [
        {"name": "/../../ESC2", "bytes": 3},
        {"name": "core.1234", "bytes": 3},
        {"name": "output-0.npy", "bytes": 1 << 40},
        {"name": "output-0.npy", "bytes": -1},
        {"name": "output-0.npy", "bytes": "3"},
        {"name": ["output-0.npy"], "bytes": 3},
        {"bytes": 3},
    ],
    ids=repr,
)
def test_bytes_of_a_file_that_was_not_asked_for_are_not_written(answering, answer, tmp_path):
    """Fault E6: what was listed was looked at, what then came was not."""
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    with pytest.raises((ConnectionError, StageError)):
        place.fetch(answering(answer), "job", {"output-0.npy": (3, "x")}, {"output-0.npy": 3}, out)
    written = {file.name: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert written == {".output-0.npy.part": b""}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([], "the whole: should be an object (found [])"),
        ({}, f"{UNREADABLE}no 'held' in {{}}"),
        ({"held": {}}, f"{UNREADABLE}no 'free' in {{'held': {{}}}}"),
        (
            {"held": {"x": -1}},
            "held.x: should be greater than or equal to 0 (found -1)",
        ),
        ({"held": {"../x": 0}}, f"{UNREADABLE}files that were not named: {{'../x': 0}}"),
        ({"busy": "1; rm -rf ~"}, "busy: should be a valid integer (found '1; rm -rf ~')"),
    ],
    ids=repr,
)
def test_an_answer_of_another_form_is_told(answering, answer, told, tmp_path):
    """Fault D4: each was a crash."""
    (tmp_path / "x.npy").write_bytes(b"one")
    staging = place.Staging("/there")
    staging.put(str(tmp_path / "x.npy"))
    with pytest.raises(StageError) as caught:
        place.push(answering(answer), staging)
    assert str(caught.value) == f"ssh:board: {told}"


def test_names_are_digests_and_endings(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"model")
    (tmp_path / "b.onnx").write_bytes(b"model")
    staging = place.Staging("/there")
    name = hashlib.sha256(b"model").hexdigest() + ".onnx"
    assert staging.put(str(tmp_path / "a.onnx")) == f"/there/{name}"
    assert staging.put(str(tmp_path / "b.onnx")) == f"/there/{name}"
    assert [(each.name, each.size) for each in staging.wanted()] == [(name, 5)]


def test_what_is_there_is_not_asked_for_again_until_it_changes(tmp_path):
    file = tmp_path / "x.npy"
    file.write_bytes(b"one")
    staging = place.Staging("/there")
    first = staging.put(str(file))
    staging.settle({each.name for each in staging.wanted()})
    assert staging.put(str(file)) == first
    assert staging.wanted() == ()
    file.write_bytes(b"another")
    assert staging.put(str(file)) != first
    assert [each.size for each in staging.wanted()] == [7]
