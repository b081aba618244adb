"""What an engine of TensorRT is built for, read from the config of a session."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from edgetransfer.agent.runtimes import Unavailable

PROVIDERS: Dict[str, Tuple[str, ...]] = {
    "TensorRT": ("tensorrt", "tensorrt_bindings"),
    "TensorRT-RTX": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
"""What its sessions may run on, and the Python modules that may bring it."""
Range = Tuple[int, int, int]
"""Least, usual and largest size of a free axis."""
_PREFIX = "tensorrt."


class Settings(NamedTuple):
    """What an engine is built for, beside the graph: least, usual and largest sizes of free axes.

    A batch is the first axis, a length any other (tokens of a text). With `tf32` 32-bit products
    may be rounded to 10 bits: not where numbers are compared. The builder searches for as long as
    its level, 0 to 5, says; `at_least` is the oldest version taken, None for the oldest that we
    know to do. A compute capability, as ``8.9``, is built for without its GPU, which only
    TensorRT-RTX can. The core `dla` of the deep learning accelerator takes what it can, the GPU the
    rest: TensorRT 10.7 and older on JetPack, 11.4.1 and newer on AGX Orin. With `rebuild` above 0
    nothing that an earlier build left is used, and nothing kept: to see whether builds agree.
    """

    batch: Range = (1, 1, 8)
    length: Range = (1, 64, 512)
    tf32: bool = False
    optimisation_level: int = 3
    workspace_mib: int = 1024
    at_least: Optional[str] = None
    compute_capability: Optional[str] = None
    dla: Optional[int] = None
    rebuild: int = 0


def settings_from(entries: Mapping[str, str]) -> Settings:
    """Read the entries of a session's config that begin with ``tensorrt.``.

    >>> settings_from({"tensorrt.batch": "1,4,16", "tensorrt.tf32": "1"}).batch
    (1, 4, 16)

    Raises:
        Unavailable: an entry is not what it should be.
    """
    found = {}
    for key, text in entries.items():
        if not key.startswith(_PREFIX):
            continue
        name = key[len(_PREFIX) :]
        if name not in _READERS:
            known = ", ".join(_PREFIX + each for each in Settings._fields)
            raise Unavailable("no such setting: found %r, expected one of %s" % (key, known))
        read, wanted = _READERS[name]
        try:
            found[name] = read(text)
        except ValueError as error:
            raise Unavailable("%s: found %r, expected %s" % (key, text, wanted)) from error
    return Settings(**found)


def _range(text: str) -> Range:
    least, usual, most = (int(each) for each in text.split(","))
    if not 1 <= least <= usual <= most:
        raise ValueError
    return least, usual, most


def _switch(text: str) -> bool:
    return bool(("0", "1").index(text))


_RANGE = (_range, "three rising sizes: 1,1,8")
_READERS: Mapping[str, Tuple[Callable[[str], Any], str]] = {
    "batch": _RANGE,
    "length": _RANGE,
    "tf32": (_switch, "0 or 1"),
    "optimisation_level": (int, "a number from 0 to 5"),
    "workspace_mib": (int, "a number of MiB"),
    "at_least": (str, "a version"),
    "compute_capability": (str, "a compute capability: 8.9"),
    "dla": (int, "the number of a core: 0"),
    "rebuild": (int, "a number"),
}
