"""Instances: things that touch make one part of the picture, and are told apart by their peaks.

A part with several peaks is flooded from each of them (watershed); where the floods meet, one thing ends.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from dinonat.records import Bool, Float32, Int64
from dinonat.saliency.contrast import LEVELS, MIN_PIXELS, contrast_layers
from dinonat.saliency.planes import measured

# How far, in deviations, two peaks rise above the way between them. On the road 1 found a point less; maxima
# of a window, which have no such depth, found less than no splitting at all.
DEPTH = 0.5


@dataclass(frozen=True, eq=False)
class Basins:
    """What parts were split into; row i of every array is one thing."""

    boxes: Int64  # (n, 4) x0, y0, x1, y1 in pixels of the picture they were found in, x1 and y1 outside
    area: Int64  # (n,) pixels
    number: Int64  # (n,) in the planes
    plane: Int64  # (n,) into ``planes``
    planes: NDArray[np.int32]  # (p, h + 1, w + 1) numbers of things, 0 outside

    def mask(self, row: int) -> Bool:
        """Return thing ``row`` inside its box, (y1 - y0, x1 - x0)."""
        x0, y0, x1, y1 = self.boxes[row]
        out: Bool = self.planes[self.plane[row], y0:y1, x0:x1] == self.number[row]
        return out


def split_parts(picture: Float32) -> Basins:
    """Return what lies around each peak of those parts of ``picture`` (H, W) that have several."""
    height, width = picture.shape
    layers = contrast_layers(picture)
    planes = np.zeros((len(layers), height + 1, width + 1), dtype=np.int32)
    count = 0
    for plane, layer in zip(planes, layers, strict=True):
        basins = _basins(layer)
        plane[:-1, :-1] = np.where(basins > 0, basins + count, 0)
        count += int(basins.max())
    owner, area, boxes = measured(planes, count)
    kept = np.flatnonzero(area >= MIN_PIXELS)
    return Basins(boxes[kept], area[kept], kept + 1, owner[kept], planes)


def _basins(layer: Float32) -> NDArray[np.int32]:
    """Return the numbers (h, w) of the basins of all parts of ``layer`` with two and more peaks, else 0."""
    parts, count = ndimage.label(layer > LEVELS[0])
    peaks, _ = ndimage.label(h_maxima(layer, DEPTH))  # type: ignore[no-untyped-call]
    peaks[parts == 0] = 0
    numbers, first = np.unique(peaks, return_index=True)
    several = np.bincount(parts.ravel()[first[numbers > 0]], minlength=count + 1) > 1
    out: NDArray[np.int32] = watershed(-layer, peaks, mask=several[parts])  # type: ignore[no-untyped-call]
    return out
