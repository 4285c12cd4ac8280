"""Values that change over a run, by optimizer step and by nothing else."""

import math
from dataclasses import dataclass

RAMP = 1000  # steps in which a run without an end comes to its plateau
PLATEAU = 0.5  # where on its way a run stands that is on its plateau


@dataclass(frozen=True)
class Course:
    """Where a run goes: straight to its end, or to a plateau on which it may stay as long as there is time.

    An open run stands, once it is on its plateau, where a run to a fixed end stands at half its way: its
    momentum and weight decay stay there, and so does the learning rate, at its highest. Cooling down is
    the second half of the way, and ends as any other run does.

    Attributes
    ----------
    steps : int
        After which the run ends or, on the plateau, pauses.
    open : bool
        Whether it has no fixed end.
    cool_from : int or None
        Step at which an open run begins to cool down.
    """

    steps: int
    open: bool = False
    cool_from: int | None = None

    def position(self, step: int) -> float:
        """Which share of its way, 0 to 1, a run has gone before it makes step number ``step``.

        >>> Course(10).position(5), Course(9000, open=True).position(4000)
        (0.5, 0.5)
        >>> Course(3000, open=True, cool_from=2000).position(2500)
        0.75
        """
        if not self.open:
            return min(1.0, step / self.steps)
        before = PLATEAU * min(1.0, (step if self.cool_from is None else min(step, self.cool_from)) / RAMP)
        return before + (1 - before) * self.cooled(step)

    def cooled(self, step: int) -> float:
        """Share of the cooling down that is done, 0 before it."""
        if self.cool_from is None or step <= self.cool_from:
            return 0.0
        return min(1.0, (step - self.cool_from) / (self.steps - self.cool_from))

    def learning_rate(self, step: int, start: float, end: float, *, warmup: int) -> float:
        """Linear from 0 over ``warmup`` steps, then a half cosine from ``start`` to ``end``.

        On a plateau it stays at ``start``; the half cosine is the cooling down.
        """
        if step < warmup:
            return start * step / warmup
        if self.open:
            return cosine(self.cooled(step), start, end)
        return cosine((step - warmup) / max(1, self.steps - warmup), start, end)


def cosine(position: float, start: float, end: float) -> float:
    """Half a cosine from ``start`` at position 0 to ``end`` at 1.

    end + (start - end) (1 + cos(pi i / N)) / 2, as in the official DINO code (utils.cosine_scheduler),
    where i / N is the position.

    >>> cosine(0.0, 1.0, 0.0), cosine(0.5, 1.0, 0.0), cosine(1.0, 1.0, 0.0)
    (1.0, 0.5, 0.0)
    """
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(1.0, position)))


def linear(step: int, steps: int, start: float, end: float) -> float:
    """Rise or fall in a straight line from ``start`` over ``steps``, then stay at ``end``.

    >>> linear(0, 0, 0.02, 0.04), linear(5, 10, 0.0, 1.0), linear(20, 10, 0.0, 1.0)
    (0.04, 0.5, 1.0)
    """
    return end if step >= steps else start + (end - start) * step / steps
