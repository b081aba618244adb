"""A pretrained network and its linear classifier, as later stages see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgetransfer.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing


Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LinearHead:
    """``logits = features @ weight.T + bias``; weight ``float32 [C, D]``, bias ``float32 [C]``."""

    weight: Array
    bias: Array

    def logits(self, features: Array) -> Array:
        """Apply the head to features [N, D]; returns float32 [N, C]."""
        product: Array = features @ self.weight.T + self.bias
        return product.astype(np.float32)


def linear_head(layer: nn.Linear) -> LinearHead:
    """Return what a layer of torch computes."""
    weight = layer.weight.detach().float().cpu().numpy()
    bias = np.zeros(len(weight), np.float32)
    if layer.bias is not None:
        bias = layer.bias.detach().float().cpu().numpy()
    return LinearHead(weight, bias)


@dataclass(frozen=True)
class Source:
    """Where a backbone's files lie on this machine, before anything of them is read.

    The name is as the user wrote it after `option`, the path a folder or the ``.onnx`` file, and
    the digest the SHA-256 over the names and bytes of the files that matter.
    """

    name: str
    layout: Literal["transformers", "timm", "builtin", "onnx"]
    path: Path
    digest: str
    option: str = "--backbone"

    @property
    def asked(self) -> str:
        """How errors name it: the option and its value."""
        return f"{self.option} {self.name}"

    def refused(self, what: str, **more: str | None) -> SpecError:
        """Return the error of it, with what was `found`, `expected`, and the `fix`."""
        return SpecError(what, where=self.asked, **more)


@dataclass(frozen=True)
class Backbone:
    """A network that turns prepared inputs into one feature vector an example.

    The network maps ``float32 [N, 3, h, w]`` (pictures) or ``int64 [N, L]`` ids and mask (texts) to
    ``float32 [N, feature_dim]``, prepared as `preprocessing` says. None where the source has none:
    the licence, as it states it; the `tokenizer.json` of a text backbone; the classifier of the
    classes it was pretrained on, on the same features; ``config.json`` of transformers layout.
    """

    network: nn.Module
    feature_dim: int
    preprocessing: ImagePreprocessing | TextPreprocessing
    licence: str | None
    tokenizer: Path | None = None
    classifier: LinearHead | None = None
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class FittedModel:
    """A whole classifier that somebody else fitted: ``--fit none``.

    The network maps prepared inputs to ``float32 [N, len(labels)]``, in the order of the labels,
    and is None for an ONNX file; the rest is as in `Backbone`.
    """

    network: nn.Module | None
    labels: tuple[str, ...]
    preprocessing: ImagePreprocessing | TextPreprocessing
    licence: str | None
    tokenizer: Path | None = None
    config: Mapping[str, Any] | None = None
