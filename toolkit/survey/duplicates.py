"""Images that show the same: equal pixels, near duplicates, bursts; whatever gain or polarity they have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse

from dinonat.records import Bool, Float32, Int64
from dinonat.survey.facts import MASK, Facts, view_of
from dinonat.survey.naming import COLOUR, THERMAL
from dinonat.survey.traces import SIDE, Traces

# Two images are near duplicates where the correlation of their 32 x 32 looks, and of the detail in them,
# is at least this. Correlation ignores gain and offset; the sign of both tells opposite polarity. Small
# crops of one kind of thing are alike without being the same, so they must agree better.
LOOK, DETAIL = 0.9, 0.5
SMALL_SIDE, SMALL_LOOK, SMALL_DETAIL = 96, 0.99, 0.96

MOST_PAIRED = 20_000  # images that are all compared with each other; beyond, each with the next WINDOW
WINDOW = 200
BLOCK = 1024
MOST_EDGES = 20_000  # pairs of two blocks that are all kept


@dataclass(frozen=True)
class Pair:
    """Two images that show the same."""

    first: int  # place in the sequence of facts
    second: int
    correlation: float  # negative where hot is bright in one and dark in the other
    equal: bool  # the same pixels


@dataclass(frozen=True)
class Duplicates:
    """Pairs (of large groups those that connect them), and the groups, each in order."""

    pairs: tuple[Pair, ...]
    groups: tuple[tuple[int, ...], ...]
    equal_groups: tuple[tuple[int, ...], ...]
    all_compared: bool  # else only neighbours in order


def find_duplicates(facts: Sequence[Facts]) -> Duplicates:
    """Compare the images by their traces; those without any are left out."""
    usable = [i for i, fact in enumerate(facts) if _visible(fact)]
    equal = _equal(facts)
    found = {(first, second): 1.0 for group in equal for first, second in pairwise(group)}
    # A photograph may well look like the thermal image of the same moment: these are twins.
    for view in (THERMAL, COLOUR):
        own = [i for i in usable if view_of(facts[i]) == view]
        for first, second, correlation in _alike(facts, own) if own else ():
            found.setdefault((first, second), correlation)
    same = {place: number for number, group in enumerate(equal) for place in group}
    pairs = [
        Pair(first, second, value, first in same and same[first] == same.get(second))
        for (first, second), value in sorted(found.items())
    ]
    groups = connected([(pair.first, pair.second) for pair in pairs])
    return Duplicates(tuple(pairs), groups, equal, len(usable) <= MOST_PAIRED)


def _visible(fact: Facts) -> bool:
    """Tell whether there is a look to compare: a flat frame has only its noise."""
    return fact.traces is not None and fact.traces.look is not None and not fact.flat


def _equal(facts: Sequence[Facts]) -> tuple[tuple[int, ...], ...]:
    """Group the images whose pixels are equal, flat ones left out."""
    groups: dict[str, list[int]] = {}
    for place, fact in enumerate(facts):
        if fact.traces is not None and not fact.flat and fact.look != MASK:
            groups.setdefault(fact.traces.fingerprint, []).append(place)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _alike(facts: Sequence[Facts], usable: list[int]) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs that are alike, block by block, so that memory stays bounded."""
    places, count = np.array(usable), len(usable)
    reach = count if count <= MOST_PAIRED else WINDOW
    for start in range(0, count, BLOCK):
        own = _block(facts, usable[start : start + BLOCK])
        for other in range(start, min(start + BLOCK + reach, count), BLOCK):
            to = own if other == start else _block(facts, usable[other : other + BLOCK])
            rows, columns, values = _matches(own, to)
            apart = columns + other - rows - start
            kept = (apart > 0) & (apart <= reach)
            edges = _thinned(rows[kept], columns[kept] + other - start, values[kept])
            for row, column, value in zip(*edges, strict=True):
                yield int(places[start + row]), int(places[start + column]), round(float(value), 4)


Block = tuple[Float32, Float32, Bool]  # (N, D) looks and details, (N,) whether an image is small
Edges = tuple[Int64, Int64, Float32]  # rows, columns, correlations


def _block(facts: Sequence[Facts], places: Sequence[int]) -> Block:
    own = [facts[place] for place in places]
    looks, details = (_stacked([fact.traces for fact in own], part) for part in ("look", "detail"))
    return looks, details, np.array([min(fact.width, fact.height) < SMALL_SIDE for fact in own])


def _stacked(traces: Sequence[Traces | None], part: str) -> Float32:
    """Return (N, D) vectors; zeros, alike to nothing, where an image has none."""
    vectors = [getattr(each, part) for each in traces]
    nothing = np.zeros(SIDE * SIDE, np.float32)
    return np.stack([nothing if vector is None else vector for vector in vectors]).astype(np.float32)


def _matches(own: Block, other: Block) -> Edges:
    """Return the pairs of two blocks that agree in look and detail."""
    look = own[0] @ other[0].T
    strict = own[2][:, None] | other[2]
    alike = np.abs(look) >= np.where(strict, SMALL_LOOK, LOOK)
    if alike.any():
        alike &= own[1] @ other[1].T * np.sign(look) >= np.where(strict, SMALL_DETAIL, DETAIL)
    rows, columns = np.nonzero(alike)
    return rows, columns, look[rows, columns]


def _thinned(rows: Int64, columns: Int64, values: Float32) -> Edges:
    """Return the edges; of very many (a camera that stands still) the best that connect the same images."""
    if rows.size <= MOST_EDGES:
        return rows, columns, values
    size = int(columns.max()) + 1
    # Lengths must not be 0, and the shortest tree prefers what is most alike.
    graph = sparse.coo_array((2.0 - np.abs(values), (rows, columns)), shape=(size, size)).tocsr()
    tree = sparse.csgraph.minimum_spanning_tree(graph).tocoo()
    signs = sparse.coo_array((values, (rows, columns)), shape=(size, size)).tocsr()
    kept_rows, kept_columns = (places.astype(np.int64) for places in tree.coords)
    return kept_rows, kept_columns, np.asarray(signs[kept_rows, kept_columns], np.float32)


def connected(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Return the groups that pairs connect, sorted.

    >>> connected([(0, 1), (4, 5), (1, 3)])
    ((0, 1, 3), (4, 5))
    """
    root: dict[int, int] = {}

    def find(place: int) -> int:
        while root.setdefault(place, place) != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for first, second in pairs:
        a, b = sorted((find(first), find(second)))
        root[b] = a
    groups: dict[int, list[int]] = {}
    for place in sorted(root):
        groups.setdefault(find(place), []).append(place)
    return tuple(tuple(group) for group in groups.values())


def one_of_each(facts: Sequence[Facts], duplicates: Duplicates) -> list[int]:
    """Return the places of the readable images, of each group of duplicates only the first."""
    later = {place for group in duplicates.groups for place in group[1:]}
    return [i for i, fact in enumerate(facts) if not fact.reason and i not in later]
