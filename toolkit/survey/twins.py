"""Pairs of a thermal and a colour image of the same moment, by their names, else by their times."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dinonat.survey.facts import Facts, view_of
from dinonat.survey.naming import COLOUR, COLOUR_RANK, THERMAL, Named, named, seconds

SECONDS = 1.0  # by which the clocks of twins may differ


@dataclass(frozen=True)
class Twin:
    """Places in the two sequences of facts, and what told that they belong together."""

    thermal: int
    colour: int
    rule: str  # "name" or "time"


@dataclass(frozen=True)
class _View:
    """One image as this file sees it."""

    place: int
    named: Named
    size: tuple[int, int]
    taken: float | None


def find_twins(facts: Sequence[Facts], others: Sequence[Facts] | None = None) -> tuple[Twin, ...]:
    """Pair the images of a folder; with ``others``, those of another folder are the colour images.

    By name first: the same folder and file name but for the words of the views (``_T`` and ``_V``,
    ``lwir`` and ``visible``, ``T`` and ``RGB``, ...). With two folders the file name alone is enough
    where it is the only one of that name. What is left is paired by time, within SECONDS.
    """
    thermal = _views(facts, None if others is not None else THERMAL)
    colour = _views(facts, COLOUR) if others is None else _views(others, None)
    pairs = _by_name(thermal, colour)
    if others is not None:
        pairs |= _by_name(*_left(thermal, colour, pairs), folders=False)
    found = [Twin(a, b, "name") for a, b in pairs.items()]
    found += [Twin(a, b, "time") for a, b in _by_time(*_left(thermal, colour, pairs)).items()]
    return tuple(sorted(found, key=lambda twin: (twin.thermal, twin.colour)))


def _views(facts: Sequence[Facts], wanted: str | None) -> list[_View]:
    views = []
    for place, fact in enumerate(facts):
        if fact.reason or (wanted is not None and view_of(fact) != wanted):
            continue
        parts = named(fact.ref.path)
        taken = seconds(fact.taken or parts.taken)
        views.append(_View(place, parts, (fact.width, fact.height), taken))
    return views


def _left(
    thermal: list[_View], colour: list[_View], pairs: dict[int, int]
) -> tuple[list[_View], list[_View]]:
    """Return what no pair has used."""
    used = set(pairs.values())
    return [v for v in thermal if v.place not in pairs], [v for v in colour if v.place not in used]


def _by_name(thermal: list[_View], colour: list[_View], *, folders: bool = True) -> dict[int, int]:
    """Pair views of one name; without ``folders`` only names that are there once on each side."""
    own, other = _named_alike(thermal, folders=folders), _named_alike(colour, folders=folders)
    pairs: dict[int, int] = {}
    for key in own.keys() & other.keys():
        if not folders and (len(own[key]) > 1 or len(other[key]) > 1):
            continue
        free = list(other[key])
        # Of several thermal images of one moment (whole and cropped) that of the colour image's size first.
        sizes = Counter(view.size for view in free)
        for view in sorted(own[key], key=lambda view: (view.size not in sizes, view.place)):
            if free:
                best = min(free, key=lambda each: (each.size != view.size, _rank(each), each.place))
                free.remove(best)
                pairs[view.place] = best.place
    return pairs


def _named_alike(views: list[_View], *, folders: bool) -> dict[tuple[str, str], list[_View]]:
    groups: dict[tuple[str, str], list[_View]] = {}
    for view in views:
        key = (view.named.folder if folders else "", view.named.stem)
        groups.setdefault(key, []).append(view)
    return groups


def _rank(view: _View) -> int:
    """Rank the colour cameras of one housing: the one that is framed like the thermal one comes first."""
    word = view.named.word
    return COLOUR_RANK.index(word) if word in COLOUR_RANK else len(COLOUR_RANK)


def _by_time(thermal: list[_View], colour: list[_View]) -> dict[int, int]:
    """Pair each with the nearest in time where each is the other's nearest, SECONDS apart at most."""
    clocked = sorted((view.taken, view.place) for view in colour if view.taken is not None)
    own = sorted((view.taken, view.place) for view in thermal if view.taken is not None)
    pairs = {}
    for moment, place in own:
        near = _nearest(clocked, moment)
        if near is not None and _nearest(own, near[0]) == (moment, place):
            pairs[place] = near[1]
    return pairs


def _nearest(clocked: list[tuple[float, int]], moment: float) -> tuple[float, int] | None:
    """Return the entry nearest to a moment, the first of equals; None beyond SECONDS."""
    place = bisect_left(clocked, (moment, -1))
    around = clocked[max(place - 1, 0) : place + 1]
    best = min(around, key=lambda entry: (abs(entry[0] - moment), entry[1]), default=None)
    return best if best is not None and abs(best[0] - moment) <= SECONDS else None
