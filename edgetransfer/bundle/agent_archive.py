"""Packs the agent into one file, ``agent.pyz``, the same bytes every time."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import edgetransfer.agent
from edgetransfer.agent import runtimes
from edgetransfer.bundle.files import digest_of
from edgetransfer.errors import SpecError
from edgetransfer.spec.target import RUNTIMES

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
    for name, plugin in sorted(runtimes.added.items()):
        files[f"edgetransfer/agent/runtimes/{name}.py"] = Path(plugin).read_text(encoding="utf-8")
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)


def add_runtime(file: Path) -> None:
    """Give the agent the plug-in of one more runtime, which targets may name from then on.

    It is a file ``NAME.py`` as `edgetransfer.agent.runtimes` describes it, and is run, here and on
    the device: only ever one of your own. A SpecError refuses a name that is taken, or no module's.
    """
    name = file.stem
    if not name.isidentifier() or name in RUNTIMES:
        raise SpecError(
            "not the plug-in of another runtime",
            where=str(file),
            found=repr(name),
            expected=f"NAME.py, a Python name that is not one of {', '.join(sorted(RUNTIMES))}",
        )
    runtimes.add(name, str(file))
    RUNTIMES.add(name)


def installed_agent() -> Path:
    """Return the agent of the installed package, packed: the only one that we start anywhere.

    A bundle brings a copy for use without us. It is never run here: who made the bundle chose it.
    """
    agent = _room().joinpath(*sorted(runtimes.added), AGENT)
    if not agent.is_file():
        agent.parent.mkdir(parents=True, exist_ok=True)
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
