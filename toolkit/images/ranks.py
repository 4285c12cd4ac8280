"""Values in order, and percentiles of them, without sorting where whole numbers can be counted."""

from math import ceil, floor

import numpy as np
from PIL import Image

from dinonat.records import Float32, UInt8

MANY = 2**14  # values, from which counting them pays even where each of 2**16 may occur


def counted(values: Float32) -> Float32 | None:
    """Return (n,) finite values in order by counting them, ten times as fast as sorting them.

    None where that does not pay or is not exact: few values, fractions, values outside 0 to 65535.
    """
    if len(values) < MANY or values.min() < 0 or values.max() >= 2**16:
        return None
    levels = as_bytes(values)
    if levels is not None:  # Pillow counts those three times as fast
        counts = np.array(Image.fromarray(levels[None]).histogram())
    else:
        whole = values.astype(np.uint16)
        if not np.array_equal(whole, values):
            return None
        counts = np.bincount(whole)
    return np.repeat(np.arange(len(counts), dtype=np.float32), counts)


def as_bytes(values: Float32) -> UInt8 | None:
    """Return values of any shape as uint8 where each is a whole number from 0 to 255, else None.

    >>> as_bytes(np.float32([0, 7, 255])), as_bytes(np.float32([0.5])), as_bytes(np.float32([np.nan]))
    (array([  0,   7, 255], dtype=uint8), None, None)
    """
    if values.size == 0 or not (values.min() >= 0 and values.max() <= 255):
        return None
    levels = values.astype(np.uint8)
    return levels if np.array_equal(levels, values) else None


def percentile(ranked: Float32, q: float) -> float:
    """Interpolate between the two values nearest in rank: of n in order, the one at (n - 1) q / 100 from 0.

    >>> percentile(np.float32([0, 10, 20, 30]), 95)
    28.5
    """
    place = (len(ranked) - 1) * q / 100
    low, high = float(ranked[floor(place)]), float(ranked[ceil(place)])
    return low + (high - low) * (place - floor(place))
