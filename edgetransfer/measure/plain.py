"""Turns a tree of numbers into plain JSON, with a reason beside every null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isinf
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Missing:
    """Stands where a number could not be had, and says why."""

    reason: str


def or_missing(value: object, reason: str) -> object:
    """Keep a value, or say why it is None."""
    return Missing(reason) if value is None else value


def plain(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Convert a tree of mappings, sequences, numpy values and `Missing` to JSON types.

    The tree, and for each null in it the path to it with the reason; TypeError for no JSON form.

    >>> plain({"a": {"b": [1.0, Missing("too few")]}})
    ({'a': {'b': [1.0, None]}}, {'a.b[1]': 'too few'})
    """
    reasons: dict[str, str] = {}
    result = {str(key): _value(item, str(key), reasons) for key, item in tree.items()}
    return result, reasons


def _value(value: object, path: str, reasons: dict[str, str]) -> Any:  # noqa: ANN401
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _value(v, f"{path}.{k}", reasons) for k, v in value.items()}
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, Sequence):
        return [_value(item, f"{path}[{i}]", reasons) for i, item in enumerate(value)]
    if isinstance(value, float) and isfinite(value):
        return value
    if isinstance(value, Missing):
        reasons[path] = value.reason
    elif value is None:
        reasons[path] = "not given"
    elif isinstance(value, float):
        reasons[path] = f"not a finite number: {value}"
    else:
        msg = f"{path}: {type(value).__name__} has no JSON form"
        raise TypeError(msg)
    return None


def decibels(value_db: float) -> float | Missing:
    """Return a ratio of signal to noise, or why there is none.

    >>> decibels(20.0), decibels(float("inf"))
    (20.0, Missing(reason='identical'))
    """
    if isinf(value_db):
        return Missing("identical" if value_db > 0 else "the reference's outputs are constant")
    return value_db
