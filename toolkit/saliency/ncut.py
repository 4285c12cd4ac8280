"""The normalised cut on dense tokens: a handful of eigenvectors, split both ways into candidates.

Shi & Malik 2000, on the affinity of TokenCut (Wang et al. 2022) with a threshold that adapts to the
image. Lanczos with a fixed start on the largest eigenvalues of the normalised affinity finds the same
vectors as a dense solver, ten and more times faster.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.linalg.blas import ssymv
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from dinonat.records import Bool, Float32, Int64
from dinonat.saliency.planes import labelled, measured

DENSE_LIMIT = 56 * 56  # tokens; above, the N x N affinity is not built
WEAK = 1e-5  # affinity of tokens that are not alike: the graph stays in one piece
SAME = 0.8  # mask IoU from which two candidates are one


@dataclass(frozen=True, eq=False)
class Cut:
    """One candidate on the token grid."""

    mask: Bool  # (h, w)
    vote: float  # share of the settings in which some eigenvector gave it, in (0, 1]


def ncut_candidates(
    tokens: Float32,
    *,
    percentiles: Sequence[float] = (50.0, 60.0, 75.0),
    n_vectors: int = 5,
    min_tokens: int = 3,
    max_share: float = 0.8,
) -> list[Cut]:
    """Return the candidates of ``tokens`` (h, w, c), most votes first, ties by the first found.

    For every affinity percentile the eigenvectors 2 .. ``n_vectors`` + 1 are split at Otsu's threshold,
    both sides, into connected components of ``min_tokens`` tokens or more that cover less than
    ``max_share`` of the map; those with a mask IoU above 0.8 are grouped and counted. A map of fewer than
    nine tokens, or one where all tokens are alike, gives [].
    """
    settings = _vectors(tokens, percentiles, n_vectors)
    vectors = np.concatenate(settings)  # (n, h, w)
    numbers = np.repeat(np.arange(len(settings)), [len(some) for some in settings])
    owner, masks = _components(vectors, min_tokens, max_share)
    return _grouped(masks, numbers[owner], len(settings))


def eigenvectors(tokens: Float32, *, percentile: float = 60.0, count: int = 5) -> Float32:
    """Return eigenvectors 2 .. count + 1 of the cut, (n, h, w) float32, smallest cut first.

    Each has unit length and its largest absolute value is positive, so the same tokens give the same
    bytes. Above 56x56 tokens the affinity is (1 + cosine) / 2 in low-rank form, which needs no N x N
    matrix and no percentile.
    """
    return _vectors(tokens, [percentile], count)[0]


def _vectors(tokens: Float32, percentiles: Sequence[float], count: int) -> list[Float32]:
    """Return the eigenvectors (n, h, w) for every percentile; the low-rank form has none and gives one."""
    height, width, channels = tokens.shape
    rows = tokens.reshape(-1, channels).astype(np.float32)  # (N, c)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    n = len(rows)
    wanted = min(count + 1, n - 2)
    if n < 9 or wanted < 2 or np.ptp(rows, axis=0).max() < 1e-6:
        return [np.zeros((0, height, width), dtype=np.float32)]
    graphs = _dense(rows, percentiles) if n <= DENSE_LIMIT else iter([_low_rank(rows)])
    return [_solved(graph, scale, wanted).reshape(-1, height, width) for graph, scale in graphs]


def _solved(operator: LinearOperator, scale: Float32, wanted: int) -> Float32:
    """Return the leading eigenvectors (wanted - 1, N) of a normalised affinity without the trivial one."""
    start = np.random.default_rng(0).standard_normal(len(scale)).astype(np.float32)
    try:
        values, vectors = eigsh(  # rng: restarts are random without it
            operator, k=wanted, which="LA", tol=1e-2, v0=start, maxiter=300, rng=np.random.default_rng(0)
        )
    except ArpackError:  # no convergence: an image without a clear cut
        return np.zeros((0, len(scale)), dtype=np.float32)
    order = np.argsort(-values, kind="stable")[1:]  # the first is the trivial one
    kept = (vectors[:, order] * scale[:, None]).T  # (n_vectors, N)
    kept /= np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-12)
    peak = np.take_along_axis(kept, np.abs(kept).argmax(axis=1)[:, None], axis=1)
    out: Float32 = (kept * np.where(peak < 0, -1, 1)).astype(np.float32)
    return out


def _dense(rows: Float32, percentiles: Sequence[float]) -> Iterator[tuple[LinearOperator, Float32]]:
    """Yield the normalised affinity and deg^-1/2 (N,) of cosines binarised at every percentile.

    Each is to be used before the next is asked for.
    """
    cosine = rows @ rows.T
    alike = np.empty_like(cosine)  # affinity = WEAK + (1 - WEAK) alike, never built; one for all percentiles
    ones = np.ones(len(rows), dtype=np.float32)
    for threshold in np.percentile(cosine[::7, ::4], percentiles):  # a sample of the tokens is enough
        alike[:] = cosine > float(threshold)  # NumPy's own float64 would turn all cosines into such
        degree = len(rows) * WEAK + (1 - WEAK) * ssymv(1.0, alike.T, ones)
        scale = (degree**-0.5).astype(np.float32)
        yield LinearOperator(alike.shape, matvec=partial(_product, alike, scale), dtype=np.float32), scale


def _product(alike: Float32, scale: Float32, vector: Float32) -> Float32:
    """Multiply the normalised affinity by a vector (N,); BLAS reads one half of what is symmetric."""
    scaled = scale * vector.ravel()
    out: Float32 = scale * (ssymv(1 - WEAK, alike.T, scaled) + WEAK * scaled.sum()).astype(np.float32)
    return out


def _low_rank(rows: Float32) -> tuple[LinearOperator, Float32]:
    """Return the same for the affinity (1 + cosine) / 2, as a product that costs O(N c)."""
    n = len(rows)
    scale = ((n + rows @ rows.sum(axis=0)) / 2).astype(np.float32) ** np.float32(-0.5)

    def product(vector: Float32) -> Float32:
        scaled = scale * vector.ravel()
        out: Float32 = scale * (scaled.sum() + rows @ (rows.T @ scaled)) / 2
        return out

    return LinearOperator((n, n), matvec=product, dtype=np.float32), scale


def _components(vectors: Float32, min_tokens: int, max_share: float) -> tuple[Int64, Bool]:
    """Return the connected parts of both sides of Otsu's split of every vector (n, h, w).

    For each part of fitting size the number of its vector (m,) and its mask (m, h, w).
    """
    uneven = [number for number, vector in enumerate(vectors) if np.ptp(vector) >= 1e-9]
    if not uneven:
        return np.zeros(0, dtype=np.int64), np.zeros((0, *vectors.shape[1:]), dtype=bool)
    above = np.array([vectors[number] > otsu(vectors[number]) for number in uneven])
    parts, count = labelled([side for split in above for side in (split, ~split)])
    plane, area, _ = measured(parts, count)
    kept = np.flatnonzero((area >= min_tokens) & (area < max_share * above[0].size))
    return np.array(uneven)[plane[kept] // 2], parts[plane[kept], :-1, :-1] == 1 + kept[:, None, None]


def otsu(values: Float32) -> float:
    """Return the largest value of the lower class of Otsu's split, over all splits of the sorted values.

    >>> otsu(np.float32([0, 1, 9, 10]))
    1.0
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    below = np.arange(1, len(ordered))
    lower_sum = ordered.cumsum()[:-1]
    between = (ordered.mean() * below - lower_sum) ** 2 / (below * (len(ordered) - below))
    between[ordered[1:] == ordered[:-1]] = -1  # equal values are never parted
    return float(ordered[int(between.argmax())])


def _grouped(masks: Bool, setting: Int64, settings: int) -> list[Cut]:
    """Group masks (n, h, w) by IoU with the first of each group; count in how many settings it occurs."""
    flat = masks.reshape(len(masks), np.prod(masks.shape[1:], dtype=int)).astype(np.float32)  # (n, N)
    shared = flat @ flat.T
    sizes = flat.sum(axis=1)
    alike = shared / (sizes[:, None] + sizes[None, :] - shared) > SAME
    free = np.ones(len(masks), dtype=bool)
    cuts = []
    for first in range(len(masks)):
        if free[first]:
            group = alike[first] & free
            free &= ~group
            cuts.append(Cut(masks[first], len(set(setting[group].tolist())) / settings))
    return sorted(cuts, key=lambda cut: -cut.vote)
