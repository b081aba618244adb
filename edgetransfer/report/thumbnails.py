"""Examples as a report shows them: small pictures or the beginnings of texts, few, in the page."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.errors import EdgeTransferError

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example

Thumbnails = Mapping[str, Mapping[str, Markup]]
"""By the block of ``report.json`` that names them, then by the key of the example."""
THUMBNAILS = "thumbnails"
"""Where they stand in that block while a page is made."""
OF_A_LIST, MOST_BYTES = 12, 256 * 1024
"""Examples of one list, and base64 in all, that a page may hold."""
_THUMBNAIL = Markup('<span class="thumbnail" data-of="{}" data-key="{}">{}</span>')
_PICTURE = Markup('<img alt="" src="data:image/jpeg;base64,{}">')
_TEXT = Markup("<q>{}</q>")
_KEPT = re.compile(
    r'<span class="thumbnail" data-of="([^"<>]*)" data-key="([^"<>]*)">'
    r'(<img alt="" src="data:image/jpeg;base64,[A-Za-z0-9+/=]+">|<q>[^<>]*</q>)</span>'
)


def thumbnails(
    blocks: Mapping[str, Any],
    examples: Mapping[str, Example],
    show: Callable[[Example], bytes | str],
) -> Thumbnails:
    """Show the first examples that each list of some blocks of a report names.

    Rows name examples by the keys ``example`` and ``other``. What cannot be read any more is left
    out, and so is what would make the page too large. `show` gives a JPEG or a text.
    """
    found: dict[str, dict[str, Markup]] = {}
    left = MOST_BYTES
    for block, value in blocks.items():
        for key in dict.fromkeys(_named(value)):
            mine = found.setdefault(block, {})
            if key not in examples:
                continue
            try:
                shown = show(examples[key])
            except (EdgeTransferError, OSError):
                continue
            if isinstance(shown, bytes):
                inner = _PICTURE.format(b64encode(shown).decode())
            else:
                inner = _TEXT.format(shown)
            left -= len(inner)
            if left < 0:
                return found
            mine[key] = _THUMBNAIL.format(block, key, inner)
    return found


def _named(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _named(each)
    elif isinstance(value, list | tuple):
        rows = [row for row in value if isinstance(row, Mapping)]
        names = [row[key] for row in rows for key in ("example", "other") if key in row]
        yield from names[:OF_A_LIST]


def kept(document: str) -> Thumbnails:
    """Find the thumbnails in a page, for one that is made again where the data is not at hand."""
    found: dict[str, dict[str, Markup]] = {}
    for match in _KEPT.finditer(document):
        block, key = unescape(match[1]), unescape(match[2])
        found.setdefault(block, {})[key] = Markup(match[0])
    return found
