"""Masks as CVAT writes them: a polygon, or run lengths row by row inside the mask's own box.

CVAT's run lengths are not COCO's: they go along the rows of the box ``left, top, width, height`` that is
tight around the mask, and begin with the count of zeros (``dataset_manager/formats/transformations.py``).
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from dinonat.formats.coco_masks import FILLED
from dinonat.formats.handover import Masks
from dinonat.geometry import counts_to_mask, mask_to_counts
from dinonat.polygons import mask_polygons
from dinonat.records import Bool

Box = tuple[int, int, int, int]  # left, top, width, height in whole pixels
Shape = tuple[str, str]  # name of an element, the attributes that say its form


def window_of(counts: Sequence[int], height: int) -> tuple[Bool, Box]:
    """Return the part of a mask inside its tight box, and that box; only its columns are unpacked.

    ``counts`` are COCO run lengths of an image of ``height`` rows, with at least one pixel set.

    >>> window_of([4, 1, 1, 2, 1], 3)
    (array([[False,  True],
           [ True,  True]]), (1, 0, 2, 2))
    """
    ends = np.cumsum(np.asarray(counts, np.int64))
    starts, stops = ends[:-1:2], ends[1::2]
    some = stops[: len(starts)] > starts[: len(stops)]
    low, high = int(starts[: len(some)][some][0]), int(stops[: len(some)][some][-1])
    left, right = low // height, (high - 1) // height + 1
    bounds = np.clip(ends, left * height, right * height) - left * height
    runs = np.diff(np.concatenate([[0], bounds]))
    columns = counts_to_mask(runs.tolist(), (height, right - left))
    rows = np.flatnonzero(columns.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return columns[top:bottom], (left, top, right - left, bottom - top)


def row_runs(window: Bool) -> list[int]:
    """Return the run lengths of ``window`` row by row, the first counting zeros.

    >>> row_runs(np.array([[True, False], [False, True]]))
    [0, 1, 2, 1]
    """
    return mask_to_counts(window.T)


def shapes(counts: Sequence[int], height: int, masks: Masks) -> tuple[list[Shape], Box, str]:
    """Return the elements that say a mask, the mask's box, and what they could not say.

    "auto" gives one polygon where the mask is one simple ring and run lengths where not; "polygon" gives
    a polygon for each part, holes filled; "rle" gives run lengths.
    """
    window, box = window_of(counts, height)
    rings = None if masks == "rle" else mask_polygons(window)
    loss = ""
    if masks == "polygon" and rings is None:
        # Through edges only, so what a part that touches itself at a corner encloses is filled too.
        rings, loss = mask_polygons(ndimage.binary_fill_holes(window)), FILLED
    if rings is None or (masks == "auto" and len(rings) > 1):
        return [_mask(window, box)], box, loss
    return [_polygon(ring, box) for ring in rings], box, loss


def _polygon(ring: list[float], box: Box) -> Shape:
    """Return a ring of the window at ``box``."""
    points = (np.reshape(ring, (-1, 2)) + box[:2]).astype(int).tolist()
    return "polygon", f'points="{";".join(f"{x}.00,{y}.00" for x, y in points)}"'


def _mask(window: Bool, box: Box) -> Shape:
    """Return run lengths inside ``box``."""
    left, top, width, height = box
    rle = ", ".join(map(str, row_runs(window)))
    return "mask", f'rle="{rle}" left="{left}" top="{top}" width="{width}" height="{height}"'
