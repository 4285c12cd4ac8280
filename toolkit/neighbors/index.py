"""Nearest neighbours by FAISS, exact up to a million rows; the only file that imports it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

from dinonat.neighbors import exact
from dinonat.neighbors.exact import NEAR_TIE, Groups
from dinonat.neighbors.ivf import EXACT_UP_TO, ROUNDS, SEED, Plan, pick
from dinonat.records import Bool, Float32, Int64

# Candidates beyond k: a product by blocks may order near ties otherwise than we rank them. Of few neighbours
# fewer: with 16 beyond the 3 of each class FAISS's own part of a vote takes an eighth longer.
SPARE = 16
WIDEST = 2048  # candidates a query may ask FAISS for; larger groups are taken out of the bank instead
BATCH = 1024  # queries at once
# FAISS multiplies matrices only for many queries and goes one by one for few, at ten times the cost each.
# Many were 20 queries in earlier versions; in 1.15 they are 128,000 numbers: not yet 256 queries of 384.
MANY = 4096
faiss.cvar.distance_compute_blas_threshold = min(MANY, faiss.cvar.distance_compute_blas_threshold)

UNTYPED: Any = faiss  # its stubs lack what its Python layer adds to constructors

Found = tuple[Float32, Int64]  # (m, k) cosines, (m, k) rows of the bank


def search(
    bank: Float32,
    queries: Float32,
    k: int,
    *,
    exclude: Groups | None = None,
    exact_up_to: int = EXACT_UP_TO,
) -> Found:
    """Return the ``k`` rows of ``bank`` most similar to each query: (m, k) cosines, (m, k) rows.

    Same arguments and same answer as ``neighbors.exact.search``, from ``IndexFlatIP``. A bank of more than
    ``exact_up_to`` rows is searched through an inverted file instead, trained on a fixed sample in one
    thread: it may miss a neighbour, but cosines and order of those it finds are exact, and the same rows
    give the same answer. `ivf.described` says which way is gone.
    """
    if not len(bank) or not len(queries):
        return exact.empty(len(queries), k)
    plan = pick(len(bank), exact_up_to=exact_up_to)
    if plan is None:
        return _by_groups(_Flat(bank), queries, k, exclude)
    return _by_groups(_Lists(bank, plan), queries, k, exclude)


def plain(bank: Float32) -> Callable[[Float32, int], Found]:
    """Return FAISS's own exact search of ``bank`` (n, d), which `search` is measured against."""
    index = faiss.IndexFlatIP(bank.shape[1])
    index.add(np.ascontiguousarray(bank, dtype=np.float32))

    def find(queries: Float32, k: int) -> Found:
        cosines, rows = index.search(queries, k)
        return cosines, rows

    return find


class _Flat:
    """Every query is compared with every row."""

    def __init__(self, bank: Float32) -> None:
        self.bank = np.ascontiguousarray(bank, dtype=np.float32)
        self.index = faiss.IndexFlatIP(bank.shape[1])
        self.index.add(self.bank)

    def search(self, queries: Float32, k: int, wide: int, exclude: Groups | None) -> Found:
        """Rank the best of ``wide`` candidates; where they cut through a tie, of more."""
        similarity, found = exact.empty(len(queries), k)
        for start in range(0, len(queries), BATCH):
            at = slice(start, start + BATCH)
            some = np.ascontiguousarray(queries[at], dtype=np.float32)
            own = None if exclude is None else (exclude[0], exclude[1][at])
            cosines, rows = self.index.search(some, wide)
            similarity[at], found[at] = _ranked(self.bank, some, k, cosines, rows, own)
            tied = _cut_through_a_tie(similarity[at], cosines) & (wide < len(self.bank))
            if tied.any():
                again = None if own is None else (own[0], own[1][tied])
                similarity[at][tied], found[at][tied] = self._wider(some[tied], k, 8 * wide, again)
        return similarity, found

    def _wider(self, queries: Float32, k: int, wide: int, exclude: Groups | None) -> Found:
        if wide > WIDEST:
            return exact.search(self.bank, queries, k, exclude=exclude)
        return self.search(queries, k, min(wide, len(self.bank)), exclude)

    def without(self, left_out: Bool, queries: Float32, k: int) -> Found:
        """Search the rows that are not ``left_out`` (n,)."""
        allowed = np.flatnonzero(~left_out)
        if not len(allowed):
            return exact.empty(len(queries), k)
        inner = _Flat(self.bank[allowed])
        similarity, inside = inner.search(queries, k, min(len(allowed), _with_spare(k)), None)
        return similarity, np.where(inside < 0, -1, allowed[inside])


class _Lists:
    """Every query is compared with the rows of the lists nearest to it, in 8 bits a value."""

    def __init__(self, bank: Float32, plan: Plan) -> None:
        self.bank, self.plan = np.ascontiguousarray(bank, dtype=np.float32), plan
        self.index: Any = UNTYPED.index_factory(bank.shape[1], plan.factory, faiss.METRIC_INNER_PRODUCT)
        self.index.cp.niter, self.index.cp.seed = ROUNDS, SEED
        with _one_thread():  # with several the centres depend on who is first
            self.index.train(self.bank[plan.sample(len(bank))])
        self.index.add(self.bank)

    def search(self, queries: Float32, k: int, wide: int, exclude: Groups | None) -> Found:
        """Rank ``wide`` candidates."""
        return self._search(queries, k, wide, exclude, UNTYPED.SearchParametersIVF(nprobe=self.plan.probed))

    def without(self, left_out: Bool, queries: Float32, k: int) -> Found:
        """Search the rows that are not ``left_out`` (n,)."""
        allowed = UNTYPED.IDSelectorBitmap(np.packbits(~left_out, bitorder="little"))
        how = UNTYPED.SearchParametersIVF(nprobe=self.plan.probed, sel=allowed)
        return self._search(queries, k, min(len(self.bank), _with_spare(k)), None, how)

    def _search(self, queries: Float32, k: int, wide: int, exclude: Groups | None, how: Any) -> Found:
        similarity, found = exact.empty(len(queries), k)
        for start in range(0, len(queries), BATCH):
            at = slice(start, start + BATCH)
            some = np.ascontiguousarray(queries[at], dtype=np.float32)
            own = None if exclude is None else (exclude[0], exclude[1][at])
            _, rows = self.index.search(some, wide, params=how)
            skipped = exact.excluded(own, rows)
            similarity[at], found[at] = exact.ranked(self.bank, some, np.where(skipped, -1, rows), k)
        return similarity, found


def _by_groups(inside: _Flat | _Lists, queries: Float32, k: int, exclude: Groups | None) -> Found:
    """Search for all queries at once but those of large groups: for each of these without its group.

    What few rows are to be skipped is asked for beyond ``k``, and dropped.
    """
    n = len(inside.bank)
    if exclude is None:
        return inside.search(queries, k, min(n, _with_spare(k)), None)
    numbers, counts = np.unique(exclude[0][exclude[0] >= 0], return_counts=True)
    asked = np.isin(numbers, exclude[1])
    large = asked & (_with_spare(k) + counts > WIDEST)
    most = int(counts[asked & ~large].max(initial=0))
    rest = np.flatnonzero(~np.isin(exclude[1], numbers[large]))
    similarity, found = exact.empty(len(queries), k)
    if len(rest):
        own = exclude[0], exclude[1][rest]
        similarity[rest], found[rest] = inside.search(queries[rest], k, min(n, _with_spare(k) + most), own)
    for group in numbers[large]:
        rows = np.flatnonzero(exclude[1] == group)
        similarity[rows], found[rows] = inside.without(exclude[0] == group, queries[rows], k)
    return similarity, found


def _with_spare(k: int) -> int:
    """Return how many candidates to ask for where ``k`` are wanted."""
    return k + min(SPARE, k + 2)


def _ranked(
    bank: Float32, queries: Float32, k: int, cosines: Float32, rows: Int64, exclude: Groups | None
) -> Found:
    """Rank those candidates ``rows`` (m, c), best first by ``cosines``, that may be among the best ``k``.

    Only what lies within a near tie of the k-th is looked at again: mostly k rows, not all c.
    """
    skipped = exact.excluded(exclude, rows)
    if skipped.any():
        order = np.argsort(skipped, axis=1, kind="stable")
        rows = np.take_along_axis(np.where(skipped, -1, rows), order, 1)
        cosines = np.take_along_axis(np.where(skipped, -np.inf, cosines), order, 1)
    last = cosines[:, min(k, cosines.shape[1]) - 1]
    counts = ((cosines >= last[:, None] - 2 * NEAR_TIE) & (rows >= 0)).sum(axis=1)
    similarity, found = exact.empty(len(queries), k)
    for alike in (np.flatnonzero(counts <= k + 2), np.flatnonzero(counts > k + 2)):
        if len(alike):
            width = max(1, int(counts[alike].max()))
            similarity[alike], found[alike] = exact.ranked(bank, queries[alike], rows[alike, :width], k)
    return similarity, found


def _cut_through_a_tie(similarity: Float32, cosines: Float32) -> Bool:
    """Mark the queries whose worst candidate is as good as their k-th: there may be more such rows."""
    tied: Bool = cosines[:, -1] >= similarity[:, -1] - 2 * NEAR_TIE
    return tied


@contextmanager
def _one_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
