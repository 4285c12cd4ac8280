"""Masks as COCO says them: polygons along the pixel edges, or run lengths where there is a hole.

Run lengths are column-major over the whole image, zeros first; some tools pack them into a text.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from dinonat.errors import LabelError
from dinonat.formats.handover import BAD_MASK, Masks
from dinonat.formats.runs import LARGEST_IMAGE, window_counts
from dinonat.geometry import counts_to_mask, mask_area, mask_to_counts
from dinonat.polygons import mask_polygons, polygon_mask
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
    mask, left = _columns(counts, size_hw[0])
    polygons = _polygons(mask, left)
    if polygons is not None:
        return Shape(polygons, runs.area)
    if masks == "auto":
        return runs
    # Filled through edges only, so what a part that touches itself at a corner encloses is a hole too.
    filled = ndimage.binary_fill_holes(mask)
    return Shape(_polygons(filled, left) or [], int(filled.sum()), FILLED)


def mask_counts(shape: object, size_hw: tuple[int, int] | None) -> tuple[int, ...]:
    """Return the run lengths that a ``segmentation`` means, for an image of ``size_hw``; () = no mask.

    Takes polygons (one bare ring too, which other tools write), run lengths, and packed ones. Raises
    LabelError in words for anything else: runs that do not fill the image, an image of unknown size.
    """
    if shape is None or shape == [] or shape == {}:
        return ()
    if isinstance(shape, dict):
        return _of_runs(shape, size_hw)
    if not isinstance(shape, list):
        raise LabelError("neither polygons nor run lengths")
    if size_hw is None:
        raise LabelError("polygons in an image of unknown size")
    if size_hw[0] * size_hw[1] > LARGEST_IMAGE:
        raise LabelError("an image beyond 2^28 pixels")
    return _of_rings([shape] if isinstance(shape[0], int | float) else shape, size_hw)


def unpack(text: str) -> list[int]:
    """Return the run lengths that COCO packs into a text (``rleToString`` of its mask API).

    A number is written in groups of five bits, lowest first, each as a character from code 48 up; bit
    5 says that another group follows, bit 4 of the last group that the number is negative. From the
    fourth number on it is the difference to the number two before it. Raises LabelError for a text that
    ends inside a number or holds other characters.

    >>> unpack("13")
    [1, 3]
    """
    counts: list[int] = []
    value = shift = 0
    for code in text.encode("latin-1", errors="replace"):
        group = code - 48
        if not 0 <= group < 64 or shift > 60:
            raise LabelError("packed run lengths with characters that do not belong there")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise LabelError("packed run lengths that end inside a number")
    return counts


def runs_of(shape: dict[str, Any]) -> tuple[list[int], tuple[int, int]]:
    """Return the run lengths and the (height, width) of a dict ``{"size", "counts"}``, packed or not.

    Raises LabelError where they are no numbers or do not fill the size.
    """
    counts, size = shape.get("counts"), shape.get("size")
    if not (
        isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    ):
        raise LabelError("run lengths without 'size' [height, width]")
    runs = unpack(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise LabelError("'counts' are not whole numbers from 0 up")
    if sum(runs) != size[0] * size[1]:
        raise LabelError("'counts' do not add up to height x width")
    return runs, (size[0], size[1])


def _of_runs(shape: dict[str, Any], size_hw: tuple[int, int] | None) -> tuple[int, ...]:
    """Return run lengths that fill the image, in the one way of writing them."""
    runs, own = runs_of(shape)
    if size_hw is not None and own != size_hw:
        raise LabelError("'size' is not that of the image")
    if 0 in runs[1:]:  # one run in two pieces, or a tail of nothing
        if own[0] * own[1] > LARGEST_IMAGE:
            raise LabelError("an image beyond 2^28 pixels")
        runs = mask_to_counts(counts_to_mask(runs, own))
    return tuple(runs) if mask_area(runs) else ()


def _of_rings(rings: Sequence[Any], size_hw: tuple[int, int]) -> tuple[int, ...]:
    """Return the run lengths of polygons, drawn only inside their box: masks are small, images are not."""
    height, width = size_hw
    try:
        points = [np.asarray(ring, np.float64) for ring in rings]
    except (ValueError, TypeError, OverflowError) as error:
        raise LabelError("polygons that are no lists of numbers") from error
    if any(
        ring.ndim != 1 or ring.size < 6 or ring.size % 2 or not np.isfinite(ring).all() for ring in points
    ):
        raise LabelError("polygons that are not x, y of three points or more")
    every = np.concatenate(points).reshape(-1, 2)
    # A whole number, so that taking it off leaves centres and pixel edges where they are.
    left, top = np.clip(np.floor(every.min(axis=0)), 0, [width, height]).astype(int).tolist()
    right, low = np.clip(np.ceil(every.max(axis=0)), 0, [width, height]).astype(int).tolist()
    if right <= left or low <= top:
        return ()
    shifted = [(ring.reshape(-1, 2) - [left, top]).ravel() for ring in points]
    return window_counts(polygon_mask(shifted, (low - top, right - left)), left, top, size_hw)


def _columns(counts: list[int], height: int) -> tuple[Bool, int]:
    """Return a mask between its first and its last column, and which column is the first."""
    left, runs = counts[0] // height, [counts[0] % height, *counts[1:]]
    empty = runs.pop() if len(runs) % 2 else 0  # pixels behind the last one of the mask
    runs.append(empty % height)
    return counts_to_mask(runs, (height, sum(runs) // height)), left


def _polygons(mask: Bool, left: int) -> list[list[float]] | None:
    """Return the polygons of a mask that begins at column ``left``, looked for only between its rows."""
    rows = np.flatnonzero(mask.any(axis=1))
    top = int(rows[0])
    rings = mask_polygons(mask[top : rows[-1] + 1])
    if rings is None:
        return None
    return [(np.reshape(ring, (-1, 2)) + np.array([left, top])).ravel().tolist() for ring in rings]
