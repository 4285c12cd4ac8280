"""Masks as COCO writes them: polygons along the pixel edges, or run lengths where there is a hole."""

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from dinonat.formats.handover import BAD_MASK, Masks
from dinonat.geometry import counts_to_mask, mask_area
from dinonat.polygons import mask_polygons
from dinonat.records import Bool

FILLED = "masks with holes or self-touching outlines: filled, because polygons cannot say them"


class Shape(NamedTuple):
    """A mask as it is written."""

    written: list[list[float]] | dict[str, Any]  # [] where there is no mask
    area: int  # pixels of what is written; 0 where there is no mask
    loss: str = ""  # what the form could not say


def segmentation(counts: list[int], size_hw: tuple[int, int], *, masks: Masks) -> Shape:
    """Return the ``segmentation`` of COCO run lengths ``counts`` and the area that it decodes to.

    ``masks`` "auto" gives polygons, and run lengths where polygons cannot say the mask: readers join
    the polygons of one list, so a hole written as a second ring would be filled. "polygon" fills the
    holes and says so, "rle" always gives run lengths, as a list: the form that most readers take.
    """
    if not counts:
        return Shape([], 0)
    if sum(counts) != size_hw[0] * size_hw[1] or min(counts) < 0 or not mask_area(counts):
        return Shape([], 0, BAD_MASK)
    runs = Shape({"size": list(size_hw), "counts": counts}, mask_area(counts))
    if masks == "rle":
        return runs
    mask = counts_to_mask(counts, size_hw)
    polygons = _polygons(mask)
    if polygons is not None:
        return Shape(polygons, runs.area)
    if masks == "auto":
        return runs
    # Filled through edges only, so what a part that touches itself at a corner encloses is a hole too.
    filled = ndimage.binary_fill_holes(mask)
    return Shape(_polygons(filled) or [], int(filled.sum()), FILLED)


def _polygons(mask: Bool) -> list[list[float]] | None:
    """Return the polygons of a mask, looked for only inside its box: masks are small, images are not."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    rings = mask_polygons(mask[top : rows[-1] + 1, left : columns[-1] + 1])
    if rings is None:
        return None
    return [(np.reshape(ring, (-1, 2)) + np.array([left, top])).ravel().tolist() for ring in rings]
