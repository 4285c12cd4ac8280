"""Measured values as 16-bit numbers, for whoever cannot take floats: a browser, an integer image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinonat.records import Bool, Float32

UInt16 = NDArray[np.uint16]

NO_DATA = 65535
LEVELS = 65535  # 0 to 65534
FLAT_STEP = 1.0  # of an image of one value, where any step would do
BAND = 64  # rows of blocks that are summed at once, for the memory


@dataclass(frozen=True, eq=False)
class Sixteen:
    """Values as ``offset + step * levels``; 65535 where there is no data."""

    levels: UInt16  # (H, W)
    offset: float
    step: float

    def values(self) -> Float32:
        """Return the values (H, W) again, NaN where there is no data."""
        with np.errstate(over="ignore"):  # half a step above the largest float32
            values = (self.offset + self.step * self.levels.astype(np.float64)).astype(np.float32)
        values[self.levels == NO_DATA] = np.nan
        return values


def sixteen(data: Float32) -> Sixteen:
    """Return values (H, W), in any unit, as 16-bit levels; what is not finite is no data.

    Whole numbers that span at most 65,534 keep their value exactly: the step is 1, and the offset 0 where
    they lie between 0 and 65,534. All others lie at most half a step off, and the step is a 65,534th of
    what they span: finer than 0.01 degrees below a span of 655.
    """
    valid = np.isfinite(data)
    measured = data if valid.all() else data[valid]
    if measured.size == 0:
        return Sixteen(np.full(data.shape, NO_DATA, np.uint16), 0.0, FLAT_STEP)
    low, high = float(measured.min()), float(measured.max())
    offset, step = low, (high - low) / (LEVELS - 1) or FLAT_STEP
    if high - low < LEVELS and bool((measured == np.rint(measured)).all()):
        offset, step = 0.0 if low >= 0 and high < LEVELS else low, 1.0
    shares = (np.where(valid, data, offset).astype(np.float64) - offset) / step
    levels = np.clip(np.rint(shares), 0, LEVELS - 1).astype(np.uint16)
    levels[~valid] = NO_DATA
    return Sixteen(levels, offset, step)


def block_means(data: Float32, factor: int) -> Float32:
    """Return the mean of each block of ``factor`` x ``factor`` values, NaN where none of them is finite.

    (H, W) becomes (ceil(H / factor), ceil(W / factor)); blocks at the right and lower border are what is
    left there. Sums are in float64.
    """
    if factor == 1:
        return data
    height, width = data.shape
    means = np.empty((-(-height // factor), -(-width // factor)), np.float32)
    for first in range(0, len(means), BAND):
        band = data[first * factor : (first + BAND) * factor]
        missing = -len(band) % factor, -width % factor
        if any(missing):
            band = np.pad(band, ((0, missing[0]), (0, missing[1])), constant_values=np.nan)
        valid = np.isfinite(band)
        sums = _by_blocks(np.where(valid, band, np.float32(0)), factor)
        counts = _by_blocks(valid, factor)
        with np.errstate(invalid="ignore"):
            means[first : first + BAND] = sums / np.where(counts > 0, counts, np.nan)
    return means


def _by_blocks(values: Float32 | Bool, factor: int) -> NDArray[np.float64]:
    """Return the sums of whole blocks; adding rows to rows is several times faster than a reduction."""
    rows = np.zeros((len(values) // factor, values.shape[1]))
    for start in range(factor):
        rows += values[start::factor]
    sums = np.zeros((len(rows), rows.shape[1] // factor))
    for start in range(factor):
        sums += rows[:, start::factor]
    return sums
