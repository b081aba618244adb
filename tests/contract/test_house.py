"""The limits that `scripts/house.py` prints hold: what outgrows one is asking for a new noun."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def house():
    spec = importlib.util.spec_from_file_location("house", ROOT / "scripts" / "house.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["house"]


@pytest.fixture(scope="module")
def found(house):
    return house.findings(ROOT)


@pytest.mark.parametrize("limit", ["sizes", "folders", "circles", "gerunds", "doubles", "pieces"])
def test_nothing_is_beyond_a_limit(found, limit):
    assert found[limit] == []


def written(folder, files):
    for name, text in files.items():
        path = folder / "edgetransfer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_every_limit_is_seen_to_be_passed(house, tmp_path):
    few = "def f(a, b, c, d, e, f, g): ...\nclass Two: ...\n"
    files = {
        "__init__.py": "",
        "one.py": f"from edgetransfer import two\n{few}",
        "two.py": "def late():\n    from edgetransfer.one import f\nclass Two: ...\n",
        "moving.py": "x = 1\n" * 451,
        "training.py": "def f():\n" + "    x = 1\n" * 50,
        **{f"many/{number}.py": "" for number in range(16)},
    }
    found = house.findings(written(tmp_path, files))
    room = tmp_path / "edgetransfer"
    assert found == {
        "sizes": [
            f"{room / 'moving.py'}: 451 lines",
            f"{room / 'one.py'}:2: f has 7 parameters",
            f"{room / 'training.py'}:1: f has 51 lines",
        ],
        "folders": ["edgetransfer.many: 16 files"],
        "circles": found["circles"],
        "gerunds": ["edgetransfer.moving"],
        "doubles": ["Two: edgetransfer.one, edgetransfer.two"],
        "pieces": [
            "edgetransfer.one is read by edgetransfer.two alone",
            "edgetransfer.two is read by edgetransfer.one alone",
        ],
    }
    (circle,) = found["circles"]
    assert {"edgetransfer.one", "edgetransfer.two"} == set(circle.split(" -> "))
