"""How alike the spaces of colour and of thermal vectors are: linear CKA, and the gap between the two."""

import numpy as np
from numpy.typing import NDArray

from dinonat.records import Float32

Float64 = NDArray[np.float64]

ROUNDING = 1e-12  # of the mean squared length of rows: what varies by less varies by rounding alone


def linear_cka(x: Float32, y: Float32, weights: Float64 | None = None) -> Float64:
    """Return |X'Y|^2 / (|X'X| |Y'Y|) in 0 to 1, Frobenius norms, columns centred: (), or (R,).

    Kornblith et al. 2019 (Similarity of Neural Network Representations Revisited), section 3.
    Rows of ``x`` (n, d) and ``y`` (n, e) belong to the same items. ``weights`` (n,) or (n, R) say how often
    each item counts, as if its rows were repeated: one column for each resample of a bootstrap. All
    follows from the Gram matrices of the rows (n, n), so many resamples cost little more than one. A side
    that does not vary gives 0. ValueError where shapes do not match, a value is not finite, or weights are
    negative or all zero.
    """
    share = _shares(x, y, weights)
    one, other = _gram(x), _gram(y)
    both = _together(one, other, share)
    alone = [_together(each, each, share) for each in (one, other)]
    varies = np.ones_like(both, np.bool_)
    for each, own in zip((one, other), alone, strict=True):
        varies &= own > ROUNDING * (np.diagonal(each) @ share) ** 2
    size = np.sqrt(np.where(varies, alone[0] * alone[1], 1))
    found = np.where(varies, np.clip(both / size, 0, 1), 0)
    return np.asarray(found[0] if weights is None or weights.ndim == 1 else found, np.float64)


def modality_gap(x: Float32, y: Float32, weights: Float64 | None = None) -> Float64:
    """Return |mean x - mean y| / mean |x_i - y_i| in 0 to 1, Euclidean: (), or (R,) for weights (n, R).

    1 where all pairs differ by the same vector, so that subtracting each side's mean would close the gap;
    near 0 where they differ in all directions. Identical pairs give 0. Rows of ``x`` and ``y`` (n, d) are
    partners; weights and errors as of `linear_cka`.
    """
    share = _shares(x, y, weights)
    if x.shape != y.shape:
        raise ValueError(f"x {x.shape} and y {y.shape}: expected vectors of one length")
    apart = x.astype(np.float64) - y
    mean = np.linalg.norm(share.T @ apart, axis=1)
    lengths = share.T @ np.linalg.norm(apart, axis=1)
    gap = np.where(lengths > 0, np.minimum(mean / np.where(lengths > 0, lengths, 1), 1), 0)
    return np.asarray(gap[0] if weights is None or weights.ndim == 1 else gap, np.float64)


def _shares(x: Float32, y: Float32, weights: Float64 | None) -> Float64:
    """Return the weights as columns (n, R) that sum to 1."""
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
        raise ValueError(f"x {x.shape} and y {y.shape}: expected (n, d) and (n, e)")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a vector holds a value that is not finite, which has no place in a space")
    columns = (
        np.ones((len(x), 1)) if weights is None else weights.astype(np.float64).reshape(len(weights), -1)
    )
    if len(columns) != len(x) or not (columns >= 0).all() or not (columns.sum(axis=0) > 0).all():
        raise ValueError(
            f"weights {columns.shape} of {len(x)} items: expected one each, none negative, some positive"
        )
    return np.asarray(columns / columns.sum(axis=0), np.float64)


def _gram(rows: Float32) -> Float64:
    """Return the products (n, n) of rows around their mean, of mean length 1; zeros where rows are equal."""
    values = rows.astype(np.float64)
    free = values - values.mean(axis=0)
    squared = float((free**2).sum(axis=1).mean())
    if squared <= ROUNDING**2 * float((values**2).sum(axis=1).mean()):
        return np.zeros((len(rows), len(rows)))
    return np.asarray(free @ free.T / squared, np.float64)


def _together(one: Float64, other: Float64, share: Float64) -> Float64:
    """Return the squared norm (R,) of the weighted covariance of the rows behind two Gram matrices.

    With w of sum 1, sum_i w_i (x_i - x)(y_i - y)' = sum_i w_i x_i y_i' - x y', squared and written out.
    """
    first, second = one @ share, other @ share  # (n, R)
    crossed = (share * ((one * other) @ share)).sum(axis=0)
    means = (share * first).sum(axis=0) * (share * second).sum(axis=0)
    return np.asarray(crossed - 2 * (share * first * second).sum(axis=0) + means, np.float64)
