"""Stand-ins for the agent: programs that end in every way an agent can."""

import textwrap

import pytest

from tests.sshd import board, served  # noqa: F401 (fixtures)


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
