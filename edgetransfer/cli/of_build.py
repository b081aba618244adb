"""Says in sentences what a build saw in its own data.

It does not print them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.measure import adaptation, labelling
from edgetransfer.measure.soundness import unseen_cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def told(report: Mapping[str, Any]) -> Iterable[str]:
    """Yield what an unseen group costs, what adapting brought, and what labels look wrong."""
    unseen = (report.get("soundness") or {}).get("unseen")
    if unseen is not None:
        yield unseen_cost(unseen)
    if report.get("adaptation"):
        yield from adaptation.told(report["adaptation"])
    if report.get("labelling"):
        yield from labelling.told(report["labelling"])
