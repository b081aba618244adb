"""Finds the transport that the user names after ``--on``: ``local``, ``ssh:HOST``, ``qemu:arm64``.

It does not connect by itself: each transport is a module with a function `connect`.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

from edgetransfer.errors import SpecError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edgetransfer.transport.place import Place

LOCAL = "local"
TRANSPORTS = {LOCAL: "local"}
"""Each transport's word and the module of this package that has its `connect(address, agent)`."""


def folder_name(where: str) -> str:
    """Return a name for a folder of what was measured at a place.

    >>> folder_name("ssh:pi@kitchen:2222")
    'ssh-pi-kitchen-2222'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", where).strip("-")


def connect(where: str, agent: Path) -> AbstractContextManager[Place]:
    """Connect to a place.

    Args:
        where: the transport's word, and after a colon what it needs to know.
        agent: the packed agent.

    Raises:
        SpecError: there is no such transport.
    """
    word, _, address = where.partition(":")
    if word not in TRANSPORTS:
        raise SpecError(
            "no such place to measure on",
            where="--on",
            found=repr(where),
            expected=", ".join(TRANSPORTS),
        )
    module = importlib.import_module(f"edgetransfer.transport.{TRANSPORTS[word]}")
    place: AbstractContextManager[Place] = module.connect(address, agent)
    return place
