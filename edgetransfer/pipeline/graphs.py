"""The network of a build, as its stages hand it on: fitted in float, then compressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.graph.prepare import Preparer, preparer

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing


@dataclass(frozen=True)
class FittedGraph:
    """The float network, ready for any target.

    Attributes:
        graph: ``float.onnx``, prepared inputs -> outputs of the task.
        facts: what the manifest of every bundle says of how it came to be.
        unlabelled: pictures that went into it beside those of the manifest: a teacher taught with
            them, or it was moved to them.
        config: ``config.json`` of a backbone in transformers layout.
        said: for the metadata of ``model.onnx``, what an app does with the outputs.
    """

    manifest: Manifest
    preprocessing: ImagePreprocessing | TextPreprocessing
    tokenizer: Path | None
    graph: Path
    key: str
    facts: dict[str, Any]
    unlabelled: tuple[Example, ...] = ()
    config: Mapping[str, Any] | None = None
    said: Mapping[str, str] = field(default_factory=dict)

    def preparer(self) -> Preparer:
        """Return what prepares examples for the network."""
        return preparer(self.preprocessing, self.tokenizer)


@dataclass(frozen=True)
class CompressedGraph:
    """What a target gets: ``core.onnx``, the key of its stage, and facts for the manifest.

    `formats` are files for other runtimes, by their names in the bundle.
    """

    graph: Path
    key: str
    facts: dict[str, Any]
    formats: Mapping[str, Path] = field(default_factory=dict)
