"""Heads and feature statistics on disk: safetensors, a few tensors and what they are of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field
from safetensors.numpy import save

from edgetransfer.backbone.model import LinearHead
from edgetransfer.bundle.files import write_whole
from edgetransfer.bundle.forms import AddedClassForm, Digest, Form
from edgetransfer.bundle.tensors import read_tensors
from edgetransfer.spec.outside import Kind, parsed, validated
from edgetransfer.transfer.head.new_class import FeatureStatistics

if TYPE_CHECKING:
    from pathlib import Path

Array = np.ndarray[Any, Any]
SCHEMA = "edgetransfer.head/1"
STATISTICS = "statistics.safetensors"
_SPREAD = ("components", "variances", "residual")
HEAD = Kind("head file", 1 << 34, expected=f"{SCHEMA}, written by `edgetransfer head export`")
_HEADS = {
    "weight": "number C D",
    "bias": "number C",
    "reference.weight": "number C R",
    "reference.bias": "number C",
    "means": "number C D",
    "counts": "count C",
}
_KEPT = Kind("file of feature statistics", 1 << 34, fix="build the bundle again")
_STATISTICS = {
    "means": "number C D",
    "counts": "count C",
    "components": "number K D",
    "variances": "spread K",
    "residual": "spread D",
}


class _HeadHeader(Form):
    """What the header of a head file says."""

    labels: list[str]
    backbones: Annotated[list[Digest], Field(min_length=2, max_length=2)]
    spread: str
    added: list[AddedClassForm]


@dataclass(frozen=True)
class HeadTensors:
    """All of a bundle that depends on its classes.

    Labels are in the order of the rows; `shipped` is the head of ``core.onnx`` and ``model.onnx``,
    `reference` of ``reference.onnx``, and `backbones` are the digests of what stands before them.
    Means float [C, D] are the kept ones of the shipped features, of counts int [C] examples each,
    None where none are; `spread` is the digest of the spread within a class that belongs to them.
    `added` is what the manifest says of every class that was added later, in their order.
    """

    labels: tuple[str, ...]
    shipped: LinearHead
    reference: LinearHead
    backbones: tuple[str, str]
    means: Array | None = None
    counts: Array | None = None
    spread: str = ""
    added: tuple[dict[str, Any], ...] = ()

    def with_statistics(self, statistics: FeatureStatistics | None) -> HeadTensors:
        """Return the same with means, counts and the digest of the spread."""
        if statistics is None:
            return replace(self, means=None, counts=None, spread="")
        return replace(
            self,
            means=statistics.means,
            counts=statistics.counts,
            spread=spread_digest(statistics),
        )


def spread_digest(statistics: FeatureStatistics) -> str:
    """Return the SHA-256 of the spread within a class, in hexadecimal."""
    tensors = asdict(statistics)
    return hashlib.sha256(save({name: tensors[name] for name in _SPREAD})).hexdigest()


def write_statistics(file: Path, statistics: FeatureStatistics) -> None:
    """Write means, counts and spread, whole."""
    write_whole(file, save(asdict(statistics)))


def read_statistics(file: Path) -> FeatureStatistics:
    """Read what `write_statistics` wrote.

    Raises:
        IntegrityError: it is not that, or its parts do not fit each other.
    """
    return FeatureStatistics(**read_tensors(file, _KEPT, _STATISTICS)[0])


def write_heads(file: Path, heads: HeadTensors) -> int:
    """Write a head file, whole, and return its bytes."""
    tensors = {
        "weight": heads.shipped.weight,
        "bias": heads.shipped.bias,
        "reference.weight": heads.reference.weight,
        "reference.bias": heads.reference.bias,
    }
    if heads.means is not None and heads.counts is not None:
        tensors |= {"means": heads.means, "counts": heads.counts}
    said = {
        "labels": heads.labels,
        "backbones": heads.backbones,
        "spread": heads.spread,
        "added": heads.added,
    }
    metadata = {"schema": SCHEMA, "head": json.dumps(said, ensure_ascii=False, sort_keys=True)}
    content = save({name: np.ascontiguousarray(each) for name, each in tensors.items()}, metadata)
    write_whole(file, content)
    return len(content)


def read_heads(file: Path) -> HeadTensors:
    """Read a head file.

    Raises:
        IntegrityError: it is not one, or its parts do not fit each other.
    """
    tensors, metadata = read_tensors(file, HEAD, _HEADS, ("means", "counts"))
    if metadata.get("schema") != SCHEMA:
        raise HEAD.unreadable(file, f"schema {metadata.get('schema')!r}"[:200])
    said = validated(_HeadHeader, parsed(metadata.get("head", ""), file, HEAD), file, HEAD)
    rows = len(tensors["weight"])
    named = {each for each in said.labels if each.strip()}
    if not len(said.labels) == len(named) == rows:
        found = f"{len(named)} different labels and tensors of {rows} rows"
        raise HEAD.unreadable(file, found)
    if len(tensors.keys() & {"means", "counts"}) == 1:
        raise HEAD.unreadable(file, "means and counts belong together")
    return HeadTensors(
        tuple(said.labels),
        LinearHead(tensors["weight"], tensors["bias"]),
        LinearHead(tensors["reference.weight"], tensors["reference.bias"]),
        (said.backbones[0], said.backbones[1]),
        tensors.get("means"),
        tensors.get("counts"),
        said.spread,
        tuple(each.model_dump(mode="json") for each in said.added),
    )
