"""A linear classifier on frozen vectors: class-balanced logistic regression, its strength by leaving out."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dinonat.neighbors.parts import REDUCED
from dinonat.proposals.leave_out import balanced_weights, folds, log_likelihood, thinned
from dinonat.records import Float32, Int64

STRENGTHS = (1.0, 10.0)  # C of the regression, for vectors whose coordinates are about 1
LARGEST = 1500  # items that the strength is chosen on
TAUGHT = 8000  # items that the classifier learns from: the background of many images is more of the same
FOLDS = 5  # parts of the labelled items that are left out in turn
STEPS = 300  # of L-BFGS, at most


@dataclass(frozen=True, eq=False)
class Linear:
    """A fitted classifier."""

    columns: Float32  # (d, dims) principal axes of the items it learned from
    regression: Any  # fitted LogisticRegression; None where there was one class only
    classes: Int64  # those it learned
    n_classes: int
    strength: float

    def shares(self, vectors: Float32) -> Float32:
        """Return the probability of each class (m, C) of ``vectors`` (m, d), 0 for one without example."""
        return _probabilities(self.regression, self.classes, scaled(vectors @ self.columns), self.n_classes)


def fit(
    vectors: Float32,
    classes: Int64,
    n_classes: int,
    *,
    strength: float = 1.0,
    balanced: bool = True,
    columns: Float32 | None = None,
) -> Linear:
    """Fit multinomial logistic regression on unit ``vectors`` (n, d) of ``classes`` (n,), 0..n_classes-1.

    They are reduced to their 512 principal axes where they are longer (``columns`` (d, dims), where axes are
    known already), and scaled so that a coordinate is about 1; C is ``strength`` over the number of items.
    ``balanced`` weighs classes as if all had as many. Of more than 8000 items 8000 are taken, small classes
    whole. One thread: products as small as these are slower with several.
    """
    rows = thinned(classes, TAUGHT)
    taught, own = vectors[rows], classes[rows]
    columns = axes(taught) if columns is None else columns
    with threadpool_limits(limits=1):
        regression = regress(scaled(taught @ columns), own, strength, balanced=balanced)
    return Linear(columns, regression, np.unique(own), n_classes, strength)


def left_out_shares(
    vectors: Float32,
    classes: Int64,
    groups: Int64,
    n_classes: int,
    *,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[Float32, float]:
    """Return what classifiers say of items (n, C) whose group they did not learn from, and the best strength.

    Best by the class-balanced log-likelihood on at most 1500 of them; the shares are of that strength. In
    five folds of whole groups, so that a class of a single group gets 0 there. All folds go by the axes
    of all items together, which know no labels.
    """
    some = thinned(classes, LARGEST)
    if not len(some):
        return np.zeros((len(classes), n_classes), np.float32), strengths[0]
    rows = scaled(vectors @ axes(vectors[some]))
    found = np.zeros((len(strengths), len(classes), n_classes), np.float32)
    with threadpool_limits(limits=1):
        for out in folds(groups, most=FOLDS):
            kept = some[~np.isin(groups[some], groups[out])]
            if len(kept):
                bank = rows[kept], classes[kept], rows[out]
                found[:, out] = probabilities(*bank, n_classes, strengths, balanced=True)
    weight = balanced_weights(classes[some])
    worth = [log_likelihood(shares[some], classes[some]) @ weight for shares in found]
    best = int(np.argmax(worth))  # the first of equals, which is the most cautious
    return found[best], strengths[best]


def probabilities(
    bank: Float32,
    classes: Int64,
    queries: Float32,
    n_classes: int,
    strengths: Sequence[float],
    *,
    balanced: bool,
) -> Float32:
    """Return the probabilities (strengths, m, n_classes) that regressions on ``bank`` (n, d) give.

    ``bank`` and ``queries`` (m, d) as `scaled` makes them. Each strength begins where the last one ended.
    """
    learned, regression, found = np.unique(classes), None, []
    for strength in strengths:
        regression = regress(bank, classes, strength, balanced=balanced, before=regression)
        found.append(_probabilities(regression, learned, queries, n_classes))
    return np.stack(found)


def regress(bank: Float32, classes: Int64, strength: float, *, balanced: bool, before: Any = None) -> Any:
    """Return a regression on ``bank`` (n, d), from where the one ``before`` ended; None for one class."""
    if len(np.unique(classes)) < 2:
        return None
    weight = "balanced" if balanced else None
    regression = before or LogisticRegression(max_iter=STEPS, tol=1e-4, class_weight=weight, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of weights decide nothing here
        return regression.set_params(C=strength / len(bank)).fit(bank, classes)


def axes(rows: Float32) -> Float32:
    """Return the principal axes (d, at most 512) of ``rows`` (n, d), from the smaller of its two products.

    A linear classifier with a penalty on its length lies in the span of its rows, so that nothing is
    lost where there are at most 512 of them.
    """
    n, d = rows.shape
    if d <= REDUCED and d <= n:
        return np.eye(d, dtype=np.float32)
    side, wanted = min(n, d), min(n, d, REDUCED)
    product = rows.T @ rows if d <= n else rows @ rows.T
    values, vectors = eigh(product.astype(np.float64), subset_by_index=(side - wanted, side - 1))
    if d > n:
        vectors = rows.T @ (vectors / np.sqrt(np.maximum(values, 1e-12)))
    kept = values > 1e-7 * values[-1]
    kept[-1] = True  # of rows that are all zero too, so that there is something to be even about
    columns: Float32 = vectors[:, kept].astype(np.float32)
    return columns


def scaled(rows: Float32) -> Float32:
    """Return unit ``rows`` (n, d) with coordinates of about 1."""
    return rows * np.float32(np.sqrt(rows.shape[1]))


def _probabilities(regression: Any, learned: Int64, queries: Float32, n_classes: int) -> Float32:
    shares = np.zeros((len(queries), n_classes), np.float32)
    if len(queries):
        shares[:, learned] = 1.0 if regression is None else regression.predict_proba(queries)
    return shares
