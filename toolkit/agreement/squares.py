"""Pictures as squares of one size, whole, cut at random, or moved by a known offset."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from PIL import Image

from dinonat.records import UInt8

CROPPED = (0.67, 0.85)  # shares of the side that a random crop keeps
SEEDS = 5  # random crops of each picture
MOVED = 2  # cells by which one side of a moved pair lies off the other: beyond the reach of a hit

Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of the sides
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Squares:
    """Pictures of one light, kept larger than they are shown so that no crop is enlarged."""

    kept: UInt8  # (n, K, K, 3)
    size: int  # side at which they are shown, pixels

    def whole(self) -> UInt8:
        """Return the whole pictures (n, size, size, 3)."""
        return self._cut([WHOLE] * len(self.kept), self.size)

    def cropped(self, seed: int) -> UInt8:
        """Return a random square of each picture, 67 to 85 % of its side, shown as large as the whole."""
        boxes = random_boxes(len(self.kept), seed)
        return self._cut([tuple(box) for box in boxes.tolist()], self.size)

    def moved(self, cell: int, *, far: bool) -> UInt8:
        """Return the pictures without MOVED cells of ``cell`` pixels at two sides: left and top, if ``far``.

        What is left is shown at the scale at which the whole would be MOVED cells larger than ``size``, so
        that the token (r, k) of the near one shows what the token (r - MOVED, k - MOVED) of the far one does.
        """
        off = MOVED * cell
        start, end = (off, self.size + off) if far else (0, self.size)
        whole = self.size + off
        box = (start / whole, start / whole, end / whole, end / whole)
        return self._cut([box] * len(self.kept), self.size)

    def inverted(self) -> "Squares":
        """Return the same pictures with black and white turned around."""
        return Squares(255 - self.kept, self.size)

    def in_grey(self) -> "Squares":
        """Return the same pictures without their colours (BT.601)."""
        grey = np.stack([np.asarray(Image.fromarray(each).convert("L")) for each in self.kept])
        return Squares(np.repeat(grey[..., None], 3, axis=3), self.size)

    def _cut(self, boxes: "list[Box] | list[tuple[float, ...]]", size: int) -> UInt8:
        side = self.kept.shape[1]
        out = np.empty((len(self.kept), size, size, 3), np.uint8)
        for i, (picture, box) in enumerate(zip(self.kept, boxes, strict=True)):
            left, top, right, low = (share * side for share in box)
            image = Image.fromarray(picture)
            out[i] = image.resize((size, size), Image.Resampling.BILINEAR, (left, top, right, low))
        return out


def kept_side(size: int) -> int:
    """Return the side at which pictures are kept that are shown at ``size``.

    >>> kept_side(224)
    336
    """
    return ceil(size / CROPPED[0] / 16) * 16


def random_boxes(count: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Draw a square (count, 4) of each of ``count`` pictures: side uniform in CROPPED, place uniform."""
    generator = np.random.default_rng(seed)
    side = generator.uniform(*CROPPED, count)
    left, top = generator.uniform(0, 1 - side), generator.uniform(0, 1 - side)
    return np.stack([left, top, left + side, top + side], axis=1)
