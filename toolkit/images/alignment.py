"""Do colour and thermal pictures of pairs show the same place? By the correlation of their edges."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dinonat.images.edge_maps import CELLS, REACH, Places, Shift, edges, moved, peak, surfaces
from dinonat.records import Int64, UInt8

Verdict = Literal["aligned", "shifted", "another field", "out of step", "not aligned", "too few"]

STILL = 1.0  # cells: a smaller shift is none
FEWEST = 4  # pairs below which nothing can be told
MOST = 512  # pairs, spread over all, from which the common shift is measured
MOST_JUDGED = 4096  # pairs that are judged by themselves
MOST_SEARCHED = 128  # pairs from which another field of view is
FIELDS = (0.9, 0.8, 0.7, 0.6, 0.5)
BETTER = 1.2  # times the correlation that another shift, field or partner must reach to be believed
STEPS = 3  # places by which partners may be out of step, asked of enough pairs only
ENOUGH = 16

# How much better partners must fit than strangers. Of 82 aligned road scenes it is 0.33; among wrong
# partners the best shift reaches 0.23 / sqrt(pairs) by chance, and 0.04 by what all road scenes share.
FITS = 0.1
BY_CHANCE = 0.3


@dataclass(frozen=True)
class Alignment:
    """How well partners fit each other.

    Correlations are Pearson's of maps of edges, mean over pairs: ``paired`` of partners and
    ``mismatched`` of strangers where the pictures lie now; ``best`` is the difference of the two
    where they fit best: with the thermal picture moved by ``shift``, (right, down) as shares of the
    picture's width and height. ``field`` below 1: the thermal picture shows that middle part of the
    colour picture's sides; above 1, the colour picture shows 1 / field of the thermal one's. With a
    ``step`` the thermal picture that many pairs later fits better than the partner.
    ``odd`` are the pairs that fit no better than strangers although most do, the worst first.
    """

    pairs: int
    paired: float
    mismatched: float
    best: float
    shift: tuple[float, float]
    field: float
    verdict: Verdict
    step: int = 0
    odd: tuple[int, ...] = ()

    @property
    def gap(self) -> float:
        """How much better partners fit than strangers, where they lie now."""
        return self.paired - self.mismatched

    def offset(self, size_wh: tuple[float, float], given: tuple[float, float] = (0.0, 0.0)) -> Shift:
        """Return the ``--pair-offset`` in pixels that would fit, for colour pictures of that size.

        ``given`` is the offset with which the measured pictures were cut to their common area.
        """
        sides = (size - abs(already) for size, already in zip(size_wh, given, strict=True))
        x, y = (round(a + s * side) for a, s, side in zip(given, self.shift, sides, strict=True))
        return x, y

    def sentence(self, size_wh: tuple[float, float], given: tuple[float, float] = (0.0, 0.0)) -> str:
        """Say in words what was found and what to do; arguments as in `offset`."""
        figures = f"edges correlate {self.paired:.2f} in pairs, {self.mismatched:.2f} between strangers"
        if self.verdict == "too few":
            return f"{self.pairs} pairs are too few to tell whether they are aligned."
        if self.verdict == "aligned":
            return f"The pairs are aligned: {figures}."
        if self.verdict == "another field":
            return (
                f"The pairs are not aligned ({figures}): {self._field()} (correlation {self.best:.2f} so). "
                "Cut the pictures to the same field first."
            )
        if self.verdict == "out of step":
            late = f"{abs(self.step)} {'later' if self.step > 0 else 'earlier'}"
            return (
                f"The pairs are out of step: {figures}, but {self.best + self.mismatched:.2f} with the "
                f"thermal picture {late} in the order of the pairs. Give the right partners by a list."
            )
        if self.verdict == "not aligned":
            return (
                f"The pairs are not aligned: {figures}, and no shift up to 10% makes it better. Check that "
                "partners belong together and show the same field; a student learns nothing from these."
            )
        x, y = self.offset(size_wh, given)
        return (
            f"The thermal pictures lie about {_places(x, y)} of where they belong ({figures}; "
            f"{self.best + self.mismatched:.2f} when moved). Give --pair-offset {x},{y}."
        )

    def _field(self) -> str:
        wide, share = ("colour", self.field) if self.field < 1 else ("thermal", 1 / self.field)
        narrow = "thermal" if wide == "colour" else "colour"
        return f"{narrow} pictures seem to show only the middle {share:.0%} of the {wide} pictures' sides"


def _places(x: int, y: int) -> str:
    """Say where a picture lies that must be moved by (x, y).

    >>> _places(12, -3)
    '12 px left and 3 px below'
    """
    sides = [f"{abs(x)} px {'left' if x > 0 else 'right'}"] if x else []
    sides += [f"{abs(y)} px {'above' if y > 0 else 'below'}"] if y else []
    return " and ".join(sides) or "less than a pixel off"


def measure_alignment(pictures: UInt8, pairs: Int64) -> Alignment:
    """Measure how well the pairs (P, 2) of places of a colour and a thermal picture fit, among (N, S, S, 3).

    Edges are what both lights share; brightness is not (on 82 aligned road scenes the correlation
    of grey levels is -0.09). Strangers, i.e. all other pictures, tell what any two pictures of the set
    have in common. Measured on 512 pairs spread over all; up to 4096 are judged by themselves. Pictures
    are taken one by one, so that a memory map stays on disk.
    """
    count = len(pairs)
    if count < FEWEST:
        return Alignment(count, float("nan"), float("nan"), float("nan"), (0.0, 0.0), 1.0, "too few")
    some = pairs[_spread(count, MOST)]
    maps = edges(pictures, some[:, 0]), edges(pictures, some[:, 1])
    own, strangers = surfaces(*maps)
    best, (dx, dy) = peak(own - strangers)
    found = Alignment(
        pairs=count,
        paired=float(own[REACH, REACH]),
        mismatched=float(strangers[REACH, REACH]),
        best=best,
        shift=(dx / CELLS, dy / CELLS),
        field=1.0,
        verdict="shifted",
    )
    limit = max(FITS, BY_CHANCE / np.sqrt(len(some)))
    other = _another_reason(pictures, pairs, found, limit)
    if other is not None:
        return other
    if best < limit:
        return replace(found, verdict="not aligned")
    if max(abs(dx), abs(dy)) <= STILL or best <= BETTER * found.gap:
        found = replace(found, shift=(0.0, 0.0), verdict="aligned")
    return replace(found, odd=_odd(pictures, pairs, (round(dx), round(dy))))


def _another_reason(pictures: UInt8, pairs: Int64, found: Alignment, limit: float) -> Alignment | None:
    """Return what fits clearly better than any shift: another field of view, or other partners."""
    wanted = max(limit, BETTER * found.best)
    fit, field = _another_field(pictures, pairs)
    if fit >= wanted:
        return replace(found, best=fit, field=field, shift=(0.0, 0.0), verdict="another field")
    step, fit = _another_step(pictures, pairs[:MOST])
    fit -= found.mismatched
    if fit >= wanted:
        return replace(found, best=fit, step=step, shift=(0.0, 0.0), verdict="out of step")
    return None


def _another_field(pictures: UInt8, pairs: Int64) -> tuple[float, float]:
    """Return how well pictures fit at best if one shows only the middle of the other, and that field."""
    colour, thermal = pairs[_spread(len(pairs), MOST_SEARCHED)].T
    whole = edges(pictures, colour), edges(pictures, thermal)
    found = []
    for share in FIELDS:
        middle = edges(pictures, colour, middle=share), edges(pictures, thermal, middle=share)
        for maps, field in (((middle[0], whole[1]), share), ((whole[0], middle[1]), 1 / share)):
            own, strangers = surfaces(*maps)
            found.append((float((own - strangers).max()), field))
    return max(found)


def _another_step(pictures: UInt8, pairs: Int64) -> tuple[int, float]:
    """Return how many pairs on the thermal pictures fit best, and their mean correlation there."""
    if len(pairs) < ENOUGH:
        return 0, -1.0
    one, other = edges(pictures, pairs[:, 0]), edges(pictures, pairs[:, 1])
    found = []
    for step in (step for step in range(-STEPS, STEPS + 1) if step):
        behind, ahead = max(0, -step), max(0, step)
        products = one[behind : len(one) - ahead] * other[ahead : len(one) - behind]
        found.append((float(products.sum(axis=(1, 2)).mean()), step))
    fit, step = max(found)
    return step, fit


def _odd(pictures: UInt8, pairs: Int64, shift: Shift) -> tuple[int, ...]:
    """Return the pairs that fit no better than strangers, the worst first.

    Strangers are compared through the sum of all maps. About half of all wrong partners are found so, and
    none of 82 aligned ones.
    """
    some = _spread(len(pairs), MOST_JUDGED)
    colour, thermal = pairs[some].T
    one = edges(pictures, colour).reshape(len(some), -1)
    other = np.stack([moved(each, shift) for each in edges(pictures, thermal)]).reshape(len(some), -1)
    own = (one * other).sum(axis=1)
    strangers = (one @ other.sum(axis=0) + other @ one.sum(axis=0) - 2 * own) / (2 * (len(one) - 1))
    excess = own - strangers
    return tuple(int(some[at]) for at in np.argsort(excess, kind="stable") if excess[at] <= 0)


def _spread(count: int, most: int) -> Places:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
