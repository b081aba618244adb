"""Measures the package: files, folders, functions, import circles, names; exits 1 beyond a limit.

Usage: python scripts/house.py [FOLDER_OF_THE_REPOSITORY]
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "edgetransfer"
FILE_LINES, FUNCTION_LINES, PARAMETERS, FOLDER_FILES = 450, 50, 6, 15
FIELD_NOUNS = frozenset(
    (
        *("timing", "smoothing", "rounding", "training", "posttraining", "encoding"),
        *("self_training", "ranking", "string"),
    )
)
"""Modules that end in -ing and are called so in the field."""
DECLARING = ("command", "asks")
"""A function under one of these decorators declares options: nobody passes them."""


@dataclass
class Module:
    """One file of the package."""

    name: str
    path: Path
    tree: ast.Module
    lines: int
    imports: set[str] = field(default_factory=set)

    @property
    def folder(self) -> str:
        """The package it lies in."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def read(root: Path) -> dict[str, Module]:
    """Return the modules of the package by name, with what each imports wherever it stands."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, path, ast.parse(text), len(text.splitlines()))
    for module in found.values():
        module.imports = {each for each in imported(module.tree, found) if each != module.name}
    return found


def imported(tree: ast.Module, known: dict[str, Module]) -> set[str]:
    """Return which of some modules a file imports, for types and within functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                names.add(whole if whole in known else str(node.module))
        elif isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
    return names & known.keys()


def tested(root: Path, known: dict[str, Module]) -> set[str]:
    """Return the modules that some test imports."""
    found = set()
    for path in (root / "tests").rglob("*.py"):
        found |= imported(ast.parse(path.read_text(encoding="utf-8")), known)
    return found


def sizes(module: Module) -> list[str]:
    """Say which limits a file and its functions exceed."""
    found = [] if module.lines <= FILE_LINES else [f"{module.path}: {module.lines} lines"]
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        where, length = f"{module.path}:{node.lineno}", (node.end_lineno or 0) - node.lineno + 1
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        count = sum(each.arg not in ("self", "cls") for each in arguments)
        if length > FUNCTION_LINES:
            found.append(f"{where}: {node.name} has {length} lines")
        if count > PARAMETERS and not declares_options(node):
            found.append(f"{where}: {node.name} has {count} parameters")
    return found


def declares_options(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function's parameters are options of a command."""
    calls = (each.func for each in function.decorator_list if isinstance(each, ast.Call))
    return any(isinstance(each, ast.Attribute) and each.attr in DECLARING for each in calls)


def folders(modules: dict[str, Module]) -> list[str]:
    """Say which folders hold too many files."""
    count = Counter(module.folder for module in modules.values())
    return [f"{name}: {n} files" for name, n in sorted(count.items()) if n > FOLDER_FILES]


def circles(modules: dict[str, Module]) -> list[str]:
    """Say a circle of imports, if there is one."""
    try:
        TopologicalSorter({name: each.imports for name, each in modules.items()}).prepare()
    except CycleError as error:
        return [" -> ".join(reversed(error.args[1]))]
    return []


def gerunds(modules: dict[str, Module]) -> list[str]:
    """Return modules that are named by a doing, not by a noun of the field."""
    stems = ((name, name.rpartition(".")[2]) for name in modules)
    return [name for name, stem in stems if stem.endswith("ing") and stem not in FIELD_NOUNS]


def doubles(modules: dict[str, Module]) -> list[str]:
    """Return class names that stand twice."""
    where = defaultdict(list)
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(module.name)
    return [f"{name}: {', '.join(each)}" for name, each in where.items() if len(each) > 1]


def pieces(modules: dict[str, Module], with_tests: set[str]) -> list[str]:
    """Return modules that only one module of their own folder reads, and no test."""
    readers = defaultdict(set)
    for module in modules.values():
        for each in module.imports:
            readers[each].add(module.name)
    found = []
    for name, module in modules.items():
        if module.path.name == "__init__.py" or name in with_tests or len(readers[name]) != 1:
            continue
        (reader,) = readers[name]
        beside = modules[reader].folder == module.folder
        if beside and modules[reader].path.name != "__init__.py":
            found.append(f"{name} is read by {reader} alone")
    return found


def findings(root: Path) -> dict[str, list[str]]:
    """Return everything that is beyond a limit, by limit."""
    modules = read(root)
    return {
        "sizes": [each for module in modules.values() for each in sizes(module)],
        "folders": folders(modules),
        "circles": circles(modules),
        "gerunds": gerunds(modules),
        "doubles": doubles(modules),
        "pieces": pieces(modules, tested(root, modules)),
    }


def main() -> None:
    """Print the figures and what is beyond a limit."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    modules = read(root)
    lines = sum(module.lines for module in modules.values())
    count = len({module.folder for module in modules.values()})
    print(f"{len(modules)} files, {lines} lines, {count} folders")
    found = findings(root)
    for limit, each in found.items():
        print(f"{limit}: {len(each) or 'none'}", *each, sep="\n  ")
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
