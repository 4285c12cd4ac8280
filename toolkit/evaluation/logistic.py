"""How well a linear classifier on stored vectors tells classes apart: logistic regression, in seconds."""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dinonat.evaluation.classifiers import FOLDS, LinearTable, checked_task, rows_of
from dinonat.evaluation.samples import Sample, Task, folds_of
from dinonat.neighbors.parts import NAMED, Weights, features_text, joined, parse_features
from dinonat.proposals.leave_out import Float64, balanced_weights, recordings_of, thinned
from dinonat.proposals.linear import axes, probabilities, scaled
from dinonat.records import Bool, Float32, Int64

FEATURES = tuple(NAMED)
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)  # C of the regression, for vectors whose coordinates are about 1
LARGEST = 3000  # items that C is chosen on
PARTS = 3  # of the gallery that are left out in turn to choose C


def classify(
    gallery: Sample,
    query: Sample,
    *,
    features: Sequence[str] = FEATURES,
    leave_out: str = "none",
    balanced: bool = False,
    strengths: Sequence[float] = STRENGTHS,
) -> LinearTable:
    """Classify the queries by multinomial logistic regression on the gallery, for each kind of vector.

    Vectors are centred on their set, of unit length, joined as for neighbours, reduced to the gallery's
    512 principal axes where they are longer, and scaled so that a coordinate is about 1. With ``leave_out``
    "recording" or "image" the queries are asked in five folds of whole groups, each of a classifier that
    did not see their like. C is the one of ``strengths`` with the best balanced accuracy on parts of the
    gallery that were left out. ``balanced`` weighs classes as if all had as many items.

    Raises LabelError where the gallery or the query is empty or the gallery has one class, UsageError where
    a set would be asked about what it learned.
    """
    task = checked_task(gallery, query, leave_out)
    folds = list(folds_of(task.exclude, leave_out, most=FOLDS))
    winners, about = [], []
    # One thread: products as small as these are slower with several, 40 times as soon as others are busy.
    with threadpool_limits(limits=1):
        for feature in features:
            weights = parse_features(feature)
            winner, chosen = _answers(task, weights, folds, balanced, strengths)
            winners.append(winner)
            about.append((feature, features_text(weights), chosen))
    rows = rows_of(task, about, winners)
    return LinearTable(**vars(task.basis()), rows=rows, folds=len(folds))


def _answers(
    task: Task,
    weights: Weights,
    folds: Sequence[tuple[Bool, Bool]],
    balanced: bool,
    strengths: Sequence[float],
) -> tuple[Int64, tuple[float, ...]]:
    """Return the winner (m,) for each query, -1 where nothing could be learned, and each fold's C."""
    items, asked_about = joined(task.gallery.ready, weights), joined(task.query.ready, weights)
    winner, chosen = np.full(len(task.truth), -1), []
    for asked, kept in folds:
        if not kept.any():
            chosen.append(float("nan"))
            continue
        columns = axes(items[kept])
        bank, queries = (scaled(rows @ columns) for rows in (items[kept], asked_about[asked]))
        classes = task.classes[kept]
        groups = recordings_of(task.gallery.items[kept])[0]
        strength = _strength(bank, classes, groups, balanced, strengths)
        (winner[asked],) = _fitted(bank, classes, queries, [strength], balanced)
        chosen.append(strength)
    return winner, tuple(chosen)


def _strength(
    bank: Float32, classes: Int64, groups: Int64, balanced: bool, strengths: Sequence[float]
) -> float:
    """Return the C with the best balanced accuracy on groups of the gallery that were left out."""
    if len(strengths) == 1:
        return strengths[0]
    rows = thinned(classes, LARGEST)
    bank, classes, groups = bank[rows], classes[rows], groups[rows]
    worth = balanced_weights(classes)
    scores: Float64 = np.zeros(len(strengths))
    for asked, kept in folds_of((groups, groups), "group", most=PARTS):
        if kept.any():
            winners = _fitted(bank[kept], classes[kept], bank[asked], strengths, balanced)
            right = winners == classes[asked]
            scores += (worth[asked] * right).sum(axis=1)
    return strengths[int(scores.argmax())]  # the first of equals, which is the most cautious


def _fitted(
    bank: Float32, classes: Int64, queries: Float32, strengths: Sequence[float], balanced: bool
) -> Int64:
    """Return the class (strengths, m) that regressions on ``bank`` (n, d) give each of ``queries`` (m, d).

    Each begins where the last one ended.
    """
    found = probabilities(bank, classes, queries, int(classes.max()) + 1, strengths, balanced=balanced)
    winners: Int64 = found.argmax(axis=2)
    return winners
