"""What may be loaded where."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "timm", "sklearn", "onnx", "onnxruntime", "scipy", "numpy"}


def loaded_by(statement):
    program = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_the_help_page_loads_nothing_slow():
    assert loaded_by("import edgetransfer.cli.commands").isdisjoint(HEAVY | {"pydantic"})


def test_the_program_can_be_stopped_before_it_loads_anything():
    assert loaded_by("import edgetransfer.cli.app").isdisjoint(HEAVY | {"pydantic", "typer"})


def test_importing_the_package_costs_nothing():
    assert loaded_by("import edgetransfer").isdisjoint(HEAVY | {"pydantic", "typer", "rich"})


def test_the_device_side_is_numpy_and_a_runtime():
    heavy = (HEAVY - {"numpy"}) | {"pydantic", "typer", "rich", "jinja2"}
    assert loaded_by("import edgetransfer.agent.main").isdisjoint(heavy)


def test_judging_needs_no_torch():
    assert loaded_by("import edgetransfer.pipeline.bench.bench").isdisjoint(
        {"torch", "transformers"}
    )


def test_telemetry_is_off_before_the_runtime_can_load():
    program = (
        "import os; os.environ.pop('ORT_DISABLE_TELEMETRY', None); import edgetransfer.agent; "
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


@pytest.mark.parametrize("module", ["pickle", "joblib", "dill", "shelve"])
def test_nothing_reads_or_writes_pickles(module):
    pattern = re.compile(rf"^\s*(import|from) {module}\b|torch\.(load|save)\(", re.MULTILINE)
    for file in [*ROOT.glob("edgetransfer/**/*.py"), *ROOT.glob("scripts/**/*.py")]:
        assert not pattern.search(file.read_text(encoding="utf-8")), file
