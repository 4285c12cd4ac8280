"""How warm a region is: what was measured inside it, summed up in five numbers.

A pixel covers one unit of the picture and is measured at its centre: pixel (row, column) at
(column + 0.5, row + 0.5). It belongs to a mask that covers it, or to a box that holds its centre (the
left and upper edge count as inside, the right and lower as outside, so that boxes side by side share no
pixel). A box too small to hold a centre stands for the pixel under its own centre. Pixels without data
count for nothing.
"""

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from dinonat.errors import LabelError
from dinonat.images.ranks import finite, in_order, percentile
from dinonat.records import TEMPERATURE_COLUMNS, Float32

UNMEASURED = dict.fromkeys(TEMPERATURE_COLUMNS, float("nan"))
PERCENTILES = {"t_min": 0.0, "t_median": 50.0, "t_p95": 95.0, "t_max": 100.0}


def warmth(
    measured: Float32 | None, box_xywh: Sequence[float], mask_counts: Sequence[int] = ()
) -> dict[str, float]:
    """Return the columns TEMPERATURE_COLUMNS of one region, in the unit of ``measured`` (H, W).

    ``t_min`` and ``t_max`` are the smallest and the largest valid value, ``t_mean`` their arithmetic
    mean, ``t_median`` and ``t_p95`` the 50th and 95th percentile, interpolated linearly between
    the two nearest in rank (of n sorted values, the one at (n - 1) q / 100 from 0). They are taken over
    the mask (COCO run lengths of the whole picture), or over the box where ``mask_counts`` is empty.

    All are NaN where nothing valid lies inside, or where ``measured`` is None.
    """
    if measured is None:
        return dict(UNMEASURED)
    values = _in_mask(measured, mask_counts) if len(mask_counts) else _in_box(measured, box_xywh)
    valid = finite(values)
    if valid.size == 0:
        return dict(UNMEASURED)
    ranked = in_order(valid)
    found = {name: float(np.float32(percentile(ranked, q))) for name, q in PERCENTILES.items()}
    found["t_mean"] = float(np.float32(valid.mean(dtype=np.float64)))
    return {name: found[name] for name in TEMPERATURE_COLUMNS}


def _in_box(measured: Float32, box_xywh: Sequence[float]) -> Float32:
    """Return the values (n,) whose centres lie in the box."""
    x, y, w, h = box_xywh
    height, width = measured.shape
    return measured[_span(y, h, height), _span(x, w, width)].ravel()


def _span(start: float, length: float, limit: int) -> slice:
    """Return the pixels of one axis whose centres lie in [start, start + length), at least one."""
    first, stop = ceil(start - 0.5), ceil(start + length - 0.5)
    if stop <= first:
        first = floor(start + length / 2)
        stop = first + 1
    return slice(max(first, 0), max(min(stop, limit), 0))


def _in_mask(measured: Float32, counts: Sequence[int]) -> Float32:
    """Return the values (n,) under the runs of a mask, without unpacking the rest of the picture."""
    height, width = measured.shape
    runs = np.asarray(counts, np.int64)
    if runs.min() < 0 or runs.sum() != height * width:
        raise LabelError(
            f"mask of {len(runs)} runs with {runs.sum()} pixels: what was measured has {width}x{height}, "
            f"{height * width}. Give run lengths of the whole image, column by column."
        )
    at = _covered(runs)  # down the columns
    values: Float32 = measured[at % height, at // height]
    return values


def _covered(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places, counted from 0, that the odd runs cover.

    >>> _covered(np.array([1, 2, 3, 1])).tolist()
    [1, 2, 6]
    """
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2]
    before = np.cumsum(lengths) - lengths  # covered places that come before each run
    places: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(ends - lengths - before, lengths)
    return places
