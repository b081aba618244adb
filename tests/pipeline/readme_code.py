"""The code that the README of a bundle prints, run as it stands there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODULES = os.environ.get("EDGETRANSFER_TEST_NODE_MODULES", "")
"""A `node_modules` that has onnxruntime-web 1.30 and @huggingface/transformers 4.3."""


def printed(folder, language):
    """Return the code of one language; there is but one piece of each."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return code


def in_python(folder, monkeypatch, capsys, old="", new=""):
    """Run the Python, with another example in place of the one that it names; return its words."""
    monkeypatch.chdir(folder)
    capsys.readouterr()
    exec(printed(folder, "python").replace(old, new), {})
    label, share = capsys.readouterr().out.rsplit(" ", 1)
    return label, float(share)


def in_node(folder, room, before):
    """Run the JavaScript in node; `before` says what the page would have."""
    if not MODULES or not shutil.which("node"):
        pytest.skip("EDGETRANSFER_TEST_NODE_MODULES names no node_modules, or node is absent")
    (room / "node_modules").symlink_to(Path(MODULES).resolve())
    (room / "before.mjs").write_text(
        "import fs from 'node:fs';\n"
        "globalThis.fetch = async (name) => new Response(fs.readFileSync(name));\n" + before
    )
    (room / "code.mjs").write_text("import './before.mjs';\n" + printed(folder, "js"))
    done = subprocess.run(
        ["node", room / "code.mjs"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    label, share = done.stdout.rsplit(" ", 1)
    return label, float(share)
