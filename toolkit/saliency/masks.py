"""Masks of candidates: cut out of the picture, then put on its pixels, their edges on those of the object."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dinonat.geometry import Box, box_of_mask, mask_to_counts
from dinonat.records import Bool, Float32
from dinonat.saliency.guided import guided_filter, resized

NEAR, FAR = 1, 3  # working pixels round a mask: where the object may end, and where its surroundings do


@dataclass(frozen=True, eq=False)
class Patch:
    """A mask (h, w) whose first pixel is pixel (``x``, ``y``) of a picture; outside it is empty."""

    mask: Bool
    x: int
    y: int

    @property
    def box(self) -> Box:
        """The tightest box x, y, width, height around the mask in the picture."""
        x, y, width, height = box_of_mask(self.mask)
        return x + self.x, y + self.y, width, height

    def counts(self, size_hw: tuple[int, ...]) -> list[int]:
        """Return the COCO run lengths of the mask in the whole picture."""
        height, width = self.mask.shape
        columns = np.zeros((size_hw[0], width), dtype=bool, order="F")
        columns[self.y : self.y + height] = self.mask
        counts = mask_to_counts(columns)
        counts[0] += self.x * size_hw[0]
        rest = (size_hw[1] - self.x - width) * size_hw[0]
        if len(counts) % 2:
            counts[-1] += rest
        elif rest:
            counts.append(rest)
        return counts


def cut_out(cut: Bool, box: tuple[int, int, int, int], working: Float32) -> Patch:
    """Return a mask of tokens (h, w), whose box x0, y0, x1, y1 is known, with the edges of ``working``."""
    size = (working.shape[0], working.shape[1])
    cell = max(1, round(size[0] / cut.shape[0]))
    x0, y0, x1, y1 = box
    margin = 4 * cell  # two windows of the filter: it sees nothing farther away
    window = slice(max(0, y0 - margin), y1 + margin), slice(max(0, x0 - margin), x1 + margin)
    soft = resized(cut.astype(np.float32), size, window)
    mask = _largest(guided_filter(working[window], soft, radius=cell) > 0.5)
    return _trimmed(Patch(mask if mask.any() else soft >= 0.5, window[1].start, window[0].start))


def refined(patch: Patch, picture: Float32, factor: int, tight: bool = False) -> Patch:
    """Return a mask of the working picture on the pixels of ``picture``, its edges on those of the object.

    Inside and close around the mask those pixels are kept that differ from a ring of surroundings by more
    than a quarter of what the object's strongest quarter does, and one pixel more all round: people draw
    boxes there. (Without this step recall falls from 49 to 45 % on thermal_aerial and from 29 to 26 % on
    paired_road.) ``tight`` takes half instead of a quarter, and no pixel more. Where less
    than a quarter of the mask would stay it is no such object, and the mask stays.
    """
    y, x = max(0, patch.y - FAR), max(0, patch.x - FAR)
    above, left = patch.y - y, patch.x - x
    mask = np.pad(patch.mask, ((above, FAR), (left, FAR)))
    zones = mask.astype(np.int8) + _grown(mask, NEAR) + _grown(mask, FAR)  # 3 the mask, 2 near, 1 the ring
    enlarged = np.repeat(np.repeat(zones, factor, axis=0), factor, axis=1)
    x, y = x * factor, y * factor
    inside = picture[y : y + enlarged.shape[0], x : x + enlarged.shape[1]]
    enlarged = enlarged[: inside.shape[0], : inside.shape[1]]  # the picture may end before
    sharp = _sharpened(enlarged, ndimage.gaussian_filter(inside, 0.7, output=np.float32), tight)
    coarse = enlarged == 3
    return _trimmed(Patch(sharp if 4 * np.count_nonzero(sharp) >= np.count_nonzero(coarse) else coarse, x, y))


def _sharpened(zones: NDArray[np.int8], values: Float32, tight: bool) -> Bool:
    """Return the pixels in or near a mask that differ from its surroundings as it does."""
    mask: Bool = zones == 3
    ring = values[zones == 1]
    if not ring.size or not mask.any():
        return mask
    difference = values - _at_share(ring, 0.5)
    if difference[mask].mean() < 0:
        difference = -difference
    strong = _at_share(difference[mask], 0.75)
    if tight:
        return _largest((difference > strong / 2) & (zones >= 2))
    return _grown(_largest((difference > strong / 4) & (zones >= 2)), 1)


def _at_share(values: Float32, share: float) -> float:
    """Return the value below which ``share`` of the values lie; NumPy's percentile is slow on few."""
    place = int(share * (len(values) - 1))
    return float(np.partition(values, place)[place])


def _grown(mask: Bool, reach: int) -> Bool:
    """Return ``mask`` with all pixels at most ``reach`` rows and columns away."""
    size = 2 * reach + 1  # without ``output`` SciPy spends more on the name of the type than on small masks
    tall = ndimage.maximum_filter1d(mask, size, axis=0, output=bool, mode="constant")
    out: Bool = ndimage.maximum_filter1d(tall, size, axis=1, output=bool, mode="constant")
    return out


def _largest(mask: Bool) -> Bool:
    """Return the largest connected part of ``mask``; the first of equals."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    out: Bool = parts == 1 + int(sizes[1:].argmax())
    return out


def _trimmed(patch: Patch) -> Patch:
    """Return ``patch`` without its empty borders."""
    x, y, width, height = (int(side) for side in box_of_mask(patch.mask))
    return Patch(patch.mask[y : y + height, x : x + width], patch.x + x, patch.y + y)
