"""What a device's Python says of itself, asked as the shell there asks it."""

import json
import subprocess
import sys
from pathlib import Path

from edgetransfer.transport.ssh import look


def asked(site):
    text = Path(look.__file__).read_text()
    done = subprocess.run(
        [sys.executable, "-S", "-c", text, str(site)], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


def test_packages_of_a_site_are_imported_and_a_crash_is_told(tmp_path):
    (tmp_path / "numpy.py").write_text("__version__ = '2.0'")
    (tmp_path / "onnxruntime.py").write_text("import os; os.abort()")
    code, told = asked(tmp_path)
    assert code == 1
    assert told["version"] == list(sys.version_info[:3])
    assert told["imports"]["numpy"] == {"returncode": 0, "version": "2.0", "words": ""}
    assert told["imports"]["onnxruntime"]["returncode"] == -6


def test_a_python_that_can_run_the_agent_is_told_by_the_exit_code(tmp_path):
    for package in ("numpy", "onnxruntime"):
        (tmp_path / f"{package}.py").write_text("__version__ = '1'")
    assert asked(tmp_path)[0] == 0
