"""Which queries and keys meet in which tile, worked out once for each size of map.

A tile is a rectangle of queries; its keys are all that any of their windows holds, shifted at the border so
that every tile has equally many.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

TILE = 8  # queries a side of one tile; 4, 7 and 8 cost the same, 14 is slower
DENSE_TOKENS = 256  # up to 16 x 16 one masked product beats gathering tiles


def tile_for(height: int, width: int, kernel_size: int, backend: str) -> tuple[int, int]:
    """Rows and columns of a tile: the map itself where a single product is better, or by name "dense"."""
    covered = kernel_size >= max(height, width)
    if backend == "dense" or (backend != "tiled" and (covered or height * width <= DENSE_TOKENS)):
        return height, width
    return min(TILE, height), min(TILE, width)


@dataclass(frozen=True, eq=False)
class Plan:
    """Which queries and keys meet in which tile; depends on sizes only, so it is made once."""

    queries: Tensor  # (tiles * T,) position of each query slot; slots past the edge repeat the last one
    untile: Tensor  # (H * W,) slot of each position
    keys: Tensor  # (tiles * S,) position of each key slot
    sorted_keys: Tensor  # (tiles * S,) key slots in the order of their positions
    first_keys: Tensor  # (H * W,) where those of each position start
    offsets: Tensor  # (tiles, T, S) index into the flattened bias, (2K - 1) ** 2 where not in the window
    mask: Tensor  # (1, tiles, T, S) 0 or -inf, float32
    whole: bool  # one tile, the map: every slot is the position of its number
    covered: bool  # and every window is the map: nothing to mask

    @property
    def tiles(self) -> int:
        """How many there are."""
        return len(self.offsets)


@lru_cache(maxsize=64)
def plan_for(height: int, width: int, kernel_size: int, tile: tuple[int, int], device: str) -> Plan:
    """Make the plan for maps of height x width and tiles of (rows, columns), and keep it."""
    # Tensors born under inference_mode cannot be saved for a later backward pass.
    with torch.inference_mode(False), torch.no_grad():
        qy, ky, oky, ry = _axis(height, kernel_size, tile[0])
        qx, kx, okx, rx = _axis(width, kernel_size, tile[1])
        ny, nx, (ty, sy), (tx, sx) = len(qy), len(qx), oky.shape[1:], okx.shape[1:]
        queries = (qy[:, None, :, None] * width + qx[None, :, None, :]).reshape(-1)
        keys = (ky[:, None, :, None] * width + kx[None, :, None, :]).reshape(-1)
        first = keys.bincount(minlength=height * width).cumsum(0).roll(1)
        first[:1] = 0
        ok = oky[:, None, :, None, :, None] & okx[None, :, None, :, None, :]
        side = 2 * kernel_size - 1
        offsets = ry[:, None, :, None, :, None] * side + rx[None, :, None, :, None, :]
        offsets = torch.where(ok, offsets, side * side).reshape(ny * nx, ty * tx, sy * sx)
        mask = torch.zeros(offsets.shape).masked_fill_(offsets == side * side, -math.inf)
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        tile_of = (y // ty) * nx + x // tx
        untile = (tile_of * (ty * tx) + (y % ty) * tx + x % tx).reshape(-1)
        whole = tile == (height, width)
        return Plan(
            queries=queries.to(device),
            untile=untile.to(device),
            keys=keys.to(device),
            sorted_keys=keys.argsort(stable=True).int().to(device),
            first_keys=first.int().to(device),
            offsets=offsets.int().to(device),
            mask=mask[None].to(device),
            whole=whole,
            covered=whole and kernel_size >= max(height, width),
        )


@lru_cache(maxsize=64)
def windows(plan: Plan) -> tuple[Tensor, Tensor]:
    """Key slots of each query's window, row by row, and their offsets: (tiles, T, Kh * Kw) each."""
    with torch.inference_mode(False), torch.no_grad():
        inside = plan.mask[0] == 0
        slots = inside.nonzero()[:, -1].view(*inside.shape[:2], -1)
        return slots, plan.offsets.gather(-1, slots)


def window_starts(length: int, kernel_size: int) -> Tensor:
    """First key of each query's window on an axis of ``length``: (length,) int64."""
    window = min(kernel_size, length)
    return (torch.arange(length) - kernel_size // 2).clamp(0, length - window)


def _axis(length: int, kernel_size: int, tile: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One axis of the plan: queries (nt, T), keys (nt, S), window test and bias index (nt, T, S)."""
    window = min(kernel_size, length)
    first = torch.arange(0, length, tile)  # (nt,)
    span = min(tile + window - 1, length)
    keys = (first - kernel_size // 2).clamp(0, length - span)[:, None] + torch.arange(span)
    queries = (first[:, None] + torch.arange(tile)).clamp(max=length - 1)
    start = window_starts(length, kernel_size)[queries]  # (nt, T)
    ok = (keys[:, None] >= start[..., None]) & (keys[:, None] < start[..., None] + window)
    relative = keys[:, None] - queries[..., None] + kernel_size - 1
    return queries, keys, ok, relative
