"""Masks as polygons along the pixel edges, and polygons as masks: there and back without a pixel lost.

A pixel (row, column) covers the square from (x=column, y=row) to (column + 1, row + 1).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dinonat.errors import LabelError
from dinonat.records import Bool

BLOCK = 1 << 18  # crossings of rows that are held at a time
FEWEST, MOST = 1 << 20, 1 << 28  # crossings that any ring may have, and that none may exceed
FARTHEST = 1e12  # pixels: beyond it the centres of pixels are lost in rounding


def polygon_mask(rings: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> Bool:
    """Return the mask (H, W) of the pixels whose centre lies in one of the rings ``[x1, y1, x2, y2, ...]``.

    Inside is counted by the even-odd rule within a ring, and rings are joined, as COCO's readers do.
    Rings along pixel edges, as `mask_polygons` gives them, come back exactly. What lies outside the
    image is cut. Raises LabelError for a ring of fewer than three points, of numbers that do not exist or
    are beyond 10^12, or with more edges up and down than its image can show (`is_tangled`).

    >>> polygon_mask([[1, 0, 3, 0, 3, 2, 2, 2, 2, 1, 1, 1]], (2, 3)).astype(int)
    array([[0, 1, 1],
           [0, 0, 1]])
    """
    mask = np.zeros(size_hw, bool)
    for ring in rings:
        corners = np.asarray(ring, np.float64)
        if corners.size < 6 or corners.size % 2 or not np.isfinite(corners).all():
            raise LabelError(f"polygon of {corners.size} numbers: expected x, y of three points or more.")
        if is_tangled(corners, size_hw):
            raise LabelError("polygon that goes up and down more often than its image has pixels")
        mask |= _inside(corners.reshape(-1, 2), size_hw)
    return mask


def is_tangled(ring: Sequence[float] | NDArray[np.float64], size_hw: tuple[int, int]) -> bool:
    """Say whether a ring of finite numbers crosses rows so often that it outlines nothing.

    A ring along pixel edges crosses a row once between two pixels. More than four times as many crossings
    as pixels in its box cost memory and time, and no tool draws them; nor do points beyond 10^12.

    >>> is_tangled([1, 0, 3, 0, 3, 2], (2, 3))
    False
    """
    corners = np.asarray(ring, np.float64).reshape(-1, 2)
    if float(np.abs(corners).max()) > FARTHEST:
        return True
    if len(corners) * size_hw[0] <= FEWEST:
        return False
    first, last = _rows(corners, size_hw[0])
    low, high = np.clip([corners.min(axis=0), corners.max(axis=0)], 0, size_hw[::-1])
    pixels: float = math.prod((np.ceil(high) - np.floor(low)).tolist())
    return int((last - first).sum()) > min(max(4 * pixels, FEWEST), MOST)


def _rows(corners: NDArray[np.float64], height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row that each edge meets, and the one after its last."""
    y0 = corners[:, 1]
    y1 = np.append(y0[1:], y0[0])
    # The centre of row r is at r + 0.5: an edge meets the rows from ceil(low - 0.5) up to its high end.
    ends = (np.clip(np.ceil(end(y0, y1) - 0.5), 0, height) for end in (np.minimum, np.maximum))
    first, last = (end.astype(np.int64) for end in ends)
    return first, last


def _inside(corners: NDArray[np.float64], size_hw: tuple[int, int]) -> Bool:
    """Return the pixels with their centre in one ring of corners (n, 2)."""
    height, width = size_hw
    (x0, y0), (x1, y1) = corners.T, np.concatenate([corners[1:], corners[:1]]).T
    first, last = _rows(corners, height)
    behind = np.cumsum(last - first)  # crossings of rows up to the end of each edge
    turns = np.zeros((height, width + 1), np.uint8)  # only whether they are odd matters: 256 is none
    for start in range(0, int(behind[-1]), BLOCK):
        crossing = np.arange(start, min(start + BLOCK, int(behind[-1])))
        edge = np.searchsorted(behind, crossing, side="right")
        row = last[edge] - behind[edge] + crossing
        slope = (x1 - x0)[edge] / (y1 - y0)[edge]
        x = x0[edge] + (row + 0.5 - y0[edge]) * slope
        np.add.at(turns, (row, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)), 1)
    turns &= 1
    inside: Bool = np.bitwise_xor.accumulate(turns, axis=1, out=turns)[:, :width].view(bool)
    return inside


def mask_polygons(mask: Bool) -> list[list[float]] | None:
    """Return polygons ``[x1, y1, x2, y2, ...]`` along the pixel edges of ``mask`` (H, W), exactly.

    One simple ring for each part that hangs together by edges, clockwise as seen on the screen, from
    its topmost leftmost corner. pycocotools draws them back to the same mask (tested), because its
    polygons run along pixel edges too. None where polygons cannot say it: the mask has a hole (COCO
    fills it) or a part touches itself at a corner (other readers call the ring invalid).

    >>> mask_polygons(np.array([[False, True, True], [False, False, True]]))
    [[1.0, 0.0, 3.0, 0.0, 3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]]
    """
    parts, _ = ndimage.label(mask)
    rings: list[list[float]] = []
    for number, window in enumerate(ndimage.find_objects(parts), start=1):
        ring = _outline(parts[window] == number)
        if ring is None:
            return None
        offset = np.array([window[1].start, window[0].start])
        rings.append((ring + offset).astype(float).ravel().tolist())
    return rings


def _outline(part: Bool) -> NDArray[np.int64] | None:
    """Return the corners (n, 2) as x, y of one connected part, or None where it is not one simple ring."""
    follows = _edges(part)
    if follows is None:
        return None
    start = min(follows, key=lambda corner: (corner[1], corner[0]))
    ring, corner = [start], follows[start]
    while corner != start:
        ring.append(corner)
        corner = follows[corner]
    if len(ring) < len(follows):  # edges are left over: they run round a hole
        return None
    points = np.array(ring, dtype=np.int64)
    turns = (np.roll(points, 1, axis=0) != np.roll(points, -1, axis=0)).all(axis=1)
    corners: NDArray[np.int64] = points[turns]
    return corners


def _edges(part: Bool) -> dict[tuple[int, int], tuple[int, int]] | None:
    """Return corner -> next corner of every unit edge with the part on its right hand.

    None where two edges leave one corner: the part touches itself there.
    """
    inside = np.pad(part, 1)
    middle = inside[1:-1, 1:-1]
    sides = (  # (neighbour that must be outside, start of the edge, its end), as (x, y) in the pixel
        (inside[:-2, 1:-1], (0, 0), (1, 0)),
        (inside[1:-1, 2:], (1, 0), (1, 1)),
        (inside[2:, 1:-1], (1, 1), (0, 1)),
        (inside[1:-1, :-2], (0, 1), (0, 0)),
    )
    follows: dict[tuple[int, int], tuple[int, int]] = {}
    for neighbour, (x0, y0), (x1, y1) in sides:
        for y, x in np.argwhere(middle & ~neighbour).tolist():
            if (x + x0, y + y0) in follows:
                return None
            follows[x + x0, y + y0] = (x + x1, y + y1)
    return follows
