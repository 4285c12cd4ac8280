"""The search vectors of a set, and the graph that labels spread along."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.neighbors.graph import build, extend, symmetric
from dinonat.neighbors.index import search
from dinonat.neighbors.parts import Axes, Weights, fit_axes, joined
from dinonat.pipelines.labelled import ready_parts
from dinonat.proposals.bank import Bank
from dinonat.proposals.deciding import Chunk, Net
from dinonat.proposals.leave_out import recordings_of
from dinonat.records import Bool, Float32

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
    """Return the search vectors (n, d) of the rows asked about, on their principal axes where that pays."""
    parts = [joined(ready, weights) for _, ready, _ in chunks(known, asked, kind)]
    if not parts:
        return np.zeros((0, 1), np.float32), None
    axes = fit_axes(np.concatenate([part[:: len(parts)] for part in parts]))
    return np.concatenate(parts if axes is None else [axes.reduce(part) for part in parts]), axes


def net_of(known: EmbeddingSet, every: Bool, bank: Bank, kind: str, weights: Weights, k: int) -> Net:
    """Return the graph of the rows ``every`` of a set, and of labelled items that are none of its rows.

    An item takes a third of its neighbours at most from its own recording (or image): frames of one
    recording do not confirm each other. Labelled boxes are added to the graph of the regions.
    """
    vectors, axes = search_vectors(known, every, kind, weights)
    rows = known.items[every]
    at = pd.Series(np.arange(len(rows)), index=rows["item"])
    own = bank.items["item"]
    added = np.flatnonzero(~own.isin(at.index).to_numpy() & ~own.duplicated().to_numpy())
    at = pd.concat([at, pd.Series(len(rows) + np.arange(len(added)), index=own.iloc[added])])
    groups, _ = recordings_of(pd.concat([rows, bank.items.iloc[added]], ignore_index=True))
    graph = build(vectors, k, search=search, groups=groups[: len(rows)])
    if len(added):
        more = joined({name: part[added] for name, part in bank.ready.items()}, weights)
        more = more if axes is None else axes.reduce(more)
        graph = extend(graph, np.concatenate([vectors, more]), search=search, groups=groups)
    return Net(symmetric(graph), at[own].to_numpy(np.int64))
