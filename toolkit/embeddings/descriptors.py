"""Hand-made vectors of a picture: HOG and raw pixels, the floor that the network has to beat."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinonat.records import Float32, UInt8

HOG_SIDE, CELL, BINS, BLOCK = 64, 8, 9, 2  # reference set-up: 7 x 7 blocks x 2 x 2 cells x 9 bins = 1764
RAW_SIDE = 32
CHUNK = 128  # pictures worked on at once: temporaries of a few MB, whatever N is
EPSILON = 1e-5  # of the block norm, as in scikit-image


def hand_made(pictures: Sequence[UInt8] | UInt8 | Float32) -> dict[str, Float32]:
    """Return `hog` and `raw` of pictures, which may differ in size, by their names in PARTS.

    Each picture becomes grey once for both.
    """
    large, small = _squashed(pictures, (HOG_SIDE, RAW_SIDE))
    return {"hog": _hog_of_squashed(large), "raw": _raw_of_squashed(small)}


def hog(pictures: Sequence[UInt8] | UInt8 | Float32) -> Float32:
    """Return the histogram of oriented gradients (N, 1764) of each picture, blocks of norm 1 or less.

    ``pictures`` are (N, H, W, 3) uint8 or (N, H, W) grey levels in [0, 255]; each is squashed to
    64 x 64. Unsigned gradients, cells of 8 x 8, 9 bins without interpolation, blocks of 2 x 2 cells with
    L2-Hys: Dalal and Triggs 2005 as scikit-image computes it. A flat picture gives zeros.
    """
    return _hog_of_squashed(squash(pictures, HOG_SIDE))


def raw(pictures: Sequence[UInt8] | UInt8 | Float32) -> Float32:
    """Return each picture squashed to 32 x 32 grey values in [0, 1], row by row: (N, 1024).

    ``pictures`` as for `hog`.
    """
    return _raw_of_squashed(squash(pictures, RAW_SIDE))


def squash(pictures: Sequence[UInt8] | UInt8 | Float32, side: int) -> UInt8:
    """Resize (N, H, W, 3) or grey levels (N, H, W) to (N, side, side) luminance (BT.601).

    Pillow does it in whole numbers with a triangle filter that widens when it shrinks: no line of a
    large picture is skipped, and the same bytes come out on every machine with any number of threads.
    """
    return _squashed(pictures, (side,))[0]


def _squashed(pictures: Sequence[UInt8] | UInt8 | Float32, sides: Sequence[int]) -> list[UInt8]:
    """Squash each picture to a square of each of ``sides``."""
    out = [np.zeros((len(pictures), side, side), dtype=np.uint8) for side in sides]
    for i, picture in enumerate(pictures):
        levels = picture if picture.dtype == np.uint8 else np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        grey = Image.fromarray(np.ascontiguousarray(levels)).convert("L")
        for side, squares in zip(sides, out, strict=True):
            squares[i] = np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR))
    return out


def _raw_of_squashed(levels: UInt8) -> Float32:
    return levels.reshape(len(levels), RAW_SIDE**2).astype(np.float32) / np.float32(255)


def _hog_of_squashed(levels: UInt8) -> Float32:
    rows = [_hog_of_levels(part.astype(np.int32)) for part in _chunks(levels)]
    blocks = HOG_SIDE // CELL - BLOCK + 1
    return np.concatenate([np.zeros((0, blocks * blocks * BLOCK * BLOCK * BINS), np.float32), *rows])


def _chunks(pictures: UInt8) -> list[UInt8]:
    return [pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK)]


def _hog_of_levels(levels: NDArray[np.int32]) -> Float32:
    """HOG of (N, 64, 64) whole grey levels."""
    n, cells = len(levels), HOG_SIDE // CELL
    magnitude, binned = _gradient_table()
    vertical, horizontal = np.zeros_like(levels), np.zeros_like(levels)  # the border has no gradient
    vertical[:, 1:-1] = levels[:, 2:] - levels[:, :-2]
    horizontal[:, :, 1:-1] = levels[:, :, 2:] - levels[:, :, :-2]
    gradient = (vertical + 255) * 511 + (horizontal + 255)  # (N, 64, 64): row of the table
    slot = (_cell_of_pixel() + np.arange(n, dtype=np.int32)[:, None, None] * cells * cells) * BINS
    slot += binned[gradient]
    histogram = np.bincount(
        slot.ravel(), weights=magnitude[gradient].ravel(), minlength=n * cells * cells * BINS
    ).reshape(n, cells, cells, BINS) / (CELL * CELL)
    windows = np.lib.stride_tricks.sliding_window_view(histogram, (BLOCK, BLOCK), axis=(1, 2))
    blocks = np.moveaxis(windows, 3, -1).reshape(n, -1, BLOCK * BLOCK * BINS)  # (N, 49, 36)
    clipped = np.minimum(_unit(blocks), 0.2)
    return _unit(clipped).reshape(n, -1).astype(np.float32)


def _unit(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(blocks / np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + EPSILON**2))


@cache
def _cell_of_pixel() -> NDArray[np.int32]:
    """Return the number of the cell (row by row) of each pixel of a 64 x 64 picture."""
    cell = np.arange(HOG_SIDE, dtype=np.int32) // CELL
    return cell[:, None] * (HOG_SIDE // CELL) + cell[None, :]


@cache
def _gradient_table() -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return length and orientation bin of every gradient that 8 bits can have, 511 x 511 of them.

    Looking them up is several times faster than an arctangent a pixel, and exact: bins have no
    border at a whole-numbered gradient except the horizontal one.
    """
    step = np.arange(-255, 256, dtype=np.float64)
    vertical, horizontal = np.meshgrid(step, step, indexing="ij")
    degrees = np.rad2deg(np.arctan2(vertical, horizontal)) % 180
    return np.hypot(vertical, horizontal).ravel(), (degrees * BINS / 180).astype(np.int32).ravel()
