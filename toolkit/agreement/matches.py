"""Whether the tokens of a thermal picture find their places in the colour picture of the same scene."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinonat.neighbors.pairs import TIE, units
from dinonat.records import Bool, Float32

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matches:
    """Of each pair the share in 0 to 1 of the thermal tokens that were asked.

    ``mutual`` counts those of ``hit`` that the colour token which they found would choose, too.
    """

    hit: Float64  # (n,), found within reach of the true place
    mutual: Float64  # (n,)
    chance: float  # of a hit by a token that is drawn evenly from all


def dense_matches(
    colour: Float32, thermal: Float32, *, shift: tuple[int, int] = (0, 0), reach: int = 1
) -> Matches:
    """Ask tokens (n, h, w, c) of thermal pictures for the most similar token (cosine) of their partner.

    The thermal token (row, column) shows what the colour token (row + shift[0], column + shift[1]) shows.
    A shift matters: without one, a network that only tells where in the picture a token lies finds every
    place. Asked are thermal tokens whose true place is on the map; candidates are all tokens of the other
    map. A hit lies at most ``reach`` rows and columns away from the true place. Ties count against the
    model: of equally similar tokens one is taken that is no hit, or whose own choice is another. A token
    of zeros is as similar to all. ValueError where shapes do not match, a value is not finite, or the shift
    leaves no token to ask.
    """
    if colour.shape != thermal.shape or colour.ndim != 4 or not colour[:1].size:
        raise ValueError(
            f"colour {colour.shape} and thermal {thermal.shape}: expected two equal (n, h, w, c)"
        )
    if not (np.isfinite(colour).all() and np.isfinite(thermal).all()):
        raise ValueError("a token holds a value that is not finite, which is similar to nothing")
    asked, near = _truth(colour.shape[1], colour.shape[2], shift, reach)
    shares = [_shares(asked, near, *pair) for pair in zip(colour, thermal, strict=True)]
    hit, mutual = np.array(shares, np.float64).reshape(-1, 2).T
    return Matches(hit, mutual, float(near.mean()))


def _truth(height: int, width: int, shift: tuple[int, int], reach: int) -> tuple[NDArray[np.intp], Bool]:
    """Return which tokens (a,) are asked, by number, and which of all (a, height * width) are hits."""
    rows, columns = (each.ravel() for each in np.indices((height, width)))
    down, right = rows + shift[0], columns + shift[1]
    asked = np.flatnonzero((down >= 0) & (down < height) & (right >= 0) & (right < width))
    if not len(asked):
        raise ValueError(f"shift={shift}: leaves no token of {height} x {width} whose place is on the map")
    away = np.maximum(np.abs(down[asked, None] - rows), np.abs(right[asked, None] - columns))
    return asked, away <= reach


def _shares(asked: NDArray[np.intp], near: Bool, colour: Float32, thermal: Float32) -> tuple[float, float]:
    """Return the shares of ``asked`` that hit, and that hit and are chosen back, of one pair (h, w, c)."""
    one, other = (units(each.reshape(-1, each.shape[-1])) for each in (colour, thermal))
    similar = other @ one.T  # (thermal, colour)
    found = (similar >= similar.max(axis=1, keepdims=True) - TIE)[asked]  # more than one where they tie
    back = similar >= similar.max(axis=0) - TIE
    alone = (back & (back.sum(axis=0) == 1))[asked]  # chooses this thermal token and no other
    hit = ~(found & ~near).any(axis=1)
    mutual = hit & ~(found & ~alone).any(axis=1)
    return float(hit.mean()), float(mutual.mean())
