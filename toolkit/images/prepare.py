"""Map what was measured to the eight bits and three channels that a network of photographs sees."""

import numpy as np

from dinonat.errors import ImageError, UsageError
from dinonat.records import Float32, Prepared, ThermalFrame, UInt8

MODES = ("percentile", "minmax")
COLOUR = "colour"
MID_GREY = 128


def prepare(frame: ThermalFrame, *, mode: str = "percentile", lo: float = 1.0, hi: float = 99.0) -> Prepared:
    """Return the frame as (H, W, 3) uint8 with the two values that became 0 and 255.

    "percentile" maps the ``lo`` to ``hi`` percentiles of the valid pixels, so that one hot pixel
    costs nothing (reference: min-max breaks on it); "minmax" maps the whole range. Pixels without
    data become 0, a flat frame mid grey. Colour pictures pass as they are, mode "colour".
    Raises UsageError for an unknown mode or percentiles out of order, ImageError where no pixel
    holds data.
    """
    if mode not in MODES:
        raise UsageError(f"prepare={mode}: unknown preparation. Known: {', '.join(MODES)}.")
    if not 0 <= lo < hi <= 100:
        raise UsageError(f"Percentiles {lo:g} to {hi:g}: expected 0 <= low < high <= 100.")
    if frame.rgb is not None:
        return Prepared(frame.rgb, COLOUR, 0.0, 255.0, frame.unit)
    low, high = value_range(frame.data, *((lo, hi) if mode == "percentile" else (0.0, 100.0)))
    grey = to_grey(frame.data, low, high)
    return Prepared(np.repeat(grey[..., None], 3, axis=2), mode, low, high, frame.unit)  # (H, W, 3)


def value_range(data: Float32, lo: float, hi: float) -> tuple[float, float]:
    """Return the ``lo`` and ``hi`` percentiles of the valid values; ImageError where there are none."""
    valid = data[np.isfinite(data)]
    if valid.size == 0:
        raise ImageError("No pixel holds data: every value is missing.")
    low, high = np.percentile(valid, [lo, hi])
    return float(low), float(high)


def to_grey(data: Float32, low: float, high: float) -> UInt8:
    """Map ``low``..``high`` to 0..255, rounded; values outside are clipped, NaN gives 0.

    Where low equals high there is nothing to stretch: that value becomes mid grey, and what lies
    below or above it black or white.
    """
    if high > low:
        share = (data.astype(np.float64) - low) / (high - low)
    else:
        share = np.where(data == low, MID_GREY / 255, (data > low).astype(np.float64))
    share = np.where(np.isfinite(data), np.clip(share, 0.0, 1.0), 0.0)
    return np.floor(share * 255.0 + 0.5).astype(np.uint8)
