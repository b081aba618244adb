"""Heads and feature statistics on disk: safetensors, a few tensors and what they are of.

It does not put a head into a network: `heads` does.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from edgetransfer.backbone.head import LinearHead
from edgetransfer.bundle.files import write_whole
from edgetransfer.errors import IntegrityError
from edgetransfer.transfer.new_class import FeatureStatistics

if TYPE_CHECKING:
    from pathlib import Path

Array = np.ndarray[Any, Any]

SCHEMA = "edgetransfer.head/1"
STATISTICS = "statistics.safetensors"
_SPREAD = ("components", "variances", "residual")


@dataclass(frozen=True)
class Heads:
    """All of a bundle that depends on its classes.

    Attributes:
        labels: the classes, in the order of the rows.
        shipped: of ``core.onnx`` and ``model.onnx``.
        reference: of ``reference.onnx``.
        backbones: digests of what stands before the heads, of core and reference.
        means: float [C, D], the kept means of the shipped features; None where none are.
        counts: int [C], examples that each mean is of.
        spread: digest of the spread within a class that belongs to the means.
        added: what the manifest says of every class that was added later, in their order.
    """

    labels: tuple[str, ...]
    shipped: LinearHead
    reference: LinearHead
    backbones: tuple[str, str]
    means: Array | None = None
    counts: Array | None = None
    spread: str = ""
    added: tuple[dict[str, Any], ...] = ()

    def with_statistics(self, statistics: FeatureStatistics | None) -> Heads:
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
    """Read what `write_statistics` wrote."""
    return FeatureStatistics(**load_file(file))


def write_heads(file: Path, heads: Heads) -> int:
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


def read_heads(file: Path) -> Heads:
    """Read a head file.

    Raises:
        IntegrityError: it is not one, or its parts do not fit each other.
    """
    try:
        with safe_open(file, "np") as opened:
            metadata = opened.metadata() or {}
        tensors = load_file(file)
        if metadata.get("schema") != SCHEMA:
            raise _damaged(file, f"schema {metadata.get('schema')!r}")
        said = json.loads(metadata["head"])
        heads = Heads(
            tuple(said["labels"]),
            LinearHead(tensors["weight"], tensors["bias"]),
            LinearHead(tensors["reference.weight"], tensors["reference.bias"]),
            (said["backbones"][0], said["backbones"][1]),
            tensors.get("means"),
            tensors.get("counts"),
            said["spread"],
            tuple(said["added"]),
        )
    except (OSError, SafetensorError, ValueError, LookupError, TypeError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from error
    rows = {len(each) for name, each in tensors.items() if name != "counts"}
    odd = {each for each in heads.labels if not isinstance(each, str) or not each.strip()}
    if odd or len(set(heads.labels)) < len(heads.labels):
        raise _damaged(file, f"labels that are no names, or stand twice: {heads.labels}")
    if rows != {len(heads.labels)}:
        raise _damaged(file, f"{len(heads.labels)} labels and tensors of {sorted(rows)} rows")
    return heads


def _damaged(file: Path, found: str) -> IntegrityError:
    return IntegrityError(
        "not a head file",
        where=str(file),
        found=found[:200],
        expected=f"{SCHEMA}, written by `edgetransfer head export`",
    )
