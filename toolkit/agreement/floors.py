"""Maps and vectors of pictures that are made by hand, without anything learned: what a network has to beat.

All take luminance (n, S, S) from `grey` and work on a few pictures at once, so memory stays small. A cell
is one of ``cells`` x ``cells`` equal squares; where S is no multiple, a pixel counts in each cell with the
share of its area that lies in it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter

from dinonat.records import Float32, UInt8

CELLS = 14  # along each side: 16 pixels of a picture of 224
BINS = 9  # of orientation, 20 degrees each
SPECTRUM = 64  # pixels a side at which spectral residual works: it looks for objects, not for texture
AROUND, BLUR = 3, 2.5  # of the log spectrum, and of the saliency, in pixels at that size
THUMBNAIL = 32
CHUNK = 16  # pictures at once: 30 MB of gradients at 224 pixels


def grey(pictures: UInt8) -> Float32:
    """Return the luminance (BT.601, as Pillow rounds it) of pictures (n, S, S, 3): (n, S, S) in 0 to 255."""
    levels = np.empty(pictures.shape[:3], np.float32)
    for place, picture in enumerate(pictures):
        levels[place] = np.asarray(Image.fromarray(picture).convert("L"))
    return levels


def gradient_energy(grey: Float32, cells: int = CELLS) -> Float32:
    """Return the mean length of the gradient in each cell: (n, cells, cells), grey levels a pixel."""
    return _of_chunks(grey, (cells, cells), lambda part: _cell_means(np.hypot(*_gradient(part)), cells))


def intensity(grey: Float32, cells: int = CELLS) -> Float32:
    """Return the mean level of each cell: (n, cells, cells) in 0 to 255."""
    return _of_chunks(grey, (cells, cells), lambda part: _cell_means(part, cells))


def spectral_residual(grey: Float32, cells: int = CELLS) -> Float32:
    """Return the saliency (n, cells, cells) >= 0 of Hou and Zhang 2007 (Saliency Detection).

    Of the picture averaged to 64 x 64: what its log spectrum has beyond its own mean over 3 x 3 frequencies,
    transformed back with the phase, squared, blurred, averaged over each cell. Of a flat picture zeros.
    """
    return _of_chunks(grey, (cells, cells), lambda part: _cell_means(_residual(part), cells))


def hog_cells(grey: Float32, cells: int = CELLS) -> Float32:
    """Return a histogram of oriented gradients for each cell: (n, cells, cells, 9), length 1 or zeros.

    As in Dalal and Triggs 2005, without interpolation and without blocks: each pixel adds the length
    of its gradient to one of 9 equal bins of its orientation modulo 180 degrees.
    """
    return _of_chunks(grey, (cells, cells, BINS), lambda part: _units(_histograms(part, cells)))


def orientation_histogram(grey: Float32, cells: int = CELLS) -> Float32:
    """Return one histogram of oriented gradients for each picture: (n, 9), length 1 or zeros."""
    return _of_chunks(grey, (BINS,), lambda part: _units(_histograms(part, cells).sum(axis=(1, 2))))


def thumbnail(grey: Float32) -> Float32:
    """Return pictures at 32 x 32 without their mean, row by row: (n, 1024); their cosine is the NCC.

    Resized by Pillow's triangle filter, which widens when it shrinks.
    """
    small = _resized(grey, THUMBNAIL, Image.Resampling.BILINEAR).reshape(len(grey), -1)
    return np.asarray(small - small.mean(axis=1, keepdims=True), np.float32)


def _of_chunks(
    grey: Float32, shape: tuple[int, ...], make: Callable[[Float32], NDArray[np.floating]]
) -> Float32:
    if grey.ndim != 3 or not 0 < shape[0] <= min(grey.shape[1:]):
        raise ValueError(f"grey {grey.shape}: expected (n, S, S) of at least {shape[0]} pixels a side")
    made = np.empty((len(grey), *shape), np.float32)
    for start in range(0, len(grey), CHUNK):
        made[start : start + CHUNK] = make(grey[start : start + CHUNK])
    return made


def _gradient(grey: Float32) -> tuple[Float32, Float32]:
    """Return how much levels rise per pixel, down and to the right: two of (n, H, W)."""
    down, right = (np.asarray(np.gradient(grey, axis=axis), np.float32) for axis in (1, 2))
    return down, right


def _cell_means(values: NDArray[np.floating], cells: int) -> Float32:
    """Return the exact means of (n, H, W) over equal cells: (n, cells, cells)."""
    down, right = (_shares(side, cells) for side in values.shape[1:])
    return np.asarray(down @ values @ right.T, np.float32)


def _shares(side: int, cells: int) -> Float32:
    """Return the share (cells, side) of each cell that each pixel covers; rows sum to 1."""
    borders = np.arange(cells + 1)[:, None] * side / cells
    pixels = np.arange(side)
    covered = np.minimum(borders[1:], pixels + 1) - np.maximum(borders[:-1], pixels)
    return np.asarray(np.maximum(covered, 0) * cells / side, np.float32)


def _histograms(grey: Float32, cells: int) -> Float32:
    """Return the mean length of the gradient for each cell and orientation (n, cells, cells, 9)."""
    down, right = _gradient(grey)
    length = np.hypot(down, right)
    turned = np.arctan2(down, right) % np.float32(np.pi)  # of pi, rounded alike, exactly 0
    which = np.floor(turned * np.float32(BINS / np.pi)).astype(np.int8) % BINS
    return np.stack([_cell_means(length * (which == each), cells) for each in range(BINS)], axis=-1)


def _units(rows: Float32) -> Float32:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)


def _residual(grey: Float32) -> NDArray[np.float64]:
    """Return the saliency (n, 64, 64) of Hou and Zhang 2007, equations 7 to 10."""
    small = _resized(grey, SPECTRUM, Image.Resampling.BOX).astype(np.float64)
    spectrum = np.fft.fft2(small)
    size = np.abs(spectrum)
    log = np.log(np.maximum(size, 1e-6))  # a frequency that is not there has no logarithm
    residual = log - uniform_filter(log, (0, AROUND, AROUND), mode="wrap")  # frequencies are periodic
    phase = np.where(size > 1e-6, spectrum / np.maximum(size, 1e-6), 0)
    saliency = np.abs(np.fft.ifft2(np.exp(residual) * phase)) ** 2
    flat = np.ptp(small, axis=(1, 2)) == 0
    saliency[flat] = 0
    blurred: NDArray[np.float64] = gaussian_filter(saliency, (0, BLUR, BLUR))
    return blurred


def _resized(grey: Float32, side: int, by: Image.Resampling) -> Float32:
    small = np.empty((len(grey), side, side), np.float32)
    for place, picture in enumerate(grey):
        small[place] = np.asarray(Image.fromarray(picture).resize((side, side), by))
    return small
