"""A step of a run whose result is kept: what goes into it, what makes it, what is told of it."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib import metadata
from pathlib import Path
from types import CellType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from edgetransfer.agent.energy import Meter, find_source
from edgetransfer.agent.system import peak_mib, reset_peak
from edgetransfer.bundle.files import digest_of_value, read_json
from edgetransfer.data.labels import LabelRules
from edgetransfer.pipeline.stage import reached

if TYPE_CHECKING:
    from edgetransfer.spec.progress import Progress

_PACKAGES = (
    "edgetransfer",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "numpy",
    "pillow",
    "scikit-learn",
    "transformers",
    "timm",
    "tokenizers",
)
RECORD = "record.json"
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}
"""Libraries that are imported by another name than they are installed by."""


@dataclass(frozen=True)
class Stage:
    """One step, not made yet.

    Attributes:
        name: the folder of the cache that its results are kept in.
        inputs: all that the result depends on beside the code, in plain JSON types: keys of the
            stages before it, digests of files that are read, settings.
        make: writes files into an empty folder, tells of progress, and returns a record in plain
            JSON types.
        told: says in a line what a record says.
        packages: distributions that are used though no module that `make` reaches imports them.
        together: whether every process of a team makes it, where there are several.
    """

    name: str
    inputs: Mapping[str, Any]
    make: Callable[[Path, Progress], Mapping[str, Any]]
    told: Callable[[Mapping[str, Any]], str] = lambda _: ""
    packages: tuple[str, ...] = ()
    together: bool = False

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules where `make` stands, and what it was given to call."""
        return _modules_of(self.make)

    @cached_property
    def key(self) -> str:
        """Digest of the inputs, of all source that `make` reaches, and of all versions."""
        made = made_by(self.modules, self.packages)
        return digest_of_value({"stage": self.name, "inputs": self.inputs, **made})


class Cost(NamedTuple):
    """What making a stage took: CPU time of its child processes is part of it, their memory not."""

    seconds: float
    cpu_seconds: float
    peak_memory_mib: float


@contextmanager
def watched() -> Iterator[Callable[[], Cost]]:
    """Yield what tells the cost since the beginning; the peak is that of the outermost use."""
    if not _Watching.now:
        reset_peak()
    joules()  # a counter that starts again every few minutes is read in time
    before, start, inside = _Watching.now, time.monotonic(), cpu_seconds()
    _Watching.now = True
    try:
        yield lambda: Cost(time.monotonic() - start, cpu_seconds() - inside, peak_mib())
    finally:
        _Watching.now = before


class _Watching:
    """Whether a stage is being made: one may make another."""

    now = False


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@cache
def _meter() -> Meter | None:
    source = find_source()
    return None if source is None else source.joules


def joules() -> float | None:
    """Return what a counter of energy says, None where none can be read."""
    meter = _meter()
    now = None if meter is None else meter()
    return None if now is None or now != now else now


@dataclass(frozen=True)
class StageResult:
    """What a stage left; whether that was there already, and what it had cost then.

    The key, a digest of what went into it, goes into the keys of the stages after it.
    """

    folder: Path
    key: str
    reused: bool
    cost: Cost

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / name

    @cached_property
    def record(self) -> dict[str, Any]:
        """What `make` returned."""
        found: dict[str, Any] = read_json(self.file(RECORD))
        return found


def _modules_of(make: Callable[..., Any]) -> tuple[str, ...]:
    """Return where a function stands, and the functions, rules and networks that it was given."""
    found: dict[str, None] = {}
    todo: list[Any] = [make]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, partial):
            todo += [each.func, *each.args, *each.keywords.values()]
        elif isinstance(each, MethodType):
            todo.append(each.__func__)
            found[type(each.__self__).__module__] = None
        elif isinstance(each, FunctionType):
            found[each.__module__] = None
            todo += [cell.cell_contents for cell in each.__closure__ or () if _is_set(cell)]
        elif LabelRules in type(each).__mro__:
            found[type(each).__module__] = None
        elif hasattr(each, "named_modules"):  # a network of torch
            found |= dict.fromkeys(type(layer).__module__ for _, layer in each.named_modules())
    own = make.func.__module__ if isinstance(make, partial) else make.__module__
    return tuple(name for name in found if reached.is_ours(name) or name == own)


def _is_set(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (it raises where a name was not bound yet)
    except ValueError:
        return False
    return True


def made_by(modules: tuple[str, ...], packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what stands for the code that some modules reach: its digest, and all versions."""
    sources = reached.installed()
    libraries = (DISTRIBUTIONS.get(name, name) for name in sources.libraries(*modules))
    return {
        "source": sources.digest(*modules),
        "versions": versions(reached.PACKAGE, *libraries, *packages),
        "python": sys.version_info[:2],
    }


version = cache(metadata.version)
"""Every stage asks, and each time a package's whole description is read: 0.3 s a build."""


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of some distributions, or of all that matter, where they are there."""
    found = {}
    for package in packages or _PACKAGES:
        try:
            found[package] = version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
