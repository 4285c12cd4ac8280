"""What a score is worth, from an audit: how probable it is to be right, and from where on to accept.

All of it rests on audited items, drawn at random and kept out of the labels that vote. A threshold is laid
on the score itself, which no verdict has shaped: every audited item is unseen to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import betaincinv, expit, logit

from dinonat.records import Bool, Int64

Float64 = NDArray[np.float64]
Model = Callable[[Float64], Float64]  # scores (n,) -> probabilities (n,)
CONFIDENCE = 0.95  # of every bound, one-sided
FOLDS = 5
ISOTONIC = 1000  # items from which steps are better than a sigmoid (Niculescu-Mizil and Caruana 2005)
EDGE = 1e-4  # scores nearer to 0 or 1 say no more than that
STRICTEST = 1 / 8  # of the audited items lie above the first threshold, at least
BINS = 15  # of the calibration error, as Guo et al. have it


@dataclass(frozen=True, eq=False)
class Calibration:
    """What turns a score into a probability, and how the audited items fared."""

    how: str  # "logistic", "isotonic" or "constant"
    model: Model
    unseen: Float64  # (n,) probability of each audited item by a model that has not seen its group

    def probability(self, scores: ArrayLike) -> Float64:
        """Return how probable each of ``scores`` (n,) is to be right, in [0, 1]; NaN stays NaN."""
        values = np.asarray(scores, np.float64)
        known = ~np.isnan(values)
        found = np.full(values.shape, np.nan)
        found[known] = self.model(values[known])
        return found


@dataclass(frozen=True)
class Threshold:
    """From which score on to accept, and what that rests on."""

    above: float  # accept scores larger than this; infinity: nothing, minus infinity: everything
    audited: int  # audited items above it; of the strictest one tried where nothing is accepted
    wrong: int  # of them
    bound: float  # lower bound of the precision above it
    missing: int = 0  # audited items that are lacking for any threshold at all; 0 where enough are there

    @property
    def accepts(self) -> bool:
        """Whether there is a score that is accepted."""
        return self.above < np.inf


@dataclass(frozen=True)
class Bin:
    """Audited items of about the same probability."""

    items: int
    said: float  # mean probability
    right: float  # share that is right
    low: float  # two-sided 90 % bounds of that share, so that each end is a one-sided 95 %
    high: float


@lru_cache(4096)
def lower_bound(right: int, items: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided lower bound of a share (Clopper and Pearson 1934).

    >>> round(lower_bound(59, 59), 3), round(lower_bound(57, 59), 3), lower_bound(0, 59)
    (0.95, 0.897, 0.0)
    """
    return float(betaincinv(right, items - right + 1, 1 - confidence)) if right else 0.0


def upper_bound(right: int, items: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided upper bound of a share."""
    return 1.0 - lower_bound(items - right, items, confidence)


@cache
def needed(precision: float, wrong: int = 0, confidence: float = CONFIDENCE) -> int:
    """Return how many audited items show ``precision`` (below 1) when ``wrong`` of them are wrong.

    >>> [needed(0.9, wrong) for wrong in range(3)], [needed(0.95, wrong) for wrong in range(3)]
    ([29, 46, 61], [59, 93, 124])
    """
    few, enough = wrong, wrong + 1  # items that are too few, and those that may do
    while lower_bound(enough - wrong, enough, confidence) < precision:
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        shows = lower_bound(middle - wrong, middle, confidence) >= precision
        few, enough = (few, middle) if shows else (middle, enough)
    return enough


def allowed(precision: float, items: int, confidence: float = CONFIDENCE) -> int:
    """Return how many of ``items`` may be wrong for them to show ``precision``; -1 where they are too few.

    >>> [allowed(0.9, items) for items in (28, 29, 45, 46)]
    [-1, 0, 0, 1]
    """
    wrong = -1
    while needed(precision, wrong + 1, confidence) <= items:
        wrong += 1
    return wrong


def threshold(
    scores: ArrayLike, right: ArrayLike, precision: float, confidence: float = CONFIDENCE
) -> Threshold:
    """Return from which score on proposals are right to ``precision``, by audited ``scores``, ``right`` (n,).

    Fixed sequence testing: thresholds are fixed by how many audited items lie above them, namely as many
    as `needed` says with 0, 1, 2, ... wrong ones, from strict to loose; each is taken while the exact lower
    bound of the precision above it is at least ``precision``, and the first failure ends it. The first one
    has an eighth of the items above it, so that of a large audit more is asked than that the few best are
    faultless. The promise: where the audit is a random sample and the precision does not grow as the
    threshold is loosened, the probability that any threshold taken has less than ``precision`` is at most
    1 - ``confidence``. (The first threshold that is too loose must pass a test of that level before any
    looser one is looked at.)
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked, correct = np.asarray(scores, np.float64)[order], np.asarray(right, bool)[order]
    total, first = len(ranked), needed(precision, 0, confidence)
    if total < first:
        wrong = int((~correct).sum())
        return Threshold(np.inf, total, wrong, lower_bound(total - wrong, total, confidence), first - total)
    taken = None
    for items in _steps(ranked, precision, confidence):
        good = int(correct[:items].sum())
        bound = lower_bound(good, items, confidence)
        tried = Threshold(ranked[items] if items < total else -np.inf, items, items - good, bound)
        if bound < precision:
            return taken or Threshold(np.inf, items, items - good, bound)
        taken = tried
    assert taken is not None
    return taken


def _steps(ranked: Float64, precision: float, confidence: float) -> list[int]:
    """Return how many items lie above each threshold; equal scores are on one side."""
    steps, wrong = [], 0
    while (items := needed(precision, wrong, confidence)) < len(ranked):
        if items >= STRICTEST * len(ranked):
            steps.append(int(np.searchsorted(-ranked, -ranked[items - 1], side="right")))
        wrong += 1
    return sorted({*steps, len(ranked)})


def fit(scores: ArrayLike, right: ArrayLike, groups: ArrayLike) -> Calibration:
    """Fit a probability to the ``scores`` (n,) in [0, 1] of audited items, ``right`` (n,) or not.

    A sigmoid of the score's log odds (Platt 1999, with his smoothed targets; a temperature and an offset
    that cannot turn the order round), from 1000 items on isotonic regression. ``unseen`` is cross-fitted:
    5 folds, each scored by the model of the others; items with one number in ``groups`` (n,), a
    recording, stay together. ValueError where nothing was audited.
    """
    values, correct = np.asarray(scores, np.float64), np.asarray(right, bool)
    if not len(values):
        raise ValueError("no audited items to fit")
    how, model = _fitted(values, correct)
    folds = _folds(np.asarray(groups, np.int64))
    unseen = np.full(len(values), np.nan)
    for fold in range(int(folds.max()) + 1):
        own = folds == fold
        _, others = _fitted(values[~own], correct[~own]) if (~own).any() else (how, model)
        unseen[own] = others(values[own])
    return Calibration(how, model, unseen)


def _folds(groups: Int64) -> Int64:
    """Return a fold (n,) for each item: groups in turn, the largest first, to the smallest fold."""
    names, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    filled = np.zeros(min(FOLDS, len(names)), np.int64)
    fold = np.zeros(len(names), np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    found: Int64 = fold[numbers]
    return found


def _fitted(scores: Float64, right: Bool) -> tuple[str, Model]:
    """Return how and what was fitted."""
    if len(scores) >= ISOTONIC:
        from sklearn.isotonic import IsotonicRegression  # half a second to load

        steps = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, right)
        return "isotonic", lambda values: np.asarray(steps.predict(values), np.float64)
    slope, offset = _platt(_odds(scores), right)
    return ("logistic" if slope > 0 else "constant"), lambda values: expit(slope * _odds(values) + offset)


def _odds(scores: Float64) -> Float64:
    odds: Float64 = logit(np.clip(scores, EDGE, 1 - EDGE))
    return odds


def _platt(odds: Float64, right: Bool) -> tuple[float, float]:
    """Return slope (not below 0) and offset of the sigmoid with the least cross entropy."""
    good = int(right.sum())
    # Platt's targets: so that a fit of only right ones does not promise certainty.
    targets = np.where(right, (good + 1) / (good + 2), 1 / (len(right) - good + 2))

    def loss(values: Float64) -> tuple[float, Float64]:
        at = values[0] * odds + values[1]
        gap = expit(at) - targets
        return float((np.logaddexp(0, at) - targets * at).sum()), np.array([gap @ odds, gap.sum()])

    start = np.array([0.0, logit(targets.mean())])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)])
    return float(found.x[0]), float(found.x[1])


def expected_error(
    probability: ArrayLike, right: ArrayLike, times: ArrayLike | None = None, *, bins: int = BINS
) -> float:
    """Return the expected calibration error in [0, 1] (Guo et al. 2017, eq. 3); NaN of no items.

    The mean gap between ``probability`` (n,) and the share that is ``right`` (n,), over bins of equal
    width, weighted by their items, each of which counts ``times`` (n,), None: once. Items whose probability
    is NaN are left out. Of few items the error is too large, also where nothing is amiss.

    >>> round(expected_error([0.9, 0.9, 0.1, 0.1], [True, True, False, True]), 2)
    0.25
    """
    said, correct = np.asarray(probability, np.float64), np.asarray(right, np.float64)
    counts = np.ones(len(said)) if times is None else np.asarray(times, np.float64)
    there = np.isfinite(said)
    said, correct, counts = said[there], correct[there], counts[there]
    if not counts.sum():
        return float("nan")
    at = np.clip((said * bins).astype(np.int64), 0, bins - 1)
    gaps = np.bincount(at, weights=counts * (said - correct), minlength=bins)
    return float(np.abs(gaps).sum() / counts.sum())


def reliability(probability: ArrayLike, right: ArrayLike, bins: int = 6) -> tuple[Bin, ...]:
    """Return items in ``bins`` of equal number by their ``probability`` (n,), with what was right there."""
    said, correct = np.asarray(probability, np.float64), np.asarray(right, bool)
    order = np.argsort(said, kind="stable")
    found = []
    for own in np.array_split(order, max(1, min(bins, len(order)))):
        if len(own):
            good = int(correct[own].sum())
            bounds = lower_bound(good, len(own)), upper_bound(good, len(own))
            found.append(Bin(len(own), float(said[own].mean()), good / len(own), *bounds))
    return tuple(found)
