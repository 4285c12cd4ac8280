"""Hand-made candidates: parts of a picture that are warmer or colder than what lies around them.

Objects below two tokens do not exist on a network's map (16 pixels are one token of stage 3), while
most objects of aerial thermal images are that small. This channel needs no network; it is also the floor
that the network's candidates have to beat.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dinonat.records import Bool, Float32, Int64

Float64 = NDArray[np.float64]

# Chosen on an aerial and a road set, without a held-out one; six levels instead of four changed recall by
# two points at most, up on one set and down on the other.
SCALES = (6.0, 20.0)  # sigma, in working pixels, of the surroundings that are subtracted
LEVELS = (0.25, 0.5, 1.0, 1.7)  # thresholds in standard deviations of what remains
MIN_PIXELS = 6  # working pixels
MAX_SHARE = 0.3  # of the picture


@dataclass(frozen=True, eq=False)
class Parts:
    """Connected parts of thresholded pictures; row i of every array is one part."""

    boxes: Int64  # (n, 4) x0, y0, x1, y1 in pixels of the picture they were found in, x1 and y1 outside
    area: Int64  # (n,) pixels
    seed: Int64  # (n,) flat index of one pixel of the part
    layer: Int64  # (n,) into ``layers``
    level: Float64  # (n,) threshold
    layers: tuple[Float32, ...]  # pictures minus their surroundings, in both polarities

    def mask(self, row: int) -> Bool:
        """Return part ``row`` inside its box, (y1 - y0, x1 - x0)."""
        x0, y0, x1, y1 = self.boxes[row]
        layer = self.layers[self.layer[row]]
        parts, _ = ndimage.label(layer[y0:y1, x0:x1] > self.level[row])
        y, x = divmod(int(self.seed[row]), layer.shape[1])
        out: Bool = parts == parts[y - y0, x - x0]
        return out


def contrast_parts(picture: Float32) -> Parts:
    """Return the parts of ``picture`` (H, W) that differ from their surroundings, each box once."""
    smooth = ndimage.gaussian_filter(picture.astype(np.float32), 1.0)
    layers: list[Float32] = []
    rows: list[Float64] = []
    for sigma in SCALES:
        rest = smooth - _surroundings(smooth, sigma)
        spread = float(rest.std())
        if spread < 1e-6:  # flat
            continue
        for polarity in (1, -1):
            layers.append(rest * (polarity / spread))
            rows += [_parts_above(layers[-1], level, len(layers) - 1) for level in LEVELS]
    table = np.concatenate(rows) if rows else np.zeros((0, 8))
    _, first = np.unique(table[:, :4], axis=0, return_index=True)
    table = table[np.sort(first)]
    whole = table[:, :7].astype(np.int64)
    return Parts(whole[:, :4], whole[:, 4], whole[:, 5], whole[:, 6], table[:, 7], tuple(layers))


def _surroundings(picture: Float32, sigma: float) -> Float32:
    """Return three box means in a row: close to a Gaussian of ``sigma``, at a cost free of it."""
    side = max(1, round(np.sqrt(4 * sigma**2 + 1)))  # three boxes have the variance (side^2 - 1) / 4
    for _ in range(3):
        picture = ndimage.uniform_filter(picture, side, mode="nearest")
    return picture


def _parts_above(layer: Float32, level: float, number: int) -> Float64:
    """Return rows (n, 8): box, area, seed, ``number``, ``level`` of the parts of ``layer > level``."""
    parts, count = ndimage.label(layer > level)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    kept = (sizes >= MIN_PIXELS) & (sizes <= MAX_SHARE * layer.size)
    kept[0] = False
    total = int(kept.sum())
    if total == 0:
        return np.zeros((0, 8))
    renumbered = np.zeros(count + 1, dtype=np.int32)  # find_objects is slow on thousands of specks
    renumbered[kept] = np.arange(1, total + 1)
    chosen = renumbered[parts]
    boxes = [(w[1].start, w[0].start, w[1].stop, w[0].stop) for w in ndimage.find_objects(chosen)]
    places = np.flatnonzero(chosen)[::-1]
    seeds = np.zeros(total + 1, dtype=np.int64)
    seeds[chosen.ravel()[places]] = places  # of equal numbers the last assignment stays: the first pixel
    columns = (sizes[kept], seeds[1:], np.full(total, number), np.full(total, level))
    return np.column_stack([np.array(boxes), *columns]).astype(np.float64)


def box_scores(picture: Float32, boxes: Int64, area: NDArray[np.number]) -> Float64:
    """Return how much boxes (n, 4) x0, y0, x1, y1 of ``picture`` look like objects: (n,), positive.

    score = e_in^0.7 * (e_in - 0.75 e_out)^0.3 * pixels^0.28 * fill^0.8 * exp(-borders / 4), where e_in is
    the gradient inside the box and e_out that in a frame a quarter of the shorter side wide around it, both
    against the picture's mean (edges of an object end at its box: Zitnick & Dollar 2014); fill is ``area``
    over the box's pixels, borders how many of the picture's four borders it touches. The exponents come
    from a coordinate search on every second recording of thermal_aerial and paired_road together; that of
    pixels was then raised a little for rgb_objects.
    """
    height, width = picture.shape
    smooth = ndimage.gaussian_filter(picture.astype(np.float32), 1.0)
    edges = ndimage.gaussian_gradient_magnitude(smooth, 1.0).astype(np.float64)
    sums = np.pad(edges / max(float(edges.mean()), 1e-9), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    x0, y0, x1, y1 = boxes.T
    pixels = (x1 - x0) * (y1 - y0)
    rim = np.maximum(2, np.round(0.25 * np.minimum(x1 - x0, y1 - y0))).astype(np.int64)
    low = np.maximum(x0 - rim, 0), np.maximum(y0 - rim, 0)
    wide = (*low, np.minimum(x1 + rim, width), np.minimum(y1 + rim, height))
    inside = _sum_in(sums, x0, y0, x1, y1)
    around = _sum_in(sums, *wide) - inside
    frame = (wide[2] - wide[0]) * (wide[3] - wide[1]) - pixels
    within = np.maximum(inside / pixels, 0.001)
    excess = np.maximum(within - 0.75 * around / np.maximum(frame, 1), 0.01)
    borders = (x0 <= 0).astype(int) + (y0 <= 0) + (x1 >= width) + (y1 >= height)
    out: Float64 = within**0.7 * excess**0.3 * pixels**0.28 * (area / pixels) ** 0.8 * np.exp(-borders / 4)
    return out


def _sum_in(sums: Float64, x0: Int64, y0: Int64, x1: Int64, y1: Int64) -> Float64:
    out: Float64 = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return out
