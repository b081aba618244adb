"""What the user sees when the device has no room for the files."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from edgetransfer.errors import EdgeTransferError
from edgetransfer.transport.job import Job, Variant
from edgetransfer.transport.place import Software, connect
from edgetransfer.transport.ssh import link


@pytest.fixture
def small(board):
    """Give the board 1 MiB for its work folder."""
    board.work.mkdir(parents=True, mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(board.work)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("no file system can be mounted here (needs root)")
    yield board.work
    subprocess.run(["umount", str(board.work)], check=True)


def pushing(path):
    software = Software(python=sys.executable)
    agent = path.with_name("agent.py")
    agent.write_text("")
    job = Job("outputs", (Variant("m", str(path)),))
    with (
        pytest.raises(EdgeTransferError) as caught,
        connect("ssh:board", software, agent=agent) as place,
    ):
        place.run(job, path.parent)
    return str(caught.value)


def test_a_device_without_room(small, tmp_path):
    (tmp_path / "m.onnx").write_bytes(np.random.default_rng(0).bytes(3 << 20))
    assert pushing(tmp_path / "m.onnx") == (
        "ssh:board: no space left on the device\n"
        f"  found: 1 MiB free for {small}/files\n"
        "  expected: 3 MiB\n"
        "  fix: free some space there and run the same command again"
    )


def test_a_device_that_fills_up_meanwhile(small, tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(np.random.default_rng(0).bytes(3 << 20))
    far = link._FAR.replace(b"shutil.disk_usage(str(side.files)).free", b"1 << 60")
    monkeypatch.setattr(link, "_FAR", far)
    command = f"import sys;exec(compile(sys.stdin.buffer.read({len(far)}),'edgetransfer','exec'))"
    monkeypatch.setattr(link, "_FAR_COMMAND", command)
    found = pushing(tmp_path / "m.onnx").splitlines()
    assert found[0] == "ssh:board: no space left on the device"
    assert found[1].endswith(": No space left on device")
    assert found[2] == "  fix: free some space there and run the same command again"
