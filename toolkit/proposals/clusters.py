"""Groups of alike items without labels: k-means on unit vectors, the same groups every time."""

from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dinonat.neighbors.parts import fit_axes
from dinonat.records import Float32, Int64

FITTED = 20_000  # items that place the centres; the others join the nearest
MOST = 50  # clusters, where none were asked for: more than a person looks through


def suggested_clusters(n: int) -> int:
    """Return how many clusters to make of ``n`` items when nobody said: sqrt(n / 2), from 1 to 50.

    More than there are classes on purpose: joining two groups is easier than splitting one.

    >>> [suggested_clusters(n) for n in (1, 10, 800, 100_000)]
    [1, 2, 20, 50]
    """
    return int(np.clip(round((n / 2) ** 0.5), 1, MOST))


def cluster(vectors: Float32, k: int | None = None, *, seed: int = 0) -> Int64:
    """Return the cluster (n,) of each of ``vectors`` (n, D), unit rows; cluster 0 is the largest.

    k-means on unit vectors (so by cosine), reduced to 512 principal axes where there are many; at
    most ``k`` clusters (None: `suggested_clusters`), fewer where fewer different vectors exist. Equal
    sizes are numbered by their first item. One thread: with several the sums depend on who is first.
    """
    n = len(vectors)
    k = min(k or suggested_clusters(n), n)
    if n == 0 or k <= 1:
        return np.zeros(n, np.int64)
    axes = fit_axes(vectors)
    rows = vectors if axes is None else axes.reduce(vectors)
    sample = rows[:: -(-n // FITTED)]
    k = min(k, len(np.unique(sample, axis=0)))
    with threadpool_limits(1, user_api="openmp"):
        fitted: Any = KMeans(k, n_init=3 if n <= 2000 else 1, random_state=seed).fit(sample)
        found: Int64 = fitted.predict(rows).astype(np.int64)
    return by_size(found)


def by_size(clusters: Int64) -> Int64:
    """Return clusters (n,) numbered from 0: the largest first, equal ones by their first item.

    >>> by_size(np.int64([7, 3, 3, 9, 9]))
    array([2, 0, 0, 1, 1])
    """
    _, first, inverse, counts = np.unique(
        clusters, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -counts))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    numbered: Int64 = rank[inverse]
    return numbered
