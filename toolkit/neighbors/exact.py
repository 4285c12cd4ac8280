"""Exact nearest neighbours in NumPy: the fallback for FAISS and the oracle of its test."""

import numpy as np

from dinonat.records import Bool, Float32, Int64

Groups = tuple[Int64, Int64]  # group of each row of the bank (n,) and of each query (m,)

NEAR_TIE = 1e-5  # a product of unit vectors by blocks may differ by this much from the one we rank by
CELLS = 1 << 24  # similarities (64 MiB) and gathered numbers that are held at once


def search(
    bank: Float32, queries: Float32, k: int, *, exclude: Groups | None = None
) -> tuple[Float32, Int64]:
    """Return the ``k`` rows of ``bank`` most similar to each query: (m, k) cosines, (m, k) rows.

    ``bank`` (n, d) and ``queries`` (m, d) hold unit rows. ``exclude`` gives each row of the bank and
    each query a group number: a query never finds its own group (leave-one-recording-out); -1
    excludes nothing. Best first, equal ones by the smaller row; where fewer than ``k`` are allowed
    the rest is -inf and -1. The same values stand in the same rows whatever the block sizes, so
    ``neighbors.index.search`` gives the same answer.
    """
    if not len(bank) or not len(queries):
        return empty(len(queries), k)
    step = max(1, CELLS // len(bank))
    parts = [
        _block(bank, queries[start : start + step], k, _part(exclude, start, start + step))
        for start in range(0, len(queries), step)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def empty(m: int, k: int) -> tuple[Float32, Int64]:
    """Return the answer of a search that finds nothing."""
    return np.full((m, k), -np.inf, np.float32), np.full((m, k), -1, np.int64)


def excluded(exclude: Groups | None, candidates: Int64) -> Bool:
    """Mark the candidates (m, c) that are no rows (-1) or of their query's own group."""
    nothing: Bool = candidates < 0
    if exclude is None or not len(exclude[0]):
        return nothing
    own = exclude[1][:, None]
    marks: Bool = nothing | ((exclude[0][candidates] == own) & (own >= 0))
    return marks


def ranked(bank: Float32, queries: Float32, candidates: Int64, k: int) -> tuple[Float32, Int64]:
    """Order the candidate rows (m, c) of each query, -1 for none, and return the best ``k``.

    Each cosine is summed by itself, in one order: equal rows get equal bits wherever they stand,
    which a product of matrices does not promise.
    """
    width = candidates.shape[1]
    cosines = np.full(candidates.shape, -np.inf, np.float32)
    step = max(1, CELLS // max(1, width * bank.shape[1]))
    for start in range(0, len(queries), step):
        rows = candidates[start : start + step]
        each = np.einsum("qcd,qd->qc", bank[rows], queries[start : start + step])  # no product of matrices
        cosines[start : start + step] = np.where(rows < 0, -np.inf, each)
    order = np.lexsort((candidates, -cosines), axis=-1)[:, :k]
    found = np.take_along_axis(candidates, order, 1), np.take_along_axis(cosines, order, 1)
    similarity, index = empty(len(queries), k)
    index[:, : order.shape[1]], similarity[:, : order.shape[1]] = found
    index[~np.isfinite(similarity)] = -1
    return similarity, index


def _part(exclude: Groups | None, start: int, stop: int) -> Groups | None:
    return None if exclude is None else (exclude[0], exclude[1][start:stop])


def _block(bank: Float32, queries: Float32, k: int, exclude: Groups | None) -> tuple[Float32, Int64]:
    """Search for a few queries: all that could be among the best k by their product are ranked."""
    cosines = queries @ bank.T  # (m, n)
    everything = np.broadcast_to(np.arange(len(bank)), cosines.shape)
    cosines[excluded(exclude, everything)] = -np.inf
    last = min(k, len(bank)) - 1
    threshold = -np.partition(-cosines, last, axis=1)[:, last] - NEAR_TIE
    near = (cosines >= threshold[:, None]) & np.isfinite(cosines)
    counts = near.sum(axis=1)
    similarity, index = empty(len(queries), k)
    for rows in _alike(counts, k):
        candidates = np.full((len(rows), max(1, int(counts[rows].max()))), -1, np.int64)
        for at, row in enumerate(rows):
            candidates[at, : counts[row]] = np.flatnonzero(near[row])
        similarity[rows], index[rows] = ranked(bank, queries[rows], candidates, k)
    return similarity, index


def _alike(counts: Int64, k: int) -> list[Int64]:
    """Group queries with about k candidates; those with many ties stand alone, for the memory."""
    many = counts > k + 64
    usual: Int64 = np.flatnonzero(~many)
    alone: list[Int64] = [np.array([row]) for row in np.flatnonzero(many)]
    return ([usual] if len(usual) else []) + alone
