"""Pictures as squares of one size, whole, cut at random, or moved by a known offset."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinonat.agreement.floors import grey
from dinonat.agreement.maps import pearson
from dinonat.records import Float32, Int64, UInt8

CROPPED = (0.67, 0.85)  # shares of the side that a random crop keeps
SEEDS = 5  # random crops of each picture
MOVED = 2  # cells by which one side of a moved pair lies off the other: beyond the reach of a hit

ALIKE = 0.98  # correlation of grey levels from which two pictures are one; of aligned pairs it is about 0


@dataclass(frozen=True, eq=False)
class Squares:
    """Pictures of one light, kept larger than they are shown so that no crop is enlarged."""

    whole: UInt8  # (n, S, S, 3), as they are shown
    kept: UInt8  # (n, K, K, 3), the same pictures larger

    @property
    def size(self) -> int:
        """Side at which they are shown, pixels."""
        return int(self.whole.shape[1])

    def cropped(self, seed: int) -> UInt8:
        """Return a random square of each picture, 67 to 85 % of its side, shown as large as the whole."""
        boxes = random_boxes(len(self.kept), seed)
        return self._cut([tuple(box) for box in boxes.tolist()])

    def moved(self, cell: float, *, far: bool) -> UInt8:
        """Return the pictures without MOVED cells of ``cell`` pixels at two sides: left and top, if ``far``.

        What is left is shown at the scale at which the whole would be MOVED cells larger than ``size``, so
        that the token (r, k) of the near one shows what the token (r - MOVED, k - MOVED) of the far one does.
        """
        off = MOVED * cell
        start, end = (off, self.size + off) if far else (0, self.size)
        whole = self.size + off
        box = (start / whole, start / whole, end / whole, end / whole)
        return self._cut([box] * len(self.kept))

    def inverted(self) -> "Squares":
        """Return the same pictures with black and white turned around."""
        return Squares(255 - self.whole, 255 - self.kept)

    def in_grey(self) -> "Squares":
        """Return the same pictures without their colours (BT.601)."""
        return Squares(in_grey(self.whole), in_grey(self.kept))

    def _cut(self, boxes: Sequence[tuple[float, ...]]) -> UInt8:
        side, out = self.kept.shape[1], np.empty_like(self.whole)
        for i, (picture, box) in enumerate(zip(self.kept, boxes, strict=True)):
            left, top, right, low = (share * side for share in box)
            image = Image.fromarray(picture)
            shape = (self.size, self.size)
            out[i] = np.asarray(image.resize(shape, Image.Resampling.BILINEAR, (left, top, right, low)))
        return out


def in_grey(pictures: UInt8) -> UInt8:
    """Return pictures (n, S, S, 3) without their colours (BT.601), in three equal channels."""
    return np.repeat(grey(pictures).astype(np.uint8)[..., None], 3, axis=3)


def kept_side(size: int) -> int:
    """Return the side at which pictures are kept that are shown at ``size``.

    >>> kept_side(224)
    336
    """
    return ceil(size / CROPPED[0] / 16) * 16


def random_boxes(count: int, seed: int) -> NDArray[np.float64]:
    """Draw a square (count, 4) of each of ``count`` pictures: side uniform in CROPPED, place uniform."""
    generator = np.random.default_rng(seed)
    side = generator.uniform(*CROPPED, count)
    left, top = generator.uniform(0, 1 - side), generator.uniform(0, 1 - side)
    return np.stack([left, top, left + side, top + side], axis=1)


def copies(colour: Squares, thermal: Squares) -> Int64:
    """Return the places of pairs whose two pictures are one, perhaps saved again, in grey or inverted."""
    pairs = zip(colour.kept, thermal.kept, strict=True)
    alike = [abs(pearson(_small(one), _small(other)).item()) >= ALIKE for one, other in pairs]
    return np.flatnonzero(alike).astype(np.int64)


def _small(picture: UInt8) -> Float32:
    """Return the grey levels (1, 64, 64) of a picture."""
    small = Image.fromarray(picture).convert("L").resize((64, 64), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)[None]
