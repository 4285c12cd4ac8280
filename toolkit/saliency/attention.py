"""Where a network looks. Local attention: mass pulled back from the pooled output, bias removed.

Average pooling is a uniform query on the last tokens; attention pooling is an uneven one. Its mass is
pulled back block by block through the attention weights (rollout, Abnar & Zuidema 2020, with half of the
mass on the residual path) and through the transposed downsamplers. Clamped windows alone already make such
a map uneven (6.2x between its extremes after one layer of *uniform* attention), so it is divided by the
map that uniform attention gives on the same shapes: 1 means "no more than the window rule explains". A
network with a CLS token answers for itself: the attention of that token in the last block.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dinonat.records import Float32

Float64 = NDArray[np.float64]
Shape = tuple[int, int]


class Layer(NamedTuple):
    """Maps of one part of a network over one picture, their first cells in its upper left corner."""

    name: str
    maps: Float32  # (heads, h, w): 1 is what even attention gives, 2 twice as much
    cell: float  # pixels of the picture a side of a cell


class Looks(NamedTuple):
    """Where a network looks in one picture."""

    overall: Layer  # one map of the whole network
    layers: Sequence[Layer]  # the heads of its stages, from the first to the last


def received_map(
    weights: Sequence[Sequence[Float32]],
    *,
    kernel_size: int,
    valid_hw: Sequence[Shape],
    pooling: Float32 | None = None,
) -> Float32:
    """Return how much attention every stage-1 token receives, 1 being what uniform attention gives.

    ``weights[stage][block]`` (heads, h, w, kh * kw) are softmaxed; keys are row-major in the window whose
    start per axis is clamp(i - K // 2, 0, n - K'), K' = min(K, n). Heads are averaged. ``valid_hw`` is the
    part of each stage's map that the picture fills: only those tokens are queried at the end, and the
    result (H, W) float32 is cropped to the first of them. ``pooling`` (h, w) of the last of them, of sum 1,
    is how much each token counts in the pooled output; None means all alike. Values are positive, about 1
    on average.
    """
    real = pulled_back(weights, kernel_size=kernel_size, valid_hw=valid_hw, pooling=pooling)
    shapes = tuple(tuple(block.shape[1:3] for block in stage) for stage in weights)
    null = _null_map(shapes, kernel_size, tuple(tuple(shape) for shape in valid_hw))
    height, width = valid_hw[0]
    ratio = np.divide(real, null, out=np.ones_like(real), where=null > 0)
    return ratio[:height, :width].astype(np.float32)


def cls_map(weights: Float32, *, valid_hw: Shape) -> Float32:
    """Return how much a CLS token attends to each patch (h, w) float32, 1 being the mean.

    ``weights`` (heads, H, W) are softmaxed, those to CLS itself and to registers left out; heads are
    averaged, and only the ``valid_hw`` part that the picture fills counts. Attention to all patches alike
    is 1 everywhere, so nothing has to be corrected.
    """
    looked_at = weights.mean(axis=0, dtype=np.float64)[: valid_hw[0], : valid_hw[1]]
    mean = float(looked_at.mean())
    relative = looked_at / mean if mean > 0 else np.ones_like(looked_at)
    out: Float32 = relative.astype(np.float32)
    return out


def received_by_heads(weights: Float32, *, kernel_size: int, valid_hw: Shape) -> Float32:
    """Return how much attention each token receives in one block (heads, h, w), 1 being what is even.

    ``weights`` (heads, H, W, kh * kw) are softmaxed, with keys as ``received_map`` says. Every token of the
    ``valid_hw`` part asks alike, padding not at all. What arrives at a token is divided by what would
    arrive if each query attended to its whole window alike: clamped windows alone give a corner a third
    of what the inside gets, and twice as much to the token six steps from both borders.
    """
    _, height, width, _ = weights.shape
    asked = np.zeros((height, width))
    asked[: valid_hw[0], : valid_hw[1]] = 1 / np.prod(valid_hw)
    null = _attended(asked, _uniform((height, width), kernel_size)[0], kernel_size)
    received = np.stack([_attended(asked, head, kernel_size) for head in weights])
    valid = np.s_[..., : valid_hw[0], : valid_hw[1]]  # every token is in its own window, so nothing is 0
    out: Float32 = (received[valid] / null[valid]).astype(np.float32)
    return out


def cls_by_heads(weights: Float32, *, valid_hw: Shape) -> Float32:
    """Return how much a CLS token attends to each patch in each head (heads, h, w), 1 being a head's mean.

    As ``cls_map``. What a head gives to CLS itself and to registers is out of the count, so that one that
    looks at the picture with a tenth of its attention is as visible as one that looks with all of it.
    """
    return np.stack([cls_map(head[None], valid_hw=valid_hw) for head in weights])


def pulled_back(
    weights: Sequence[Sequence[Float32]],
    *,
    kernel_size: int,
    valid_hw: Sequence[Shape],
    pooling: Float32 | None = None,
) -> Float64:
    """Return the uncorrected map (h, w) over stage 1, padding included; its sum is 1."""
    mass = np.zeros(_map_shape(weights[-1], valid_hw[-1]))
    asked = 1 / np.prod(valid_hw[-1]) if pooling is None else pooling
    mass[: valid_hw[-1][0], : valid_hw[-1][1]] = asked
    for stage in range(len(weights) - 1, -1, -1):
        for block in reversed(weights[stage]):
            mass = (mass + _attended(mass, block.mean(axis=0), kernel_size)) / 2
        if stage:
            mass = _upsampled(mass, _map_shape(weights[stage - 1], valid_hw[stage - 1]))
    return mass


def _map_shape(blocks: Sequence[Float32], valid: Shape) -> Shape:
    """Return the shape of a stage's map, which a stage without blocks does not tell."""
    return blocks[0].shape[1:3] if len(blocks) else valid


def _attended(mass: Float64, attention: Float32, kernel_size: int) -> Float64:
    """Send the mass (h, w) of each query to its keys: A^T mass, with ``attention`` (h, w, kh * kw)."""
    shape = mass.shape
    keys, starts = _keys((shape[0], shape[1]), kernel_size)
    matrix = sparse.csr_array((attention.ravel(), keys, starts), shape=(mass.size, mass.size))
    received = np.asarray(matrix.T @ mass.ravel(), dtype=np.float64)
    return received.reshape(shape)


@lru_cache(maxsize=32)
def _keys(shape: Shape, kernel_size: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the flat index of every key of every query, and where each query's keys start (CSR)."""
    axes = []
    for length in shape:
        window = min(kernel_size, length)
        start = np.clip(np.arange(length) - kernel_size // 2, 0, length - window)
        axes.append(start[:, None] + np.arange(window))  # (n, K')
    rows, columns = axes
    keys = rows[:, None, :, None] * shape[1] + columns[None, :, None, :]  # (h, w, kh, kw)
    starts = np.arange(shape[0] * shape[1] + 1) * (rows.shape[1] * columns.shape[1])
    return keys.ravel().astype(np.int32), starts.astype(np.int32)


def _upsampled(mass: Float64, shape: Shape) -> Float64:
    """Share the mass of each output of a 3x3 stride-2 convolution among its inputs inside the map."""
    return _sources(shape[0]) @ mass @ _sources(shape[1]).T


def _sources(length: int) -> Float64:
    """Return (n, ceil(n / 2)): the share of output o that input p = 2 o - 1 .. 2 o + 1 gets back."""
    inputs, outputs = np.arange(length)[:, None], np.arange((length + 1) // 2)[None, :]
    covers = np.abs(inputs - 2 * outputs) <= 1
    shares: Float64 = covers / covers.sum(axis=0)
    return shares


@lru_cache(maxsize=32)
def _null_map(
    shapes: tuple[tuple[Shape, ...], ...], kernel_size: int, valid_hw: tuple[Shape, ...]
) -> Float64:
    """Return the pulled-back map of uniform attention; it depends on shapes alone."""
    weights = [[_uniform(shape, kernel_size) for shape in stage] for stage in shapes]
    return pulled_back(weights, kernel_size=kernel_size, valid_hw=valid_hw)


def _uniform(shape: Shape, kernel_size: int) -> Float32:
    """Return the weights (1, h, w, kh * kw) of attention that tells no key from another."""
    window = min(kernel_size, shape[0]) * min(kernel_size, shape[1])
    return np.full((1, *shape, window), 1 / window, dtype=np.float32)
