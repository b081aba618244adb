"""On which kinds of processor a bundle was shown to compute the very same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_VNNI = frozenset({"avx512_vnni", "avx_vnni"})
PROMISED = ("x86_64 with VNNI", "x86_64 without VNNI", "arm64", "wasm32")
"""Kinds of processor that ``portable-exact`` stands for: each adds 8-bit products its own way."""


def kind_of(environment: Mapping[str, Any]) -> str:
    """Name the kind of integer kernels that a machine has.

    >>> kind_of({"arch": "x86_64", "isa": ["avx2"]}), kind_of({"arch": "arm64", "isa": []})
    ('x86_64 without VNNI', 'arm64')
    """
    arch = str(environment.get("arch"))
    if arch != "x86_64":
        return arch
    return f"{arch} with{'out' if _VNNI.isdisjoint(environment.get('isa', ())) else ''} VNNI"


def told(record: Mapping[str, Any]) -> str:
    """Say it in one line.

    >>> told({"portable_exact": False, "kinds": {"arm64": {"bit_equal": True}}})
    'the same bits on arm64; not shown yet on x86_64 with VNNI, x86_64 without VNNI, wasm32'
    """
    kinds = record["kinds"]
    same = [kind for kind, row in kinds.items() if row["bit_equal"]]
    other = [kind for kind, row in kinds.items() if not row["bit_equal"]]
    absent = [kind for kind in PROMISED if kind not in kinds]
    parts = [f"the same bits on {', '.join(same)}"] if same else []
    if other:
        parts.append(f"other bits on {', '.join(other)}")
    if absent:
        parts.append(f"not shown yet on {', '.join(absent)}")
    promise = "portable-exact: " if record["portable_exact"] else ""
    return promise + "; ".join(parts)
