"""The runtimes, a module or package each, and nothing else: ``NAME.py`` is the plug-in of ``NAME``.

A plug-in loads no runtime when it is imported, and has:

* ``PROVIDERS``: what its sessions may run on, each with the Python modules that may bring it, the
  one whose version counts first. No other runtime has a provider of that name.
* ``open_session(variant, tell)``: opens ``variant["model"]``, a path or the bytes of an ONNX file,
  with ``threads``, ``config`` and ``provider``, and returns a `Session`. Where
  ``optimised_to`` is not None it leaves how the runtime laid the model out in that file:
  ``{"layers": [{"kind", "name", "type"}]}``, a row for all that multiplies by weights (kind
  ``convolution`` or ``gemm``; type ``int8`` or any other), or an ONNX file.

It raises `Unavailable` where this machine cannot do what was asked.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Protocol

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np


CPU = "CPUExecutionProvider"
"""What ONNX Runtime calls the processor."""
Arrays = Mapping[str, "np.ndarray[Any, Any]"]
Tell = Callable[[str, int, int], object]
"""Told of a phase, the steps done and all of them, by what takes long: building an engine."""


class Unavailable(SystemExit):
    """This machine cannot do what was asked: the agent ends with one line on standard error."""


class Session(Protocol):
    """A loaded model, by whatever runtime.

    Facts are what it runs on, for the report, where the machine's fingerprint does not say it:
    `provider` always, `runtime` (name and version) of all but ONNX Runtime. `built_ms` went into
    making an engine, once on a device: no part of loading it. Outputs are in the order of `run`.
    """

    input_names: List[str]
    output_names: List[str]
    facts: Mapping[str, object]
    built_ms: float

    def ports(self) -> Dict[str, List[Dict[str, Any]]]:
        """Return name, type and shape of every input and output, as the runtime tells them."""
        ...

    def run(self, inputs: Arrays) -> List[np.ndarray[Any, Any]]:
        """Return all outputs for one batch of inputs, by name."""
        ...


def quiet(phase: str, done: int, total: int) -> None:
    """Tell nobody."""


def version_of(text: str) -> "tuple[int, ...]":
    """Return a version as what can be compared; what follows its numbers is left out.

    >>> version_of("10.0.0b6"), version_of("10.13.3.9.post1") < version_of("11.4")
    ((10, 0, 0), True)
    """
    found = re.match(r"[0-9]+(\.[0-9]+)*", text.strip())
    return tuple(int(each) for each in found.group().split(".")) if found else ()


added: Dict[str, str] = {}
"""Files of the plug-ins that are not ours, by the name of their runtime."""


def names() -> List[str]:
    """Return the names of the runtimes that there are plug-ins of."""
    return sorted({*added, *(each.name for each in pkgutil.iter_modules(__path__))})


def add(name: str, file: str) -> None:
    """Take a file as the plug-in of a runtime: it is run."""
    full = "%s.%s" % (__name__, name)
    spec = importlib.util.spec_from_file_location(full, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[full] = module
    added[name] = file


def plugin(name: str) -> ModuleType:
    """Return the plug-in of a runtime; `Unavailable` is raised where there is none of that name."""
    if name not in names():
        raise Unavailable("no such runtime: found %r, expected %s" % (name, ", ".join(names())))
    return importlib.import_module(f"edgetransfer.agent.runtimes.{name}")


def open_session(variant: Mapping[str, Any], tell: Optional[Tell] = None) -> Session:
    """Open the model of a variant with the runtime that it names; a build tells how far it is."""
    opened: Session = plugin(variant["runtime"]).open_session(variant, tell or quiet)
    return opened


def providers() -> Iterator["tuple[str, tuple[str, ...]]"]:
    """Yield every provider, and the Python modules that may bring it."""
    for name in names():
        yield from plugin(name).PROVIDERS.items()


def other_runtimes() -> Dict[str, Optional[str]]:
    """Return the runtimes beside ONNX Runtime, by their providers, with their versions if told.

    They are not loaded: that may need a GPU.
    """
    found: Dict[str, Optional[str]] = {}
    for provider, modules in providers():
        present = [name for name in modules if importlib.util.find_spec(name) is not None]
        if present:
            found[provider] = _version(present[0])
    return found


def _version(module: str) -> Optional[str]:
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return None
