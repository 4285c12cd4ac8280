"""Figures and their intervals on one axis, as numbers for SVG that is as wide as the page lets it be.

Places are percent of the field's width, so a row of a chart needs no fixed size and its text stays text.
"""

from collections.abc import Iterable
from typing import NamedTuple

from dinonat.pages.curves import number, ticks

EDGE = 3.0  # percent of the field that stay free on each side, so that no dot is cut off
MARKS = 5  # about how many numbers stand below


class Triple(NamedTuple):
    """A figure and the ends of its interval, None where there is none."""

    value: float
    low: float | None
    high: float | None


class Spot(NamedTuple):
    """Where a figure and the ends of its interval lie, in percent of the field's width."""

    at: float
    low: float | None
    high: float | None


class Scale(NamedTuple):
    """An axis from ``low`` to ``high``."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where a value lies, in percent of the field's width.

        >>> Scale(-1.0, 1.0).place(0.0), Scale(-1.0, 1.0).place(1.0), Scale(0.0, 0.0).place(0.0)
        (50.0, 97.0, 50.0)
        """
        if self.high <= self.low:
            return 50.0
        return EDGE + (100 - 2 * EDGE) * (value - self.low) / (self.high - self.low)

    def spot(self, triple: Triple) -> Spot:
        """Return where a figure and its interval lie."""
        low, high = (None if end is None else self.place(end) for end in triple[1:])
        return Spot(self.place(triple.value), low, high)

    def marks(self) -> list[float]:
        """Return the round numbers that are written below."""
        return ticks(self.low, self.high, MARKS)


def triple_of(found: object) -> Triple | None:
    """Return a figure as it stands in a report; None where it is missing or no number.

    Half an interval is none.

    >>> triple_of([0.5, 0.4, 0.6]), triple_of([0.5, None, 0.6])
    (Triple(value=0.5, low=0.4, high=0.6), Triple(value=0.5, low=None, high=None))
    """
    if not isinstance(found, list | tuple) or len(found) != 3 or (value := number(found[0])) is None:
        return None
    low, high = number(found[1]), number(found[2])
    return Triple(value, None, None) if low is None or high is None else Triple(value, low, high)


def scale_of(triples: Iterable[Triple]) -> Scale:
    """Return an axis that holds zero and all that is given, intervals too."""
    values = [0.0, *(each for triple in triples for each in triple if each is not None)]
    return Scale(min(values), max(values))
