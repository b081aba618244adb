"""Refuses weights that no training leaves: not numbers, nothing but zeros, integers.

It does not open networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from edgetransfer.errors import SpecError

if TYPE_CHECKING:
    from torch import nn

    from edgetransfer.backbone.model import Source

_FLOATS = {"F64", "F32", "F16", "BF16"}


def check_weights(source: Source, network: nn.Module) -> None:
    """Look through the weights of a network that was opened.

    Raises:
        SpecError: weights are integers in the file, not finite, or all zero.
    """
    integers = [
        f"{name} ({kind})"
        for file in sorted(source.path.glob("*.safetensors"))
        for name, kind in _kinds(str(file))
        if kind not in _FLOATS and name.endswith((".weight", ".bias"))
    ]
    if integers:
        raise SpecError(
            "the weights are no floating point numbers of 16 bits or more",
            where=source.asked,
            found=_first(integers),
            expected="the float network: a quantised one is no reference to measure a drop against",
        )
    named = [(name, each) for name, each in network.named_parameters() if each.is_floating_point()]
    with torch.no_grad():
        bad = [name for name, each in named if not bool(torch.isfinite(each).all())]
        wide = [each for _, each in named if each.ndim > 1]
        empty = bool(wide) and not any(bool(each.any()) for each in wide)
    if bad or empty:
        raise SpecError(
            "the weights are not finite numbers" if bad else "all weights are zero",
            where=source.asked,
            found=_first(bad) if bad else None,
            fix="save or download them again, from a training that did not diverge",
        )


def _kinds(file: str) -> list[tuple[str, str]]:
    with safe_open(file, "pt") as opened:
        return [(name, str(opened.get_slice(name).get_dtype())) for name in opened.keys()]  # noqa: SIM118


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
