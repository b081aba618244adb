"""Packs the agent into one file, ``agent.pyz``, the same bytes every time.

It does not run it: `transport` does.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import edgetransfer.agent

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = "import sys\nfrom edgetransfer.agent.main import main\nsys.exit(main(sys.argv[1:]))\n"
_PACKAGE = '"""The part of edgetransfer that runs on a device."""\n'


def pack_agent(target: Path) -> None:
    """Write the agent's modules as a zip application that Python 3.9 or newer starts."""
    folder = Path(edgetransfer.agent.__file__).parent
    files = {"__main__.py": _MAIN, "edgetransfer/__init__.py": _PACKAGE}
    for module in sorted(folder.glob("*.py")):
        files[f"edgetransfer/agent/{module.name}"] = module.read_text(encoding="utf-8")
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
