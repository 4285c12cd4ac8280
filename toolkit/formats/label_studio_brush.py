"""The brush strokes of Label Studio: run lengths of bits over the RGBA values of a picture.

The bits are those of rle-pack by thi.ng: 32 for the number of values, 5 for the size of a value, 4 each
for the sizes of four kinds of lengths, then runs: one bit for "repeated", two for the kind of length,
the length less one, and one value, or that many values.
"""

from collections.abc import Sequence

import numpy as np

from dinonat.errors import LabelError
from dinonat.formats.runs import LARGEST_IMAGE
from dinonat.records import Bool, UInt8

CHANNELS = 4  # a pixel is red, green, blue, alpha; alpha is the mask


def brush_mask(rle: Sequence[int], size_hw: tuple[int, int]) -> Bool:
    """Return the mask (H, W) of the pixels whose alpha is not 0.

    Raises LabelError where ``rle`` are no bytes, do not describe ``size_hw`` pixels of four values, or
    end early: COCO run lengths in their place show nothing in Label Studio and say nothing either.
    """
    height, width = size_hw
    bits = _Bits(_as_bytes(rle))
    if bits.read(32) != height * width * CHANNELS or height * width > LARGEST_IMAGE:
        raise LabelError(f"brush rle does not describe the {width} x {height} x 4 values of its image.")
    word = bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    mask = np.zeros(height * width, bool)
    at, end = 0, height * width * CHANNELS
    while at < end:
        repeated = bits.read(1)
        stop = at + 1 + bits.read(sizes[bits.read(2)])
        if stop > end:
            raise LabelError("brush rle describes more values than its image has.")
        # The alpha of pixel k is value 4k + 3, so values at to stop hold the alphas at // 4 to stop // 4.
        first, last = at // CHANNELS, stop // CHANNELS
        if repeated:
            mask[first:last] = bits.read(word) > 0
        else:
            values = bits.read_many(stop - at, word)
            mask[first:last] = values[(CHANNELS - 1 - at) % CHANNELS :: CHANNELS]
        at = stop
    return mask.reshape(height, width)


class _Bits:
    """Bytes read bit by bit, the highest first."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read(self, size: int) -> int:
        """Return the next ``size`` bits, at most 32, as a number."""
        first, self.at = self.at, self.at + size
        if self.at > len(self.data) * 8:
            raise LabelError("brush rle ends before its image is full.")
        last = (self.at + 7) // 8
        number = int.from_bytes(self.data[first // 8 : last], "big") >> (last * 8 - self.at)
        return number & ((1 << size) - 1)

    def read_many(self, count: int, size: int) -> Bool:
        """Return which of the next ``count`` numbers of ``size`` bits are not 0."""
        first, self.at = self.at, self.at + count * size
        if self.at > len(self.data) * 8:
            raise LabelError("brush rle ends before its image is full.")
        window: UInt8 = np.frombuffer(self.data, np.uint8)[first // 8 : (self.at + 7) // 8]
        bits = np.unpackbits(window)[first % 8 :][: count * size]
        found: Bool = bits.reshape(count, size).max(axis=1, initial=0) > 0
        return found


def _as_bytes(rle: object) -> bytes:
    """Return a list of whole numbers from 0 to 255 as bytes."""
    try:
        if isinstance(rle, list | tuple):  # a lone number would become that many zeros
            return bytes(rle)
    except (TypeError, ValueError):
        pass
    raise LabelError("brush rle is no list of whole numbers from 0 to 255.")
