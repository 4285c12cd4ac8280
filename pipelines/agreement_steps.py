"""Progress of `dinotool agreement`: a row takes many seconds, so each is named before it is made."""

import time

from dinonat.pipelines.progress import duration, say

LEAST = 2.0  # seconds between two lines


class Steps:
    """Says on stderr which step begins, and about how long all that are left will take."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._made = total, 0, 0
        self._start = time.monotonic()
        self._said = -LEAST  # before any clock begins

    def begin(self, title: str) -> None:
        """Say that a step begins that takes time, unless something was said a moment ago."""
        now = time.monotonic()
        if self._made == 0:
            self._start = now
        if self._made == 0 or now - self._said >= LEAST:
            say(line(title, self._done + 1, self._total, (now - self._start) / max(self._made, 1)))
            self._said = now

    def end(self, *, made: bool) -> None:
        """Count a step that was made, or one that was there already."""
        self._done += 1
        self._made += made


def line(title: str, number: int, total: int, seconds: float) -> str:
    """Say which step begins; ``seconds`` is what those before took each, 0 where none was made.

    >>> line("starter, thermal inverted", 2, 7, 20.0)
    'agreement: 2 of 7, starter, thermal inverted; about 2 min left'
    >>> line("starter", 1, 7, 0.0)
    'agreement: 1 of 7, starter'
    """
    left = f"; about {duration(seconds * (total - number + 1))} left" if seconds else ""
    return f"agreement: {number} of {total}, {title}{left}"
