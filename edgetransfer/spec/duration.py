"""Reads how long something is to take: ``90s``, ``10m``, ``1h``.

It does not wait.
"""

from __future__ import annotations

import re

from edgetransfer.errors import SpecError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str, option: str) -> float:
    """Read a duration in seconds.

    Raises:
        SpecError: it is none.

    >>> seconds_of("10m", "--sustained"), seconds_of("1.5h", "--sustained")
    (600.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise SpecError(
            "not a duration", where=option, found=repr(text), expected="a number and s, m or h: 10m"
        )
    return float(found[1]) * _UNITS[found[2]]
