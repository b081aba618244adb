"""Every feature of `tests/FEATURES.md` has tests, and each test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    line.strip("|\n ").split(" | ")
    for line in (ROOT / "tests" / "FEATURES.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and line != "| feature | tests |"
]
NAME = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def names_in(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_feature_stands_once_and_names_tests():
    assert len(ROWS) > 200
    assert len({feature for feature, _ in ROWS}) == len(ROWS)
    assert [row for row in ROWS if NAME.sub("", row[1]).strip(", ")] == []
    assert all(NAME.search(tests) for _, tests in ROWS)


def test_each_test_that_is_named_exists():
    named = {found for _, tests in ROWS for found in NAME.findall(tests)}
    missing = {f"{file}::{name}" for file, name in named if name not in names_in(file)}
    assert missing == set()
