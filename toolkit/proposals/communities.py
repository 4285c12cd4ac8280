"""Groups of alike items from the graph of neighbours (Leiden), and who stands for a group."""

import ctypes
import sys
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from dinonat.neighbors.graph import Weights
from dinonat.proposals.clusters import by_size, cluster
from dinonat.records import Float32, Int64

# On thermal_modules (1,796 crops, 12 classes) 1 makes 10 communities with an adjusted mutual information
# with the classes of 0.20, 4 makes 33 with 0.235, 8 makes 65 with 0.237: joining is easier than splitting.
RESOLUTION = 4.0
LARGEST = 1_000_000  # items; Leiden takes hours above, k-means minutes
TRIES = 10  # resolutions that are tried to come near a number of communities


class Communities(NamedTuple):
    """The cluster of each item, and how it was found, in a sentence."""

    clusters: Int64  # (n,), 0 is the largest
    sentence: str


def communities(
    graph: Weights,
    vectors: Float32,
    *,
    clusters: int | None = None,
    resolution: float = RESOLUTION,
    seed: int = 0,
    largest: int = LARGEST,
) -> Communities:
    """Return the communities of ``graph`` (n, n), symmetric as `neighbors.graph.symmetric` makes it.

    Leiden (Traag, Waltman and van Eck 2019) maximises modularity, and finds how many there are: the more,
    the higher the ``resolution``. Where ``clusters`` are asked for, the resolution that comes nearest is
    taken of at most ten. Items without an edge are one cluster together. The same graph and seed give the
    same clusters. Above ``largest`` items, and where scikit-network is not installed, `clusters.cluster`
    groups the ``vectors`` (n, D) instead, and the sentence says so.
    """
    n = graph.shape[0]
    why = _unfit(n, largest)
    if why:
        found = cluster(vectors, clusters, seed=seed)
        return Communities(found, f"{_count(found)} clusters by k-means: {why}.")
    if clusters is not None:
        resolution = _resolution_for(graph, clusters, seed)
    found = _leiden(graph, resolution, seed)
    return Communities(found, f"{_count(found)} clusters by Leiden at resolution {resolution:.3g}.")


def _unfit(n: int, largest: int) -> str:
    """Say why Leiden cannot serve, or nothing."""
    if n > largest:
        return f"for more than {largest:,} items Leiden takes too long"
    try:
        import sknetwork.clustering  # noqa: F401
    except ImportError:
        return "scikit-network is not installed, which Leiden needs"
    return ""


def _count(clusters: Int64) -> int:
    return int(clusters.max(initial=-1)) + 1


def _leiden(graph: Weights, resolution: float, seed: int) -> Int64:
    from sknetwork.clustering import Leiden  # a second, which only clusters pay

    found = np.full(graph.shape[0], -1, np.int64)
    linked = np.flatnonzero(np.diff(graph.indptr))
    if len(linked):
        method: Any = Leiden(resolution=resolution, random_state=seed)
        _seed_of_c(seed)
        inner: Any = csr_matrix(graph[linked][:, linked].astype(np.float64))
        found[linked] = method.fit_predict(inner)
    return by_size(found)


def _seed_of_c(seed: int) -> None:
    """Begin the random numbers of C anew: scikit-network 0.33 refines by them, whatever its random_state."""
    c_library: Any = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    c_library.srand(seed + 1)  # 0 and 1 are one sequence


def _resolution_for(graph: Weights, wanted: int, seed: int) -> float:
    """Return the resolution whose number of communities is nearest to ``wanted``: halving on a log scale."""
    low, high = np.log(1e-3), np.log(1e3)
    tried: list[tuple[int, float]] = []
    for _ in range(TRIES):
        middle = (low + high) / 2
        count = _count(_leiden(graph, float(np.exp(middle)), seed))
        tried.append((abs(count - wanted), float(np.exp(middle))))
        if count == wanted:
            break
        low, high = (middle, high) if count < wanted else (low, middle)
    return min(tried)[1]


class Members(NamedTuple):
    """Who stands for a cluster."""

    medoid: int  # row with the largest mean cosine to all of the cluster
    random: Int64  # other rows, drawn: what a person looks at to judge how pure it is
    size: int


def members(clusters: Int64, vectors: Float32, *, n: int = 8, seed: int = 0) -> list[Members]:
    """Return the medoid of each cluster and up to ``n`` other members drawn by lot, cluster 0 first.

    ``vectors`` (m, D), unit rows, of the items with ``clusters`` (m,). The medoid is typical; the drawn ones
    are not chosen for anything, so a cluster is as pure as they are. Of equally typical rows the first.
    """
    found = []
    for number in range(_count(clusters)):
        rows = np.flatnonzero(clusters == number)
        own = vectors[rows]
        medoid = rows[np.argmax((own * own.mean(axis=0)).sum(axis=1))]
        others = rows[rows != medoid]
        drawn = np.random.default_rng((seed, number)).permutation(len(others))[:n]
        found.append(Members(int(medoid), others[np.sort(drawn)], len(rows)))
    return found
