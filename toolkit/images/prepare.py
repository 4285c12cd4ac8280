"""Map what was measured to the eight bits and three channels that a network of photographs sees."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dinonat.errors import ImageError, UsageError
from dinonat.images.ranks import as_bytes, counted, finite, percentile
from dinonat.records import Float32, Prepared, ThermalFrame, UInt8

Mode = Literal["percentile", "recording", "dataset", "window", "clahe"]
Invert = Literal["auto", "yes", "no"]
Limits = tuple[float, float]

POOLED: dict[Mode, str] = {"recording": "recording", "dataset": "set"}  # modes whose limits many images share
PERCENTILES: dict[Mode, Limits] = {
    "percentile": (1.0, 99.0),  # one hot pixel costs nothing, and central 98 % use a third of the range
    "recording": (1.0, 99.0),
    "dataset": (0.5, 99.5),
    "clahe": (1.0, 99.0),
}
FORM = re.compile(r"(?P<mode>[a-z]+)(?:=(?P<lo>[^:=]+):(?P<hi>[^:=]+))?")
COLOUR = "colour"
MID_GREY = 128
CLIP_LIMIT = 0.01  # of CLAHE: share of a tile's pixels that one grey level may hold


@dataclass(frozen=True)
class Preparation:
    """How values become grey levels: the limits, and whether hot is shown dark.

    ``lo`` and ``hi`` are percentiles of the image, its recording or the set; for "window" values in
    the frame's own unit. ``invert`` "auto" turns those pictures around that are known to show hot as
    dark, so that hot is bright everywhere.
    """

    mode: Mode = "percentile"
    lo: float = 1.0
    hi: float = 99.0
    invert: Invert = "auto"


DEFAULT = Preparation()


def parse_preparation(text: str, *, invert: str = "auto") -> Preparation:
    """Read "percentile", "percentile=2:98", "recording", "dataset", "window=20:40" or "clahe".

    Raises UsageError for another form, and for limits out of order.

    >>> parse_preparation("window=20:40")
    Preparation(mode='window', lo=20.0, hi=40.0, invert='auto')
    """
    found = FORM.fullmatch(text.strip())
    if found is None or found["mode"] not in get_args(Mode):
        raise UsageError(
            f"prepare={text}: expected percentile, recording, dataset or clahe, perhaps with percentiles as "
            "in percentile=2:98, or window=LO:HI with values in the images' unit."
        )
    if invert not in get_args(Invert):
        raise UsageError(f"invert={invert}: expected auto, yes or no.")
    mode: Mode = found["mode"]  # type: ignore[assignment]
    if found["lo"] is None and mode == "window":
        raise UsageError("prepare=window: expected its limits too, as in window=20:40.")
    lo, hi = PERCENTILES[mode] if found["lo"] is None else _numbers(text, found["lo"], found["hi"])
    if mode == "window":
        if not lo < hi:
            raise UsageError(f"prepare={text}: expected the lower value first, as in window=20:40.")
    elif not 0 <= lo < hi <= 100:
        raise UsageError(f"prepare={text}: percentiles {lo:g} to {hi:g}; expected 0 <= low < high <= 100.")
    return Preparation(mode, lo, hi, invert)  # type: ignore[arg-type]


def _numbers(text: str, *parts: str) -> Limits:
    try:
        low, high = (float(part) for part in parts)
    except ValueError as error:
        raise UsageError(f"prepare={text}: its limits are not two numbers.") from error
    if not np.isfinite([low, high]).all():
        raise UsageError(f"prepare={text}: expected finite numbers.")
    return low, high


def prepare(
    frame: ThermalFrame, preparation: Preparation = DEFAULT, *, limits: Limits | None = None
) -> Prepared:
    """Return the frame as (H, W, 3) uint8 with the two values that became 0 and 255.

    ``limits`` take the place of those that ``preparation`` would find: those of a recording or a set
    (ranges.py), or those that an earlier preparation of this image had found; the same pixels follow.
    Values outside are clipped, pixels without data become 0, a flat frame mid grey. Where hot is to
    be shown dark, ``lo`` of the result lies above ``hi``. Colour pictures pass as they are.
    Raises ImageError where no pixel holds data, or where counts or grey levels all lie outside a
    window; degrees that do are all black or all white. ValueError for a pooled mode without limits.
    """
    if frame.rgb is not None:
        return Prepared(frame.rgb, COLOUR, 0.0, 255.0, frame.unit)
    low, high = _rounded(sorted(limits or _limits(frame, preparation)))
    if _is_inverted(frame, preparation):
        low, high = high, low
    equalised = preparation.mode == "clahe" and low != high
    grey = _equalised(frame.data, low, high) if equalised else to_grey(frame.data, low, high)
    return Prepared(_three_channels(grey), preparation.mode, low, high, frame.unit)


def _limits(frame: ThermalFrame, preparation: Preparation) -> Limits:
    if preparation.mode in POOLED:
        raise ValueError(f"limits of the {POOLED[preparation.mode]} are needed")
    if preparation.mode != "window":
        return value_range(frame.data, preparation.lo, preparation.hi)
    least, most = value_range(frame.data, 0.0, 100.0)
    outside = most < preparation.lo or least > preparation.hi
    if outside and frame.unit != "celsius":  # values of another unit; a cold scene is no mistake
        raise ImageError(
            f"Its values {least:.6g} to {most:.6g} ({frame.unit}) all lie outside the window "
            f"{preparation.lo:g}:{preparation.hi:g}. Give a window in that unit, or --prepare percentile."
        )
    return preparation.lo, preparation.hi


def _rounded(limits: list[float]) -> Limits:
    """Round limits to the precision of the tables that keep them, so that they give the same pixels."""
    low, high = (float(np.float32(value)) for value in limits)
    return low, high


def _is_inverted(frame: ThermalFrame, preparation: Preparation) -> bool:
    if preparation.invert == "auto":
        return frame.polarity == "black_hot"
    return preparation.invert == "yes"


def value_range(data: Float32, lo: float, hi: float) -> Limits:
    """Return the ``lo`` and ``hi`` percentiles of the valid values; ImageError where there are none."""
    valid = finite(data)
    if valid.size == 0:
        raise ImageError("No pixel holds data: every value is missing.")
    ranked = counted(valid)
    if ranked is not None:
        return percentile(ranked, lo), percentile(ranked, hi)
    low, high = np.percentile(valid, [lo, hi])
    return float(low), float(high)


def to_grey(data: Float32, low: float, high: float) -> UInt8:
    """Map ``low``..``high`` to 0..255, rounded; values outside are clipped, what is not finite gives 0.

    ``low`` may lie above ``high``: then large values are dark. Where they are equal there is nothing
    to stretch: that value becomes mid grey, and what lies below or above it black or white.
    """
    levels = as_bytes(data) if data.size > 1024 else None
    if levels is not None:  # each of them once, then looked up
        return to_grey(np.arange(256, dtype=np.float32), low, high)[levels]
    share = data.astype(np.float64)
    if low == high:
        share = np.where(share == low, MID_GREY / 255, np.where(np.isnan(share), np.nan, share > low))
        share *= 255.0
    else:
        share -= low
        share *= 255.0 / (high - low)
    share += 0.5
    np.nan_to_num(share, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    np.clip(share, 0.0, 255.5, out=share)
    return share.astype(np.uint8)


def _equalised(data: Float32, low: float, high: float) -> UInt8:
    """Equalise the histogram of an 8x8 grid of tiles, its contrast limited (Zuiderveld 1994).

    On the values, not on eight bits of them: detail fainter than a grey level is what it is for.
    """
    from skimage.exposure import equalize_adapthist

    valid = np.isfinite(data)
    share = np.clip((np.where(valid, data, low).astype(np.float64) - low) / (high - low), 0.0, 1.0)
    levels = equalize_adapthist(share, clip_limit=CLIP_LIMIT, nbins=1024)  # in [0, 1]
    grey: UInt8 = np.where(valid, levels * 255.0 + 0.5, 0).astype(np.uint8)
    return grey


def _three_channels(grey: UInt8) -> UInt8:
    return np.stack([grey, grey, grey], axis=-1)  # (H, W, 3)
