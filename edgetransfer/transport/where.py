"""Finds the transport that is named after ``--on``: ``local``, ``ssh:HOST``, ``qemu:arm64``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from edgetransfer.bundle.agent_archive import installed_agent
from edgetransfer.errors import SpecError
from edgetransfer.transport.place import AS_IT_IS, Software

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edgetransfer.transport.place import Place

LOCAL = "local"
TRANSPORTS = {
    LOCAL: "local",
    "ssh": "ssh.place",
    "qemu": "emulated.qemu",
    "browser": "browser.place",
    "adb": "browser.adb",
}
"""Each transport's word and the module of this package that has its `connect(address, agent)`."""
TAKES_SOFTWARE = frozenset({"ssh"})
"""Those whose `connect` also takes what the user says of the software there."""


def connect(
    where: str, software: Software = AS_IT_IS, *, agent: Path | None = None
) -> AbstractContextManager[Place]:
    """Connect to a place.

    Args:
        where: the transport's word, and after a colon what it needs to know.
        software: what the user says of the software there.
        agent: what is run there instead of the installed package's agent: for tests.

    Raises:
        SpecError: there is no such transport, or it needs no software.
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
    more = (software,) if word in TAKES_SOFTWARE else ()
    if software != AS_IT_IS and not more:
        raise SpecError(
            "--wheels and --python are for a device with a Python of its own",
            where="--on",
            found=repr(where),
            expected=", ".join(f"{each}:HOST" for each in sorted(TAKES_SOFTWARE)),
        )
    place: AbstractContextManager[Place] = module.connect(
        address, agent or installed_agent(), *more
    )
    return place
