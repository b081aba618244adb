"""A browser that is started leaves nothing behind, and says how it ended."""

import time
from pathlib import Path

import pytest

from edgetransfer.transport.browser.place import opened


@pytest.fixture
def program(tmp_path):
    """Write a stand-in for Chromium that notes its arguments first."""

    def write(then):
        file = tmp_path / "chromium"
        file.write_text(f'#!/bin/sh\necho "$$ $*" > {tmp_path}/started\n{then}\n')
        file.chmod(0o755)
        return str(file)

    return write


def until(done):
    for _ in range(500):
        if found := done():
            return found
        time.sleep(0.01)
    raise AssertionError("waited for too long")


def test_it_and_its_profile_are_gone_in_the_end(program, tmp_path):
    started = tmp_path / "started"
    with opened(program("sleep 60"), "http://127.0.0.1:1/", "wasm") as running:
        words = until(lambda: started.exists() and started.read_text().split())
        assert running.ended() is None
        assert words[-1] == "http://127.0.0.1:1/"
        (named,) = (word.partition("=")[2] for word in words if word.startswith("--user-data"))
        assert Path(named).is_dir()
    assert not Path(named).exists()
    assert running.process.poll() is not None


def test_how_it_ended_and_what_it_said(program):
    with opened(program("echo 'no usable sandbox' >&2; exit 3"), "http://x/", "wasm") as running:
        assert until(running.ended) == "Chromium ended: exit code 3\nno usable sandbox"


def test_one_that_was_killed(program):
    with opened(program("kill -SEGV $$"), "http://x/", "webgpu") as running:
        assert until(running.ended) == "Chromium ended: killed by SIGSEGV"
