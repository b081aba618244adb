"""What is known of a processor that is emulated here: the emulator, and the guest's packages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgetransfer.spec.base import Spec
from edgetransfer.spec.names import Name
from edgetransfer.spec.target import Provenance

Program = Literal["qemu-aarch64", "qemu-arm", "qemu-riscv64", "qemu-x86_64"]
"""What a file may have started here, found on the path or taken from Debian's own package."""
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.+-]*$")]
"""What is handed to apt or pip: never an option."""
Pin = Annotated[str, Field(pattern=r"^[a-z0-9_-]+==[0-9][0-9a-z.]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Folder = Annotated[str, Field(pattern=r"^(\w[\w.+-]*/)*\w[\w.+-]*$")]
"""Below the guest's root."""


class Emulator(Spec):
    """The program that runs the guest's instructions, one of QEMU's user-mode emulators."""

    program: Program = Field(description="its name: qemu- and what QEMU calls the architecture")
    cpu: str = Field(pattern=r"^\w[\w.,=+-]*$", description="which processor it is told to be")
    min_version: int = Field(ge=1, description="oldest major version that will do")
    suite: Word = Field(description="Debian suite it is taken from where the system has none")


class Sysroot(Spec):
    """The guest's files: packages of a Debian suite, and wheels over them."""

    architecture: Word = Field(description="as Debian calls it")
    suite: Word
    packages: tuple[Word, ...] = Field(min_length=1)
    python: str = Field(pattern=r"^3\.\d{1,2}$", description="its Python: 3.11")
    wheel_platforms: tuple[Word, ...] = Field(
        (), description="of the runtime's wheels; none where Debian packages the runtime"
    )
    wheels: dict[Pin, Sha256] = Field(
        {},
        description="SHA-256 of the wheels of a version; others are taken as pip's index has them",
    )
    library_folders: tuple[Folder, ...] = Field(
        (), description="of libraries that Debian's alternatives would link"
    )


class EmulatedProcessor(Spec):
    """One emulated processor: ``qemu:NAME``."""

    name: Name
    title: str
    arch: str = Field(description="as the agent calls it")
    emulator: Emulator
    sysroot: Sysroot | None = Field(None, description="None: this machine's own Python runs")
    evidence: Provenance
