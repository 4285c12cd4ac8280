"""How far a measured accuracy may lie from the truth: the bootstrap over whole recordings.

Items of one recording are right or wrong together, so a recording counts as one draw. What varies is
the query alone: the gallery and what was learned from it are taken as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse, stats

from dinonat.records import Bool, Int64

LEVEL = 0.95
RESAMPLES = 2000
FEW = 10  # groups below which an interval is rough, whatever is done about it
CELLS = 1 << 23  # numbers (64 MiB) that are held at once

Float64 = NDArray[np.float64]
Interval = tuple[float, float]
NONE: Interval = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Measured:
    """Accuracies in percent with their 95 % intervals, which are NaN where one group is all there is."""

    top1: float
    balanced: float  # mean over the classes of the share that is right
    top1_interval: Interval
    balanced_interval: Interval


def resampled_together(items: pd.DataFrame) -> tuple[Int64, str]:
    """Return the group (n,) of each item by number, and the word for a group.

    ``items`` has the columns of ITEM_COLUMNS. Groups are recordings where any is known (an image without
    one stands for itself), else images, so that the regions of one stay together.
    """
    image, recording = items["image"].astype(str), items["recording"].astype(str)
    known = (recording != "").any()
    names = ("recording " + recording).where(recording != "", "image " + image) if known else image
    return pd.factorize(names, sort=True)[0].astype(np.int64), "recording" if known else "image"


def accuracies(right: Bool, labels: Int64) -> tuple[float, float]:
    """Return top-1 and balanced accuracy in percent of what was ``right`` (n,).

    ``labels`` (n,) numbers the classes of the items, over which the balanced accuracy averages.
    """
    counts, hits = np.bincount(labels), np.bincount(labels, weights=right)
    return 100 * float(right.mean()), 100 * float((hits[counts > 0] / counts[counts > 0]).mean())


def measured(
    right: Sequence[Bool], labels: Int64, groups: Int64, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Measured]:
    """Return the accuracies of each row of ``right`` (rows, n), with intervals from the same resamples."""
    values = resampled(np.stack(right), labels, groups, resamples, seed)
    count = len(np.unique(groups))
    found = []
    for row, per_resample in zip(right, values, strict=True):
        top1, balanced = accuracies(row, labels)
        whole, by_class = (interval(each, count) for each in per_resample)
        if row.all() or not row.any():
            whole, by_class = _extreme(bool(row.all()), labels, groups)
        found.append(Measured(top1, balanced, whole, by_class))
    return found


def difference(
    first: Bool, second: Bool, labels: Int64, groups: Int64, *, resamples: int = RESAMPLES, seed: int = 0
) -> Measured:
    """Return by how many points ``first`` (n,) is more often right than ``second``, with paired intervals.

    Both are resampled together, so what is hard for both does not widen the interval.
    """
    values = resampled(np.stack([first, second]), labels, groups, resamples, seed)
    count = len(np.unique(groups))
    top1, balanced = (
        a - b for a, b in zip(accuracies(first, labels), accuracies(second, labels), strict=True)
    )
    return Measured(top1, balanced, *(interval(each, count) for each in values[0] - values[1]))


def interval(values: Float64, n_groups: int) -> Interval:
    """Return the 95 % interval of resampled ``values`` (resamples,): expanded percentiles.

    Plain percentiles are too narrow by the factor that a normal approximation with the biased variance
    is, which matters for few groups: the tails become Phi(-sqrt(G / (G - 1)) t_{G-1}) (Hesterberg 2015,
    "What Teachers Should Know about the Bootstrap", The American Statistician 69(4)). One group has no
    interval.
    """
    if n_groups < 2:
        return NONE
    tail = _tail(n_groups)
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


@cache
def _tail(n_groups: int) -> float:
    """Return the share of resamples beyond each end of an interval."""
    quantile = stats.t.ppf((1 + LEVEL) / 2, n_groups - 1)
    return float(stats.norm.cdf(-np.sqrt(n_groups / (n_groups - 1)) * quantile))


def _extreme(all_right: bool, labels: Int64, groups: Int64) -> tuple[Interval, Interval]:
    """Return the intervals of 100 and of 0 %, which no resample can leave.

    The exact binomial bound (Clopper and Pearson 1934), a group being one draw: (alpha / 2)^(1 / G). Of the
    balanced accuracy its mean over the classes, each with the groups that hold it.
    """
    if len(np.unique(groups)) < 2:
        return NONE, NONE
    holders = [len(np.unique(groups[labels == c])) for c in np.unique(labels)]
    bounds = [((1 - LEVEL) / 2) ** (1 / count) for count in (len(np.unique(groups)), *holders)]
    lows = (100 * bounds[0], 100 * float(np.mean(bounds[1:])))
    if all_right:
        return (lows[0], 100.0), (lows[1], 100.0)
    return (0.0, 100 - lows[0]), (0.0, 100 - lows[1])


def resampled(right: Bool, labels: Int64, groups: Int64, resamples: int, seed: int) -> Float64:
    """Return both accuracies in percent (rows, 2, resamples), whole groups drawn with replacement.

    All follows from how many items, and how many right ones, each group has of each class. Where no
    drawn group holds a class, its share of the whole sample stands: left out, a class that nobody gets right
    would lift the balanced accuracy by its absence.
    """
    _, classes = np.unique(labels, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    n_classes, n_groups = int(classes.max()) + 1, int(group.max()) + 1
    counts = sparse.csr_array((np.ones(len(group)), (classes, group)), shape=(n_classes, n_groups))
    rows = [sparse.csr_array((row.astype(float), (classes, group)), shape=counts.shape) for row in right]
    hits = sparse.vstack(rows, format="csr")  # (rows x classes, groups)
    whole = np.asarray(hits.sum(axis=1)).reshape(len(right), -1) / np.asarray(counts.sum(axis=1))
    parts = []
    for drawn in _draws(n_groups, resamples, max(n_groups, hits.shape[0]), seed):
        asked: Float64 = np.asarray(counts @ drawn)  # (classes, r)
        found: Float64 = np.asarray(hits @ drawn).reshape(len(right), n_classes, -1)
        share = np.where(asked > 0, found / np.maximum(asked, 1), whole[:, :, None])
        parts.append(np.stack([found.sum(axis=1) / asked.sum(axis=0), share.mean(axis=1)], axis=1))
    return 100 * np.concatenate(parts, axis=2)


def draws(n_groups: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Float64:
    """Return how often each group is drawn in each resample, (groups, resamples); columns sum to n_groups."""
    return np.concatenate(list(_draws(n_groups, resamples, n_groups, seed)), axis=1)


def _draws(n_groups: int, resamples: int, wide: int, seed: int) -> Iterator[Float64]:
    """Yield how often each group is drawn in each resample (groups, r), some resamples at a time."""
    generator = np.random.default_rng(seed)
    step = max(1, CELLS // wide)
    for start in range(0, resamples, step):
        r = min(step, resamples - start)
        drawn = generator.integers(0, n_groups, (r, n_groups)) + n_groups * np.arange(r)[:, None]
        times = np.bincount(drawn.ravel(), minlength=r * n_groups).reshape(r, n_groups)
        yield np.ascontiguousarray(times.T, dtype=np.float64)
