"""What every stage of one run shares.

It does not do any work.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.files import write_json
from edgetransfer.transfer.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgetransfer.backbone.model import Source
    from edgetransfer.pipeline.reporter import Line, Reporter
    from edgetransfer.pipeline.store import Kept, Store
    from edgetransfer.spec.recipe import Recipe
    from edgetransfer.spec.target import TargetSpec

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


@dataclass(frozen=True)
class Run:
    """One build: what was asked for, resolved, and where its stages are kept.

    Attributes:
        source: the backbone.
        teacher: where the teacher comes from, None without one.
        candidates: what the backbone is to be chosen from; none where it was named.
        choice: what was chosen from and why, None where it was named.
        team: the processes that share the fit.
    """

    recipe: Recipe
    targets: tuple[TargetSpec, ...]
    source: Source
    store: Store
    reporter: Reporter
    teacher: Source | None = None
    candidates: tuple[Source, ...] = ()
    choice: Mapping[str, Any] | None = None
    team: Team = ALONE

    def keep(
        self,
        line: Line,
        stage: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], None],
        *,
        together: bool = False,
    ) -> Kept:
        """Make or reuse what a stage leaves, and note which it was."""
        kept = self.store.keep(stage, inputs, make, together=together)
        line.reused = kept.reused
        return kept


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of the packages named, or of all that matter."""
    found = {}
    for package in packages or _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def code(*layers: str) -> str:
    """Return the digest of the source of some layers, so that changed code makes its stage again.

    >>> code("spec") == code("spec"), code("spec") == code("data")
    (True, False)
    """
    root = Path(__file__).parent.parent
    total = hashlib.sha256()
    for layer in layers:
        for file in sorted((root / layer).rglob("*.py")):
            total.update(file.read_bytes())
    return total.hexdigest()


def leave(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """Write one JSON record of a stage."""
    write_json(folder / name, dict(record))
