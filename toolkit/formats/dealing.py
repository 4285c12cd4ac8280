"""Dealing groups of several sizes to sides with given shares, as near to the shares as possible."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dinonat.records import Bool, Int64

Float64 = NDArray[np.float64]

EVERY_WAY = 20_000  # ways to deal that are all looked at: nine groups to three sides
SWAPS = 600  # groups; of more, moving single ones is fine enough
STEPS = 200  # of improvement
GAIN = 1e-9  # squared shares; less is no improvement


def deal(sizes: sparse.csr_array, shares: Float64, rng: np.random.Generator) -> Int64:
    """Return the side (g,) of each group, no side empty.

    ``sizes`` (g, k) counts what a group holds: in column 0 what the shares are of (images), in the others
    what is to be spread alike (labels of each class). ``shares`` (s,) add up to 1, s <= g.

    What is made small is the sum, over sides and columns, of the squared difference of the side's share
    of the column and its asked share; the classes together weigh as much as the images. No side differs
    in images from what was asked by more than the largest group, unless it would be empty else.
    """
    order = rng.permutation(sizes.shape[0])  # decides ties
    sizes = sizes[order]
    problem = _Problem(sizes, shares)
    if len(shares) ** sizes.shape[0] <= EVERY_WAY:
        best = problem.every_way()
    else:  # by all columns, and by images alone, which never misses by more than the largest group
        starts = [problem.greedy(problem.parts, problem.asked), problem.greedy_images()]
        best = min((problem.improved(problem.filled(start)) for start in starts), key=problem.badness)
    side = np.empty(len(best), np.int64)
    side[order] = best
    return side


class _Problem:
    """The groups as shares of each column, weighed, and what each side is to hold of them."""

    def __init__(self, sizes: sparse.csr_array, shares: Float64) -> None:
        totals = np.asarray(sizes.sum(axis=0)).ravel()
        classes = max(1, len(totals) - 1)
        weight = np.sqrt(np.where(np.arange(len(totals)) == 0, 1, 1 / classes)) / np.maximum(totals, 1)
        self.parts = sparse.csr_array(sizes @ sparse.diags_array(weight))  # (g, k)
        self.sizes = sizes
        self.images = sizes[:, [0]].toarray().ravel()
        self.asked = shares[:, None] * (totals * weight)  # (s, k)
        self.asked_images = shares * totals[0]
        self.bound = self.images.max() + 1e-6
        self.norms = np.asarray(self.parts.multiply(self.parts).sum(axis=1)).ravel()
        self.gram = (self.parts @ self.parts.T).toarray() if len(self.images) <= SWAPS else None

    def rest(self, side: Int64) -> Float64:
        """Return what each side holds beyond what it was asked to (s, k)."""
        n = len(side)
        held = sparse.csr_array((np.ones(n), (side, np.arange(n))), shape=(len(self.asked), n)) @ self.parts
        return np.asarray(held.toarray() - self.asked, np.float64)

    def over(self, side: Int64) -> Float64:
        """Return how many images each side has beyond what was asked (s,)."""
        return np.asarray(np.bincount(side, self.images, len(self.asked)) - self.asked_images)

    def badness(self, side: Int64) -> tuple[float, float]:
        """Return what is made small: first, images beyond the largest group; then the squared shares."""
        beyond = max(0.0, float(np.abs(self.over(side)).max()) - self.bound)
        return round(beyond, 6), float((self.rest(side) ** 2).sum())

    def every_way(self) -> Int64:
        """Return the best of all ways in which no side is empty."""
        groups, sides = len(self.images), len(self.asked)
        ways = np.stack(np.unravel_index(np.arange(sides**groups), (sides,) * groups), axis=1)
        costs, beyond, empty = np.zeros(len(ways)), np.zeros(len(ways)), np.zeros(len(ways), bool)
        parts = self.parts.toarray()
        for number in range(sides):
            here = ways == number
            costs += ((here @ parts - self.asked[number]) ** 2).sum(axis=1)
            beyond = np.maximum(beyond, np.abs(here @ self.images - self.asked_images[number]) - self.bound)
            empty |= ~here.any(axis=1)
        order = np.lexsort([np.round(costs, 12), np.round(beyond, 6), empty])
        return np.asarray(ways[order[0]], np.int64)

    def greedy_images(self) -> Int64:
        """Deal by the number of images alone."""
        return self.greedy(sparse.csr_array(self.images[:, None]), self.asked_images[:, None])

    def greedy(self, parts: sparse.csr_array, asked: Float64) -> Int64:
        """Deal the groups of the rarest class first, large ones first, each where it lacks most."""
        holders = np.bincount(parts.indices, minlength=parts.shape[1])  # groups that hold each column
        rarest = np.minimum.reduceat(holders[parts.indices], parts.indptr[:-1])
        rest = -asked.T.copy()  # (k, s): what each side holds beyond what it was asked to
        side = np.empty(len(self.images), np.int64)
        for group in np.lexsort([-self.images, rarest]).tolist():
            own = slice(parts.indptr[group], parts.indptr[group + 1])
            columns, values = parts.indices[own], parts.data[own]
            side[group] = np.argmin(values @ rest[columns])
            rest[columns, side[group]] += values
        return side

    def filled(self, side: Int64) -> Int64:
        """Give each empty side the smallest group of the side that has most beyond its images."""
        side = side.copy()
        for empty in np.flatnonzero(np.bincount(side, minlength=len(self.asked)) == 0).tolist():
            several = np.bincount(side, minlength=len(self.asked)) > 1
            giver = int(np.argmax(np.where(several, self.over(side), -np.inf)))
            own = np.flatnonzero(side == giver)
            side[own[np.argmin(self.images[own])]] = empty
        return side

    def improved(self, side: Int64) -> Int64:
        """Move or swap groups, the most useful first, until nothing is gained."""
        side = side.copy()
        for _ in range(STEPS):
            # Half of what moving each group to each side changes, but for its own square.
            pull = self.parts @ self.rest(side).T  # (g, s)
            gain, group, target = self._best_move(side, pull)
            if gain < GAIN and self.gram is not None:
                gain, group, other = self._best_swap(side, pull)
                target = int(side[other])
                side[other] = side[group] if gain >= GAIN else side[other]
            if gain < GAIN:
                break
            side[group] = target
        return side

    def _best_move(self, side: Int64, pull: Float64) -> tuple[float, int, int]:
        """Return what the best move of one group gains, the group, and where to."""
        rows = np.arange(len(side))
        gains = 2 * (pull[rows, side][:, None] - pull - self.norms[:, None])
        over, images = self.over(side), self.images[:, None]
        allowed = self._closer(over[side][:, None], -images) & self._closer(over, images)
        allowed &= (np.bincount(side, minlength=len(over)) > 1)[side][:, None]
        allowed[rows, side] = False
        gains[~allowed] = -np.inf
        group, target = np.unravel_index(int(np.argmax(gains)), gains.shape)
        return float(gains[group, target]), int(group), int(target)

    def _best_swap(self, side: Int64, pull: Float64) -> tuple[float, int, int]:
        """Return what the best swap of two groups gains, and the two."""
        assert self.gram is not None
        across = pull[:, side]  # [g, h]: pull of g on the side of h
        own = pull[np.arange(len(side)), side]
        squares = self.norms[:, None] + self.norms - 2 * self.gram
        gains = 2 * (own[:, None] + own - across - across.T - squares)
        more = self.images[None, :] - self.images[:, None]  # images that the side of g gets
        over = self.over(side)[side]
        allowed = self._closer(over[:, None], more) & self._closer(over[None, :], -more)
        gains[~allowed | (side[:, None] == side)] = -np.inf
        one, other = np.unravel_index(int(np.argmax(gains)), gains.shape)
        return float(gains[one, other]), int(one), int(other)

    def _closer(self, over: Float64, more: Float64) -> Bool:
        """Say where a side with ``more`` images is within the bound, or nearer to it than it was."""
        after = np.abs(over + more)
        return np.asarray((after <= self.bound) | (after < np.abs(over)))
