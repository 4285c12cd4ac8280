"""Put coarse maps back on the pixels: guided filter, resizing, shrinking."""

from functools import lru_cache

import numpy as np
from scipy import ndimage

from dinonat.records import Float32

Window = tuple[slice, slice]  # rows, columns


def guided_filter(guide: Float32, values: Float32, *, radius: int, eps: float = 1e-3) -> Float32:
    """Return ``values`` (H, W) smoothed so that its edges follow those of ``guide`` (H, W) in [0, 1].

    He, Sun and Tang 2010: in every window of ``2 radius + 1`` the result is a linear function of the
    guide. ``eps`` is the variance of the guide below which a window counts as flat.
    """
    mean_guide, mean_values = _box_mean(guide, radius), _box_mean(values, radius)
    covariance = _box_mean(guide * values, radius) - mean_guide * mean_values
    variance = _box_mean(guide * guide, radius) - mean_guide * mean_guide
    slope = (covariance / (variance + eps)).astype(np.float32)
    offset = mean_values - slope * mean_guide
    return _box_mean(slope, radius) * guide + _box_mean(offset, radius)


def _box_mean(values: Float32, radius: int) -> Float32:
    out: Float32 = ndimage.uniform_filter(values, 2 * radius + 1, mode="nearest")
    return out


def resized(
    values: Float32, size_hw: tuple[int, int], window: Window = (slice(None), slice(None))
) -> Float32:
    """Return a map (h, w) resized to ``size_hw``, linear between cell centres, float32; or a part of it."""
    rows, columns = (
        _weights(old, new)[part] for old, new, part in zip(values.shape, size_hw, window, strict=True)
    )
    out: Float32 = rows @ values.astype(np.float32) @ columns.T
    return out


@lru_cache(maxsize=32)
def _weights(old: int, new: int) -> Float32:
    """Return (new, old): the share of each old cell in each new one; the border cells are held."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    near = np.abs(place[:, None] - np.arange(old)[None, :])  # (new, old), in cells
    shares: Float32 = np.clip(1 - near, 0, None).astype(np.float32)
    return shares


def shrunk(picture: Float32, factor: int) -> Float32:
    """Return the means of ``factor`` x ``factor`` blocks, (ceil(H / factor), ceil(W / factor)) float32.

    The last blocks are filled up with the border pixels.
    """
    height, width = picture.shape
    filled = np.pad(picture, ((0, -height % factor), (0, -width % factor)), mode="edge")
    rows: Float32 = np.mean([filled[start::factor] for start in range(factor)], axis=0, dtype=np.float32)
    columns = [rows[:, start::factor] for start in range(factor)]  # faster than a mean over two axes at once
    out: Float32 = np.mean(columns, axis=0, dtype=np.float32)  # (h, w)
    return out
