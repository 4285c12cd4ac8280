"""Shares in which an item counts as often as its recording was drawn, so that each has an interval."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinonat.evaluation.intervals import LEVEL, NONE, RESAMPLES, Interval, interval
from dinonat.records import Bool, Int64

Float64 = NDArray[np.float64]
USABLE = 0.9  # share of the resamples that must give a figure, or it has no interval


@dataclass(frozen=True)
class Rate:
    """A figure, mostly a share in [0, 1], with its 95 % interval; NaN where there is nothing to say."""

    value: float
    interval: Interval = NONE


def share(of: Bool, among: Bool, times: Float64) -> float:
    """Return the share of ``of`` (n,) in ``among`` (n,), item i counting ``times[i]``; NaN of nothing.

    >>> share(np.array([True, False]), np.array([True, True]), np.array([3.0, 1.0]))
    0.75
    """
    total = float(times[among].sum())
    return float(times[among & of].sum()) / total if total else float("nan")


def balanced_share(right: Bool, classes: Int64, times: Float64, whole: Float64 | None = None) -> float:
    """Return the mean over the ``classes`` (n,), numbered from 0 without gaps, of the share that is right.

    A class of which nothing was drawn has its share in ``whole`` (C,), that of the whole sample: left
    out, one that nobody gets right would lift the mean by its absence.
    """
    asked = np.bincount(classes, weights=times)
    hits = np.bincount(classes, weights=times * right)
    there = asked > 0
    shares = np.divide(hits, asked, where=there, out=np.zeros_like(hits) if whole is None else whole.copy())
    return float(shares.mean() if whole is not None else shares[there].mean())


def blocks_of(confidence: Float64) -> Int64:
    """Return the place (n,) of items by confidence, the best first; equal ones share one, NaN comes last.

    >>> blocks_of(np.array([0.5, 0.9, 0.5, np.nan]))
    array([1, 0, 1, 2])
    """
    _, number = np.unique(-confidence, return_inverse=True)  # NaN sorts last, as one value
    return number.astype(np.int64)


def at_coverage(right: Bool, blocks: Int64, times: Float64, coverage: float) -> float:
    """Return which share is right of the most confident share ``coverage`` of the items (0 < it <= 1).

    The risk-coverage curve of selective classification (Geifman and El-Yaniv 2017), read as accuracy. Items
    of equal confidence count as if an even mixture of them were taken, so their order does not matter.
    """
    asked = np.cumsum(np.bincount(blocks, weights=times))
    hits = np.cumsum(np.bincount(blocks, weights=times * right))
    if not len(asked) or not asked[-1]:
        return float("nan")
    wanted = coverage * asked[-1]
    return float(np.interp(wanted, np.append(0.0, asked), np.append(0.0, hits)) / wanted)


def bootstrap(
    figures: Callable[[Float64], Mapping[str, float]],
    groups: Int64,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Rate]:
    """Return each of ``figures`` with its interval, whole groups being drawn anew.

    ``figures`` takes how often each group counts (G,), where groups are numbered from 0 without gaps, and
    names its results; called once with ones, then ``resamples`` times (0: no intervals). Where a share
    is 0 or 1 whatever is drawn, its interval is the exact binomial one with a group as a draw.
    """
    count = int(groups.max(initial=-1)) + 1
    whole = figures(np.ones(count))
    if count < 2 or not resamples:
        return {name: Rate(value) for name, value in whole.items()}
    # One resample at a time: all of them at once would be 8 bytes x groups x resamples. The draws are those
    # of `intervals.draws`.
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(resamples):
        drawn = np.bincount(generator.integers(0, count, count), minlength=count)
        rows.append(figures(drawn.astype(np.float64)))
    return {
        name: Rate(value, _interval(value, np.array([row[name] for row in rows]), count))
        for name, value in whole.items()
    }


def _interval(value: float, values: Float64, count: int) -> Interval:
    """Return the interval of one figure from its resamples."""
    values = values[np.isfinite(values)] if np.isfinite(values).mean() >= USABLE else values[:0]
    if not len(values) or not np.isfinite(value):
        return NONE
    bound = ((1 - LEVEL) / 2) ** (1 / count)
    if value in (0.0, 1.0) and (values == value).all():
        return (bound, 1.0) if value else (0.0, 1 - bound)
    return interval(values, count)
