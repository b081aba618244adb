"""Gives the files that jobs name a name on a device: their digest, so that each is pushed once.

It does not push them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgetransfer.bundle.files import digest_of


@dataclass(frozen=True)
class Staged:
    """A file of this machine that is to lie on the device.

    Attributes:
        name: what it is called there: its SHA-256, and the ending it has here.
    """

    name: str
    path: Path
    size: int


@dataclass
class Staging:
    """The files of one device's jobs, as they are asked for.

    Args:
        folder: where they lie on the device.
    """

    folder: str
    _named: dict[tuple[str, int, int], Staged] = field(default_factory=dict)
    _settled: set[str] = field(default_factory=set)
    _wanted: dict[str, Staged] = field(default_factory=dict)

    def put(self, path: str) -> str:
        """Ask for a file of this machine, and return what it is called on the device."""
        staged = self.staged(Path(path))
        if staged.name not in self._settled:
            self._wanted[staged.name] = staged
        return self.there(staged.name)

    def there(self, name: str) -> str:
        """Return the path of a staged file on the device."""
        return f"{self.folder}/{name}"

    def staged(self, path: Path) -> Staged:
        """Return a file with its digest, taken once while the file stays as it is."""
        state = path.stat()
        key = str(path), state.st_size, state.st_mtime_ns
        if key not in self._named:
            self._named[key] = Staged(digest_of(path) + path.suffix, path, state.st_size)
        return self._named[key]

    def wanted(self) -> tuple[Staged, ...]:
        """Return what was asked for and is not known to be there."""
        return tuple(self._wanted.values())

    def settle(self, names: set[str]) -> None:
        """Note that files are on the device, whole."""
        self._settled |= names
        for name in names:
            self._wanted.pop(name, None)
