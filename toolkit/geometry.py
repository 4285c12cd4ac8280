"""Boxes, IoU and run-length masks on the pixel grid: exact, in float64 and integers.

A pixel (row, column) covers the square from (x=column, y=row) to (column + 1, row + 1), so the box of
a single pixel is one wide and a polygon runs along pixel edges. Boxes are ``x, y, width, height``.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dinonat.errors import LabelError
from dinonat.records import Bool

Float64 = NDArray[np.float64]
Box = tuple[float, float, float, float]


def _boxes(values: ArrayLike) -> Float64:
    """Return boxes as (n, 4) float64; an empty list has n = 0."""
    return np.asarray(values, dtype=np.float64).reshape(-1, 4)


def iou_xywh(a: ArrayLike, b: ArrayLike) -> Float64:
    """Return intersection over union (n, m) in [0, 1] of boxes ``a`` (n, 4) and ``b`` (m, 4).

    Same arithmetic as pycocotools (``bbIou``). A box without area meets nothing: IoU 0.

    >>> iou_xywh([[0, 0, 2, 2]], [[1, 0, 2, 2], [5, 5, 1, 1]])
    array([[0.33333333, 0.        ]])
    """
    first, second = _boxes(a)[:, None, :], _boxes(b)[None, :, :]
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    sides = np.clip(high - low, 0, None)  # (n, m, 2)
    shared = sides[..., 0] * sides[..., 1]
    union = first[..., 2] * first[..., 3] + second[..., 2] * second[..., 3] - shared
    overlap: Float64 = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return overlap


def clip_xywh(boxes: ArrayLike, size_hw: tuple[int, int]) -> Float64:
    """Return ``boxes`` (n, 4) cut to an image of ``size_hw``; boxes outside keep no width or height.

    >>> clip_xywh([[-1, 2, 4, 9]], (5, 10))
    array([[0., 2., 3., 3.]])
    """
    given = _boxes(boxes)
    limit = np.array([size_hw[1], size_hw[0]], dtype=np.float64)
    low = np.clip(given[:, :2], 0, limit)
    high = np.clip(given[:, :2] + given[:, 2:], 0, limit)
    return np.concatenate([low, np.clip(high - low, 0, None)], axis=1)


def square_with_context(box_xywh: Sequence[float], *, context: float, size_hw: tuple[int, int]) -> Box:
    """Return the square around a box, with ``context`` times its longer side added on every side.

    The square is moved into the image of ``size_hw``. Along an axis where the image is smaller than
    the square it is centred on the image and reaches over both borders: the caller decides what stands
    there. A box without area gives a square of at least one pixel.

    >>> square_with_context((10, 10, 20, 10), context=0.25, size_hw=(100, 100))
    (5.0, 0.0, 30.0, 30.0)
    """
    x, y, width, height = (float(value) for value in box_xywh)
    side = max(width, height, 1.0) * (1 + 2 * context)
    left = _moved_inside(x + width / 2 - side / 2, side, size_hw[1])
    top = _moved_inside(y + height / 2 - side / 2, side, size_hw[0])
    return left, top, side, side


def shown_around(width: float, height: float) -> float:
    """Return how many pixels around a box its picture shows at each side, so that people know it again.

    Half its longer side, or as many as make the picture 64 pixels long.

    >>> shown_around(100, 20), shown_around(10, 4)
    (50.0, 27.0)
    """
    longer = max(width, height)
    return max((64 - longer) / 2, longer / 2)


def _moved_inside(start: float, side: float, limit: int) -> float:
    """Return where an interval of length ``side`` starts once it lies in [0, limit], if it fits."""
    return min(max(start, 0.0), limit - side) if side <= limit else (limit - side) / 2


def mask_to_counts(mask: Bool) -> list[int]:
    """Return the COCO run lengths of ``mask`` (H, W): column-major, zeros first.

    >>> mask_to_counts(np.array([[False, True], [True, True]]))
    [1, 3]
    """
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    if flat.size == 0:
        return [0]
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts: list[int] = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else counts


def counts_to_mask(counts: Sequence[int], size_hw: tuple[int, int]) -> Bool:
    """Return the mask (H, W) that COCO run lengths describe.

    Raises LabelError where a run is negative or the runs do not fill ``size_hw``: nothing is
    allocated for what a file merely claims.
    """
    height, width = size_hw
    runs = [int(count) for count in counts]
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise LabelError(
            f"mask of {len(runs)} runs with {sum(runs)} pixels: an image of {width}x{height} has "
            f"{height * width}. Give run lengths of the whole image, column by column."
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def mask_area(counts: Sequence[int]) -> int:
    """Return the number of mask pixels in COCO run lengths.

    >>> mask_area([1, 3])
    3
    """
    return int(sum(counts[1::2]))


def box_of_mask(mask: Bool) -> Box:
    """Return the tightest box around ``mask`` (H, W) in pixels; (0, 0, 0, 0) where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return 0.0, 0.0, 0.0, 0.0
    top, left = int(rows[0]), int(columns[0])
    return float(left), float(top), float(columns[-1] + 1 - left), float(rows[-1] + 1 - top)
