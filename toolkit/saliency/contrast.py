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
from dinonat.saliency.planes import labelled, measured

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
    layer: Int64  # (n,) into ``layers``
    level: Float64  # (n,) threshold
    layers: tuple[Float32, ...]  # pictures minus their surroundings, in both polarities

    def mask(self, row: int) -> Bool:
        """Return part ``row`` inside its box, (y1 - y0, x1 - x0)."""
        x0, y0, x1, y1 = (int(end) for end in self.boxes[row])
        parts, _ = ndimage.label(self.layers[self.layer[row]][y0:y1, x0:x1] > self.level[row])
        whole = slice(0, y1 - y0), slice(0, x1 - x0)  # two parts that reach all four sides would cross
        out: Bool = parts == 1 + ndimage.find_objects(parts).index(whole)
        return out


def contrast_layers(picture: Float32) -> list[Float32]:
    """Return ``picture`` (H, W) less its surroundings at every scale, in deviations, in both polarities."""
    smooth = ndimage.gaussian_filter(picture.astype(np.float32), 1.0)
    layers: list[Float32] = []
    for sigma in SCALES:
        rest = smooth - _surroundings(smooth, sigma)
        spread = float(rest.std())
        if spread >= 1e-6:  # not flat
            layers += [rest / spread, -rest / spread]
    return layers


def contrast_parts(picture: Float32) -> Parts:
    """Return the parts of ``picture`` (H, W) that differ from their surroundings, each box once."""
    layers = contrast_layers(picture)
    if not layers:
        none = np.zeros(0, dtype=np.int64)
        return Parts(np.zeros((0, 4), dtype=np.int64), none, none, np.zeros(0), ())
    plane, area, boxes = measured(*labelled([layer > level for layer in layers for level in LEVELS]))
    kept = np.flatnonzero((area >= MIN_PIXELS) & (area <= MAX_SHARE * picture.size))
    ends = (picture.shape[1] + 1, picture.shape[0] + 1) * 2
    sides = np.ravel_multi_index(tuple(boxes[kept].T), ends)  # one number for each box
    kept = np.sort(kept[np.unique(sides, return_index=True)[1]])
    layer, level = np.divmod(plane[kept], len(LEVELS))
    return Parts(boxes[kept], area[kept], layer, np.array(LEVELS)[level], tuple(layers))


def _surroundings(picture: Float32, sigma: float) -> Float32:
    """Return three box means in a row: close to a Gaussian of ``sigma``, at a cost free of it."""
    side = max(1, round(np.sqrt(4 * sigma**2 + 1)))  # three boxes have the variance (side^2 - 1) / 4
    for _ in range(3):
        picture = ndimage.uniform_filter(picture, side, mode="nearest")
    return picture


def edge_strength(picture: Float32) -> Float32:
    """Return the length of the gradient (H, W) of ``picture`` smoothed by a Gaussian of variance two."""
    out: Float32 = ndimage.gaussian_gradient_magnitude(
        picture.astype(np.float32, copy=False), np.sqrt(2), mode="nearest"
    )
    return out


def box_scores(picture: Float32, boxes: Int64, area: NDArray[np.number]) -> Float64:
    """Return how much boxes (n, 4) x0, y0, x1, y1 of ``picture`` look like objects: see `edge_scores`."""
    return edge_scores(edge_strength(picture), boxes, area)


def edge_scores(edges: Float32, boxes: Int64, area: NDArray[np.number]) -> Float64:
    """Return how much boxes (n, 4) x0, y0, x1, y1 on ``edges`` (H, W) look like objects: (n,), positive.

    score = e_in^0.7 * (e_in - 0.75 e_out)^0.3 * pixels^0.28 * fill^0.8 * exp(-borders / 4), where e_in is
    the gradient inside the box and e_out that in a frame a quarter of the shorter side wide around it, both
    against the picture's mean (edges of an object end at its box: Zitnick & Dollar 2014); fill is ``area``
    over the box's pixels, borders how many of the picture's four borders it touches. The exponents come
    from a coordinate search on every second recording of thermal_aerial and paired_road together; that of
    pixels was then raised a little for rgb_objects.
    """
    height, width = edges.shape
    sums = summed(edges / max(float(edges.mean()), 1e-9))
    x0, y0, x1, y1 = boxes.T
    pixels = (x1 - x0) * (y1 - y0)
    rim = np.maximum(2, np.round(0.25 * np.minimum(x1 - x0, y1 - y0))).astype(np.int64)
    wide = np.clip(boxes + rim[:, None] * [-1, -1, 1, 1], 0, [width, height] * 2)
    inside = sum_in(sums, boxes)
    around = sum_in(sums, wide) - inside
    frame = (wide[:, 2] - wide[:, 0]) * (wide[:, 3] - wide[:, 1]) - pixels
    within = np.maximum(inside / pixels, 0.001)
    excess = np.maximum(within - 0.75 * around / np.maximum(frame, 1), 0.01)
    borders = (x0 <= 0).astype(int) + (y0 <= 0) + (x1 >= width) + (y1 >= height)
    out: Float64 = within**0.7 * excess**0.3 * pixels**0.28 * (area / pixels) ** 0.8 * np.exp(-borders / 4)
    return out


def summed(values: Float32) -> Float64:
    """Return the sums (H + 1, W + 1) of ``values`` (H, W) above and left of every corner of a pixel."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(values, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


def sum_in(sums: Float64, boxes: Int64) -> Float64:
    """Return what `summed` values add up to (n,) in boxes (n, 4) x0, y0, x1, y1."""
    x0, y0, x1, y1 = boxes.T
    out: Float64 = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return out
