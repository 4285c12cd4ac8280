"""Which items a person should label first: typical ones, ones that cover the rest, unsure ones, or by lot.

Every way takes no more of a recording than it must and no two that look the same; all are functions of
unit vectors and a seed.
"""

import heapq
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dinonat.neighbors.parts import fit_axes
from dinonat.records import Bool, Float32, Int64

CANDIDATES = 20_000  # items that are looked at; of more, an even sample
ANCHORS = 2000  # items by which coverage is measured
SAME = 0.98  # cosine from which two pictures are one
MOST_CLUSTERS = 500  # as TypiClust has it
SMALL = 5  # clusters of so few items are outliers
NEAREST = 20  # neighbours that say how typical an item is
AXES = 128  # dimensions in which clusters are sought
STEPS = 25  # of k-means

Float64 = NDArray[np.float64]


class Pick(NamedTuple):
    """An item that was taken."""

    row: int
    reason: str


class Room:
    """What is still free: no more of a recording than needed, and nothing that looks like what is taken."""

    def __init__(
        self,
        vectors: Float32,
        recordings: Int64,
        labelled: Bool,
        wanted: int,
        *,
        images: Int64 | None = None,
    ) -> None:
        """Take unit ``vectors`` (n, d), a recording number each (n,), what is ``labelled`` (n,) already.

        ``images`` (n,) numbers the image of each, where several items can be of one: it is taken once.
        """
        self.vectors, self.recordings = vectors, recordings
        self.images = np.arange(len(vectors)) if images is None else images
        self.fresh: Bool = ~labelled
        for rows in np.array_split(np.flatnonzero(labelled), -(-int(labelled.sum()) // 1024) or 1):
            if len(rows):
                self.fresh &= (vectors @ vectors[rows].T).max(axis=1) <= SAME
        self.taken = self._per_recording(labelled)
        self.share = fair_share(self._per_recording(self.fresh), self.taken, wanted)
        self.free: Bool = self.fresh & (self.taken < self.share)[recordings]

    def _per_recording(self, marks: Bool) -> Int64:
        """Count the images of each recording that hold an item of the marked ones."""
        _, first = np.unique(self.images[marks], return_index=True)
        most = int(self.recordings.max(initial=0)) + 1
        counts: Int64 = np.bincount(self.recordings[marks][first], minlength=most)
        return counts

    def take(self, row: int) -> None:
        """Take one item, and with it all that looks the same."""
        group = self.recordings[row]
        self.taken[group] += 1
        self.fresh &= self.vectors @ self.vectors[row] <= SAME
        self.fresh[self.images == self.images[row]] = False
        self.free &= self.fresh
        if self.taken[group] >= self.share:
            self.free &= self.recordings != group

    def more(self) -> bool:
        """Say whether anything is free; where recordings are used up, let one more of each in."""
        while not self.free.any() and self.fresh.any():
            self.share += 1
            self.free = self.fresh & (self.taken < self.share)[self.recordings]
        return bool(self.free.any())


def fair_share(there: Int64, taken: Int64, wanted: int) -> int:
    """Return how many of each recording are needed at most: ``there`` (R,) to be had, ``taken`` (R,) before.

    The least share at which recordings, none beyond it, hold the number that is wanted; all where even
    all are too few.

    >>> fair_share(np.array([100, 3, 2]), np.array([0, 0, 1]), 8), fair_share(np.array([2]), np.array([0]), 9)
    (3, 2)
    """
    low, high = 0, int((there + taken).max(initial=0))
    while high - low > 1:
        middle = (low + high) // 2
        enough = int(np.minimum(there, np.maximum(middle - taken, 0)).sum()) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def sampled(n: int, *, seed: int) -> Int64:
    """Return the rows of at most CANDIDATES of ``n`` items, in order, drawn by ``seed``."""
    if n <= CANDIDATES:
        return np.arange(n)
    rows: Int64 = np.sort(np.random.default_rng(seed).choice(n, CANDIDATES, replace=False))
    return rows


def by_lot(room: Room, wanted: int, *, seed: int) -> list[Pick]:
    """Take items at random."""
    order = np.random.default_rng(seed).permutation(len(room.free))
    return _in_order(room, order, wanted, lambda _: "drawn by lot")


def by_doubt(
    room: Room, margins: Float64, wanted: int, *, seed: int, between: Sequence[str] | None = None
) -> list[Pick]:
    """Take in turn the item with the least lead of its first class over the second, and one by lot.

    ``margins`` (n,), NaN where nothing was proposed: these come last. ``between`` (n,) says in words
    between what an item is. Doubt alone would take what is odd rather than what teaches.
    """
    doubtful = np.argsort(np.where(np.isnan(margins), np.inf, margins), kind="stable")
    lot = np.random.default_rng(seed).permutation(len(margins))

    def reason(row: int) -> str:
        if np.isnan(margins[row]):
            return "nothing was proposed for it"
        return f"undecided{f' between {between[row]}' if between else ''}: lead {margins[row]:.3f}"

    picks: list[Pick] = []
    while len(picks) < wanted and room.more():
        picks += _in_order(room, doubtful, 1, reason)
        if len(picks) < wanted:
            picks += _in_order(room, lot, 1, lambda _: "drawn by lot")
    return picks


def typical(room: Room, labelled: Bool, wanted: int, *, seed: int) -> list[Pick]:
    """Take the most typical item of the largest groups of which nothing is labelled yet.

    TypiClust (Hacohen et al., ICML 2022, algorithm 1): k-means into as many clusters as there will be
    labels, at most 500; those of 5 or fewer items only where no others are left; typical is the item
    with the largest mean cosine to its 20 nearest of the cluster. ``labelled`` (n,) marks what has labels.
    """
    k = min(int(labelled.sum()) + wanted, MOST_CLUSTERS, len(room.vectors))
    clusters = _clusters(room.vectors, k, seed)
    sizes = np.bincount(clusters, minlength=k)
    held = np.bincount(clusters[labelled], minlength=k)
    ranked = {c: _by_typicality(room.vectors, np.flatnonzero(clusters == c)) for c in range(k)}
    picks: list[Pick] = []
    while len(picks) < wanted and room.more():
        open_ = np.bincount(clusters[room.free], minlength=k) > 0
        order = np.lexsort((np.arange(k), -sizes, held, sizes <= SMALL, ~open_))
        best = int(order[0])
        row = next(row for row in ranked[best] if room.free[row])
        held[best] += 1
        room.take(row)
        picks.append(Pick(row, f"typical of a group of {sizes[best]} alike"))
    return picks


def covering(room: Room, labelled: Bool, wanted: int, *, seed: int) -> list[Pick]:
    """Take the items that together are near to as much as possible.

    MaxHerding (Bae et al., ECCV 2024, eq. 4) with K_ij = exp((cos_ij - 1) / s), where 1 - s is the median
    cosine of an item to its 20th nearest: greedily the item j with the largest sum over i of
    max(K_ij - m_i, 0), m_i what covers item i already. i runs over at most 2,000 items drawn by ``seed``.
    The gain only falls as more is taken, so that only those at the top are measured again.
    """
    n = len(room.vectors)
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:ANCHORS])
    kernel, near = kernel_of(room.vectors, rows), np.zeros(len(rows), np.float32)
    if labelled.any():
        near = kernel[labelled].max(axis=0)
    gains = np.concatenate(
        [np.maximum(block - near, 0).sum(axis=1) for block in np.array_split(kernel, max(1, n // 1024))]
    )
    picks: list[Pick] = []
    while len(picks) < wanted and room.more():
        heap = [(-float(gains[j]), j) for j in np.flatnonzero(room.free).tolist()]
        heapq.heapify(heap)
        while heap and len(picks) < wanted:
            _, j = heapq.heappop(heap)
            if not room.free[j]:
                continue
            gains[j] = np.maximum(kernel[j] - near, 0).sum()
            if heap and (-float(gains[j]), j) > heap[0]:
                heapq.heappush(heap, (-float(gains[j]), j))
                continue
            near = np.maximum(near, kernel[j])
            room.take(j)
            picks.append(Pick(j, f"{near.mean():.0%} covered with it"))
    return picks


def kernel_of(vectors: Float32, anchors: Int64) -> Float32:
    """Return how near each of (n, d) unit vectors is to those of ``anchors`` (a,): (n, a) in (0, 1]."""
    cosines = vectors @ vectors[anchors].T
    place = max(0, len(anchors) - 1 - NEAREST)  # from below; the nearest of all is the item itself
    nearest = np.partition(cosines[anchors], place, axis=1)[:, place]
    width = max(1.0 - float(np.median(nearest)), 1e-3)
    near: Float32 = np.exp((cosines - 1.0) / np.float32(width)).astype(np.float32)
    return near


def _in_order(room: Room, order: Int64, wanted: int, reason: Callable[[int], str]) -> list[Pick]:
    """Take the first free items in an order."""
    picks: list[Pick] = []
    while len(picks) < wanted and room.more():
        for row in order[room.free[order]].tolist():
            if len(picks) < wanted and room.free[row]:
                room.take(row)
                picks.append(Pick(row, reason(row)))
    return picks


def _clusters(vectors: Float32, k: int, seed: int) -> Int64:
    """Return the cluster (n,) of each vector; on their principal axes, on one thread."""
    axes = fit_axes(vectors, dims=AXES)
    rows = vectors if axes is None else axes.reduce(vectors)
    with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # equal vectors make fewer clusters, which will do
        found: Int64 = (
            KMeans(k, n_init=1, max_iter=STEPS, random_state=seed).fit_predict(rows).astype(np.int64)
        )
    return found


def _by_typicality(vectors: Float32, rows: Int64) -> list[int]:
    """Return the rows of one cluster, the most typical first."""
    if not len(rows):
        return []
    nearest = min(NEAREST, len(rows) - 1)
    likeness = np.zeros(len(rows), np.float32)
    for start in range(0, len(rows) if nearest else 0, 1024):
        cosines = vectors[rows[start : start + 1024]] @ vectors[rows].T
        best = np.partition(cosines, len(rows) - 1 - nearest, axis=1)[:, len(rows) - 1 - nearest :]
        likeness[start : start + 1024] = (best.sum(axis=1) - best.max(axis=1)) / nearest
    order: list[int] = rows[np.argsort(-likeness, kind="stable")].tolist()
    return order


def audited(groups: Int64, wanted: int, *, seed: int) -> Int64:
    """Draw ``wanted`` of n items, each with the same chance, spread over ``groups`` (n,); sorted rows.

    Systematic sampling: recordings are laid one after the other in an order by lot, their items in an
    order by lot, and every (n / wanted)-th is taken from a start by lot. So each item has the chance
    wanted / n, and what is found holds for the proposals (not for recordings, however long); a recording
    gives its share, rounded up or down: no two items where it holds fewer than n / wanted.
    """
    rng = np.random.default_rng(seed)
    n = len(groups)
    if wanted >= n:
        return np.arange(n)
    names, numbers = np.unique(groups, return_inverse=True)
    place = rng.permutation(len(names))[numbers]
    order = np.lexsort((rng.random(n), place))
    steps = np.floor((rng.random() + np.arange(wanted)) * (n / wanted)).astype(np.int64)
    rows: Int64 = np.sort(order[np.minimum(steps, n - 1)])
    return rows
