"""The agent in one file: the same bytes every time, and nothing of the host in it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import edgetransfer
from edgetransfer.bundle.agent_archive import agent_digest, installed_agent, pack_agent
from edgetransfer.bundle.files import digest_of

PYTHON_3_9 = Path("/root/.pyenv/versions/3.9.18/bin/python")
HOST_ONLY = ("torch", "transformers", "pydantic", "typer", "onnx", "edgetransfer.spec")


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    file = tmp_path_factory.mktemp("agent") / "agent.pyz"
    pack_agent(file)
    return file


def start(python, *arguments):
    command = [str(python), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_same_bytes_every_time(agent, tmp_path):
    pack_agent(tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == agent.read_bytes()
    dates = {each.date_time for each in zipfile.ZipFile(agent).infolist()}
    assert dates == {(1980, 1, 1, 0, 0, 0)}


def test_it_holds_the_agent_and_nothing_else(agent):
    held = zipfile.ZipFile(agent).namelist()
    assert {"__main__.py", "edgetransfer/__init__.py", "edgetransfer/agent/main.py"} <= set(held)
    assert all(name.startswith("edgetransfer/agent/") and name.endswith(".py") for name in held[2:])


def test_it_starts(agent, tmp_path):
    done = start(sys.executable, agent)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "usage: agent.pyz JOB.json\n")
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"schema": "edgetransfer.job/1", "action": "describe"}))
    done = start(sys.executable, agent, job)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["event"] == "result"


def test_what_it_loads_comes_out_of_the_archive(agent):
    program = (
        f"import sys, json; sys.path.insert(0, {str(agent)!r}); import edgetransfer.agent.main; "
        "import edgetransfer; print(json.dumps([edgetransfer.__file__, sorted(sys.modules)]))"
    )
    done = start(sys.executable, "-c", program)
    file, modules = json.loads(done.stdout)
    assert file == f"{agent}/edgetransfer/__init__.py"
    assert not [name for name in HOST_ONLY if name in modules]


def test_it_is_understood_by_python_3_9(agent):
    if not PYTHON_3_9.is_file():
        pytest.skip("no Python 3.9 here")
    program = (
        "import sys, types, zipfile; archive = zipfile.ZipFile(sys.argv[1])\n"
        "for name in archive.namelist(): compile(archive.read(name), name, 'exec')\n"
        "sys.modules['numpy'] = types.ModuleType('numpy')\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from edgetransfer.agent.main import main\n"
        "sys.exit(main([]))\n"
    )
    done = start(PYTHON_3_9, "-c", program, agent)
    assert (done.returncode, done.stderr) == (2, "usage: agent.pyz JOB.json\n")


def test_no_agent_but_that_of_the_installed_package_is_started(agent):
    """Fault E1: `bench` ran the agent that a bundle brings."""
    assert digest_of(installed_agent()) == digest_of(agent) == agent_digest()
    installed_agent().unlink()
    assert installed_agent().is_file()
    root = Path(edgetransfer.__file__).parent
    naming = [
        file.relative_to(root).as_posix()
        for folder in ("pipeline", "transport", "cli")
        for file in (root / folder).rglob("*.py")
        if "agent.pyz" in file.read_text()
    ]
    assert naming == []
