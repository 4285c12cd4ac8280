"""How rare each token of an image is among those on its border, which are mostly background.

The counterpart of the normalised cut for small targets: below about two percent of an image a cut no longer
pays, while a token that resembles nothing on the border stands out whatever its size. An object that touches
the border along much of it, on the other hand, is in the bank itself, and is not rare.
"""

import numpy as np

from dinonat.records import Float32

NEAREST = 8  # tokens of the border that each token is compared with: those most like it


def rarity_map(tokens: Float32) -> Float32:
    """Return how unlike the border each of ``tokens`` (h, w, c) is: (h, w) float32 in [-1, 1].

    Minus the mean of the 8 largest cosines with tokens on the border, fewer where it has fewer; a token of
    the border is not compared with itself. -1 is "the border is full of it". Fewer than nine tokens have no
    inside, and a map of tokens that are all alike tells nothing: both give -1 everywhere.
    """
    height, width, channels = tokens.shape
    rows = tokens.reshape(-1, channels).astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.maximum(lengths, 1e-12)
    if min(height, width) < 3 or not lengths.any():
        return np.full((height, width), -1, dtype=np.float32)
    border = np.flatnonzero(_on_border(height, width))
    cosine = rows @ rows[border].T  # (N, n)
    cosine[border, np.arange(len(border))] = -2  # itself, never among the nearest
    count = min(NEAREST, len(border) - 1)
    nearest = np.partition(cosine, -count, axis=1)[:, -count:]
    out: Float32 = -nearest.mean(axis=1).reshape(height, width)
    return np.clip(out, -1, 1)


def _on_border(height: int, width: int) -> np.ndarray:
    """Return (height * width,), true for the outermost tokens."""
    border = np.ones((height, width), dtype=bool)
    border[1:-1, 1:-1] = False
    return border.ravel()
