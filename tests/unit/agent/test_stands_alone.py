"""The agent needs the standard library, numpy and a runtime, at Python 3.9."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgetransfer.agent

MODULES = sorted(Path(edgetransfer.agent.__file__).parent.rglob("*.py"))


def _runtime_of(module):
    """Return the one runtime that a plug-in may load; all else loads none."""
    packages = {"litert": "ai_edge_litert"}
    return [packages.get(module.stem, module.stem)] if module.parent.name == "runtimes" else []


@pytest.mark.parametrize("module", MODULES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_python_3_9_syntax_and_imports(module):
    tree = ast.parse(module.read_text(encoding="utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.partition(".")[0]
            known = top in sys.stdlib_module_names or top in ("numpy", *_runtime_of(module))
            assert known or name.startswith("edgetransfer.agent"), name


def test_nothing_newer_than_python_3_9_is_called():
    vermin = Path(sys.executable).with_name("vermin")
    if not vermin.is_file():
        pytest.skip("vermin is not installed")
    command = [str(vermin), "--no-tips", "--violations", "--target=3.9-", *map(str, MODULES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_telemetry_is_off_when_the_runtime_loads(tmp_path):
    (tmp_path / "onnxruntime.py").write_text(
        "import os\n__version__ = os.environ['ORT_DISABLE_TELEMETRY']\n"
    )
    program = (
        "import os, sys; os.environ.pop('ORT_DISABLE_TELEMETRY', None); "
        f"sys.path.insert(0, {str(tmp_path)!r}); "
        "import edgetransfer.agent, onnxruntime; print(onnxruntime.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
