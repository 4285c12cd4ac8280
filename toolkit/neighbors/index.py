"""Exact nearest neighbours by FAISS; the only file that imports it."""

import faiss
import numpy as np

from dinonat.neighbors import exact
from dinonat.neighbors.exact import NEAR_TIE, Groups
from dinonat.records import Bool, Float32, Int64

SPARE = 16  # candidates beyond k: a product by blocks may order near ties otherwise than we rank them
WIDEST = 2048  # candidates a query may ask FAISS for; larger groups are taken out of the bank instead
BATCH = 256  # queries at once: 8 times cheaper than one by one


def search(
    bank: Float32, queries: Float32, k: int, *, exclude: Groups | None = None
) -> tuple[Float32, Int64]:
    """Return the ``k`` rows of ``bank`` most similar to each query: (m, k) cosines, (m, k) rows.

    Same arguments and same answer as ``neighbors.exact.search``, from ``IndexFlatIP``.
    """
    if not len(bank) or not len(queries):
        return exact.empty(len(queries), k)
    most = _largest_group(exclude)
    if exclude is not None and k + SPARE + most > WIDEST:
        return _by_group(bank, queries, k, exclude)
    return _search(bank, queries, k, min(len(bank), k + SPARE + most), exclude)


def _largest_group(exclude: Groups | None) -> int:
    """Count the rows of the bank that one query may have to skip."""
    if exclude is None:
        return 0
    shared = exclude[0][(exclude[0] >= 0) & np.isin(exclude[0], exclude[1])]
    return int(np.unique(shared, return_counts=True)[1].max(initial=0))


def _search(
    bank: Float32, queries: Float32, k: int, wide: int, exclude: Groups | None
) -> tuple[Float32, Int64]:
    """Ask for ``wide`` candidates, drop the excluded, and rank the rest."""
    index = faiss.IndexFlatIP(bank.shape[1])
    index.add(np.ascontiguousarray(bank, dtype=np.float32))
    similarity, found = exact.empty(len(queries), k)
    for start in range(0, len(queries), BATCH):
        rows = slice(start, start + BATCH)
        some = np.ascontiguousarray(queries[rows], dtype=np.float32)
        own = None if exclude is None else (exclude[0], exclude[1][rows])
        cosines, candidates = index.search(some, wide)
        candidates[exact.excluded(own, candidates)] = -1
        similarity[rows], found[rows] = exact.ranked(bank, some, candidates, k)
        if wide < len(bank):
            tied = _cut_through_a_tie(similarity[rows], cosines)
            again = None if own is None else (own[0], own[1][tied])
            similarity[rows][tied], found[rows][tied] = exact.search(bank, some[tied], k, exclude=again)
    return similarity, found


def _cut_through_a_tie(similarity: Float32, cosines: Float32) -> Bool:
    """Mark the queries whose worst candidate is as good as their k-th: there may be more such rows."""
    return cosines[:, -1] >= similarity[:, -1] - 2 * NEAR_TIE


def _by_group(bank: Float32, queries: Float32, k: int, exclude: Groups) -> tuple[Float32, Int64]:
    """Search for each group of queries in the bank without that group."""
    similarity, found = exact.empty(len(queries), k)
    for group in np.unique(exclude[1]):
        rows = np.flatnonzero(exclude[1] == group)
        allowed = np.flatnonzero((exclude[0] != group) | (group < 0))
        if len(allowed):
            wide = min(len(allowed), k + SPARE)
            similarity[rows], inside = _search(bank[allowed], queries[rows], k, wide, None)
            found[rows] = np.where(inside < 0, -1, allowed[inside])
    return similarity, found
