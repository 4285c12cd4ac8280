"""Labels of the nearest labelled items, weighted by likeness: DINO's vote and the class-balanced one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dinonat.records import Float32, Int64

TEMPERATURE = 0.07  # DINO's
TEMPERATURES = (TEMPERATURE, 0.03, 0.15)  # of which labels choose one; of equals the first
LEAST = 3  # neighbours of a class that vote, where the class has as many


class Search(Protocol):
    """`neighbors.index.search` or `neighbors.exact.search`."""

    def __call__(
        self, bank: Float32, queries: Float32, k: int, *, exclude: tuple[Int64, Int64] | None = None
    ) -> tuple[Float32, Int64]:
        """Return (m, k) cosines and rows of the bank, best first."""
        ...


def plain_vote(
    similarity: Float32,  # (m, k) cosine to each neighbour, -inf where there is none
    classes: Int64,  # (m, k) class of each neighbour, -1 where there is none
    *,
    n_classes: int,
    temperature: float = 0.07,
) -> Float32:
    """Return each class's share of the vote (m, n_classes); rows sum to 1, or are 0 without a neighbour.

    Weights are exp(cosine / temperature), as in the k-NN evaluation of DINO (Caron et al. 2021,
    appendix; eval_knn.py). Take the winner by ``argmax``: equal shares go to the smaller class.

    >>> plain_vote(np.float32([[0.9, 0.8]]), np.int64([[1, -1]]), n_classes=2)
    array([[0., 1.]], dtype=float32)
    """
    weights = _weights(similarity, temperature)
    shares = np.stack([(weights * (classes == c)).sum(axis=1) for c in range(n_classes)], axis=1)
    return _as_shares(shares)


def balanced_vote(similarity: Float32, *, temperature: float = 0.07) -> Float32:
    """Return each class's share (m, C) from its own nearest items: (m, C, v) cosines, -inf where none.

    A class scores the mean of exp(cosine / temperature) over its v nearest labelled items,
    so that a class with few labels is not outnumbered.

    >>> balanced_vote(np.float32([[[0.5, 0.5], [0.5, -np.inf]]]))
    array([[0.5, 0.5]], dtype=float32)
    """
    m, n_classes, voters = similarity.shape
    weights = _weights(similarity.reshape(m, -1), temperature).reshape(m, n_classes, voters)
    counts = np.isfinite(similarity).sum(axis=2)
    return _as_shares(weights.sum(axis=2) / np.maximum(counts, 1))


def _weights(similarity: Float32, temperature: float) -> Float32:
    """Return exp(cosine / T) of (m, n), the largest of each row taken off before; 0 for -inf."""
    top = similarity.max(axis=1, keepdims=True, initial=-np.inf)
    weights: Float32 = np.exp((similarity - np.where(np.isfinite(top), top, 0)) / np.float32(temperature))
    return weights


def _as_shares(scores: Float32) -> Float32:
    total = scores.sum(axis=1, keepdims=True)
    shares: Float32 = (scores / np.where(total > 0, total, 1)).astype(np.float32)
    return shares


def voters_per_class(counts: Int64, k: int) -> Int64:
    """Return how many items of each class vote, m_c = min(max(3, k // classes), n_c).

    >>> voters_per_class(np.int64([1, 40, 7]), 20)
    array([1, 6, 6])
    """
    voters: Int64 = np.minimum(max(LEAST, k // max(1, len(counts))), counts)
    return voters


@dataclass(frozen=True, eq=False)
class Near:
    """The nearest labelled items of each class, for each query."""

    similarity: Float32  # (m, C, v) cosines, best first, -inf where a class has fewer
    index: Int64  # (m, C, v) rows of the bank, -1 where there is none

    def likeness(self, compared: Int64) -> Float32:
        """Return the mean cosine (m, C) to the first ``compared`` (C,) voters; -1 for a class without one."""
        places = np.arange(self.similarity.shape[2])
        there = np.isfinite(self.similarity) & (places < compared[:, None])
        total = np.where(there, self.similarity, 0).sum(axis=2)
        means: Float32 = np.where(there.any(axis=2), total / np.maximum(there.sum(axis=2), 1), -1)
        return means.astype(np.float32)

    def nearest(self, k: int) -> tuple[Float32, Int64]:
        """Return the best ``k`` voters (m, k) of all classes together, nearest first."""
        m = len(self.index)
        flat, rows = self.similarity.reshape(m, -1), self.index.reshape(m, -1)
        order = np.lexsort((rows, -flat), axis=-1)[:, :k]
        return np.take_along_axis(flat, order, 1), np.take_along_axis(rows, order, 1)

    def of_class(self, classes: Int64) -> tuple[Float32, Int64]:
        """Return the voters (m, v) of one class for each query, ``classes`` (m,), nearest first."""
        rows = np.arange(len(classes))
        return self.similarity[rows, classes], self.index[rows, classes]


def nearest_per_class(
    bank: Float32,
    classes: Int64,
    queries: Float32,
    *,
    n_classes: int,
    k: int,
    search: Search,
    exclude: tuple[Int64, Int64] | None = None,
) -> Near:
    """Find the voters of each class for each query.

    ``bank`` (n, D) are unit vectors of labelled items with ``classes`` (n,) in 0..n_classes-1,
    ``queries`` (m, D); ``exclude`` as for the search. Every item of the bank votes for its own class.
    """
    voters = voters_per_class(np.bincount(classes, minlength=n_classes), k)
    width = max(1, int(voters.max(initial=0)))
    similarity = np.full((len(queries), n_classes, width), -np.inf, np.float32)
    index = np.full(similarity.shape, -1, np.int64)
    for c in range(n_classes):
        own = np.flatnonzero(classes == c)
        if len(own):
            groups = None if exclude is None else (exclude[0][own], exclude[1])
            cosines, found = search(bank[own], queries, int(voters[c]), exclude=groups)
            similarity[:, c, : voters[c]] = cosines
            index[:, c, : voters[c]] = np.where(found < 0, -1, own[found])
    return Near(similarity, index)


def knn(
    bank: Float32,
    classes: Int64,
    queries: Float32,
    *,
    n_classes: int,
    k: int,
    search: Search,
    exclude: tuple[Int64, Int64] | None = None,
    temperature: float = 0.07,
) -> Callable[[int], Float32]:
    """Search once for the ``k`` nearest; return the plain vote of any ``k' <= k`` as (m, n_classes)."""
    cosines, found = search(bank, queries, k, exclude=exclude)
    neighbours = np.where(found < 0, -1, classes[found] if len(classes) else -1)

    def vote(fewer: int) -> Float32:
        return plain_vote(
            cosines[:, :fewer], neighbours[:, :fewer], n_classes=n_classes, temperature=temperature
        )

    return vote
