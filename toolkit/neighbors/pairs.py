"""Judge pairs on recordings that were held out: how often the partner is the nearest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinonat.records import Bool, Float32, Int64

BLOCK = 1024  # queries at once
TIE = 1e-9  # cosines in float64 that differ by less are equal
NEAREST = (1, 5)
MOST_OVER = 1.25  # times the share that is wanted: one long recording shall not leave too little


def split_recordings(recordings: Sequence[str], share: float = 0.2, seed: int = 0) -> Bool:
    """Mark about ``share`` of the pairs to be held out, by whole recordings: pictures of one look alike.

    Recordings are taken in an order drawn by ``seed``, each that brings the share nearer and no more than
    a quarter beyond it; where all are larger, the smallest. At least one is held out and one is left;
    where there is one only, nothing is held out. A pair of unknown
    recording ("") never is: its neighbours in time may be among those that are learnt from.
    """
    names = np.array(list(recordings), dtype=str)
    known, counts = np.unique(names[names != ""], return_counts=True)
    held: set[str] = set()
    if len(known) > 1:
        taken, wanted = 0, share * len(names)
        for place in np.random.default_rng(seed).permutation(len(known)):
            more = taken + int(counts[place])
            fits = abs(more - wanted) < abs(taken - wanted) and more <= MOST_OVER * wanted
            if fits and len(held) < len(known) - 1:
                held.add(str(known[place]))
                taken = more
        held = held or {str(known[counts.argmin()])}
    marks: Bool = np.isin(names, sorted(held)) & (names != "")
    return marks


def retrieval(colour: Float32, thermal: Float32) -> dict[str, float]:
    """Return how often the partner is among the 1 and 5 most similar of all, both ways.

    Rows of ``colour`` (n, d) and ``thermal`` (n, d) are the vectors of partners; similarity is the
    cosine. R@k is the share of queries whose partner is among the k nearest; what is as near as the
    partner counts as nearer, so ties count against the model, and a vector that is not finite finds
    nothing. ``chance_k`` is what a random order gives. ValueError where rows do not match.
    """
    if colour.shape != thermal.shape or colour.ndim != 2 or not len(colour):
        raise ValueError(f"colour {colour.shape} and thermal {thermal.shape}: expected two equal (n, d)")
    one, other = units(colour), units(thermal)
    found = {"pairs": float(len(one))}
    for way, ranks in (
        ("colour_to_thermal", partner_ranks(one, other)),
        ("thermal_to_colour", partner_ranks(other, one)),
    ):
        found |= {f"{way}_{k}": float(np.mean(ranks < k)) for k in NEAREST}
    return found | {f"chance_{k}": min(1.0, k / len(one)) for k in NEAREST}


def partner_ranks(
    queries: NDArray[np.float64], gallery: NDArray[np.float64], groups: Int64 | None = None
) -> NDArray[np.intp]:
    """Return how many rows of ``gallery`` (n, d) are at least as near to each query as its own row.

    With ``groups`` (n,) the other rows of a query's group do not count: pictures of one recording are
    near-duplicates. -1 is no group and leaves out nothing. ValueError where rows do not match.
    """
    if queries.shape != gallery.shape or (groups is not None and groups.shape != queries.shape[:1]):
        of = "" if groups is None else f" and groups {groups.shape}"
        raise ValueError(
            f"queries {queries.shape}, gallery {gallery.shape}{of}: expected (n, d), (n, d) and (n,)"
        )
    ranks = [np.zeros(0, np.intp)]
    for start in range(0, len(queries), BLOCK):
        near = queries[start : start + BLOCK] @ gallery.T
        places = np.arange(start, start + len(near))
        own = near[np.arange(len(near)), places]
        beaten = ~(near < own[:, None] - TIE)  # what is not a number is never beaten
        if groups is not None:
            mine = groups[places][:, None]
            beaten &= (groups != mine) | (mine < 0)
        beaten[np.arange(len(near)), places] = False  # the partner itself is among them
        ranks.append(beaten.sum(axis=1))
    return np.concatenate(ranks)


def units(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return rows (n, d) of length 1, in float64; zeros stay zeros."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0), np.float64)
