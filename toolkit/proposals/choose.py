"""Which parts of an item to compare, chosen by leaving labelled recordings out, never below the floor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dinonat.neighbors.parts import DEFAULT_REGION, FLOOR, Vectors, Weights, default_weights, features_text
from dinonat.proposals.leave_out import (
    Float64,
    balanced_weights,
    combined,
    hits,
    standard_error,
    thinned,
)
from dinonat.records import Int64

FLOOR_NAME = "hog+raw"
CLEARLY = 1.5  # standard errors by which a weighting must beat the safe one; below, few labels pick noise
LARGEST = 3000  # labelled items compared: 9 million cosines a part

CANDIDATES: dict[str, Weights] = {
    "all": DEFAULT_REGION,
    FLOOR_NAME: FLOOR,
    "mean": {"mean": 1.0},
    "grid": {"grid": 1.0},
    "hog": {"hog": 1.0},
    "raw": {"raw": 1.0},
    "grid+hog": {"grid": 0.7, "hog": 1.0},
    "mean+hog": {"mean": 1.0, "hog": 0.7},
    "mean+grid": {"mean": 1.0, "grid": 1.0},
    "mean+all": {"mean": 0.7, "grid": 0.7, "hog": 1.0, "raw": 0.5},
    "more grid": {"grid": 1.0, "hog": 1.0, "raw": 0.5},
    "less raw": {"hog": 1.0, "raw": 0.35},
}
SAFE = {"region": ("all", FLOOR_NAME), "image": ("mean", "all", FLOOR_NAME)}  # earlier wins where equal


@dataclass(frozen=True)
class Compared:
    """One weighting and its balanced accuracies in percent, each item's own group left out."""

    name: str
    features: str
    score: float  # mean of the next three
    plain_k5: float
    plain_k20: float
    balanced: float
    error: float  # standard error of the score's difference from the safe one's
    taken: bool


@dataclass(frozen=True)
class Choice:
    """The weights taken, why, and what was compared."""

    weights: Weights
    reason: str
    compared: tuple[Compared, ...]  # best first; empty where labels were too few

    @property
    def features(self) -> str:
        """The weights as text."""
        return features_text(self.weights)


def choose(
    ready: Vectors,
    classes: Int64,
    groups: Int64,
    *,
    kind: str,
    k: int = 20,
    temperature: float = 0.07,
    left_out: str = "item",
) -> Choice:
    """Choose the weights of the parts for items of ``kind`` by votes among the labelled items.

    ``ready`` part -> (n, d) as `neighbors.parts.centred` makes them, ``classes`` (n,) from 0,
    ``groups`` (n,): an item never votes for its own group; ``left_out`` is the word for one. The score
    of a weighting is the mean balanced accuracy of DINO's vote at k = 5 and 20 and of the balanced vote.

    The safe weightings of the kind (the joined default and the hand-made floor) are compared first
    and the better is kept, so what is chosen never scored below the floor. Another replaces it only
    when it is better by 1.5 standard errors of the paired difference, taken over the groups: among
    a dozen weightings and few labels the best score is mostly luck.
    """
    rows = thinned(classes, LARGEST)
    classes, groups = classes[rows], groups[rows]
    problem = too_few(classes, groups, left_out)
    if problem:
        weights = default_weights(kind)
        return Choice(weights, f"{features_text(weights)}: the default, because {problem}", ())
    right = _right({name: part[rows] for name, part in ready.items()}, classes, groups, k, temperature)
    weight = balanced_weights(classes)
    score = {name: 100 * float(weight @ hit.mean(axis=1)) for name, hit in right.items()}
    safe = max(SAFE[kind], key=lambda name: score[name])
    error = {
        name: 100 * standard_error(weight * (hit - right[safe]).mean(axis=1), groups)
        for name, hit in right.items()
    }
    best = max(score, key=lambda name: score[name])
    taken = best if score[best] - score[safe] > CLEARLY * error[best] else safe
    compared = [
        _compared(name, 100 * weight @ hit, error[name], name == taken) for name, hit in right.items()
    ]
    said = f"{len(classes)} labelled items, one of {len(np.unique(groups))} {left_out}s left out at a time"
    return Choice(
        CANDIDATES[taken],
        f"{_reason(taken, best, score)} ({said})",
        tuple(sorted(compared, key=lambda one: (-one.score, one.name))),
    )


def too_few(classes: Int64, groups: Int64, left_out: str) -> str:
    """Say why these labels cannot compare weightings, or nothing: two classes in two groups each can."""
    able = sum(len(np.unique(groups[classes == c])) > 1 for c in np.unique(classes))
    if able > 1:
        return ""
    return (
        f"comparing needs two classes with labels in two {left_out}s each, and there "
        f"{'is one' if able else 'is none'}"
    )


def _right(ready: Vectors, classes: Int64, groups: Int64, k: int, temperature: float) -> dict[str, Float64]:
    """Return, for each weighting, which items each vote gets right."""
    cosines = {name: part @ part.T for name, part in ready.items()}
    own = groups[:, None] == groups[None, :]
    return {
        name: hits(combined(cosines, weights, own), classes, k=k, temperature=temperature)
        for name, weights in CANDIDATES.items()
        if set(weights) <= set(cosines)
    }


def _compared(name: str, per_vote: Float64, error: float, taken: bool) -> Compared:
    k5, k20, balanced = (float(value) for value in per_vote)
    features = features_text(CANDIDATES[name])
    return Compared(name, features, float(per_vote.mean()), k5, k20, balanced, error, taken)


def _reason(taken: str, best: str, score: Mapping[str, float]) -> str:
    """Say what was taken, against what."""
    text = f"{features_text(CANDIDATES[taken])}: balanced accuracy {score[taken]:.1f}"
    if taken == FLOOR_NAME:
        text += ", the hand-made floor: the network's parts add nothing on these labels"
    else:
        text += f", hand-made floor {score[FLOOR_NAME]:.1f}"
    if best != taken:
        text += f"; {features_text(CANDIDATES[best])} has {score[best]:.1f}, not clearly more"
    return text


def compared_lines(compared: Sequence[Compared]) -> list[str]:
    """Return the comparison as aligned text, a line a weighting, what was taken with a star."""
    if not compared:
        return []
    head = f"  {'balanced accuracy on the labels':34}{'score':>7}{'k=5':>7}{'k=20':>7}{'per class':>11}"
    return [
        head,
        *(
            f"{'*' if one.taken else ' '} {one.features:34}"
            f"{one.score:7.1f}{one.plain_k5:7.1f}{one.plain_k20:7.1f}{one.balanced:11.1f}"
            for one in compared
        ),
    ]
