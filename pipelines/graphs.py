"""Graphs of neighbours that the workspace keeps: read where nothing changed, extended where items came."""

import hashlib
import zipfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinonat.embeddings.store import EmbeddingSet
from dinonat.files import short_hash, write_whole
from dinonat.neighbors import graph as graphs
from dinonat.neighbors.graph import Graph, build, extend, most_of_own
from dinonat.neighbors.index import search
from dinonat.neighbors.ivf import EXACT_UP_TO, described
from dinonat.pipelines.progress import say
from dinonat.records import Bool, Float32, Int64

FOLDER = "graphs"  # below the workspace, a folder for each set
VERSION = 1  # of what the files hold
Digests = NDArray[np.uint64]


class _Kept(NamedTuple):
    """A graph, and of which rows it is."""

    graph: Graph
    rows: Digests  # (n,) of item and vector
    groups: Int64  # (n,), -1 = of none


def graph_of(
    known: EmbeddingSet,
    asked: Bool,
    vectors: Float32,
    *,
    kind: str,
    features: str,
    k: int = graphs.K,
    groups: Int64 | None = None,
    own: int | None = None,
    exact_up_to: int = EXACT_UP_TO,
) -> Graph:
    """Return the graph of the rows of ``known`` that are ``asked`` about, from the workspace where it can.

    ``vectors`` (n, D), unit rows, and ``groups`` (n,) belong to the n marked rows of ``known.items``, in
    their order; ``kind`` and ``features`` say what they are, and name the file. ``k``, ``groups`` and
    ``own`` are those of `neighbors.graph.build`. What was kept serves as it is where items, vectors and
    recordings are the same; where items came to it, it is extended, which gives the same graph as building;
    else it is built. Vectors that are centred on their set all move when items come: then nothing of the
    old graph holds, and it is built. A damaged file counts as none.
    """
    own = most_of_own(k) if own is None else own
    groups = np.full(len(vectors), -1, np.int64) if groups is None else groups
    path = graph_file(known, kind=kind, features=features, k=k, own=own)
    rows = _digests(known.items.loc[asked, "item"].tolist(), vectors)
    before = _read(path, k)
    at = None if before is None else _places(before, rows, groups)
    inner = partial(search, exact_up_to=exact_up_to)
    what = f"Graph of {len(vectors):,} {kind}s, {k} neighbours each"
    if before is not None and at is not None and len(at) == len(rows):
        say(f"{what}: read from {path}")
        return before.graph
    if before is not None and at is not None and len(rows) <= exact_up_to:
        say(f"{what}: {len(rows) - len(at):,} added to that of {path}")
        made = extend(before.graph, vectors, search=inner, groups=groups, own=own, at=at)
    else:
        say(f"{what}: {described(len(rows), exact_up_to=exact_up_to)}")
        made = build(vectors, k, search=inner, groups=groups, own=own)
    _write(path, _Kept(made, rows, groups))
    return made


def graph_file(known: EmbeddingSet, *, kind: str, features: str, k: int, own: int) -> Path:
    """Return where the graph of a set is kept: one file for each way to compare its items."""
    name = short_hash(VERSION, known.meta["model"], features, k, own)
    return known.folder.parents[1] / FOLDER / known.folder.name / f"{kind}-{name}.npz"


def _digests(items: list[str], vectors: Float32) -> Digests:
    """Return 8 bytes (n,) for each item that say which it is and which vector it has."""
    whole = np.ascontiguousarray(vectors, np.float32)
    joined = b"".join(
        hashlib.blake2b(item.encode() + b"\0" + row.tobytes(), digest_size=8).digest()
        for item, row in zip(items, whole, strict=True)
    )
    return np.frombuffer(joined, "<u8").astype(np.uint64)


def _places(before: _Kept, rows: Digests, groups: Int64) -> Int64 | None:
    """Return where the rows of a kept graph stand now, or None where it cannot be extended.

    All of them must be there, in their old order (equal cosines go by it), and told apart in the same
    recordings.
    """
    order = np.argsort(rows, kind="stable")
    found = np.searchsorted(rows, before.rows, sorter=order)
    if len(before.rows) > len(rows) or (found >= len(rows)).any():
        return None
    at = order[found]
    if not (np.array_equal(rows[at], before.rows) and (np.diff(at) > 0).all()):
        return None
    return at if _same_groups(before.groups, groups[at]) else None


def _same_groups(one: Int64, other: Int64) -> bool:
    """Say whether two numberings tell the same rows apart, with the same rows of no group."""
    if not np.array_equal(one < 0, other < 0):
        return False
    pairs = np.unique(np.stack([one, other]), axis=1).shape[1]
    return bool(pairs == len(np.unique(one)) == len(np.unique(other)))


def _read(path: Path, k: int) -> _Kept | None:
    """Read a kept graph; None where there is none, or none that is whole."""
    try:
        with np.load(path, allow_pickle=False) as held:
            similarity, index, rows, groups = (held[key] for key in ("similarity", "index", "rows", "groups"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        say(f"{path}: damaged; it is made again.")
        return None
    n = len(rows)
    kinds = (similarity.dtype, index.dtype, rows.dtype, groups.dtype) == ("f4", "i8", "u8", "i8")
    shapes = similarity.shape == index.shape == (n, k) and rows.shape == groups.shape == (n,)
    if not (kinds and shapes and ((index >= -1) & (index < max(n, 1))).all()):
        say(f"{path}: damaged; it is made again.")
        return None
    return _Kept(Graph(similarity, index), rows, groups)


def _write(path: Path, kept: _Kept) -> None:
    graph = kept.graph
    write_whole(
        path,
        lambda stream: np.savez(
            stream,
            similarity=graph.similarity,
            index=graph.index,
            rows=kept.rows,
            groups=kept.groups,
        ),
    )
