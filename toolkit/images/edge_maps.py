"""Maps of the edges of pictures, which colour and thermal ones share, and how well they fit when moved."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from dinonat.records import Float32, UInt8

Shift = tuple[int, int]  # (dx, dy) in cells
Float64 = NDArray[np.float64]
Places = NDArray[np.integer]

CELLS = 64  # along each side
BLUR = 0.7  # cells
AROUND = 6.0  # cells: edges count by how much they stand out around them, or a few strong ones decide
REACH = 7  # cells, a little more than 10 % of a side: farther shifts are not looked for


def edges(pictures: UInt8, places: Places, *, middle: float = 1.0) -> Float32:
    """Return maps of edges (n, CELLS, CELLS) of the pictures (N, S, S, 3) at n places, or of their middle.

    Each is without mean and of length 1.

    Size of the gradient of the luminance (BT.601) after a small blur, over its own mean around each
    cell. Zeros where a picture shows nothing.
    """
    height, width = pictures.shape[1:3]
    near, far = (1 - middle) / 2, (1 + middle) / 2
    box = (near * width, near * height, far * width, far * height)
    maps = np.empty((len(places), CELLS, CELLS), np.float32)
    for at, place in enumerate(places):
        grey = Image.fromarray(pictures[place]).convert("L")
        small = grey.resize((CELLS, CELLS), Image.Resampling.BOX, box)
        down, right = np.gradient(gaussian_filter(np.asarray(small, np.float32), BLUR))
        size = np.hypot(down, right)
        relative = size / (gaussian_filter(size, AROUND) + 1.0)  # one grey level a cell is no edge
        free = relative - relative.mean()
        length = float(np.linalg.norm(free))
        maps[at] = free / length if length > 1e-3 else 0.0
    return maps


def surfaces(colour: Float32, thermal: Float32) -> tuple[Float64, Float64]:
    """Return the mean correlations of partners, and of strangers, for every shift of the thermal maps.

    Both (2 REACH + 1, 2 REACH + 1), [dy + REACH, dx + REACH] for thermal maps that are moved dx cells
    right and dy down. All N (N - 1) strangers cost two sums: the correlation of the sums of all maps is
    the sum over all pairs.
    """
    count, sides = len(colour), (2 * CELLS, 2 * CELLS)  # padded, so that nothing comes in again behind
    one, other = (np.fft.rfft2(maps.astype(np.float64), sides) for maps in (colour, thermal))
    partners = _near(np.fft.irfft2((one * np.conj(other)).sum(axis=0), sides))
    everyone = _near(np.fft.irfft2(one.sum(axis=0) * np.conj(other.sum(axis=0)), sides))
    return partners / count, (everyone - partners) / (count * (count - 1))


def _near(surface: Float64) -> Float64:
    return np.roll(surface, (REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]


def peak(surface: Float64) -> tuple[float, tuple[float, float]]:
    """Return the largest value and its (dx, dy) in parts of a cell, by a parabola through its neighbours."""
    row, column = (int(place) for place in np.unravel_index(surface.argmax(), surface.shape))
    dy = row - REACH + _between(surface[:, column], row)
    dx = column - REACH + _between(surface[row], column)
    return float(surface[row, column]), (dx, dy)


def _between(line: Float64, place: int) -> float:
    if not 0 < place < len(line) - 1:
        return 0.0
    left, middle, right = line[place - 1 : place + 2]
    bend = left - 2 * middle + right
    return float((left - right) / (2 * bend)) if bend < 0 else 0.0


def moved(one: Float32, shift: Shift) -> Float32:
    """Move a map right and down; zeros come in."""
    dx, dy = shift
    padded = np.pad(one, REACH + 1)
    top, left = REACH + 1 - dy, REACH + 1 - dx
    return padded[top : top + CELLS, left : left + CELLS]
