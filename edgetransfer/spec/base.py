"""What all specs are: frozen, checked values; their numbers, and names that become paths."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Spec(BaseModel):
    """Base of all specs: frozen, no unknown fields, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_LONGEST = 100
"""Of 255 bytes that file systems take: what is made of a name is longer."""
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "run.json", "matrix.json"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)}
)
"""Devices of Windows, whatever their ending, and what a run writes beside its bundles."""
ALPHABET = (
    f"at most {_LONGEST} letters, digits, '.', '_' and '-', of which the first is no '.' or '-'"
)


def is_name(text: object) -> bool:
    """Tell whether a text may be the name of a file or folder, on any system.

    >>> is_name("my-board"), is_name("logits.npy")
    (True, True)
    >>> [is_name(each) for each in ("", "..", "../../x", "/etc", "a/b", "-o", "nul.txt", "a.")]
    [False, False, False, False, False, False, False, False]
    """
    return (
        isinstance(text, str)
        and len(text) <= _LONGEST
        and _SAFE.fullmatch(text) is not None
        and not text.endswith(".")
        and text.lower() not in _RESERVED
        and text.lower().partition(".")[0] not in _RESERVED
    )


def _checked(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"it becomes the name of a folder: expected {ALPHABET}")
    return text


Name = Annotated[str, AfterValidator(_checked)]
"""A field of a spec that becomes a path."""


def slug(text: str) -> str:
    """Return a name for what people call otherwise: another text, another name, or nearly always.

    >>> slug("ssh:pi@kitchen:2222"), slug("builtin:tiny-64")
    ('ssh-pi-kitchen-2222', 'builtin-tiny-64')
    >>> slug("..")
    'x-5ec1f7e7'
    """
    name = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")
    if is_name(name):
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: _LONGEST - 20].rstrip('-.') or 'x'}-{digest}"
