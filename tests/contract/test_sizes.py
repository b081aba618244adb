"""The tail is capped: a file or function that outgrows this is asking for a new noun."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("edgetransfer/**/*.py"), *ROOT.glob("scripts/**/*.py")])
MAX_LINES, MAX_FUNCTION, MAX_PARAMETERS = 450, 50, 6


def declares_a_command(function):
    """A command's parameters are its options: they are declared, never passed by a caller."""
    return any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr == "asks"
        for each in function.decorator_list
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_sizes(file):
    source = file.read_text(encoding="utf-8")
    too_large = []
    if len(source.splitlines()) > MAX_LINES:
        too_large.append(f"{len(source.splitlines())} lines")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = node.end_lineno - node.lineno + 1
        arguments = node.args
        names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        count = sum(each.arg not in ("self", "cls") for each in names)
        if length > MAX_FUNCTION:
            too_large.append(f"{node.name} has {length} lines")
        if count > MAX_PARAMETERS and not declares_a_command(node):
            too_large.append(f"{node.name} has {count} parameters")
    assert too_large == []
