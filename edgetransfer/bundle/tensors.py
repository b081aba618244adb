"""Reads ``.safetensors`` files of a known form: names, shapes that fit, finite numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from edgetransfer.errors import first_line
from edgetransfer.spec.outside import Kind, refuse_no_file

Array = np.ndarray[Any, Any]


def read_tensors(
    path: Path, kind: Kind, forms: Mapping[str, str], optional: Iterable[str] = ()
) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the tensors of a file, of which some may lack, and what its header says besides.

    The form of a tensor is ``number``, ``spread`` (from 0), ``positive`` or ``count`` (whole, from
    0), then its axes: a length, or a letter that names it. What does not fit is the kind's error.
    """
    refuse_no_file(path, kind)
    try:
        with safe_open(path, "np") as opened:
            said = dict(opened.metadata() or {})
        tensors: dict[str, Array] = load_file(path)
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, MemoryError) as error:
        raise kind.unreadable(path, first_line(error)) from error
    lacking = forms.keys() - tensors.keys() - set(optional)
    if lacking:
        raise kind.unreadable(path, f"no tensor {', '.join(sorted(lacking))}")
    known: dict[str, int] = {}
    for name, array in tensors.items():
        wrong = _misfit(array, forms[name], known) if name in forms else None
        if wrong is not None:
            raise kind.unreadable(path, f"{name}: {wrong}")
    return {name: tensors[name] for name in forms if name in tensors}, said


def _misfit(array: Array, form: str, known: dict[str, int]) -> str | None:
    what, *axes = form.split()
    whole = what == "count"
    if array.dtype.kind not in ("iu" if whole else "f"):
        return f"{array.dtype} where {'whole numbers' if whole else 'floats'} belong"
    if array.ndim != len(axes):
        return f"{array.ndim} axes where {len(axes)} belong"
    for letter, length in zip(axes, array.shape, strict=True):
        expected = int(letter) if letter.isdigit() else known.setdefault(letter, length)
        if expected != length:
            return f"shape {list(array.shape)} does not fit the other tensors"
    if not np.isfinite(array).all():
        return "numbers that are not finite"
    if what == "positive" and (array <= 0).any():
        return "numbers that are not above 0"
    return "numbers below 0" if what != "number" and (array < 0).any() else None
