"""The one way to a terminal: what comes from outside is shown, and never obeyed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, TextIO

import rich.console
from rich.segment import Segment

from edgetransfer.spec.outside import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import ConsoleOptions, RenderableType


class Console(rich.console.Console):
    """Shows text plainly: control characters of labels, files and devices are spelled out.

    Args:
        file: default: standard output.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__(file=file, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render to segments; those that steer the terminal are rich's own alone."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def show(text: str) -> None:
    """Write lines to standard output, plainly."""
    sys.stdout.write(printable(text))


def plain_json(text: str) -> str:
    r"""Return JSON whose text a terminal shows as it is.

    >>> plain_json('{"a": "\x9b31m"}')
    '{"a": "\\u009b31m"}'
    """
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
    )
