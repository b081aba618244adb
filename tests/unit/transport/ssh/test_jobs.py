"""Files are pushed once, by content; of what a device wrote only what was asked for is taken."""

import hashlib
import io
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from edgetransfer.errors import StageError
from edgetransfer.transport.job import Job, Variant, outputs
from edgetransfer.transport.ssh import place

VARIANT = Variant("candidate", "core.onnx", optimised_to="/host/graph.onnx")
LINK = SimpleNamespace(client=SimpleNamespace(where="ssh:board"))


def test_what_each_job_writes():
    assert list(outputs(Job("logits", (VARIANT,)))) == ["logits.npy"]
    assert list(outputs(Job("time", (VARIANT,)))) == ["candidate.npy"]
    assert list(outputs(Job("optimise", (VARIANT,)))) == ["graph.onnx"]
    assert outputs(Job("describe")) == {}


def test_what_was_not_asked_for_stays_there():
    files = {"logits.npy": (4, "x"), "core.1234": (1 << 40, "y")}
    assert place._taken(LINK, files, {"logits.npy": 10}) == {"logits.npy": (4, "x")}


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
        place._taken(LINK, {"logits.npy": (size, "x")}, {"logits.npy": 10})
    assert str(caught.value) == (
        "ssh:board: the device gives a file of a size that the job cannot have written\n"
        f"  found: logits.npy: {size} bytes\n  expected: at most 10"
    )


class Answers(list):
    """What a device's side answers, and the bytes that follow."""

    def __init__(self, *answers):
        super().__init__(answers)
        self.stdout = io.BytesIO(b"not")

    def lost(self):
        return ConnectionError("lost")


@pytest.mark.parametrize(
    "answer",
    [
        {"name": "/../../ESC2", "bytes": 3},
        {"name": "core.1234", "bytes": 3},
        {"name": "logits.npy", "bytes": 1 << 40},
        {"name": "logits.npy", "bytes": -1},
        {"name": "logits.npy", "bytes": "3"},
        {"name": ["logits.npy"], "bytes": 3},
        {"bytes": 3},
    ],
    ids=repr,
)
def test_bytes_of_a_file_that_was_not_asked_for_are_not_written(answer, tmp_path):
    """Fault E6: what was listed was looked at, what then came was not."""

    @contextmanager
    def request(*_, **__):
        yield Answers(answer)

    link = SimpleNamespace(**vars(LINK), request=request, persistently=lambda f: f(), moved=print)
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    with pytest.raises(ConnectionError):
        place.fetch(link, "job", {"logits.npy": (3, "x")}, {"logits.npy": 3}, out)
    written = {file.name: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert written == {".logits.npy.part": b""}


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
