"""How well stored vectors tell classes apart: k nearest neighbours, each kind of vector beside the floor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dinonat.errors import LabelError
from dinonat.neighbors.parts import NAMED, Vectors, Weights, features_text, joined, parse_features
from dinonat.proposals.carry import carried
from dinonat.proposals.choose import Choice, choose
from dinonat.proposals.leave_out import recordings_of
from dinonat.proposals.votes import Search, knn
from dinonat.records import Bool, Float32, Int64

AUTO = "auto"
COLOUR = "colour"  # how `images.prepare` calls a picture that passed as it was
FEATURES = (*NAMED, AUTO)  # the parts alone, the hand-made floor, all together, and what the toolkit takes
FOLDS = 16  # recordings that go out together where there are more: `auto` is chosen anew for each fold

Words = NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class Sample:
    """Labelled items of one set: row i of all fields is the same one."""

    items: pd.DataFrame  # ITEM_COLUMNS
    ready: Vectors  # part -> (n, d), centred on their set, unit rows
    labels: Words  # (n,) class names


@dataclass(frozen=True)
class Accuracy:
    """One row of the table, in percent."""

    name: str  # as asked for
    features: str  # the weights behind it; of `auto` those taken most often
    k: int
    top1: float
    balanced: float  # mean over the classes of the share that is right


@dataclass(frozen=True)
class Comparison:
    """The table and what it stands on."""

    rows: tuple[Accuracy, ...]
    classes: tuple[str, ...]
    gallery: int
    query: int
    left_out: str  # "recording", "image" or "none"
    recordings: int  # groups of the queries that were left out
    majority: float  # top-1 of always saying the gallery's most frequent class, percent
    chance: float  # balanced accuracy of guessing (and of the majority), percent
    auto_reason: str


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
    """Classify the queries by their k nearest in the gallery, for each kind of vector and each k.

    The vote is DINO's: sum of exp(cosine / temperature) over the k nearest (its eval_knn.py).
    ``leave_out`` "recording" hides the gallery's items of the query's recording (of its image, where
    that is unknown), "image" those of its image; an item is never its own neighbour. ``auto`` is
    chosen on the gallery alone, without the recordings that are being asked about, from the parts that
    carry over to the query's set.

    Raises LabelError where the gallery or the query is empty.
    """
    for name, sample in (("gallery", gallery), ("query", query)):
        if not len(sample.labels):
            raise LabelError(f"evaluate knn: the {name} has no labelled item. Give --labels FILE.")
    names, classes = np.unique(gallery.labels.astype(str), return_inverse=True)
    known = {name: i for i, name in enumerate(names)}
    truth = np.array([known.get(str(label), -1) for label in query.labels], dtype=np.int64)
    exclude = groups_of(gallery, query, leave_out)
    task = _Task(
        gallery, query, classes.astype(np.int64), len(names), exclude, tuple(ks), temperature, search
    )
    rows, reason = [], ""
    for feature in features:
        if feature == AUTO:
            shares, text, reason = _auto(task, kind, leave_out)
        else:
            weights = parse_features(feature)
            shares, text = task.shares(weights, np.ones(len(truth), bool)), features_text(weights)
        right = _labels_of(query)
        rows += [Accuracy(feature, text, k, *accuracies(predicted(shares[k]), truth, right)) for k in task.ks]
    frequent = int(np.bincount(classes).argmax())
    return Comparison(
        rows=tuple(rows),
        classes=tuple(str(name) for name in names),
        gallery=len(classes),
        query=len(truth),
        left_out=leave_out,
        recordings=0 if leave_out == "none" else len(np.unique(exclude[1])),
        majority=100 * float((truth == frequent).mean()),
        chance=100 / len(names),
        auto_reason=reason,
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """What all rows of the table share."""

    gallery: Sample
    query: Sample
    classes: Int64
    n_classes: int
    exclude: tuple[Int64, Int64]
    ks: tuple[int, ...]
    temperature: float
    search: Search

    @cached_property
    def carried(self) -> Mapping[str, float]:
        """The parts that mean the same in the query's set: labels of the gallery cannot tell."""
        groups = groups_of(self.gallery, self.query, "recording")
        same = in_colour(self.gallery) == in_colour(self.query)
        return carried(self.gallery.ready, self.query.ready, groups=groups, same_light=same)

    def shares(self, weights: Weights, asked: Bool) -> dict[int, Float32]:
        """Return the vote (asked, n_classes) at each k for the queries that are asked about."""
        ready = {name: self.query.ready[name][asked] for name in weights}
        vote = knn(
            joined(self.gallery.ready, weights),
            self.classes,
            joined(ready, weights),
            n_classes=self.n_classes,
            k=max(self.ks),
            search=self.search,
            exclude=(self.exclude[0], self.exclude[1][asked]),
            temperature=self.temperature,
        )
        return {k: vote(k) for k in self.ks}


def predicted(shares: Float32) -> Int64:
    """Return the winner (n,), -1 where nothing voted."""
    winner: Int64 = np.where(shares.sum(axis=1) > 0, shares.argmax(axis=1), -1)
    return winner


def accuracies(winner: Int64, truth: Int64, labels: Int64) -> tuple[float, float]:
    """Return top-1 and balanced accuracy in percent.

    ``truth`` (n,) is -1 for a class that the gallery does not have: always wrong. ``labels`` (n,)
    numbers the classes of the queries, over which the balanced accuracy averages.
    """
    right = (winner == truth) & (truth >= 0)
    counts, hits = np.bincount(labels), np.bincount(labels, weights=right)
    return 100 * float(right.mean()), 100 * float((hits[counts > 0] / counts[counts > 0]).mean())


def _labels_of(sample: Sample) -> Int64:
    return np.unique(sample.labels.astype(str), return_inverse=True)[1].astype(np.int64)


def groups_of(gallery: Sample, query: Sample, leave_out: str) -> tuple[Int64, Int64]:
    """Return by number what a query must not be compared with: its recording, its image, or itself.

    Names are compared across the sets: the colour and the thermal view of one moment belong together.
    """
    parts = []
    for sample in (gallery, query):
        image = "image " + sample.items["image"].astype(str)
        recording = sample.items["recording"].astype(str)
        words = {
            "recording": ("recording " + recording).where(recording != "", image),
            "image": image,
            "none": "item " + sample.items["item"].astype(str),
        }[leave_out]
        parts.append(words)
    codes = pd.factorize(pd.concat(parts, ignore_index=True), sort=True)[0].astype(np.int64)
    return codes[: len(gallery.labels)], codes[len(gallery.labels) :]


def in_colour(sample: Sample) -> bool:
    """Say whether most of the pictures behind a sample are colour pictures."""
    return bool((sample.items["prepare"] == COLOUR).mean() > 0.5)


def _auto(task: _Task, kind: str, leave_out: str) -> tuple[dict[int, Float32], str, str]:
    """Return the vote at each k with weights chosen on the gallery, the usual weights, and why."""
    shares = {k: np.zeros((len(task.query.labels), task.n_classes), np.float32) for k in task.ks}
    taken: list[Choice] = []
    sizes: list[int] = []
    for asked, kept in _folds(task.exclude, leave_out):
        choice = _chosen(task, kept, kind)
        for k, part in task.shares(choice.weights, asked).items():
            shares[k][asked] = part
        taken.append(choice)
        sizes.append(int(asked.sum()))
    queries = {
        text: sum(size for size, each in zip(sizes, taken, strict=True) if each.features == text)
        for text in sorted({each.features for each in taken})
    }
    text = max(queries, key=lambda text: queries[text])
    first = next(each.reason for each in taken if each.features == text)
    lost = [] if task.query is task.gallery else [p for p in task.gallery.ready if p not in task.carried]
    if len(queries) > 1:
        total = sum(sizes)
        first = "; ".join(f"{each} for {n} of {total} queries" for each, n in queries.items())
    if lost:
        first += f"; {' and '.join(lost)} left out, which do not carry over to the pictures of the query"
    return shares, text, first


def _folds(exclude: tuple[Int64, Int64], leave_out: str) -> Iterator[tuple[Bool, Bool]]:
    """Yield queries that are asked about together, and the gallery items that may choose their weights."""
    if leave_out == "none":
        yield np.ones(len(exclude[1]), bool), np.ones(len(exclude[0]), bool)
        return
    groups = np.unique(exclude[1])
    for part in np.array_split(groups, min(FOLDS, len(groups))):
        yield np.isin(exclude[1], part), ~np.isin(exclude[0], part)


def _chosen(task: _Task, kept: Bool, kind: str) -> Choice:
    gallery = task.gallery
    groups, word = recordings_of(gallery.items[kept])
    classes = np.unique(task.classes[kept], return_inverse=True)[1].astype(np.int64)
    parts = gallery.ready if task.query is gallery else task.carried
    ready = {name: gallery.ready[name][kept] for name in parts}
    return choose(ready, classes, groups, kind=kind, temperature=task.temperature, left_out=word)
