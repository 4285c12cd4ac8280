"""Labels that spread along a graph of neighbours: class-normalised diffusion, by conjugate gradients."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array

from dinonat.proposals.leave_out import folds
from dinonat.records import Float32, Int64

Float64 = NDArray[np.float64]

ALPHA = 0.99  # share of a node that comes from its neighbours
ITERATIONS = 60  # of conjugate gradients, at most; at alpha 0.99 the residual falls by 0.87 in each
TOLERANCE = 1e-4  # of the residual, beside its column of the labels
FOLDS = 5  # parts of the labels that are taken away in turn
COLUMNS = 64  # classes that are solved at once: bounds the memory at 2 kB a node


@dataclass(frozen=True, eq=False)
class Spread:
    """What the labels of a graph of n nodes say of each node."""

    shares: Float32  # (n, C); rows sum to 1, or are 0 where no label can be reached
    potential: Float32  # (n, C) what a node passes on, before the row is made to sum to 1

    def inductive(self, similarity: Float32, index: Int64, *, power: float = 3.0) -> Float32:
        """Return the shares (m, C) of items outside the graph from their neighbours in it.

        ``similarity`` (m, k) cosines and ``index`` (m, k) nodes, -1 where there is none. The item takes
        from each neighbour max(cosine, 0)^power of its potential, which is what the equation says of a
        node without label: for a node of the graph and its own edges the answer is the same.
        """
        weights = np.where(index >= 0, np.maximum(similarity, 0) ** power, 0).astype(np.float64)
        taken = np.zeros((len(index), self.potential.shape[1]))
        for place in range(index.shape[1]):  # one neighbour after another: no (m, k, C) in memory
            taken += weights[:, place, None] * self.potential[index[:, place]]
        return as_shares(taken)


def diffuse(
    graph: csr_array,
    classes: Int64,
    n_classes: int,
    *,
    alpha: float = ALPHA,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Float32:
    """Return each class's share (n, n_classes) of every node from the nodes with ``classes`` (n,), -1 = none.

    ``graph`` (n, n) is symmetric, non-negative, as `neighbors.graph.symmetric` makes it. Rows sum to 1,
    or are 0 in a component without labels: unknown, never the first class. See `spread`.
    """
    nodes = np.flatnonzero(classes >= 0)
    labels = seeds(nodes, classes[nodes], len(classes), n_classes)
    return spread(graph, labels, alpha=alpha, iterations=iterations, tolerance=tolerance).shares


def seeds(nodes: Int64, classes: Int64, n: int, n_classes: int) -> csr_array:
    """Return the labels as a matrix (n, n_classes) for `spread`: row l says ``nodes[l]`` is ``classes[l]``.

    A node may stand there several times: with two classes it is half of each, not twice a label.
    """
    often = np.bincount(nodes, minlength=n)
    labels = csr_array((1.0 / often[nodes], (nodes, classes)), shape=(n, n_classes))
    labels.sum_duplicates()
    return labels


def spread(
    graph: csr_array,
    labels: csr_array,
    *,
    alpha: float = ALPHA,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Spread:
    """Let ``labels`` (n, C), non-negative, spread along ``graph`` (n, n).

    Solves (I - alpha S) Z = Y, S = D^-1/2 W D^-1/2, where each column of Y is the column of ``labels``
    divided by its sum, so that a class with many labels does not flood the others (Zhou et al. 2004,
    Learning with local and global consistency; Iscen et al. 2019 weigh classes so in training). All
    columns go through one run of conjugate gradients until the residual of each is ``tolerance`` of its
    labels. Z is non-negative; rounding below 0 is cut off.
    """
    n, n_classes = labels.shape
    scale = np.sqrt(_inverse(_sums(graph, 1)))
    system = csr_array(eye_array(n, format="csr") - alpha * _scaled(graph, scale, scale))
    given = _scaled(labels, np.ones(n), _inverse(_sums(labels, 0))).tocsc()
    blocks = [np.zeros((n, 0))]
    for start in range(0, n_classes, COLUMNS):
        columns = np.asarray(given[:, start : start + COLUMNS].toarray())
        blocks.append(_conjugate_gradients(system, columns, iterations, tolerance))
    solved = np.maximum(np.concatenate(blocks, axis=1), 0)
    return Spread(as_shares(solved), (solved * scale[:, None]).astype(np.float32))


def left_out_shares(
    graph: csr_array, nodes: Int64, classes: Int64, groups: Int64, n_classes: int, *, alpha: float = ALPHA
) -> Float32:
    """Return the shares (l, n_classes) of labelled items when their group has no labels.

    Item l of ``groups`` (l,) is ``nodes[l]`` of the graph and of ``classes[l]``. In five folds of whole
    groups: their items stay in the graph, as all that nobody labelled.
    """
    shares = np.zeros((len(nodes), n_classes), np.float32)
    for out in folds(groups, most=FOLDS):
        kept = seeds(nodes[~out], classes[~out], graph.shape[0], n_classes)
        shares[out] = spread(graph, kept, alpha=alpha).shares[nodes[out]]
    return shares


def _sums(matrix: csr_array, axis: int) -> Float64:
    return np.asarray(matrix.sum(axis=axis), np.float64)


def _scaled(matrix: csr_array, rows: Float64, columns: Float64) -> csr_array:
    """Return ``matrix`` with each entry times the factor of its row and of its column."""
    entries = matrix.tocoo()
    i, j = entries.coords
    return csr_array((entries.data * rows[i] * columns[j], (i, j)), shape=matrix.shape)


def _conjugate_gradients(system: csr_array, given: Float64, iterations: int, tolerance: float) -> Float64:
    """Solve ``system`` x = ``given`` (n, C), each column with steps of its own (Hestenes and Stiefel 1952).

    A column without labels stays 0, and so does every component that its labels do not reach.
    """
    solved, rest, way = np.zeros_like(given), given.copy(), given.copy()
    left = (rest * rest).sum(axis=0)
    enough = tolerance**2 * left
    for _ in range(iterations):
        if (left <= enough).all():
            break
        turned = system @ way
        along = (way * turned).sum(axis=0)
        step = left * _inverse(along)
        solved += step * way
        rest -= step * turned
        before, left = left, (rest * rest).sum(axis=0)
        way *= left * _inverse(before)
        way += rest
    return solved


def as_shares(rows: Float64) -> Float32:
    """Return non-negative ``rows`` (n, C) divided by their sums; rows of zeros stay zeros."""
    shares: Float32 = (rows * _inverse(rows.sum(axis=1))[:, None]).astype(np.float32)
    return shares


def _inverse(values: Float64) -> Float64:
    """Return 1 / value, 0 for 0."""
    return np.divide(1.0, values, out=np.zeros_like(values, dtype=np.float64), where=values > 0)
