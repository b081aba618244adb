"""Writes numbers with their units, and names for keys, as a reader expects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgetransfer.report.node import Node, absent

SPACE = "\u00a0"
MINUS = "\u2212"
MIB, KIB = 2**20, 2**10
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SHORT_FOR = {"sqnr": "SQNR", "kl": "KL", "cpu": "CPU", "macs": "MACs"}
_UNITS = {"_ms": "ms", "_mib": "MiB", "_db": "dB", "_pct": "%", "_pp": "pp", "_bytes": "bytes"}


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """Write a number with a true minus and thousands apart; zero has no sign.

    >>> number(-1234.56, 1), number(-0.001, 2), number(0.5, 1, signed=True)
    ('−1,234.6', '0.00', '+0.5')
    """
    text = f"{abs(value):,.{digits}f}"
    if not text.strip("0.,"):
        return text
    if value < 0:
        return MINUS + text
    return f"+{text}" if signed else text


def digits_for(value: float) -> int:
    """Decimals that leave about three significant digits.

    >>> [digits_for(x) for x in (0.0123, 0.5, 4.98, 123.0)]
    [4, 3, 2, 1]
    """
    size = abs(value)
    return 1 if size >= 100 else 2 if size >= 1 or size == 0 else 3 if size >= 0.1 else 4


@dataclass(frozen=True)
class Quantity:
    """How numbers of one kind are written, multiplied by a factor, the unit behind with its space.

    Without digits, as many decimals as the number needs; `signed` gives a gain its plus.

    >>> Quantity(" ms")(4.9841), Quantity(" %", 1, 100).between([0.892, 0.9694])
    ('4.98 ms', '89.2 to 96.9 %')
    """

    unit: str = ""
    digits: int | None = None
    factor: float = 1
    signed: bool = False

    def bare(self, value: float) -> str:
        """Write without the unit."""
        scaled = self.factor * value
        digits = digits_for(scaled) if self.digits is None else self.digits
        return number(scaled, digits, signed=self.signed)

    def __call__(self, value: float) -> str:
        """Write with the unit."""
        return self.bare(value) + self.unit

    def between(self, ends: Sequence[float]) -> str:
        """Write an interval with the unit once."""
        return f"{self.bare(ends[0])} to {self.bare(ends[1])}{self.unit}"


PERCENT = Quantity(f"{SPACE}%", 1, 100)
CHANGE = Quantity(f"{SPACE}pp", 2, signed=True)
MS = Quantity(f"{SPACE}ms")
MIBS = Quantity(f"{SPACE}MiB")
SECONDS = Quantity(f"{SPACE}s", 1)
DB = Quantity(f"{SPACE}dB", 1)
TIMES = Quantity("×", 2)
COUNT = Quantity("", 0)
COSINE = Quantity("", 5)
METRICS = {
    "top1": "Top-1 accuracy",
    "macro-f1": "Macro-F1",
    "balanced-accuracy": "Balanced accuracy",
}


def tiny(value: float) -> str:
    """Write a small positive number, by powers of ten where it is very small.

    >>> tiny(0.0312), tiny(0.000012).replace(SPACE, " ")
    ('0.031', '1.2 × 10⁻⁵')
    """
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.2g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    power = str(int(exponent)).translate(_SUPERSCRIPT)
    return f"{mantissa}{SPACE}×{SPACE}10{power}"


def p_value(p: float) -> str:
    """Write a p value.

    >>> p_value(0.0314), p_value(1e-9).replace(SPACE, " ")
    ('0.031', '< 0.001')
    """
    return f"<{SPACE}0.001" if p < 0.001 else f"{p:.3f}"


def file_size(size_bytes: int) -> str:
    """Write a size in MiB, or in KiB where that is clearer.

    >>> file_size(51_200).replace(SPACE, " ")
    '50.0 KiB'
    """
    if size_bytes < 0.1 * MIB:
        return f"{number(size_bytes / KIB, 1)}{SPACE}KiB"
    return MIBS(size_bytes / MIB)


def apart(value: float, limit: float, digits: int = 2) -> str:
    """Write a value with as many decimals as show on which side of a limit it lies.

    >>> apart(1.23, 2.0), apart(1.9996, 2.0)
    ('1.23', '1.9996')
    """
    while digits < 6 and value != limit and float(f"{value:.{digits}f}") == limit:
        digits += 1
    return number(value, digits)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun.

    >>> plural(1, "block"), plural(1200, "class")
    ('1 block', '1,200 classes')
    """
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x", "ch")) else "s"
    return f"{count:,} {noun}{ending}"


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop.

    >>> sentence("lost 0.65 pp of 2.0 pp allowed"), sentence("p90 3.30 ms")
    ('Lost 0.65 pp of 2.0 pp allowed.', 'p90 3.30 ms.')
    """
    text = text.strip()
    head = text[:1].upper() if text[1:2].isalpha() or text[1:2] == " " else text[:1]
    return head + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def titled(key: str) -> str:
    """Turn a key into words; a unit at its end goes to the value.

    >>> titled("peak_includes_start_up"), titled("load_delta_mib"), titled("sqnr_db")
    ('Peak includes start up', 'Load delta', 'SQNR')
    """
    for suffix in _UNITS:
        key = key.removesuffix(suffix)
    text = " ".join(_SHORT_FOR.get(part, part) for part in key.split("_"))
    return text[:1].upper() + text[1:]


def anything(node: Node, key: str = "") -> str:
    """Write any plain JSON value; `key` tells its unit."""
    value = node.value
    if node.missing:
        return absent(node.reason)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        text = f"{value:,}" if isinstance(value, int) else _short(value, key)
        unit = next((unit for suffix, unit in _UNITS.items() if key.endswith(suffix)), "")
        return f"{text}{SPACE}{unit}" if unit else text
    if isinstance(value, Mapping):
        form = Markup("{} {}").format
        parts = (form(k.replace("_", " "), anything(held, k)) for k, held in node.items())
        return Markup(", ").join(parts) or "none"
    if isinstance(value, list | tuple):
        return Markup(", ").join(anything(item) for item in node.rows()) or "none"
    return str(value)


def _short(value: float, key: str) -> str:
    if "cosine" in key:
        return f"{value:.7f}"  # the news is far behind the point
    return tiny(value) if 0 < abs(value) < 1e-3 else f"{value:,.4g}".replace("-", MINUS)


def digest(sha: Any) -> Markup:  # noqa: ANN401 (any plain JSON value)
    """Shorten a digest to 12 digits; the whole stays within reach of the pointer."""
    return Markup('<code class="digest" title="{0}">{1}</code>').format(sha, str(sha)[:12])


def name(label: Any) -> str:  # noqa: ANN401 (any plain JSON value)
    """Write a label or value that a user gave, isolated from the direction of the text around."""
    text = str(label)
    return Markup("<bdi>{}</bdi>").format(text) if text.strip() else absent("(empty)")


def below(value: str, note: str) -> Markup:
    """Write a small note in a line below a value."""
    return Markup("{}<br><small>{}</small>").format(value, note)


def label(*names: str) -> Markup:
    """Write names that a user gave, which are cut where there is no room, an arrow between."""
    return Markup('<span class="label">{}</span>').format(Markup(" → ").join(map(name, names)))


def by(column: str) -> Markup:
    """Write by which column there are groups."""
    return Markup("by <bdi>{}</bdi>").format(column)


def way(change: float) -> str:
    """Return the class of a change: which way it went."""
    return "loss" if change < 0 else "gain" if change > 0 else "none"


def beside(value: str, note: str) -> Markup:
    """Write a small note, if there is one, beside a value."""
    return Markup("{}<small>{}</small>" if note else "{}").format(value, note)
