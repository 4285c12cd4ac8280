"""The graph of nearest neighbours: who is alike whom, no recording being its own witness."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.sparse import coo_array, csr_array

from dinonat.neighbors.exact import Groups
from dinonat.records import Bool, Float32, Int64

Weights = csr_array[np.float32, tuple[int, int]]

K = 15
POWER = 3.0  # of the cosines (Iscen et al. 2019): weak edges count for little


class Search(Protocol):
    """`neighbors.index.search` or `neighbors.exact.search`."""

    def __call__(
        self, bank: Float32, queries: Float32, k: int, *, exclude: Groups | None = None
    ) -> tuple[Float32, Int64]:
        """Return (m, k) cosines and rows of the bank, best first."""
        ...


@dataclass(frozen=True, eq=False)
class Graph:
    """The neighbours of each of n rows, most similar first, equal ones by the smaller row."""

    similarity: Float32  # (n, k) cosines, -inf where there is none
    index: Int64  # (n, k) rows, never the row itself, -1 where there is none

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.index)

    @property
    def k(self) -> int:
        """How many neighbours a row has at most."""
        return int(self.index.shape[1])


def most_of_own(k: int) -> int:
    """Return how many neighbours of its own recording a row has where nobody said: a third, at least one.

    >>> [most_of_own(k) for k in (1, 15, 50)]
    [1, 5, 16]
    """
    return max(1, k // 3)


def build(
    vectors: Float32, k: int = K, *, search: Search, groups: Int64 | None = None, own: int | None = None
) -> Graph:
    """Return the ``k`` most similar other rows of each of ``vectors`` (n, d), unit rows.

    ``groups`` (n,) numbers recordings, -1 is of none. Consecutive frames are nearly one picture: a row
    whose neighbours are all of its own recording learns from nothing else, however many they are. So it
    takes at most ``own`` of them (None: `most_of_own`), and the most similar ones of elsewhere. Rows of no
    recording are free. Where there is only one recording, fewer than ``k`` are found.
    """
    every = np.arange(len(vectors))
    return _nearest(vectors, every, every, k, groups, most_of_own(k) if own is None else own, search)


def extend(
    graph: Graph,
    vectors: Float32,
    *,
    search: Search,
    groups: Int64 | None = None,
    own: int | None = None,
    at: Int64 | None = None,
) -> Graph:
    """Return the graph of ``vectors`` (n, d) from that of some of them: with exact search that of `build`.

    ``at`` (m,), increasing, says where the m rows of ``graph`` lie now; None: they are the first. ``groups``
    (n,) must tell the same rows apart as before, and ``own`` be the same. New rows are compared with all,
    the others with the new ones only: m (n - m) products instead of n n.
    """
    k, own = graph.k, most_of_own(graph.k) if own is None else own
    every = np.arange(len(vectors))
    old = every[: len(graph)] if at is None else at
    new = np.setdiff1d(every, old)
    come = _nearest(vectors, new, old, k, groups, own, search)
    index = np.hstack([np.where(graph.index < 0, -1, old[graph.index]), come.index])
    before = _best(np.hstack([graph.similarity, come.similarity]), index, k, _of_own(index, old, groups), own)
    whole = Graph(np.empty((len(vectors), k), np.float32), np.empty((len(vectors), k), np.int64))
    for rows, part in ((old, before), (new, _nearest(vectors, every, new, k, groups, own, search))):
        whole.similarity[rows], whole.index[rows] = part.similarity, part.index
    return whole


def symmetric(graph: Graph, power: float = POWER) -> Weights:
    """Return the weights W (n, n) float32 of a graph: W_ij = max(cos_ij, 0)^power where i has j or j has i.

    No diagonal, no stored zeros; W = max(W, W^T).
    """
    n = len(graph)
    there = (graph.index >= 0) & (graph.similarity > 0)
    rows, places = np.nonzero(there)
    weights = graph.similarity[rows, places] ** np.float32(power)
    one_way = coo_array((weights, (rows, graph.index[rows, places])), shape=(n, n)).tocsr()
    both: Weights = one_way.maximum(one_way.T.tocsr()).tocsr()
    both.sort_indices()
    return both


def _nearest(
    vectors: Float32, bank: Int64, asked: Int64, k: int, groups: Int64 | None, own: int, search: Search
) -> Graph:
    """Return the neighbours of the rows ``asked`` among the rows ``bank``, both increasing.

    The best k under the limit are the best k of these: the best ``own`` of the own recording, and the best
    k of all others. So two searches without a limit find them.
    """
    exclude = None if groups is None else (groups[bank], groups[asked])
    found = _searched(vectors, bank, asked, k + 1, exclude, search)  # a row of no recording finds itself
    if groups is not None and own:
        mine = _within_recordings(vectors, bank, asked, own + 1, groups, search)
        found = np.hstack([found[0], mine[0]]), np.hstack([found[1], mine[1]])
    itself = found[1] == asked[:, None]
    index = np.where(itself, -1, found[1])
    similarity = np.where(itself, np.float32(-np.inf), found[0])
    return _best(similarity, index, k, _of_own(index, asked, groups), own)


def _searched(
    vectors: Float32, bank: Int64, asked: Int64, k: int, exclude: Groups | None, search: Search
) -> tuple[Float32, Int64]:
    """Search some rows for others; return cosines and numbers of rows of ``vectors``."""
    everything = len(bank) == len(vectors)
    queries = vectors if len(asked) == len(vectors) else vectors[asked]
    similarity, found = search(vectors if everything else vectors[bank], queries, k, exclude=exclude)
    return similarity, found if everything else np.where(found < 0, -1, np.append(bank, -1)[found])


def _within_recordings(
    vectors: Float32, bank: Int64, asked: Int64, k: int, groups: Int64, search: Search
) -> tuple[Float32, Int64]:
    """Search each recording for its own rows."""
    similarity = np.full((len(asked), k), -np.inf, np.float32)
    index = np.full(similarity.shape, -1, np.int64)
    there = _rows_by_group(groups[bank])
    for group, places in _rows_by_group(groups[asked]).items():
        if group in there:
            rows = bank[there[group]]
            similarity[places], index[places] = _searched(vectors, rows, asked[places], k, None, search)
    return similarity, index


def _rows_by_group(groups: Int64) -> dict[int, Int64]:
    """Return where each group stands, increasing; no group is none."""
    order = np.argsort(groups, kind="stable")
    order = order[groups[order] >= 0]
    numbers, first = np.unique(groups[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, first)[1:], strict=True))


def _of_own(index: Int64, rows: Int64, groups: Int64 | None) -> Bool:
    """Mark the neighbours (m, c) of ``rows`` (m,) that are of the row's own recording."""
    if groups is None:
        return np.zeros(index.shape, bool)
    own = groups[rows][:, None]
    marks: Bool = (index >= 0) & (own >= 0) & (groups[index] == own)
    return marks


def _best(similarity: Float32, index: Int64, k: int, mine: Bool, own: int) -> Graph:
    """Return the best ``k`` of the candidates (m, c), at most ``own`` of those marked as ``mine``."""
    order = np.lexsort((index, -similarity), axis=-1)
    index, mine = np.take_along_axis(index, order, 1), np.take_along_axis(mine, order, 1)
    left_out = (index < 0) | (mine & (np.cumsum(mine, axis=1) > own))
    kept = np.argsort(left_out, axis=1, kind="stable")[:, :k]
    none, places = np.take_along_axis(left_out, kept, 1), np.take_along_axis(order, kept, 1)
    best = Graph(np.full((len(index), k), -np.inf, np.float32), np.full((len(index), k), -1, np.int64))
    width = kept.shape[1]
    best.similarity[:, :width] = np.where(none, -np.inf, np.take_along_axis(similarity, places, 1))
    best.index[:, :width] = np.where(none, -1, np.take_along_axis(index, kept, 1))
    return best
