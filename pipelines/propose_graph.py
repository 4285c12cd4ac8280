"""The search vectors of a set, and the graph that labels spread along."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.neighbors.graph import Graph, extend, symmetric
from dinonat.neighbors.index import search
from dinonat.neighbors.parts import Axes, Weights, features_text, fit_axes, joined
from dinonat.pipelines.graphs import graph_of
from dinonat.pipelines.labelled import ready_parts
from dinonat.proposals.bank import Bank
from dinonat.proposals.deciding import Chunk, Net
from dinonat.proposals.leave_out import recordings_of
from dinonat.records import Bool, Float32, Int64

CHUNK = 8192  # items whose vectors are in memory at once: 100 MB a part


def chunks(known: EmbeddingSet, asked: Bool, kind: str, every: Bool | None = None) -> Iterator[Chunk]:
    """Yield the rows ``asked`` about with their parts, some thousand at a time.

    Their nodes are their places among the rows ``every``, of which the graph is made (None: ``asked``).
    """
    places = np.cumsum(asked if every is None else every) - 1
    rows = np.flatnonzero(asked)
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        marks = np.zeros(len(asked), bool)
        marks[some] = True
        items = known.items[marks].reset_index(drop=True)
        yield items, ready_parts(known, marks, means=known, kind=kind), places[some]


def search_vectors(
    known: EmbeddingSet, asked: Bool, kind: str, weights: Weights
) -> tuple[Float32, Axes | None]:
    """Return the search vectors (n, d) of the rows asked about, on their principal axes where that pays.

    They are read twice: whole vectors of 200,000 items would take 3 GB, those on their axes 0.4.
    """
    count = -(-int(asked.sum()) // CHUNK)
    if not count:
        return np.zeros((0, 1), np.float32), None
    parts = (joined(ready, weights) for _, ready, _ in chunks(known, asked, kind))
    axes = fit_axes(np.concatenate([part[::count].copy() for part in parts]))
    again = (joined(ready, weights) for _, ready, _ in chunks(known, asked, kind))
    return np.concatenate([part if axes is None else axes.reduce(part) for part in again]), axes


@dataclass(frozen=True, eq=False)
class Place:
    """The items of one kind of a set, and how they lie to each other."""

    items: pd.DataFrame  # ITEM_COLUMNS, n rows
    vectors: Float32  # (n, d)
    axes: Axes | None  # on which the vectors are reduced
    groups: Int64  # (n,) recordings, or images
    graph: Graph


def place_of(known: EmbeddingSet, every: Bool, kind: str, weights: Weights, k: int) -> Place:
    """Return the marked rows of a set with the graph of their ``k`` neighbours, from the workspace if it can.

    An item takes a third of its neighbours at most from its own recording (or image): frames of one
    recording do not confirm each other.
    """
    vectors, axes = search_vectors(known, every, kind, weights)
    items = known.items[every].reset_index(drop=True)
    groups, _ = recordings_of(items)
    graph = graph_of(known, every, vectors, kind=kind, features=features_text(weights), k=k, groups=groups)
    return Place(items, vectors, axes, groups, graph)


def net_of(place: Place, bank: Bank, weights: Weights) -> Net:
    """Return the graph with the labelled items; what is no item of the set (a drawn box) is added to it."""
    at = pd.Series(np.arange(len(place.items)), index=place.items["item"])
    own = bank.items["item"]
    added = np.flatnonzero(~own.isin(at.index).to_numpy() & ~own.duplicated().to_numpy())
    graph = place.graph
    if len(added):
        at = pd.concat([at, pd.Series(len(at) + np.arange(len(added)), index=own.iloc[added])])
        more = joined({name: part[added] for name, part in bank.ready.items()}, weights)
        more = more if place.axes is None else place.axes.reduce(more)
        groups = np.concatenate([place.groups, _groups_of(bank.items["image"].iloc[added], place)])
        graph = extend(graph, np.concatenate([place.vectors, more]), search=search, groups=groups)
    return Net(symmetric(graph), at[own].to_numpy(np.int64))


def _groups_of(images: pd.Series, place: Place) -> Int64:
    """Return the group (n,) of items in these images: that of the set's items there, else a new one."""
    known = pd.Series(place.groups, index=place.items["image"])
    known = known[~known.index.duplicated()]
    new = pd.factorize(images)[0] + place.groups.max(initial=-1) + 1
    return np.where(images.isin(known.index), known.reindex(images).fillna(-1), new).astype(np.int64)
