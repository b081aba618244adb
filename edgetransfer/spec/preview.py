"""What is known of a processor that is emulated here: the emulator, and the guest's packages.

It does not prepare or start anything.
"""

from __future__ import annotations

from pydantic import Field

from edgetransfer.spec.base import Spec
from edgetransfer.spec.target import Evidence


class Emulator(Spec):
    """The program that runs the guest's instructions, one of QEMU's user-mode emulators."""

    program: str = Field(description="its name: qemu- and what QEMU calls the architecture")
    cpu: str = Field(description="which processor it is told to be")
    min_version: int = Field(ge=1, description="oldest major version that will do")
    suite: str = Field(description="Debian suite it is taken from where the system has none")


class Sysroot(Spec):
    """The guest's files: packages of a Debian suite, and wheels over them."""

    architecture: str = Field(description="as Debian calls it")
    suite: str
    packages: tuple[str, ...] = Field(min_length=1)
    python: str = Field(description="its Python: 3.11")
    wheel_platforms: tuple[str, ...] = Field(
        (), description="of the runtime's wheels; none where Debian packages the runtime"
    )
    library_folders: tuple[str, ...] = Field(
        (), description="of libraries that Debian's alternatives would link"
    )


class Preview(Spec):
    """One emulated processor: ``qemu:NAME``."""

    name: str
    title: str
    arch: str = Field(description="as the agent calls it")
    emulator: Emulator
    sysroot: Sysroot | None = Field(None, description="None: this machine's own Python runs")
    evidence: Evidence
