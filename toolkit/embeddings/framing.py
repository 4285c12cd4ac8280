"""How a picture of any size comes before the network: resized, padded, or cut out around a region."""

from collections.abc import Sequence
from math import ceil
from typing import Literal

import numpy as np
from PIL import Image

from dinonat.geometry import square_with_context
from dinonat.records import Float32, UInt8

LONGEST = 4  # times the shorter side: a line camera's 1 x 5000 strip must not become a million tokens
Crop = Literal["square", "squash"]
Shape = tuple[int, int]


def one_plane(pixels: UInt8) -> UInt8:
    """Return a picture (H, W, 3) as (H, W) where its three channels are the same, else as it is.

    Every function here takes both, and gives the same levels for a third of the work.
    """
    for part in (pixels[::32], pixels):  # a few rows tell most colour pictures
        values = part.reshape(-1)
        same = values[1:] == values[:-1]  # of neighbours in memory: red and green, green and blue
        same[2::3] = True  # blue and the next red
        if not same.all():
            return pixels
    return np.ascontiguousarray(pixels[..., 0])


def fitted(size_hw: Shape, *, size: int, square: bool = False) -> Shape:
    """Return the (height, width) at which a picture is shown to the network.

    The shorter side becomes ``size`` and the aspect is kept; a picture longer than LONGEST times
    that is scaled until its longer side is. With ``square`` both sides become ``size``.

    >>> fitted((512, 640), size=224), fitted((512, 640), size=224, square=True)
    ((224, 280), (224, 224))
    """
    if square:
        return size, size
    height, width = size_hw
    scale = min(size / min(height, width), LONGEST * size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def padded(pixels: UInt8, *, stride: int) -> UInt8:
    """Pad a picture (H, W, 3) or (H, W) right and below to multiples of ``stride``.

    The last row and column are repeated: zeros would be an edge for the tokens beside it to see.
    """
    pad = [(0, -side % stride) for side in pixels.shape[:2]]
    if not any(more for _, more in pad):
        return pixels
    return np.pad(pixels, [*pad, (0, 0)][: pixels.ndim], mode="edge")


def shown(pixels: UInt8, shape_hw: Shape) -> UInt8:
    """Resize a picture (H, W, 3) or (H, W) to ``shape_hw`` with Pillow's widening triangle filter."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(shape_hw[::-1], Image.Resampling.BILINEAR))


def valid_tokens(shape_hw: Shape, strides: Sequence[float]) -> list[Shape]:
    """Return, for the maps of a network, the part (h, w) of each that the picture fills.

    ``strides`` are those of a Network. Whole cells of the map that regions and grid vectors are made
    from, the last but one, decide and the others follow them, so that all maps lie over each other.

    >>> valid_tokens((65, 96), (4, 8, 16, 32))
    [(20, 24), (10, 12), (5, 6), (3, 3)]
    """
    height, width = _covered(shape_hw, strides)
    return [(max(1, ceil(height / stride)), max(1, ceil(width / stride))) for stride in strides]


def _covered(shape_hw: Shape, strides: Sequence[float]) -> Shape:
    """Return the (height, width) that the tokens of a picture cover: whole cells of the last map but one."""
    cell = strides[-2]
    return round(ceil(shape_hw[0] / cell) * cell), round(ceil(shape_hw[1] / cell) * cell)


def under_tokens(pixels: UInt8, shape_hw: Shape, strides: Sequence[float]) -> Float32:
    """Return the luminance in [0, 1] of a picture, extended to what its valid tokens cover.

    ``pixels`` are (H, W, 3) or (H, W), ``shape_hw`` is the size at which the network saw them. Where that
    is no multiple of a cell the last tokens reach beyond the picture; without the extension every box
    would be pulled to the left.
    """
    # Pillow's luminance (BT.601) in whole numbers: a sum of floats could differ with the number of threads.
    grey = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L")).astype(np.float32) / 255
    more = []
    for side, shown, covered in zip(grey.shape, shape_hw, _covered(shape_hw, strides), strict=True):
        more.append((0, round(side * covered / shown) - side))
    return np.pad(grey, more, mode="edge")


def cut(pixels: UInt8, box_xywh: Sequence[float], *, side: int, crop: Crop, context: float) -> UInt8:
    """Cut a region out of a picture (H, W, 3) or (H, W) and resize it to (side, side, 3) or (side, side).

    "square" takes the square around the box with ``context`` times its longer side on every side;
    what lies outside the picture repeats its border. "squash" takes the box alone and lets its
    aspect go. Positions are exact to fractions of a pixel.
    """
    height, width = pixels.shape[:2]
    x, y, w, h = box_xywh
    if crop == "square":
        x, y, w, h = square_with_context(box_xywh, context=context, size_hw=(height, width))
    left, top, right, bottom = int(x // 1), int(y // 1), ceil(x + w), ceil(y + h)
    window = pixels[max(top, 0) : bottom, max(left, 0) : right]
    outside = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0))
    if outside != ((0, 0), (0, 0), (0, 0)):
        window = np.pad(window, outside[: window.ndim], mode="edge")
    image = Image.fromarray(np.ascontiguousarray(window))
    box = (x - left, y - top, x + w - left, y + h - top)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))
