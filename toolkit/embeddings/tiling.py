"""Overlapping tiles of a large picture: where they lie, and how what is found in them becomes one list.

Seen whole, a target of ten pixels in a frame of 640 x 512 is less than a token of the network. A tile is
shown to it at the size of a whole picture, so the same target covers two or three times as many tokens a
side. An object that a tile cuts off is seen whole by its neighbour, as long as it is no larger than what the
tiles share.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil
from typing import NamedTuple

import numpy as np

from dinonat.embeddings.framing import Shape
from dinonat.geometry import box_of_mask, counts_to_mask, iou_xywh, mask_to_counts
from dinonat.records import Float32, Region
from dinonat.saliency.contrast import box_scores
from dinonat.saliency.regions import SAME_BOX


class Tile(NamedTuple):
    """A window of a picture, in its pixels."""

    x: int
    y: int
    width: int
    height: int


def tiles(size_hw: Shape, *, count: int, overlap: float) -> list[Tile]:
    """Return ``count`` x ``count`` tiles of one size that cover a picture of ``size_hw``, row by row.

    Neighbours share about ``overlap`` of a side. A side shorter than ``count`` pixels is not divided.

    >>> tiles((100, 190), count=2, overlap=0.1)[-1]
    Tile(x=90, y=47, width=100, height=53)
    """
    (ys, height), (xs, width) = (_along(side, count, overlap) for side in size_hw)
    return [Tile(x, y, width, height) for y in ys for x in xs]


def _along(length: int, count: int, overlap: float) -> tuple[list[int], int]:
    """Return where tiles start along a side, and how long they are."""
    if length < count:
        return [0], length
    side = min(length, ceil(length / (count - (count - 1) * overlap)))
    starts = np.round(np.linspace(0, length - side, count)).astype(int).tolist()
    return list(dict.fromkeys(starts)), side


def merged(
    whole: Sequence[Region],
    found: Sequence[tuple[Tile, Sequence[Region]]],
    luminance: Float32,
    *,
    max_regions: int,
) -> list[Region]:
    """Return the best ``max_regions`` of the regions of a picture and of its tiles, as one ranking.

    ``whole`` are in pixels of the picture, those of each tile in pixels of the tile; ``luminance`` (H, W) in
    [0, 1] is the picture. What a tile cuts off at a border inside the picture is left out. All are scored
    anew against the edges of the whole picture (in a tile of nothing but noise, noise would be an object),
    and of two boxes with an IoU above 0.4 the better one stays.
    """
    size = (luminance.shape[0], luminance.shape[1])
    entries: list[tuple[Tile | None, Region]] = [(None, region) for region in whole]
    entries += [(tile, region) for tile, own in found for region in own if not _cut_off(region, tile, size)]
    if not entries:
        return []
    boxes = np.array([_shifted(region, tile) for tile, region in entries])  # (n, 4) x, y, w, h
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.int64)
    area = np.array([_filled(region) for _, region in entries])
    scores = box_scores(luminance, corners, area)
    chosen = list(_apart(boxes, scores))[:max_regions]
    return [_placed(*entries[row], float(scores[row]), size) for row in chosen]


def _cut_off(region: Region, tile: Tile, size_hw: Shape) -> bool:
    """Say whether a region of a tile touches a border of the tile that is none of the picture."""
    x, y, w, h = region.box_xywh
    inner_right, inner_bottom = tile.x + tile.width < size_hw[1], tile.y + tile.height < size_hw[0]
    return (
        (x <= 0 < tile.x)
        or (y <= 0 < tile.y)
        or (x + w >= tile.width and inner_right)
        or (y + h >= tile.height and inner_bottom)
    )


def _shifted(region: Region, tile: Tile | None) -> tuple[float, float, float, float]:
    x, y, w, h = region.box_xywh
    return (x, y, w, h) if tile is None else (x + tile.x, y + tile.y, w, h)


def _filled(region: Region) -> float:
    """Return the pixels of a region's mask, or of its box where it has none."""
    return float(sum(region.mask_counts[1::2]) or region.box_xywh[2] * region.box_xywh[3])


def _apart(boxes: np.ndarray, scores: np.ndarray) -> Iterator[int]:
    """Yield rows from the best score on, without those whose box is about that of a better one."""
    free = np.ones(len(boxes), dtype=bool)
    for row in np.argsort(-scores, kind="stable").tolist():
        if free[row]:
            yield row
            free &= iou_xywh(boxes[row], boxes)[0] <= SAME_BOX


def _placed(tile: Tile | None, region: Region, score: float, size_hw: Shape) -> Region:
    """Return a region in pixels of the picture, its mask on the whole of it, with its new rank score."""
    objectness = score / (score + 10)
    if tile is None:
        return replace(region, objectness=objectness)
    mask = np.zeros(size_hw, dtype=bool, order="F")
    own = counts_to_mask(region.mask_counts, (tile.height, tile.width))
    mask[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width] = own
    return replace(
        region,
        box_xywh=box_of_mask(mask),
        objectness=objectness,
        mask_counts=tuple(mask_to_counts(mask)),
    )
