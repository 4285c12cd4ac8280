"""The values of one frame in a few numbers: range, percentiles, and what is cut off at its ends."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinonat.records import Float32, ThermalFrame

# A plateau at the end of the histogram is a cut, a tail is not: the last level must hold more than this
# share of the pixels, and several times what the levels beside it hold.
CUT_SHARE = 0.001
CUT_TIMES = 4.0
BESIDE = 8  # levels
BINS = 1024  # levels of values that are no whole numbers
GREY_LEVELS = 256
MOST_LEVELS = 2**16  # whole numbers below this are counted one by one

Stored = NDArray[Any]  # uint8, uint16 or float32
Counts = NDArray[np.intp]


class Levels(NamedTuple):
    """What the values of a frame are; NaN where no pixel holds data."""

    least: float
    low: float  # 1 percent of the pixels lie below
    median: float
    high: float  # 1 percent lie above
    most: float
    cut_low: float  # share of the pixels in a plateau at the lower end
    cut_high: float
    missing: float  # share of the pixels without data
    distinct: int  # different whole numbers; 0 where the values are no whole numbers
    histogram: tuple[
        int, ...
    ] = ()  # pixels in SHOWN_BINS equal steps from low to high, the ends with all beyond


NAN = float("nan")
EMPTY = Levels(NAN, NAN, NAN, NAN, NAN, 0.0, 0.0, 1.0, 0)
RANKS = (0.01, 0.5, 0.99)
SHOWN_BINS = 64
LEAST_RANGE = 1e-30  # of values: a step of a smaller one has no inverse, or is none, in float32


def stored(frame: ThermalFrame) -> Stored:
    """Return the values as the narrowest numbers that hold them: several times faster to look at."""
    if frame.unit == "grey":
        return np.rint(frame.data).astype(np.uint8) if frame.rgb is not None else frame.data.astype(np.uint8)
    data, few = frame.data, frame.data.ravel()[:64]
    if not (few == np.rint(few)).all() or not (data == np.rint(data)).all():
        return data  # NaN and infinity are no whole numbers either
    return data.astype(np.uint16) if data.min() >= 0 and data.max() < MOST_LEVELS else data


def levels_of(values: Stored, *, grey: bool) -> Levels:
    """Return the levels of a frame, in its unit, from its ``stored`` values.

    A cut is looked for at 0 and 255 in ``grey`` levels and at the ends of the frame's own range in
    counts and degrees, where a camera at its limit repeats one value.
    """
    flat = values.ravel()
    if flat.dtype.kind == "u":
        counts = _counts(values)
        used = np.flatnonzero(counts)
        low, median, high = _counted(counts, flat.size)
        cuts = _cuts(counts if grey else counts[used[0] :])
        shown = _histogram(used, low, high, counts[used])
        return Levels(float(used[0]), low, median, high, float(used[-1]), *cuts, 0.0, used.size, shown)
    valid = flat[np.isfinite(flat)]
    if valid.size == 0:
        return EMPTY
    low, median, high = _ranked(valid)
    least, most = float(valid.min()), float(valid.max())
    cuts = _cuts_of_range(valid, least, most)
    missing, shown = 1.0 - valid.size / flat.size, _histogram(valid, low, high)
    return Levels(least, low, median, high, most, *cuts, missing, 0, shown)


def _counts(values: Stored) -> Counts:
    """Return how many pixels have each whole value; Pillow counts bytes several times faster."""
    if values.dtype == np.uint8:
        return np.array(Image.fromarray(values).histogram(), np.intp)
    return np.bincount(values.ravel())


def _histogram(
    values: NDArray[Any], low: float, high: float, weights: Counts | None = None
) -> tuple[int, ...]:
    """Count values, each as often as ``weights`` say, in equal steps from ``low`` to ``high``."""
    step = (high - low) / SHOWN_BINS if high - low > LEAST_RANGE else 1.0
    places = np.clip((values - low) / step, 0, SHOWN_BINS - 1).astype(np.intp)
    return tuple(int(count) for count in np.bincount(places, weights, SHOWN_BINS))


def _ranked(values: Float32) -> tuple[float, float, float]:
    places = [int(rank * (values.size - 1) + 0.5) for rank in RANKS]
    ranked = np.partition(values, sorted(set(places)))
    low, median, high = (float(ranked[place]) for place in places)
    return low, median, high


def _counted(counts: Counts, size: int) -> tuple[float, float, float]:
    """Return the percentiles from the number of pixels at each level."""
    places = [int(rank * (size - 1) + 0.5) + 1 for rank in RANKS]
    low, median, high = (float(level) for level in np.searchsorted(counts.cumsum(), places))
    return low, median, high


def _cuts(counts: Counts) -> tuple[float, float]:
    """Return the shares of the pixels in the plateaus at both ends."""
    return _plateau(counts), _plateau(counts[::-1])


def _cuts_of_range(values: Float32, least: float, most: float) -> tuple[float, float]:
    """Do the same for values that are no whole numbers, in BINS levels from the least to the most."""
    if not most - least > LEAST_RANGE:
        return 0.0, 0.0
    places = np.rint((values - least) * np.float32((BINS - 1) / (most - least))).astype(np.uint16)
    counts = np.bincount(places, minlength=BINS)
    share_least, share_most = (float(np.mean(values == end)) for end in (least, most))
    return (min(_plateau(counts), share_least), min(_plateau(counts[::-1]), share_most))


def _plateau(counts: Counts) -> float:
    """Return the share of the first level where it is a plateau, else 0.

    >>> _plateau(np.array([500, 10, 12, 9, 11, 10, 9, 8, 10, 900])), _plateau(np.array([3, 4, 5, 900]))
    (0.338066, 0.0)
    """
    share = float(counts[0] / max(counts.sum(), 1))
    beside = float(counts[1 : 1 + BESIDE].mean()) if counts.size > 1 else 0.0
    if counts.size <= BESIDE or share <= CUT_SHARE or counts[0] <= CUT_TIMES * beside:
        return 0.0
    return round(share, 6)
