"""Puts what moving to the device's pictures brought into sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetransfer.measure.study.adaptation import told
from edgetransfer.report import words

if TYPE_CHECKING:
    from edgetransfer.report.node import Node


def adaptation(report: Node) -> list[str]:
    """Return what was found, warnings first; nothing where nothing was to be moved."""
    block = report["adaptation"]
    if block.missing:
        return []
    warned = [f"warning: {row['message'].value}" for row in block["warnings"].rows()]
    return [words.sentence(each) for each in (*warned, *told(block.value))]
