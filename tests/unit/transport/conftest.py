"""Stand-ins for the agent, programs that end in every way an agent can, and a board for them."""

import sys
import textwrap

import pytest

from edgetransfer.transport import outcome
from edgetransfer.transport.place import Software, connect
from edgetransfer.transport.ssh import board as ssh_board
from edgetransfer.transport.ssh import place as ssh
from edgetransfer.transport.ssh.board import Board, Import
from edgetransfer.transport.ssh.link import RetryPolicy
from edgetransfer.transport.wheels import PACKAGES, WheelTarget
from tests.sshd import board, served  # noqa: F401 (fixtures)

PRESENT = tuple(Import(package, 0, "1", "") for package in PACKAGES)


@pytest.fixture
def agent(tmp_path):
    """Write a program that is started instead of the agent: ``job`` is what it was told."""

    def write(body):
        head = "import json, os, signal, sys\njob = json.load(open(sys.argv[1]))\n"
        emit = "def emit(**line): print(json.dumps(line), flush=True)\n"
        file = tmp_path / "agent.py"
        file.write_text(head + emit + textwrap.dedent(body))
        return file

    return write


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def impatient(monkeypatch):
    """Ask the board often, and wait a minute at most."""
    monkeypatch.setattr(ssh, "PATIENCE", RetryPolicy(60.0, 0.02, 0.1))


@pytest.fixture
def place(board, agent, impatient, monkeypatch):  # noqa: F811 (fixture)
    """Connect to the board with a stand-in for the agent, which needs no runtime."""
    wanted = WheelTarget(sys.version_info[:2], "Linux", "x86_64", 64, "")
    found = Board(sys.executable, sys.version_info[:3], wanted, PRESENT)
    monkeypatch.setattr(ssh_board, "look", lambda *_: found)
    # Stand-ins answer what a test wants to see; `test_outcome` is about the form of answers.
    monkeypatch.setattr(outcome, "checked", lambda _job, result, *_: result)

    def start(body, where="ssh:board"):
        return connect(where, Software(python=sys.executable), agent=agent(body))

    return start
