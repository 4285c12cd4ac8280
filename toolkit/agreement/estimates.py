"""Figures with their doubt: means over pairs, with all recordings drawn anew, the same draws for every row.

Frames of one recording look alike, so whole recordings are drawn (Efron and Tibshirani 1993, chapter 8). As
all rows of a table are drawn together, the difference of two is as certain as pairs make it: a scene
that is hard for both does not widen it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dinonat.evaluation.intervals import RESAMPLES, Interval, draws, interval
from dinonat.records import Int64

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure, and what it would have been in each resample."""

    value: float
    resampled: Float64  # (R,)
    groups: int  # recordings it rests on

    @property
    def interval(self) -> Interval:
        """The 95 % interval; NaN where one recording is all there is."""
        return interval(self.resampled, self.groups)

    def __sub__(self, other: "Estimate") -> "Estimate":
        """Return the difference, resample by resample."""
        return Estimate(self.value - other.value, self.resampled - other.resampled, self.groups)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of several estimates on the same pairs, as of one network drawn from several."""
    return Estimate(
        float(np.mean([each.value for each in estimates])),
        np.mean([each.resampled for each in estimates], axis=0),
        estimates[0].groups,
    )


@dataclass(frozen=True, eq=False)
class Drawn:
    """How often each pair is drawn in each resample."""

    groups: Int64  # (n,), the recording of each pair
    resamples: int = RESAMPLES
    seed: int = 0

    @cached_property
    def _numbers(self) -> Int64:
        return np.unique(self.groups, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def _times(self) -> Float64:
        return draws(self.count, resamples=self.resamples, seed=self.seed)  # (G, R)

    @property
    def count(self) -> int:
        """How many recordings there are."""
        return int(self._numbers.max()) + 1

    def mean(self, values: NDArray[np.number]) -> Estimate:
        """Estimate the mean of ``values`` (n,) over pairs."""
        sums = np.bincount(self._numbers, weights=values, minlength=self.count)
        sizes = np.bincount(self._numbers, minlength=self.count)
        again = (sums @ self._times) / (sizes @ self._times)
        return Estimate(float(np.mean(values)), again, self.count)

    def among_strangers(self, values: Float64) -> Estimate:
        """Estimate the mean of ``values`` (n, n) over all i != j, both of them drawn anew.

        A pair is never its own stranger. Couples of two recordings count as often as both are drawn together,
        t u times, which is 1 - 1/G on average. Couples within one recording count t (1 - 1/G) times and not
        t t: two copies of a recording are no strangers, and where its frames are alike they would make all
        strangers seem alike, and every gap too small.
        """
        off = np.array(values, dtype=np.float64)
        np.fill_diagonal(off, 0.0)
        n = len(off)
        return self._of_couples(off, float(off.sum() / (n * (n - 1))))

    def _of_couples(self, off: Float64, value: float) -> Estimate:
        sizes = np.bincount(self._numbers, minlength=self.count).astype(np.float64)
        one = np.zeros((self.count, len(off)))
        one[self._numbers, np.arange(len(off))] = 1.0
        found = self._drawn_together(one @ off @ one.T)
        asked = self._drawn_together(np.outer(sizes, sizes) - np.diag(sizes))
        # One recording of one pair drawn every time leaves no strangers: what all pairs say stands in.
        again = np.divide(found, asked, out=np.full_like(found, value), where=asked > 0)
        return Estimate(value, again, self.count)

    def _drawn_together(self, sums: Float64) -> Float64:
        """Add up sums over couples of recordings (G, G) in each resample, (R,)."""
        times, within = self._times, sums.diagonal()
        between = (times * (sums @ times)).sum(axis=0) - within @ times**2
        total: Float64 = between + (1 - 1 / self.count) * (within @ times)
        return total

    def of(self, figure: Callable[[Float64], NDArray[np.floating]]) -> Estimate:
        """Estimate any ``figure`` of weights (n, r) of the pairs, as (r,)."""
        value = float(figure(np.ones((len(self.groups), 1)))[0])
        again = figure(self._times[self._numbers])
        return Estimate(value, np.asarray(again, dtype=np.float64), self.count)

    def without_interval(self, value: float) -> Estimate:
        """Return a figure of which drawing anew says nothing, or that arithmetic gives."""
        return Estimate(value, np.full(self.resamples, np.nan), self.count)
