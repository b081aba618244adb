"""What a module reaches by its imports, read off the source: our modules, libraries, data files.

An import counts wherever it stands, in a function too; under ``TYPE_CHECKING`` it does not, as it
never runs. A whole package counts where a name is put together (``import_module(f"a.b.{name}")``)
or its folder is asked for (``a.b.__file__``), and so do files that are named beside a module which
asks for its own ``__file__``.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "edgetransfer"
FOLDER = Path(__file__).parents[2]
_BY_NAME = ("import_module", "find_spec")


@dataclass(frozen=True)
class _Read:
    """One module: digest of source and data files, what importing it imports, and its functions."""

    digest: str
    first: frozenset[str]
    later: frozenset[str]


class Sources:
    """The source of the package in a folder, each file read once.

    A module whose source is not there (a zip file) reaches nothing: our version alone counts.
    """

    def __init__(self, folder: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> None:
        self._folder = folder
        self._bytes_of = read
        self._read: dict[str, _Read] = {}

    def reached(self, *modules: str) -> frozenset[str]:
        """Return the modules of ours that some modules reach, these included, by full name."""
        return frozenset(name for name in self._closure(modules) if is_ours(name))

    def libraries(self, *modules: str) -> frozenset[str]:
        """Return the top-level names of what these reach of others, the standard library aside."""
        tops = {name.partition(".")[0] for name in self._closure(modules) if not is_ours(name)}
        return frozenset(
            tops - sys.stdlib_module_names - {each.partition(".")[0] for each in modules}
        )

    def digest(self, *modules: str) -> str:
        """Return a digest of the source of all that some modules reach."""
        total = hashlib.sha256()
        for name in sorted({*self.reached(*modules), *modules}):
            total.update(f"{name} {self._of(name).digest}\n".encode())
        return total.hexdigest()

    def _closure(self, modules: Iterable[str]) -> set[str]:
        found: set[str] = set()
        above: set[str] = set()
        todo = list(modules)
        while todo:
            name = todo.pop()
            if name in found:
                continue
            found.add(name)
            if is_ours(name) or name in modules:
                read = self._of(name)
                todo += read.first | read.later
                # Importing a module runs what stands above it: their functions are not called,
                # unless these are imported for themselves, before or after.
                for parent in {*_parents(name)} - above:
                    todo += self._of(parent).first
                    above.add(parent)
        return found | above

    def _of(self, name: str) -> _Read:
        if name not in self._read:
            self._read[name] = self._look(name)
        return self._read[name]

    def _look(self, name: str) -> _Read:
        file = self._file(name)
        if file is None:
            return _Read("", frozenset(), frozenset())
        source = self._bytes_of(file)
        tree = ast.parse(source)
        first, later = set[str](), set[str]()
        self._imports(tree.body, first, later)
        total = hashlib.sha256(source)
        if any(each.encode() in source for each in (*_BY_NAME, "__file__", "PackageLoader")):
            later |= self._named(tree)
            for data in _data(tree, file.parent):
                total.update(data.name.encode() + self._bytes_of(data))
        return _Read(total.hexdigest(), frozenset(first), frozenset(later))

    def _file(self, name: str) -> Path | None:
        if not is_ours(name):
            loaded = getattr(sys.modules.get(name), "__file__", None)
            return None if loaded is None else Path(loaded)
        base = self._folder.joinpath(*name.split(".")[1:])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file
        return None

    def _imports(self, body: list[ast.stmt], now: set[str], later: set[str]) -> None:
        """Sort what statements import into what runs at once and what runs when called."""
        for node in body:
            if isinstance(node, ast.Import):
                now.update(each.name for each in node.names)
            elif isinstance(node, ast.ImportFrom):
                now.update(self._from(node))
            elif isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING":
                self._imports(node.orelse, now, later)
            else:
                called = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                for inner in _bodies(node):
                    self._imports(inner, later if called else now, later)

    def _from(self, node: ast.ImportFrom) -> Iterator[str]:
        for each in node.names:
            inner = f"{node.module}.{each.name}"
            yield inner if is_ours(inner) and self._file(inner) is not None else node.module or ""

    def _named(self, tree: ast.Module) -> set[str]:
        """Return modules that are imported by name, and all of a package whose folder is read."""
        found: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "__file__":
                found |= self._below(ast.unparse(node.value))
            if not isinstance(node, ast.Call) or not node.args:
                continue
            if _last_name(node.func) in _BY_NAME:
                asked = node.args[0]
                if isinstance(asked, ast.Constant):
                    found.add(str(asked.value))
                elif isinstance(asked, ast.JoinedStr) and isinstance(asked.values[0], ast.Constant):
                    found |= self._below(str(asked.values[0].value).rstrip("."))
        return found

    def _below(self, package: str) -> set[str]:
        if not is_ours(package):
            return set()
        folder = self._folder.joinpath(*package.split(".")[1:])
        files = folder.rglob("*.py") if folder.is_dir() else ()
        inside = (file.relative_to(folder).with_suffix("").parts for file in files)
        return {".".join((package, *each)) for each in inside if each[-1] != "__init__"}


def is_ours(name: str) -> bool:
    """Tell whether a module is of this package."""
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def _parents(name: str) -> Iterator[str]:
    while is_ours(name) and "." in name:
        name = name.rpartition(".")[0]
        yield name


def _last_name(expression: ast.expr) -> str:
    return ast.unparse(expression).rpartition(".")[2]


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(node, name, [])
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield part.body


def _data(tree: ast.Module, folder: Path) -> list[Path]:
    """Return the files beside a module that its strings name, or that lie in a folder so named."""
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    named = {folder / each for each in strings if isinstance(each, str) and each.isprintable()}
    found: set[Path] = set()
    for path in named:
        if path == folder or folder not in path.parents:
            continue
        found |= {path} if path.is_file() else set(path.rglob("*")) if path.is_dir() else set()
    return sorted(file for file in found if file.is_file() and "__pycache__" not in file.parts)


@cache
def installed() -> Sources:
    """Return the source of this very package."""
    return Sources(FOLDER)
