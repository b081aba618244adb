"""Of what a device says it wrote, only what the job was to write is taken."""

from types import SimpleNamespace

import pytest

from edgetransfer.errors import StageError
from edgetransfer.transport.job import Job, Variant, outputs
from edgetransfer.transport.ssh import jobs

VARIANT = Variant("candidate", "core.onnx", optimised_to="/host/graph.onnx")
LINK = SimpleNamespace(client=SimpleNamespace(where="ssh:board"))


def test_what_each_job_writes():
    assert list(outputs(Job("logits", (VARIANT,)))) == ["logits.npy"]
    assert list(outputs(Job("time", (VARIANT,)))) == ["candidate.npy"]
    assert list(outputs(Job("optimise", (VARIANT,)))) == ["graph.onnx"]
    assert outputs(Job("describe")) == {}


def test_what_was_not_asked_for_stays_there():
    files = {"logits.npy": (4, "x"), "core.1234": (1 << 40, "y")}
    assert jobs._taken(LINK, files, {"logits.npy": 10}) == {"logits.npy": (4, "x")}


@pytest.mark.parametrize(
    "name", ["/../../ESC2", "..", "a/b", "/etc/passwd", "", ".ssh", "-o", "a\x1b[2J", "x" * 300]
)
def test_a_name_that_leads_elsewhere_is_refused(name):
    """Fault E6: ``"/../../ESC2"`` wrote outside."""
    with pytest.raises(StageError, match="names a file that is none of the job's"):
        jobs._taken(LINK, {name: (1, "x")}, {name: 10})


@pytest.mark.parametrize("size", [11, -1])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(StageError) as caught:
        jobs._taken(LINK, {"logits.npy": (size, "x")}, {"logits.npy": 10})
    assert str(caught.value) == (
        "ssh:board: the device gives a file of a size that the job cannot have written\n"
        f"  found: logits.npy: {size} bytes\n  expected: at most 10"
    )
