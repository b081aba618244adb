"""Packs the agent into one file, ``agent.pyz``, the same bytes every time."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import edgetransfer.agent
from edgetransfer.bundle.files import digest_of

AGENT = "agent.pyz"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = "import sys\nfrom edgetransfer.agent.main import main\nsys.exit(main(sys.argv[1:]))\n"
_PACKAGE = '"""The part of edgetransfer that runs on a device."""\n'


def pack_agent(target: Path) -> None:
    """Write the agent's modules as a zip application that Python 3.9 or newer starts."""
    folder = Path(edgetransfer.agent.__file__).parent
    files = {"__main__.py": _MAIN, "edgetransfer/__init__.py": _PACKAGE}
    for module in sorted(folder.rglob("*.py")):
        name = module.relative_to(folder).as_posix()
        files[f"edgetransfer/agent/{name}"] = module.read_text(encoding="utf-8")
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)


def installed_agent() -> Path:
    """Return the agent of the installed package, packed: the only one that we start anywhere.

    A bundle brings a copy for use without us. That one is never run from here: who made the bundle
    chose its bytes.
    """
    agent = _room() / AGENT
    if not agent.is_file():
        pack_agent(agent)
    return agent


def agent_digest() -> str:
    """Return the SHA-256 of the agent that is started, for the keys of what it measured."""
    return digest_of(installed_agent())


@cache
def _room() -> Path:
    """Make a folder of this user and this process alone."""
    room = Path(tempfile.mkdtemp(prefix="edgetransfer-agent-"))
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    return room
