"""Which parts of an item to compare, chosen by leaving labelled recordings out, never below the floor."""

from collections.abc import Collection, Iterable, Mapping, Sequence
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
    told,
)
from dinonat.proposals.votes import TEMPERATURE, TEMPERATURES
from dinonat.records import Int64

FLOOR_NAME = "hog+raw"
# Standard errors by which the joined default must beat the hand-made floor, and anything else the better
# of the two. With 0 the choice fell below the floor by 0.3 points on average over 14 samplings of labels
# of thermal_modules and paired_road (trained and untrained), with these by less than 0.1.
PROBABLY, CLEARLY = 1.0, 2.0
BARE = " uncentred"  # after the weights, where parts are compared as they are
LARGEST = 3000  # labelled items compared: 9 million cosines a part

CANDIDATES: dict[str, Weights] = {
    FLOOR_NAME: FLOOR,
    "all": DEFAULT_REGION,
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
JOINED = {"region": ("all",), "image": ("mean", "all")}  # what a kind is compared by where labels agree


@dataclass(frozen=True)
class Compared:
    """One weighting and its balanced accuracies in percent, each item's own group left out."""

    name: str
    features: str
    score: float  # mean of the next three
    plain_k5: float
    plain_k20: float
    balanced: float
    error: float  # standard error of the score's difference from the floor's
    likelihood: float  # mean logarithm of the share that the item's own class got, classes counting alike
    taken: bool
    centred: bool = True  # on the mean of the set


@dataclass(frozen=True)
class Choice:
    """The weights taken, why, and what was compared."""

    weights: Weights
    reason: str
    compared: tuple[Compared, ...]  # best first; empty where labels were too few
    centred: bool = True  # each part on the mean of the set

    @property
    def features(self) -> str:
        """The weights as text, and whether nothing is centred."""
        return features_text(self.weights) + ("" if self.centred else BARE)


def choose(
    ready: Vectors,
    classes: Int64,
    groups: Int64,
    *,
    kind: str,
    k: int = 20,
    temperature: float | None = None,
    left_out: str = "item",
    bare: Vectors | None = None,
) -> Choice:
    """Choose the weights of the parts for items of ``kind`` by votes among the labelled items.

    ``ready`` part -> (n, d) as `neighbors.parts.centred` makes them, ``classes`` (n,) from 0,
    ``groups`` (n,): an item never votes for its own group; ``left_out`` is the word for one. The score
    of a weighting is the mean balanced accuracy of DINO's vote at k = 5 and 20 and of the balanced vote.

    The hand-made floor is the start. The default of the kind replaces it when it is better by one
    standard error of the paired difference, taken over the groups, and any other weighting replaces the
    winner when it is better by two: among a dozen weightings and few labels the best score is mostly
    luck. Where the score is no worse, the likelihood may be what is better by as much: among thousands of
    background examples and few things, shares tell more than winners. So what is chosen never scored below
    the floor. ``bare``, the parts with unit rows but not centred, is compared with the weights taken, and
    has to be as clearly better. ``temperature`` None: DINO's for the score, the best of a few for the
    likelihood. Parts that ``ready`` lacks are left out of all weightings.
    """
    rows = thinned(classes, LARGEST)
    classes, groups = classes[rows], groups[rows]
    problem = too_few(classes, groups, left_out)
    if problem:
        weights = default_weights(kind)
        return Choice(weights, f"{features_text(weights)}: the default, because {problem}", ())
    table = restricted(ready)
    how = (classes, groups, k, temperature)
    seen = _compare(_rows(ready, rows), table, *how)
    scores = _Scores.of_votes(seen, classes, groups)
    taken, first = decide(scores, kind)
    centred = True
    if bare is not None:
        other = taken + BARE
        seen |= _compare(_rows(bare, rows), {other: table[taken]}, *how)
        scores = _Scores.of_votes(seen, classes, groups)
        centred = not scores.better(other, taken, CLEARLY)
        table[other] = table[taken]
    won = taken if centred else taken + BARE
    floor = FLOOR_NAME if FLOOR_NAME in table else won
    weight = balanced_weights(classes)
    compared = [
        _compared(name, table[name], 100 * weight @ hit, scores, floor, name == won)
        for name, (hit, _) in seen.items()
    ]
    said = f"{len(classes)} labelled items, one of {len(np.unique(groups))} {left_out}s left out at a time"
    return Choice(
        table[taken],
        f"{_reason(won, first, table, scores)} ({said})",
        tuple(sorted(compared, key=lambda one: (-one.score, one.name))),
        centred,
    )


def _rows(parts: Vectors, rows: Int64) -> Vectors:
    return {name: part[rows] for name, part in parts.items()}


def restricted(parts: Collection[str]) -> dict[str, Weights]:
    """Return the candidates with those parts only that there are; each set of weights once.

    >>> restricted(["hog", "grid"])["hog+raw"]
    {'hog': 1.0}
    """
    table: dict[str, Weights] = {}
    for name, weights in CANDIDATES.items():
        left = {part: weight for part, weight in weights.items() if part in parts}
        left = left if len(left) > 1 else dict.fromkeys(left, 1.0)  # one part alone: any weight is the same
        if left and left not in table.values():
            table[name] = left
    return table


@dataclass(frozen=True, eq=False)
class _Scores:
    """What each item adds to the score of each weighting."""

    added: Mapping[str, Float64]  # name -> (n,), in points of balanced accuracy
    likely: Mapping[str, Float64]  # name -> (n,), in class-balanced log-likelihood
    groups: Int64

    @classmethod
    def of_votes(
        cls, seen: Mapping[str, tuple[Float64, Float64]], classes: Int64, groups: Int64
    ) -> "_Scores":
        """Sum up what `_compare` returns."""
        weight = balanced_weights(classes)
        return cls(
            {name: 100 * hit.mean(axis=1) * weight for name, (hit, _) in seen.items()},
            {name: likely * weight for name, (_, likely) in seen.items()},
            groups,
        )

    def of(self, name: str) -> float:
        return float(self.added[name].sum())

    def best(self, names: Iterable[str]) -> str:
        return max(names, key=self.of)

    def error(self, name: str, other: str) -> float:
        """Return the standard error of the difference of two scores."""
        return standard_error(self.added[name] - self.added[other], self.groups)

    def better(self, name: str, other: str, errors: float) -> bool:
        gain = self.of(name) - self.of(other)
        if gain > errors * self.error(name, other):
            return True
        more = self.likely[name] - self.likely[other]
        return gain >= 0 and bool(more.sum() > errors * standard_error(more, self.groups))


def decide(scores: _Scores, kind: str) -> tuple[str, str]:
    """Return which weighting to take, and which scored best."""
    joined = [name for name in JOINED[kind] if name in scores.added]
    safe = FLOOR_NAME if FLOOR_NAME in scores.added else scores.best(joined or scores.added)
    default = scores.best([*joined, safe])
    if scores.better(default, safe, PROBABLY):
        safe = default
    first = scores.best(scores.added)
    return (first if scores.better(first, safe, CLEARLY) else safe), first


def too_few(classes: Int64, groups: Int64, left_out: str) -> str:
    """Say why these labels cannot compare weightings, or nothing: two classes in two groups each can."""
    able = sum(len(np.unique(groups[classes == c])) > 1 for c in np.unique(classes))
    if able > 1:
        return ""
    return (
        f"comparing needs two classes with labels in two {left_out}s each, and there "
        f"{'is one' if able else 'is none'}"
    )


def _compare(
    ready: Vectors,
    table: Mapping[str, Weights],
    classes: Int64,
    groups: Int64,
    k: int,
    temperature: float | None,
) -> dict[str, tuple[Float64, Float64]]:
    """Return, for each weighting, which items each vote gets right (n, votes) and how likely it was (n,)."""
    cosines = {name: part @ part.T for name, part in ready.items()}
    own = groups[:, None] == groups[None, :]
    found = {}
    for name, weights in table.items():
        whole = combined(cosines, weights, own)
        right = hits(whole, classes, k=k, temperature=temperature or TEMPERATURE)
        temperatures = TEMPERATURES if temperature is None else (temperature,)
        found[name] = right, told(whole, classes, k=k, temperatures=temperatures)
    return found


def _compared(
    name: str, weights: Weights, per_vote: Float64, scores: _Scores, floor: str, taken: bool
) -> Compared:
    k5, k20, balanced = (float(value) for value in per_vote)
    return Compared(
        name,
        features_text(weights),
        score=float(per_vote.mean()),
        plain_k5=k5,
        plain_k20=k20,
        balanced=balanced,
        error=scores.error(name, floor),
        likelihood=float(scores.likely[name].sum()),
        taken=taken,
        centred=not name.endswith(BARE),
    )


def _reason(taken: str, first: str, table: Mapping[str, Weights], scores: _Scores) -> str:
    """Say what was taken, against what."""
    bare = BARE if taken.endswith(BARE) else ""
    text = f"{features_text(table[taken])}{bare}: balanced accuracy {scores.of(taken):.1f}"
    if taken == FLOOR_NAME:
        text += ", the hand-made floor"
    elif FLOOR_NAME in table:
        text += f", hand-made floor {scores.of(FLOOR_NAME):.1f}"
    if first != taken.removesuffix(BARE):
        text += f"; {features_text(table[first])} has {scores.of(first):.1f}, not clearly more"
    return text


def compared_lines(compared: Sequence[Compared]) -> list[str]:
    """Return the comparison as aligned text, a line a weighting, what was taken with a star."""
    if not compared:
        return []
    columns = f"{'score':>7}{'k=5':>7}{'k=20':>7}{'per class':>11}{'likelihood':>12}"
    names = [one.features + ("" if one.centred else BARE) for one in compared]
    wide = max(34, *(len(name) + 1 for name in names))
    head = f"  {'balanced accuracy on the labels':{wide}}{columns}"
    return [
        head,
        *(
            f"{'*' if one.taken else ' '} {name:{wide}}"
            f"{one.score:7.1f}{one.plain_k5:7.1f}{one.plain_k20:7.1f}{one.balanced:11.1f}{one.likelihood:12.2f}"
            for name, one in zip(names, compared, strict=True)
        ),
    ]
