"""The pictures of a run: packed ones in one array, which of them make an epoch, and which belong together."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dinonat.records import Float32, Int64, UInt8


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is trained on.

    Attributes
    ----------
    pixels : array or Tensor (N, S, S, 3) uint8
        Squashed to squares; may be a memory map, or a tensor on a GPU.
    aspects : (N,) float32
        Width over height of the originals.
    items : (M,) int64
        The pictures of an epoch; one may stand there more than once.
    partners : (N,) int64
        Which picture shows the same place in another light, -1 for none.
    """

    pixels: Any
    aspects: Float32
    items: Int64
    partners: Int64


def alone(pixels: UInt8, aspects: Float32) -> Pictures:
    """Pictures without partners, each of which comes once in an epoch."""
    count = len(pixels)
    return Pictures(pixels, aspects, np.arange(count), np.full(count, -1))
