"""Values that change over a run, by optimizer step and by nothing else."""

import math


def cosine(step: int, steps: int, start: float, end: float, *, warmup: int = 0) -> float:
    """Value at ``step`` of 0 .. steps - 1: linear from 0 during ``warmup``, then a half cosine to ``end``.

    end + (start - end) (1 + cos(pi i / N)) / 2, as in the official DINO code (utils.cosine_scheduler).

    >>> cosine(0, 10, 1.0, 0.0), cosine(5, 10, 1.0, 0.0), cosine(1, 10, 1.0, 0.0, warmup=2)
    (1.0, 0.5, 0.5)
    """
    if step < warmup:
        return start * step / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(1.0, share)))


def linear(step: int, steps: int, start: float, end: float) -> float:
    """Rise or fall in a straight line from ``start`` over ``steps``, then stay at ``end``.

    >>> linear(0, 0, 0.02, 0.04), linear(5, 10, 0.0, 1.0), linear(20, 10, 0.0, 1.0)
    (0.04, 0.5, 1.0)
    """
    return end if step >= steps else start + (end - start) * step / steps
