"""Labelled items that are compared: by number, what must be left out together, what figures stand on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dinonat.errors import LabelError
from dinonat.evaluation.intervals import Measured, difference, measured, resampled_together
from dinonat.neighbors.parts import Vectors
from dinonat.records import Bool, Int64

Words = NDArray[np.object_]
Groups = tuple[Int64, Int64]  # of the gallery's items (n,) and of the queries (m,)


@dataclass(frozen=True, eq=False)
class Sample:
    """Labelled items of one set: row i of all fields is the same one."""

    items: pd.DataFrame  # ITEM_COLUMNS
    ready: Vectors  # part -> (n, d), centred on their set, unit rows
    labels: Words  # (n,) class names


@dataclass(frozen=True)
class Basis:
    """What the figures of a table stand on."""

    classes: tuple[str, ...]  # of the gallery
    gallery: int
    query: int
    left_out: str  # "recording", "image" or "none"
    recordings: int  # groups of the queries that were left out
    majority: float  # top-1 of always saying the gallery's most frequent class, percent
    chance: float  # balanced accuracy of guessing (and of the majority), percent
    interval_by: str  # "recording" or "image": what the intervals draw anew
    interval_groups: int  # how many of those; of one there are no intervals
    strange: tuple[str, ...]  # classes of the query that the gallery lacks: always wrong
    thin: tuple[str, ...]  # classes of the query that one such group holds: no interval can tell of them


@dataclass(frozen=True, eq=False)
class Task:
    """Queries to be classified by a gallery, with classes and groups as numbers."""

    gallery: Sample
    query: Sample
    leave_out: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes of the gallery."""
        return tuple(str(name) for name in np.unique(self.gallery.labels.astype(str)))

    @cached_property
    def classes(self) -> Int64:
        """The class of each item of the gallery (n,)."""
        return _numbers(self.gallery)

    @cached_property
    def truth(self) -> Int64:
        """The class of each query (m,), -1 where the gallery does not have it."""
        known = {name: i for i, name in enumerate(self.names)}
        return np.array([known.get(str(label), -1) for label in self.query.labels], dtype=np.int64)

    @cached_property
    def exclude(self) -> Groups:
        """What a query must not be compared with."""
        return groups_of(self.gallery, self.query, self.leave_out)

    def measured(self, winners: list[Int64]) -> list[Measured]:
        """Return how often each row's winners (m,), -1 for none, are the queries' classes."""
        right = [self._right(winner) for winner in winners]
        return measured(right, _numbers(self.query), resampled_together(self.query.items)[0])

    def difference(self, first: Int64, second: Int64) -> Measured:
        """Return by how many points the ``first`` winners (m,) are more often right than the ``second``."""
        right = self._right(first), self._right(second)
        return difference(*right, _numbers(self.query), resampled_together(self.query.items)[0])

    def _right(self, winner: Int64) -> Bool:
        marks: Bool = (winner == self.truth) & (self.truth >= 0)
        return marks

    def basis(self) -> Basis:
        """Say what figures of this task stand on."""
        frequent = int(np.bincount(self.classes).argmax())
        drawn, word = resampled_together(self.query.items)
        own = self.query.labels.astype(str)
        holders = {name: len(np.unique(drawn[own == name])) for name in np.unique(own)}
        return Basis(
            classes=self.names,
            gallery=len(self.classes),
            query=len(self.truth),
            left_out=self.leave_out,
            recordings=0 if self.leave_out == "none" else len(np.unique(self.exclude[1])),
            majority=100 * float((self.truth == frequent).mean()),
            chance=100 / len(self.names),
            interval_by=word,
            interval_groups=len(np.unique(drawn)),
            strange=tuple(str(name) for name in holders if name not in self.names),
            thin=tuple(str(name) for name, count in holders.items() if count == 1),
        )


def task_of(gallery: Sample, query: Sample, leave_out: str, *, command: str) -> Task:
    """Return the task; LabelError, beginning with the name of the ``command``, where nothing is labelled."""
    for name, sample in (("gallery", gallery), ("query", query)):
        if not len(sample.labels):
            raise LabelError(f"{command}: the {name} has no labelled item. Give --labels FILE.")
    return Task(gallery, query, leave_out)


def _numbers(sample: Sample) -> Int64:
    return np.unique(sample.labels.astype(str), return_inverse=True)[1].astype(np.int64)


def groups_of(gallery: Sample, query: Sample, leave_out: str) -> Groups:
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


def folds_of(exclude: Groups, leave_out: str, *, most: int) -> Iterator[tuple[Bool, Bool]]:
    """Yield queries (m,) that are asked about together, and the items (n,) that may be learned from for them.

    At most ``most`` folds of whole groups, dealt out by their names so that neighbours (of one class, where a
    folder holds each) come into different folds; one of everything where nothing is left out.
    """
    if leave_out == "none":
        yield np.ones(len(exclude[1]), bool), np.ones(len(exclude[0]), bool)
        return
    groups = np.unique(exclude[1])
    for start in range(min(most, len(groups))):
        part = groups[start::most]
        yield np.isin(exclude[1], part), ~np.isin(exclude[0], part)
