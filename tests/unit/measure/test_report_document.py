import json
import re
from pathlib import Path

import pytest

from edgetransfer.bundle.readers import ReportForm
from edgetransfer.spec.outside import validated

TEXT = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
WORDS, _, EXAMPLE = TEXT.partition("## Example")
FREE = {"memory", "unavailable", "budget"}


def keys(tree):
    for key, value in tree.items():
        yield key
        if key not in FREE:
            parts = value if isinstance(value, list) else [value]
            for part in parts:
                if isinstance(part, dict):
                    yield from keys(part)


@pytest.fixture(scope="module")
def made():
    (program,) = re.findall(r"```python\n(.*?)```", EXAMPLE, re.DOTALL)
    names = {}
    exec(compile(program, "docs/report.md", "exec"), names)
    return names["report"]


@pytest.fixture(scope="module")
def shown():
    (example,) = re.findall(r"```json\n(.*?)```", EXAMPLE, re.DOTALL)
    return json.loads(example)


def close(shown, made):
    if isinstance(shown, dict):
        return shown.keys() == made.keys() and all(close(shown[k], made[k]) for k in shown)
    if isinstance(shown, list):
        return len(shown) == len(made) and all(map(close, shown, made))
    if isinstance(shown, float):
        return shown == pytest.approx(made, abs=6e-5)
    return shown == made


def test_the_program_in_the_document_makes_the_example_in_it(made, shown):
    validated(ReportForm, shown, "report.json")
    assert close(shown, made)


def test_every_key_is_explained(made):
    explained = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`([^`]+)`", WORDS))))
    assert set(keys(made)) - explained == set()
