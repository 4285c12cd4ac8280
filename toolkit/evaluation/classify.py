"""How well stored vectors tell classes apart: k nearest neighbours, each kind of vector beside the floor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dinonat.evaluation.intervals import Measured
from dinonat.evaluation.samples import Basis, Sample, Task, folds_of, groups_of, task_of
from dinonat.neighbors.parts import NAMED, Weights, features_text, joined, parse_features
from dinonat.proposals.carry import carried
from dinonat.proposals.choose import Choice, choose
from dinonat.proposals.leave_out import recordings_of
from dinonat.proposals.votes import Search, knn
from dinonat.records import Bool, Float32, Int64

AUTO = "auto"
COLOUR = "colour"  # how `images.prepare` calls a picture that passed as it was
FLOOR_NAME = "hog+raw"  # the row of what is made by hand
FEATURES = (*NAMED, AUTO)  # the parts alone, the hand-made floor, all together, and what the toolkit takes
FOLDS = 16  # recordings that go out together where there are more: `auto` is chosen anew for each fold


@dataclass(frozen=True)
class Difference(Measured):
    """By how many points a row is more often right than another, with paired intervals."""

    than: str  # the row that is taken off


@dataclass(frozen=True)
class Accuracy(Measured):
    """One row of the table, in percent."""

    name: str  # as asked for
    features: str  # the weights behind it; of `auto` those taken most often
    k: int
    over: tuple[Difference, ...] = ()  # what it is compared with; nothing for most rows


@dataclass(frozen=True)
class Comparison(Basis):
    """The table and what it stands on."""

    rows: tuple[Accuracy, ...]
    auto_reason: str


@dataclass(frozen=True, eq=False)
class Answers:
    """Which class each kind of vector takes each query for, before anything is counted."""

    of: Task
    winners: Mapping[tuple[str, int], Int64]  # (name as asked for, k) -> class by number (m,), -1 for none
    features: Mapping[str, str]  # name -> the weights behind it
    auto_reason: str
    taken: Mapping[str, int]  # weights that `auto` took -> for how many queries

    def rows(self) -> tuple[Accuracy, ...]:
        """Count how often each is right, in the order of ``winners``."""
        counted = self.of.measured(list(self.winners.values())) if self.winners else []
        return tuple(
            Accuracy(**vars(each), name=name, features=self.features[name], k=k)
            for (name, k), each in zip(self.winners, counted, strict=True)
        )

    def over(self, row: tuple[str, int], other: "Answers", than: tuple[str, int], said: str) -> Difference:
        """Return by how much ``row`` is better than the row ``than`` of ``other``, asked the same queries.

        ``said`` is what the difference calls that row.
        """
        return Difference(**vars(self.of.difference(self.winners[row], other.winners[than])), than=said)


def compare(
    gallery: Sample,
    query: Sample,
    *,
    search: Search,
    features: Sequence[str] = FEATURES,
    ks: Sequence[int] = (5, 20),
    temperature: float = 0.07,
    leave_out: str = "none",
    kind: str = "region",
) -> Comparison:
    """Classify the queries by their k nearest in the gallery, and count: `answers`, as a table.

    ``auto`` is set against the hand-made floor, where both are asked for.
    """
    found = answers(
        gallery,
        query,
        search=search,
        features=features,
        ks=ks,
        temperature=temperature,
        leave_out=leave_out,
        kind=kind,
    )
    rows = [
        replace(row, over=(found.over((AUTO, row.k), found, (FLOOR_NAME, row.k), FLOOR_NAME),))
        if row.name == AUTO and FLOOR_NAME in features
        else row
        for row in found.rows()
    ]
    return Comparison(**vars(found.of.basis()), rows=tuple(rows), auto_reason=found.auto_reason)


def answers(
    gallery: Sample,
    query: Sample,
    *,
    search: Search,
    features: Sequence[str],
    ks: Sequence[int],
    temperature: float,
    leave_out: str,
    kind: str,
    command: str = "evaluate knn",
) -> Answers:
    """Classify the queries by their k nearest in the gallery, for each kind of vector and each k.

    The vote is DINO's: sum of exp(cosine / temperature) over the k nearest (its eval_knn.py).
    ``leave_out`` "recording" hides the gallery's items of the query's recording (of its image, where
    that is unknown), "image" those of its image; an item is never its own neighbour. ``auto`` is
    chosen on the gallery alone, without the recordings that are being asked about, from the parts that
    carry over to the query's set.

    Raises LabelError, beginning with the name of the ``command``, where the gallery or the query is empty.
    """
    task = _Vote(task_of(gallery, query, leave_out, command=command), tuple(ks), temperature, search)
    winners: dict[tuple[str, int], Int64] = {}
    texts, reason, taken = {}, "", dict[str, int]()
    for feature in features:
        if feature == AUTO:
            shares, taken, reason = _auto(task, kind)
            texts[feature] = max(taken, key=lambda text: taken[text])
        else:
            weights = parse_features(feature)
            shares = task.shares(weights, np.ones(len(query.labels), bool))
            texts[feature] = features_text(weights)
        winners |= {(feature, k): predicted(shares[k]) for k in task.ks}
    return Answers(task.of, winners, texts, reason, taken)


@dataclass(frozen=True, eq=False)
class _Vote:
    """What all rows of the table share."""

    of: Task
    ks: tuple[int, ...]
    temperature: float
    search: Search

    @cached_property
    def carried(self) -> Mapping[str, float]:
        """The parts that mean the same in the query's set: labels of the gallery cannot tell."""
        gallery, query = self.of.gallery, self.of.query
        groups = groups_of(gallery, query, "recording")
        same = in_colour(gallery) == in_colour(query)
        return carried(gallery.ready, query.ready, groups=groups, same_light=same)

    def shares(self, weights: Weights, asked: Bool) -> dict[int, Float32]:
        """Return the vote (asked, n_classes) at each k for the queries that are asked about."""
        of = self.of
        vote = knn(
            joined(of.gallery.ready, weights),
            of.classes,
            joined({name: of.query.ready[name][asked] for name in weights}, weights),
            n_classes=len(of.names),
            k=max(self.ks),
            search=self.search,
            exclude=(of.exclude[0], of.exclude[1][asked]),
            temperature=self.temperature,
        )
        return {k: vote(k) for k in self.ks}


def predicted(shares: Float32) -> Int64:
    """Return the winner (n,), -1 where nothing voted."""
    winner: Int64 = np.where(shares.sum(axis=1) > 0, shares.argmax(axis=1), -1)
    return winner


def in_colour(sample: Sample) -> bool:
    """Say whether most of the pictures behind a sample are colour pictures."""
    return bool((sample.items["prepare"] == COLOUR).mean() > 0.5)


def _auto(vote: _Vote, kind: str) -> tuple[dict[int, Float32], dict[str, int], str]:
    """Return the vote at each k with weights chosen on the gallery, these by number of queries, and why."""
    task = vote.of
    shares = {k: np.zeros((len(task.truth), len(task.names)), np.float32) for k in vote.ks}
    taken: list[Choice] = []
    sizes: list[int] = []
    for asked, kept in folds_of(task.exclude, task.leave_out, most=FOLDS):
        choice = _chosen(vote, kept, kind)
        for k, part in vote.shares(choice.weights, asked).items():
            shares[k][asked] = part
        taken.append(choice)
        sizes.append(int(asked.sum()))
    queries = {
        text: sum(size for size, each in zip(sizes, taken, strict=True) if each.features == text)
        for text in sorted({each.features for each in taken})
    }
    text = max(queries, key=lambda text: queries[text])
    first = next(each.reason for each in taken if each.features == text)
    lost = [] if task.query is task.gallery else [p for p in task.gallery.ready if p not in vote.carried]
    if len(queries) > 1:
        total = sum(sizes)
        first = "; ".join(f"{each} for {n} of {total} queries" for each, n in queries.items())
    if lost:
        first += f"; {' and '.join(lost)} left out, which do not carry over to the pictures of the query"
    return shares, queries, first


def _chosen(vote: _Vote, kept: Bool, kind: str) -> Choice:
    gallery = vote.of.gallery
    groups, word = recordings_of(gallery.items[kept])
    classes = np.unique(vote.of.classes[kept], return_inverse=True)[1].astype(np.int64)
    parts = gallery.ready if vote.of.query is gallery else vote.carried
    ready = {name: gallery.ready[name][kept] for name in parts}
    return choose(ready, classes, groups, kind=kind, temperature=vote.temperature, left_out=word)
