"""Tell pictures in false colours from photographs, by how their colours lie.

The colours of a palette are a line through the colour cube: thin at every place, but bent, so wide as a
whole. Those of a photograph fill a cloud, because light and shade vary whatever has colour.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinonat.images.rasters import GREY_SHARE, GREY_SPREAD
from dinonat.records import UInt8

Kind = Literal["grey", "grey with colour", "false colour", "photograph"]
Numbers = NDArray[np.float64]
Levels = NDArray[np.int32]

SAMPLES = 4096  # pixels that are looked at, on a grid
SURE_GREY, SURE_COLOUR = 8, 48  # spread (largest minus smallest channel) that no JPEG makes of the other
DARK, LIGHT = 16, 240  # outside, any picture is grey

# Thresholds by measurement, on 3532 photographs and on 660 thermal frames in six palettes at JPEG
# qualities from 60 to 95: they take 0.9 % of those for false colour, and miss 4 % of these.
MOST = 0.75  # of the pixels are saturated
MIDDLE_SPREAD = 80
HUES, HUE_SHARE = 2, 0.02  # twelfths of the circle that hold a fiftieth of the pixels each
PLACES, PLACE_BITS = 6.0, 4  # cubes of 16 levels over which the colours are really spread: a sky fills few
THIN, THIN_BITS = 0.4, 6  # spread across the line within cubes of 64 levels / within the whole cube
THICKEST = 18.0  # levels; a cube that is filled evenly has 26
FEWEST = 8  # samples that show how thin a place is
MOSTLY_GREY = 0.5  # coloured pixels of a grey picture with an overlay, at most
REALLY_GREY = 0.9  # of its other pixels
LEAST_GREY = 0.25  # of all pixels, without those that are black or white


def kind_of_colour(rgb: UInt8) -> Kind:
    """Tell what the colours of a picture (H, W, 3) are, from a few thousand of its pixels.

    "grey": equal channels, or nearly; "grey with colour": a scale, isotherm, tint or coloured window
    on grey; "false colour": saturated colours of several hues on a thin line; "photograph": the rest,
    also palettes of one hue, which nothing tells from tinted photographs.
    """
    step = max(1, int(np.sqrt(rgb.shape[0] * rgb.shape[1] / SAMPLES)))
    colours = rgb[step // 2 :: step, step // 2 :: step].reshape(-1, 3).astype(np.int32)
    if len(colours) == 0:
        colours = rgb.reshape(-1, 3).astype(np.int32)
    high, low = colours.max(axis=1), colours.min(axis=1)
    spread = high - low
    coloured = float(np.mean(spread > GREY_SPREAD))
    if coloured <= GREY_SHARE:
        return "grey"
    if coloured <= MOSTLY_GREY and _is_grey_beside(spread, high, low):
        return "grey with colour"
    saturated = np.mean(spread > SURE_COLOUR) >= MOST and np.median(spread) >= MIDDLE_SPREAD
    if not saturated or _hues(colours, spread, high) < HUES or _places(colours) < PLACES:
        return "photograph"
    return "false colour" if _is_thin(colours) else "photograph"


def _is_grey_beside(spread: Levels, high: Levels, low: Levels) -> bool:
    """Tell whether pixels without colour are grey and not pale; black and white ones prove nothing."""
    without = (spread <= GREY_SPREAD) & (high > DARK) & (low < LIGHT)
    grey = np.count_nonzero(spread[without] <= SURE_GREY)
    return bool(
        grey >= REALLY_GREY * np.count_nonzero(without) and 2 * grey >= (1 - MOSTLY_GREY) * len(spread)
    )


def _hues(colours: Levels, spread: Levels, high: Levels) -> int:
    """Count the twelfths of the circle of hues that saturated pixels fill."""
    strong = spread > SURE_COLOUR
    red, green, blue = colours[strong].T
    width, top = spread[strong], high[strong]
    sixths = np.where(
        top == red,
        (green - blue) / width % 6,
        np.where(top == green, (blue - red) / width + 2, (red - green) / width + 4),
    )
    filled = np.bincount((2 * sixths).astype(np.int64) % 12, minlength=12)
    return int(np.count_nonzero(filled > HUE_SHARE * len(colours)))


def _cubes(colours: Levels, bits: int) -> Levels:
    """Return the number of the cube of 2**bits levels in which each colour lies."""
    side = 256 >> bits
    return (colours >> bits) @ np.array([side * side, side, 1], np.int32)


def _places(colours: Levels) -> float:
    """Return how many cubes would hold the colours if all that do held equally many (inverse Simpson)."""
    shares = np.bincount(_cubes(colours, PLACE_BITS)) / len(colours)
    return float(1 / np.square(shares).sum())


def _is_thin(colours: Levels) -> bool:
    """Tell whether colours lie near a line at each place, much nearer than its bends lead.

    At a place, what counts is the deviation across its main axis; so it is for the whole.
    """
    cubes = _cubes(colours, THIN_BITS)
    counts = np.bincount(cubes).astype(np.float64)
    sums: Numbers = np.stack([np.bincount(cubes, channel) for channel in colours.T], axis=1, dtype=np.float64)
    squares = np.empty((len(counts), 3, 3))
    for one, other in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        product = np.bincount(cubes, colours[:, one] * colours[:, other])
        squares[:, one, other] = squares[:, other, one] = product
    enough = counts >= FEWEST
    if not enough.any():
        return False
    across = _across(counts[enough], sums[enough], squares[enough])
    whole = _across(counts.sum()[None], sums.sum(axis=0)[None], squares.sum(axis=0)[None])
    return across <= min(THIN * whole, THICKEST)


def _across(counts: Numbers, sums: Numbers, squares: Numbers) -> float:
    """Return the root mean square distance from the main axes of groups of points, weighted by their size."""
    means = sums / counts[:, None]
    spreads = squares / counts[:, None, None] - means[:, :, None] * means[:, None, :]
    variances = np.linalg.eigvalsh(spreads)[:, :2].sum(axis=1)
    return float(np.sqrt(max(0.0, np.average(variances, weights=counts))))
