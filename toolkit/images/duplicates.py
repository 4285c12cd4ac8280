"""Images that show the same: equal pixels, near duplicates, bursts; whatever gain or polarity they have."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dinonat.images.naming import COLOUR, THERMAL
from dinonat.images.survey import MASK, Facts, view_of
from dinonat.images.traces import Traces
from dinonat.records import Float32

# Two images are near duplicates where the correlation of their 32 x 32 looks, and of the detail in them,
# is at least this. Correlation ignores gain and offset; the sign of both tells opposite polarity. Small
# crops of one kind of thing are alike without being the same, so they must agree better.
LOOK, DETAIL = 0.9, 0.5
SMALL_SIDE, SMALL_LOOK, SMALL_DETAIL = 96, 0.99, 0.96

MOST_PAIRED = 20_000  # images that are all compared with each other; beyond, each with the next WINDOW
WINDOW = 200
BLOCK = 1024


@dataclass(frozen=True)
class Pair:
    """Two images that show the same."""

    first: int  # place in the sequence of facts
    second: int
    correlation: float  # negative where hot is bright in one and dark in the other
    equal: bool  # the same pixels


@dataclass(frozen=True)
class Duplicates:
    """Pairs, and the groups that they connect, each in order."""

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


def _alike(facts: Sequence[Facts], usable: list[int]) -> list[tuple[int, int, float]]:
    traces = [facts[i].traces for i in usable]
    looks, details = (_stacked(traces, part) for part in ("look", "detail"))
    small = np.array([min(facts[i].width, facts[i].height) < SMALL_SIDE for i in usable])
    count = len(usable)
    reach = count if count <= MOST_PAIRED else WINDOW
    found = []
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        for other in range(start, min(stop + reach, count), BLOCK):
            end = min(other + BLOCK, count)
            look = looks[start:stop] @ looks[other:end].T
            rows, columns = np.nonzero(np.abs(look) >= LOOK)
            first, second, value = rows + start, columns + other, look[rows, columns]
            kept = (second > first) & (second - first <= reach)
            first, second, value = first[kept], second[kept], value[kept]
            detail = np.einsum("nd,nd->n", details[first], details[second]) * np.sign(value)
            strict = small[first] | small[second]
            good = (detail >= np.where(strict, SMALL_DETAIL, DETAIL)) & (
                np.abs(value) >= np.where(strict, SMALL_LOOK, LOOK)
            )
            found += [
                (usable[a], usable[b], round(float(c), 4))
                for a, b, c in zip(first[good], second[good], value[good], strict=True)
            ]
    return found


def _stacked(traces: Sequence[Traces | None], part: str) -> Float32:
    """Return (N, D) vectors; zeros, alike to nothing, where an image has none."""
    vectors = [getattr(each, part) for each in traces]
    size = next((vector.size for vector in vectors if vector is not None), 1)
    return np.stack([np.zeros(size, np.float32) if vector is None else vector for vector in vectors])


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
