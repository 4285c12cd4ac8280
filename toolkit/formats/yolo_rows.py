"""Boxes and masks as the rows of YOLO's text files: numbers from 0 to 1, and one polygon for one object."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dinonat.formats.coco_masks import segmentation
from dinonat.formats.handover import MASKS_BOX, Outgoing

SPLIT_UP = "masks of several parts: a row for each part, which trainers take for objects of their own"
# From x, y, w, h to the corners of the box, clockwise on the screen: x1, y1, x2, y2, ...
CORNERS = np.array([[1, 0] * 4, [0, 1] * 4, [0, 0, 1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 1]], np.float64)
_FORMS = {n: f" %.{n}f" for n in range(6, 20)}


class Rows(NamedTuple):
    """The rows of a block of labels, in the order of the files."""

    label: list[int]  # place of its label in the block
    text: list[str]  # with its line end
    box: list[list[float]]  # x, y, width, height in pixels: what the row will be known by
    shape: list[str]  # "box", "mask", or "part" of a mask that has several rows


def box_rows(block: pd.DataFrame, images: pd.DataFrame) -> Rows:
    """Return a row of five numbers for each label.

    Centre and sides are whole numbers of the last digit, so that no side reaches over the border by
    having been rounded up.
    """
    sizes, digits = _sizes(block, images)
    units = 10.0 ** digits[:, None]
    boxes = block[list("xywh")].to_numpy(np.float64)
    centres = np.rint((boxes[:, :2] + boxes[:, 2:] / 2) / sizes * units)
    sides = np.rint(boxes[:, 2:] / sizes * units)
    sides = np.minimum(sides, 2 * np.minimum(centres, units - centres))
    numbers = (np.concatenate([centres, sides], axis=1) / units).tolist()
    forms = {n: f"%d %.{n}f %.{n}f %.{n}f %.{n}f\n" for n in np.unique(digits).tolist()}
    texts = [
        forms[n] % (number, *four)
        for n, number, four in zip(digits.tolist(), block["number"].tolist(), numbers, strict=True)
    ]
    return Rows(list(range(len(block))), texts, boxes.tolist(), ["box"] * len(block))


def polygon_rows(block: pd.DataFrame, asked: Outgoing, losses: Counter[str]) -> Rows:
    """Return the polygon or polygons of each label; what a mask lost is counted in ``losses``."""
    sizes, digits = _sizes(block, asked.images)
    boxes = block[list("xywh")].to_numpy(np.float64)
    corners = np.minimum((boxes @ CORNERS) / np.tile(sizes, 4), 1).tolist()
    found = Rows([], [], [], [])
    columns = (block["mask_counts"], block["number"].tolist(), digits.tolist(), boxes.tolist())
    for place, (counts, number, n, box) in enumerate(zip(*columns, strict=True)):
        shapes = [(corners[place], box)]
        if counts:
            rings = _rings(counts, sizes[place], box, asked, losses)
            shapes = [
                (np.minimum(np.reshape(ring, (-1, 2)) / sizes[place], 1).ravel().tolist(), _bounds(ring))
                for ring in rings
            ]
        for shares, bounds in shapes:
            found.label.append(place)
            found.text.append(f"{number}{_FORMS[n] * len(shares)}\n" % tuple(shares))
            found.box.append(bounds)
            found.shape.append("part" if len(shapes) > 1 else "mask" if counts else "box")
    return found


def bridged(rings: list[list[float]]) -> list[float]:
    """Return rings ``[x1, y1, ...]`` as one, joined by lines that are walked there and back.

    Each ring is joined with the next where they are nearest, along one axis and then the other. Such a
    line bounds no area, so the even-odd rule gives the same inside as the rings; and along the axes no
    rounding of a slope can tell the way there from the way back.

    >>> bridged([[0, 0, 1, 0, 1, 1], [2, 1, 3, 1, 3, 2]])
    [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 2.0, 1.0, 3.0, 1.0, 3.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    """
    ring, *others = (np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings)
    there, back = [], []
    for other in others:
        distances, nearest = cKDTree(ring).query(other, p=1)
        start = int(np.argmin(distances))
        at = int(np.asarray(nearest)[start])
        knee = np.array([[other[start, 0], ring[at, 1]]])
        there += [ring[: at + 1], knee]
        back += [ring[at:], knee]
        ring = np.concatenate([other[start:], other[: start + 1]])
    way = np.concatenate([*there, ring, *reversed(back)])
    flat: list[float] = way[np.r_[True, (way[1:] != way[:-1]).any(axis=1)]].ravel().tolist()
    return flat


def _rings(
    counts: Sequence[int],
    size_wh: NDArray[np.float64],
    box: list[float],
    asked: Outgoing,
    losses: Counter[str],
) -> list[list[float]]:
    """Return the rings of one mask, in pixels, each to be a row."""
    shape = segmentation(list(counts), (int(size_wh[1]), int(size_wh[0])), masks="polygon")
    rings: list[list[float]] = list(shape.written)  # type: ignore[arg-type]  # polygons were asked for
    if shape.loss:
        losses[shape.loss] += 1
    losses[MASKS_BOX] += _bounds(np.concatenate(rings)) != box
    if len(rings) == 1:
        return rings
    if asked.multipart == "bridge":
        return [bridged(rings)]
    losses[SPLIT_UP] += 1
    return rings


def _sizes(block: pd.DataFrame, images: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return for each label its image's width and height (n, 2), and the digits of its numbers (n,).

    Six, and more for pictures of more than 3,000 pixels: with fewer, hundredths of a pixel would not
    come back.
    """
    sizes = images[["width", "height"]].to_numpy(np.float64)[block["at"].to_numpy()].reshape(-1, 2)
    longer = np.maximum(sizes.max(axis=1), 1)
    return sizes, 6 + np.ceil(np.log10(np.maximum(longer / 3000, 1))).astype(np.int64)


def _bounds(ring: Any) -> list[float]:
    """Return the box around a ring as x, y, width, height, in hundredths of a pixel."""
    points = np.reshape(ring, (-1, 2))
    low, high = points.min(axis=0), points.max(axis=0)
    return [round(value, 2) for value in (*low.tolist(), *(high - low).tolist())]
