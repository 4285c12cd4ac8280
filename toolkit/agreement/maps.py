"""How alike maps of pictures are: each of n with each of m, so that partners stand beside strangers.

Partners are on the diagonal. Strangers matter as much: maps of any two pictures agree where both favour
the middle, so only what partners have beyond strangers says that both show the same things.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from dinonat.records import Bool, Float32

Float64 = NDArray[np.float64]
Measure = Callable[[Float32, Float32], Float64]

TOP = 0.25  # share of the cells that counts as where a map points
FLAT = 1e-9  # of its largest value: a map that varies by less varies by rounding alone


def pearson(one: Float32, other: Float32) -> Float64:
    """Return the correlation (n, m) in -1 to 1 of each of the maps (n, h, w) with each of (m, h, w).

    A constant map correlates 0 with everything. ValueError where shapes do not fit or a value is not finite.
    """
    first, second = _rows(one, other)
    return np.clip(_standing_out(first) @ _standing_out(second).T, -1, 1)


def spearman(one: Float32, other: Float32) -> Float64:
    """Return the correlation (n, m) of the ranks of the cells; cells that are equal share their mean rank.

    Shapes and errors as of `pearson`.
    """
    first, second = (np.asarray(rankdata(each, axis=1), np.float64) for each in _rows(one, other))
    return np.clip(_standing_out(first) @ _standing_out(second).T, -1, 1)


def top_overlap(one: Float32, other: Float32, share: float = TOP) -> Float64:
    """Return the intersection over union (n, m) in 0 to 1 of the cells where maps are highest.

    Of each map round(share h w) cells count, however many are equally high: of equals those that come
    first, row by row. So the same map gives the same cells each time, and two constant maps overlap wholly,
    strangers as much as partners: the difference of the two shows it, the overlap alone does not.
    Shapes and errors as of `pearson`; ValueError also where the share is of no cell or of more than all.
    """
    first, second = _rows(one, other)
    count = round(share * first.shape[1])
    if not 0 < count <= first.shape[1]:
        raise ValueError(
            f"share={share:g} of {first.shape[1]} cells: expected one cell at least, and at most all"
        )
    shared = _highest(first, count).astype(np.float64) @ _highest(second, count).T
    return np.asarray(shared / (2 * count - shared), np.float64)


MEASURES: dict[str, Measure] = {"pearson": pearson, "spearman": spearman, "overlap": top_overlap}


def _rows(one: Float32, other: Float32) -> tuple[Float64, Float64]:
    if one.ndim != 3 or other.ndim != 3 or one.shape[1:] != other.shape[1:] or not one[:1].size:
        raise ValueError(f"maps {one.shape} and {other.shape}: expected (n, h, w) and (m, h, w)")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("a map holds a value that is not finite, which agrees with nothing")
    first, second = (each.reshape(len(each), -1).astype(np.float64) for each in (one, other))
    return first, second


def _standing_out(rows: Float64) -> Float64:
    """Return rows without their mean and of length 1; zeros for what is constant."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scaled = rows / np.where(
        largest > 0, largest, 1
    )  # whatever the scale, squares neither vanish nor overflow
    free = scaled - scaled.mean(axis=1, keepdims=True)
    flat = np.ptp(scaled, axis=1, keepdims=True) <= FLAT
    lengths = np.linalg.norm(free, axis=1, keepdims=True)
    return np.where(flat, 0.0, free / np.where(flat, 1.0, lengths))


def _highest(rows: Float64, count: int) -> Bool:
    chosen: Bool = np.zeros(rows.shape, np.bool_)
    first = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    np.put_along_axis(chosen, first, True, axis=1)
    return chosen
