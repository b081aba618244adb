"""Walks a report or manifest so that a value and the reason for its absence stay together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from markupsafe import Markup

Form = Callable[[Any], str]


def absent(reason: str) -> Markup:
    """Say in words why there is no value.

    >>> absent("not timed <yet>")
    Markup('<span class="absent">not timed &lt;yet&gt;</span>')
    """
    return Markup('<span class="absent">{}</span>').format(reason)


@dataclass(frozen=True)
class Node:
    """One place in a tree of plain JSON values; the value is None where nothing stands there.

    The path is as the keys of `unavailable` write it, ``per_class[3].recall_candidate``; that of
    the whole report are `reasons`. What lies below a null has the null's reason.

    >>> report = Node({"latency": {"p50_ms": None}}, reasons={"latency.p50_ms": "not timed"})
    >>> report["latency"]["p50_ms"].reason
    'not timed'
    """

    value: Any
    path: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)
    reason: str = "not recorded"

    def __getitem__(self, key: str) -> Node:
        """Go down one key; a key that is not there is as good as null."""
        held = self.value.get(key) if isinstance(self.value, Mapping) else None
        return self._below(held, f"{self.path}.{key}" if self.path else key)

    def items(self) -> Iterator[tuple[str, Node]]:
        """Yield the keys of a mapping with what stands there; nothing of anything else."""
        for key in self.value if isinstance(self.value, Mapping) else ():
            yield str(key), self[key]

    def rows(self) -> list[Node]:
        """Return the items of a list; none of anything else."""
        held = self.value if isinstance(self.value, list | tuple) else ()
        return [self._below(item, f"{self.path}[{i}]") for i, item in enumerate(held)]

    def _below(self, value: object, path: str) -> Node:
        return Node(value, path, self.reasons, self.reasons.get(path, self.reason))

    @property
    def missing(self) -> bool:
        """Whether there is no value, or a number that is none."""
        return self.value is None or (isinstance(self.value, float) and not isfinite(self.value))

    def show(self, form: Form = str, otherwise: str | None = None) -> str:
        """Format the value; where there is none say `otherwise`, by default why."""
        if not self.missing:
            return form(self.value)
        return absent(self.reason) if otherwise is None else otherwise
