"""Connected parts of many pictures in one pass, their areas and boxes from their runs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dinonat.records import Bool, Int64


def labelled(planes: Sequence[Bool]) -> tuple[NDArray[np.int32], int]:
    """Return the connected parts of n masks (h, w), numbered through from 1, and how many there are.

    The parts are (n, h + 1, w + 1) with an empty last row and column, so that no part and no run of pixels
    goes on in the next plane or row. Pixels hang together by their sides.
    """
    height, width = planes[0].shape
    filled = np.zeros((len(planes), height + 1, width + 1), dtype=bool)
    filled[:, :-1, :-1] = planes
    parts = np.zeros(filled.shape, dtype=np.int32)
    count = ndimage.label(filled.reshape(-1, width + 1), output=parts.reshape(-1, width + 1))
    return parts, int(count)


def measured(parts: NDArray[np.int32], count: int) -> tuple[Int64, Int64, Int64]:
    """Return plane (count,), area (count,) and boxes (count, 4) x0, y0, x1, y1 of parts 1 to ``count``.

    As ``labelled`` gives them, but they may touch. From the runs of every row, far fewer than the pixels.
    """
    _, height, width = parts.shape
    flat = parts.ravel()
    changes = np.flatnonzero(np.append(flat[:1] > 0, flat[1:] != flat[:-1]))  # np.diff is slower
    filled = flat[changes] > 0
    starts, ends = changes[filled], changes[1:][filled[:-1]]  # the last pixel is empty
    part = flat[starts] - 1
    row, x0 = np.divmod(starts, width)
    number, y = np.divmod(row, height)
    plane = np.zeros(count, dtype=np.int64)
    plane[part] = number
    low, high = np.full((2, count), max(height, width)), np.zeros((2, count), dtype=np.int64)
    for axis, (first, last) in enumerate([(x0, x0 + ends - starts), (y, y + 1)]):
        np.minimum.at(low[axis], part, first)
        np.maximum.at(high[axis], part, last)
    area = np.bincount(part, ends - starts, minlength=count).astype(np.int64)
    return plane, area, np.concatenate([low, high]).T
