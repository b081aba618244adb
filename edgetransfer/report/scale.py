"""Maps numbers onto the width of a plot, in percent, and chooses round ticks.

It does not draw; `charts` and `histogram` do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high`.

    >>> Scale(0, 50).at(10), Scale(0, 50).at(80)
    (20.0, 100.0)
    """

    low: float
    high: float

    def at(self, value: float) -> float:
        """Place of a value, 0 to 100; what lies outside is at the end."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 3)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high

    def ticks(self, about: int = 5) -> list[float]:
        """Round values on the axis, about as many as asked for.

        >>> Scale(4.1, 11.05).ticks()
        [6.0, 8.0, 10.0]
        """
        step = _step((self.high - self.low) / about)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]

    def digits(self, about: int = 5) -> int:
        """Decimals that the ticks need.

        >>> Scale(0, 1).digits(), Scale(0, 100).digits()
        (1, 0)
        """
        return max(0, -floor(log10(_step((self.high - self.low) / about) * (1 + 1e-9))))


def _step(rough: float) -> float:
    """Round a step to 1, 2 or 5 times a power of ten, upwards."""
    power = 10.0 ** floor(log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
