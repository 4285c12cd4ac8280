"""What is kept of a frame to compare it with others: its look, a fingerprint, and odd pixels."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinonat.records import Float32, ThermalFrame
from dinonat.survey.levels import Levels, Stored

SIDE = 32  # of the small picture by which frames are compared
MOST_PIXELS = 2**22  # larger pictures are photographs; odd pixels are not looked for in them
MOST_ODD = 512  # a frame with more lone pixels is noise, not a defect
MOST_DRAWN = 8192  # one with more pixels of drawings is a picture of hard contrast

# Lone pixels: above or below all eight neighbours by this share of the range of the middle 98 percent,
# and by this many times the usual step between neighbours.
LONE_SHARE = 0.12
LONE_TIMES = 8.0
LONE_LEVELS = 12.0  # and by as many of 255 levels in display pictures

# Pixels of drawings: nearly white or nearly black right beside the opposite.
WHITE, BLACK = 235.0, 20.0
EDGE = 50.0

Places = NDArray[np.int32]
Half = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Traces:
    """Of one frame, a few kilobytes."""

    look: Half | None  # (SIDE * SIDE,) mean-free, of length 1; None where there is nothing to see
    detail: Half | None  # the same of what is left when the coarse part is taken away
    fingerprint: str  # of the values: equal pixels, equal fingerprint
    lone: Places  # 2 * (flat index) + 1 where the pixel is darker than its neighbours, + 0 where brighter
    drawn: Places  # 2 * (flat index) + 1 where it is black, + 0 where it is white


NONE = np.empty(0, np.int32)


def traces_of(frame: ThermalFrame, values: Stored, small: Float32, levels: Levels) -> Traces:
    """Return the traces of a frame from its ``stored`` values and its ``shrunk`` data.

    Drawings are looked for in display pictures only.
    Odd pixels are not looked for in large pictures, which come from no thermal sensor.
    """
    display = frame.unit == "grey"
    lone = drawn = NONE
    if values.size <= MOST_PIXELS and min(values.shape) >= 3:
        around = _neighbours(values)
        lone = _lone(values, around, levels, display=display) if frame.rgb is None else NONE
        drawn = _drawn(values, around) if display else NONE
    pixels = values if frame.rgb is None else frame.rgb
    return Traces(
        unit_vector(small),
        unit_vector(small - _blurred(small)),
        _fingerprint(pixels, frame.unit),
        lone,
        drawn,
    )


def shrunk(data: Float32) -> Float32:
    """Return (SIDE, SIDE) means of ``data`` (H, W)."""
    whole = Image.fromarray(np.ascontiguousarray(data, np.float32))
    return np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)


def unit_vector(small: Float32) -> Half | None:
    """Return ``small`` as a vector without mean, of length 1; None where it does not vary."""
    vector = (small - small.mean(dtype=np.float64)).ravel()
    length = float(np.linalg.norm(vector))
    if length <= 1e-4 * max(1.0, float(np.abs(small).max())):
        return None
    unit: Half = (vector / length).astype(np.float16)  # exact to 0.001 in a correlation, and half the memory
    return unit


def _blurred(small: Float32) -> Float32:
    """Return the mean of each pixel and its eight neighbours (fewer at the border)."""
    padded = np.pad(small, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    blurred: Float32 = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return blurred


def _fingerprint(pixels: Stored, unit: str) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(str((pixels.shape, unit)).encode())
    return digest.hexdigest()


def _neighbours(values: Stored) -> tuple[Stored, Stored]:
    """Return the largest and the smallest of the eight neighbours of each pixel inside the border."""
    found = []
    for extreme in (np.maximum, np.minimum):
        sides = extreme(values[:, :-2], values[:, 2:])
        three = extreme(sides, values[:, 1:-1])
        found.append(extreme(extreme(three[:-2], three[2:]), sides[1:-1]))
    return found[0], found[1]


def _lone(values: Stored, around: tuple[Stored, Stored], levels: Levels, *, display: bool) -> Places:
    """Find pixels that stand far above or below all their neighbours: no lens draws so sharp a point."""
    steps = np.abs(np.diff(values[::7, ::3].astype(np.float32), axis=1))
    known = steps[np.isfinite(steps)] if levels.missing else steps
    step = float(np.median(known)) if known.size else 0.0
    far = max(LONE_SHARE * (levels.high - levels.low), LONE_TIMES * step, LONE_LEVELS if display else 0.0)
    middle = values[1:-1, 1:-1]
    found = []
    for dark, (mask, limit) in enumerate(zip((middle > around[0], middle < around[1]), around, strict=True)):
        places = np.flatnonzero(mask)
        apart = np.abs(middle.ravel()[places].astype(np.float32) - limit.ravel()[places])
        found.append(_at(places[apart > far], dark, values.shape))
    every = np.sort(np.concatenate(found))
    return every if every.size <= MOST_ODD else NONE


def _drawn(values: Stored, around: tuple[Stored, Stored]) -> Places:
    """Find nearly white pixels beside dark ones and nearly black ones beside bright ones."""
    middle = values[1:-1, 1:-1]
    found = []
    for dark, (mask, limit) in enumerate(zip((middle >= WHITE, middle <= BLACK), around[::-1], strict=True)):
        places = np.flatnonzero(mask)
        apart = np.abs(middle.ravel()[places].astype(np.float32) - limit.ravel()[places])
        found.append(_at(places[apart >= EDGE], dark, values.shape))
    every = np.sort(np.concatenate(found))
    return every if every.size <= MOST_DRAWN else NONE


def _at(places: NDArray[np.intp], dark: int, shape: tuple[int, ...]) -> Places:
    """Turn places inside the border into those of the whole frame, with the sign in the last bit."""
    rows, columns = np.divmod(places, shape[1] - 2)
    return (2 * ((rows + 1) * shape[1] + columns + 1) + dark).astype(np.int32)
