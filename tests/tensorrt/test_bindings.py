"""The recorded names of the bindings are what the bindings hold now; no engine, no GPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = "EDGETRANSFER_TENSORRT_BINDINGS"
RECORDED = ROOT / "tests" / "unit" / "agent" / "tensorrt_attributes.json"


def test_the_recorded_names_are_those_of_the_bindings():
    folders = os.environ.get(FOLDERS, "").split()
    if not folders:
        pytest.skip("the bindings come by make test-tensorrt")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to make the libraries they are loaded over")
    command = [sys.executable, ROOT / "scripts" / "tensorrt_attributes.py", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(RECORDED.read_text(encoding="utf-8"))
