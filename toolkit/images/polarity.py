"""Thermal pictures of one camera of which some show hot bright and some show hot dark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinonat.records import Bool, Float32, UInt8

Places = NDArray[np.integer]

SIDE = 16  # of the small pictures that are compared
FRAMES = 8  # below, a group of alike pictures may well be chance
TURNED = 2  # fewest pictures of the other polarity

# Pictures turned round are as unlike the others as those are alike each other: mean correlations of both
# groups, and minus the mean between them, are about equal, and large. 82 road scenes of which 30 % are
# turned round: 0.41, 0.43 and -0.43; as they are, the best split has 0.44, 0.30 and -0.16. Small targets
# before sky and ground, by many cameras: 0.29, 0.21 and -0.28.
ALIKE = 0.35
EVENLY = 0.7


@dataclass(frozen=True)
class Mixed:
    """One recording, or a whole set (``recording`` ""), whose pictures show both polarities."""

    recording: str
    of: int  # pictures that were compared
    turned: tuple[int, ...]  # places of the smaller group
    between: float  # mean correlation between the two groups
    within: float  # geometric mean of the mean correlations in them


def find_mixed(
    pictures: UInt8, recordings: Sequence[str] | None = None, *, places: Places | None = None
) -> tuple[Mixed, ...]:
    """Find the recordings whose pictures (N, S, S, 3) fall into two groups of opposite polarity.

    With ``places`` only those pictures count; ``recordings`` names theirs, and ``turned`` counts in them.

    Each recording of at least FRAMES grey pictures is looked at by itself; where none is mixed, or
    none is known, the whole set: a recording may be turned round as a whole. Pictures in colour are
    left out. False alarms are worse than misses: pictures that have little in common give none.
    """
    looks = _looks(pictures, np.arange(len(pictures)) if places is None else places)
    seen = np.linalg.norm(looks, axis=1) > 0
    found = []
    names = np.array(list(recordings) if recordings is not None else [""] * len(looks))
    for name in sorted(set(names.tolist()) - {""}):
        found += _mixed(looks, np.flatnonzero(seen & (names == name)), name)
    return tuple(found or _mixed(looks, np.flatnonzero(seen), ""))


def sentence(mixed: Sequence[Mixed], names: Sequence[str]) -> str:
    """Say how many pictures seem turned round, and name a few; "" where none do."""
    places = sorted(place for each in mixed for place in each.turned)
    if not places:
        return ""
    of = sum(each.of for each in mixed)
    some = ", ".join(names[place] for place in places[:3]) + (", ..." if len(places) > 3 else "")
    return (
        f"{len(places)} of {of} thermal pictures seem to show hot and cold the other way round than the rest "
        f"({some}). Export them in one polarity; a set that is black-hot as a whole is turned round by "
        "--set invert=yes where labels are proposed."
    )


def _looks(pictures: UInt8, places: Places) -> Float32:
    """Return (N, SIDE * SIDE) small pictures without mean, of length 1; zeros for colour and flat ones."""
    looks = np.zeros((len(places), SIDE * SIDE), np.float32)
    for at, place in enumerate(places):
        pixels = pictures[place]
        grey = np.ascontiguousarray(pixels[..., 0])
        if (pixels != grey[..., None]).any():
            continue
        small = np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
        free = (small - small.mean()).ravel()
        length = float(np.linalg.norm(free))
        if length > SIDE:  # a spread of one grey level
            looks[at] = free / length
    return looks


def _mixed(looks: Float32, places: Places, name: str) -> list[Mixed]:
    """Return what the best split of some pictures into two opposite groups shows, if it is one."""
    own = looks[places]
    if len(own) < FRAMES:
        return []
    turned = _turned(own)
    if turned.sum() < TURNED:
        return []
    one, other = own[~turned], own[turned]
    between = float(one.mean(axis=0) @ other.mean(axis=0))
    alike = _alike(one), _alike(other)
    within = float(np.sqrt(max(alike[0], 0.0) * max(alike[1], 0.0)))
    if min(*alike, -between) < ALIKE or not EVENLY < -between / within < 1 / EVENLY:
        return []
    return [Mixed(name, len(own), tuple(int(place) for place in places[turned]), between, within)]


def _turned(own: Float32) -> Bool:
    """Split into two groups so that the sum of all signed pictures is as long as can be; mark the smaller.

    From the main axis of the pictures (by power iteration, far enough where there is one to speak of),
    then each joins the sum that it is more like until none moves.
    """
    axis = own.T @ np.sign(own @ own[0])
    for _ in range(30):
        axis = own.T @ (own @ axis)
        axis /= max(float(np.linalg.norm(axis)), 1e-12)
    marks = own @ axis < 0
    for _ in range(50):
        whole = own[~marks].sum(axis=0) - own[marks].sum(axis=0)
        again = own @ whole < 0
        if (again == marks).all():
            break
        marks = again
    return np.asarray(marks if marks.mean() <= 0.5 else ~marks)


def _alike(own: Float32) -> float:
    """Return the mean correlation of all pairs: the squared length of the sum holds each of them twice."""
    count, whole = len(own), own.sum(axis=0, dtype=np.float64)
    return float((whole @ whole - (own * own).sum()) / (count * (count - 1)))
