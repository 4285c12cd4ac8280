"""Neighborhood attention: every query attends to the K x K keys nearest to it, shifted at borders.

The operation is that of Hassani et al. 2023, "Neighborhood Attention Transformer" (arXiv 2204.07143,
section 3), with one addition: on a map smaller than the window the window is clipped to the map.
``reference.py`` holds the definition that every backend here is tested against.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from dinonat.errors import UsageError
from dinonat.models import fused, kernel

BACKENDS = ("auto", "c", "natten", "tiled", "dense", "reference")
COMPILED = {"c": kernel, "natten": fused}  # backends that may refuse, in the order in which "auto" asks
_CHOSEN: ContextVar[str] = ContextVar("attention_backend", default="auto")
TILE = 8  # queries a side of one tile; 4, 7 and 8 cost the same, 14 is slower
DENSE_TOKENS = 256  # up to 16 x 16 one masked product beats gathering tiles


def neighborhood_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel_size: int,
    *,
    bias: Tensor | None = None,
    dilation: int = 1,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """Attend from every position to the window of ``kernel_size`` squared keys around it.

    Parameters
    ----------
    q, k, v : Tensor (B, H, W, heads, head_dim)
        Any H and W. Where an axis is shorter than the window, the window is clipped to it.
    kernel_size : int
        Odd window side K.
    bias : Tensor (heads, 2 * K - 1, 2 * K - 1), optional
        Added to the scaled scores at [head, key_y - query_y + K - 1, key_x - query_x + K - 1].
    dilation : int
        The window steps over positions with equal remainder modulo ``dilation``, on each axis.
    scale : float, optional
        Multiplies q k; ``head_dim ** -0.5`` where it is not given.
    backend : str
        One of BACKENDS. "auto" takes, for each call, "c", the compiled kernel, on CPUs in float32 and
        bfloat16 where it is there; "natten", NATTEN's fused kernel, on CUDA without bias and from the
        window up; else "dense" up to 256 tokens or where the window covers the map, and "tiled".

    Returns
    -------
    Tensor (B, H, W, heads, head_dim)

    Raises
    ------
    UsageError
        For shapes that do not agree, an even window, an unknown backend, or one that cannot serve here.
    """
    backend = _CHOSEN.get() if backend == "auto" else backend
    _check(q, k, v, kernel_size, bias, dilation, backend)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if dilation > 1:
        return _dilated(q, k, v, kernel_size, bias, dilation, scale, backend)
    if backend == "reference":
        from dinonat.models.reference import gathered  # the slow witness, wanted only by name

        return gathered(q, k, v, kernel_size, bias=bias, scale=scale)
    for name, compiled in COMPILED.items():
        if backend not in ("auto", name):
            continue
        reason = compiled.refusal(q, k, v, kernel_size, bias)
        if reason is None:
            out: Tensor = compiled.attend(q, k, v, kernel_size, bias, scale)
            return out
        if backend == name:
            raise UsageError(f"Attention backend '{name}' cannot serve here: {reason}. 'auto' takes another.")
    height, width = q.shape[1:3]
    covered = kernel_size >= max(height, width)
    if backend == "dense" or (backend == "auto" and (covered or height * width <= DENSE_TOKENS)):
        tile = (height, width)
    else:
        tile = (min(TILE, height), min(TILE, width))
    return _tiled(q, k, v, kernel_size, bias, scale, tile)


@contextmanager
def default_backend(name: str) -> Iterator[None]:
    """Let "auto" mean ``name`` inside a ``with`` block, so that whole networks can be compared.

    Raises UsageError for a name that is not in BACKENDS.
    """
    _check_backend(name)
    token = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def window_starts(length: int, kernel_size: int) -> Tensor:
    """First key of each query's window on an axis of ``length``: (length,) int64."""
    window = min(kernel_size, length)
    return (torch.arange(length) - kernel_size // 2).clamp(0, length - window)


def attention_weights(
    q: Tensor, k: Tensor, kernel_size: int, *, bias: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Return the softmaxed weights themselves, for pictures and saliency.

    Shape (B, heads, H, W, Kh * Kw) with Kh = min(K, H), Kw = min(K, W): keys row-major in the window
    that starts at ``window_starts``. One shifted product a key, so memory is that of the result.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    height, width = q.shape[1:3]
    starts_y = window_starts(height, kernel_size).to(q.device)
    starts_x = window_starts(width, kernel_size).to(q.device)
    middle = kernel_size - 1
    rel_y = starts_y - torch.arange(height, device=q.device) + middle
    rel_x = starts_x - torch.arange(width, device=q.device) + middle
    scores = []
    for dy in range(min(kernel_size, height)):
        rows = k[:, starts_y + dy]  # (B, H, W, heads, D)
        for dx in range(min(kernel_size, width)):
            score = (q * rows[:, :, starts_x + dx]).sum(-1) * scale  # (B, H, W, heads)
            if bias is not None:
                score = score + bias[:, rel_y + dy][:, :, rel_x + dx].permute(1, 2, 0)
            scores.append(score)
    return torch.stack(scores, dim=-1).softmax(-1).permute(0, 3, 1, 2, 4)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which queries and keys meet in which tile; depends on sizes only, so it is made once."""

    queries: Tensor  # (tiles * T,) position of each query slot; slots past the edge repeat the last one
    untile: Tensor  # (H * W,) slot of each position
    keys: Tensor  # (tiles * S,) position of each key slot
    offsets: Tensor  # (tiles, T, S) index into the flattened bias, (2K - 1) ** 2 where not in the window
    mask: Tensor  # (1, tiles, T, S) 0 or -inf, float32


def _tiled(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel_size: int,
    bias: Tensor | None,
    scale: float,
    tile: tuple[int, int],
) -> Tensor:
    """Let the queries of a tile share the keys around it: one masked product for each tile."""
    batch, height, width, heads, dim = q.shape
    if q.device.type == "cpu" and q.dtype in (torch.bfloat16, torch.float16):
        # Small masked products in half precision are several times slower than float32 on CPUs.
        return _tiled(q.float(), k.float(), v.float(), kernel_size, bias, scale, tile).to(q.dtype)
    plan = _plan(height, width, kernel_size, tile, str(q.device))
    tiles = plan.mask.shape[1]
    whole = tiles == 1
    q, k, v = (x.permute(0, 3, 1, 2, 4).reshape(batch, heads, height * width, dim) for x in (q, k, v))
    if not whole:
        q = q.index_select(2, plan.queries)
        k = k.index_select(2, plan.keys)
        v = v.index_select(2, plan.keys)
    mask = _mask(plan, bias, q.dtype, covered=whole and kernel_size >= max(height, width))
    if bias is None:  # one mask for all heads: heads join the batch, tiles take their place
        q, k, v = (x.reshape(batch * heads, tiles, -1, dim) for x in (q, k, v))
    else:
        q, k, v = (x.reshape(batch, heads * tiles, -1, dim) for x in (q, k, v))
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    out = out.reshape(batch, heads, -1, dim)
    if not whole:
        out = out.index_select(2, plan.untile)
    return out.reshape(batch, heads, height, width, dim).permute(0, 2, 3, 1, 4)


def _mask(plan: _Plan, bias: Tensor | None, dtype: torch.dtype, *, covered: bool) -> Tensor | None:
    """Additive mask of four dimensions: with three, the CPU silently takes its slow path."""
    if bias is None:
        return None if covered else plan.mask.to(dtype)
    outside = bias.new_full((bias.shape[0], 1), -math.inf)
    table = torch.cat([bias.flatten(1), outside], dim=1)  # (heads, (2K - 1) ** 2 + 1)
    tiles, queries, keys = plan.offsets.shape
    spread = table.index_select(1, plan.offsets.flatten())
    return spread.reshape(1, bias.shape[0] * tiles, queries, keys).to(dtype)


@lru_cache(maxsize=64)
def _plan(height: int, width: int, kernel_size: int, tile: tuple[int, int], device: str) -> _Plan:
    # Tensors born under inference_mode cannot be saved for a later backward pass.
    with torch.inference_mode(False), torch.no_grad():
        qy, ky, oky, ry = _axis(height, kernel_size, tile[0])
        qx, kx, okx, rx = _axis(width, kernel_size, tile[1])
        ny, nx, (ty, sy), (tx, sx) = len(qy), len(qx), oky.shape[1:], okx.shape[1:]
        queries = (qy[:, None, :, None] * width + qx[None, :, None, :]).reshape(-1)
        keys = (ky[:, None, :, None] * width + kx[None, :, None, :]).reshape(-1)
        ok = oky[:, None, :, None, :, None] & okx[None, :, None, :, None, :]
        side = 2 * kernel_size - 1
        offsets = ry[:, None, :, None, :, None] * side + rx[None, :, None, :, None, :]
        offsets = torch.where(ok, offsets, side * side).reshape(ny * nx, ty * tx, sy * sx)
        mask = torch.zeros(offsets.shape).masked_fill_(offsets == side * side, -math.inf)
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        tile_of = (y // ty) * nx + x // tx
        untile = (tile_of * (ty * tx) + (y % ty) * tx + x % tx).reshape(-1)
        parts = (queries, untile, keys, offsets.int(), mask[None])
        return _Plan(*(part.to(device) for part in parts))


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


def _dilated(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel_size: int,
    bias: Tensor | None,
    dilation: int,
    scale: float,
    backend: str,
) -> Tensor:
    """Each residue class of positions is a map of its own."""
    out = torch.empty_like(q)
    for a in range(min(dilation, q.shape[1])):
        for b in range(min(dilation, q.shape[2])):
            at = (slice(None), slice(a, None, dilation), slice(b, None, dilation))
            out[at] = neighborhood_attention(
                q[at], k[at], v[at], kernel_size, bias=bias, scale=scale, backend=backend
            )
    return out


def _check(
    q: Tensor, k: Tensor, v: Tensor, kernel_size: int, bias: Tensor | None, dilation: int, backend: str
) -> None:
    _check_backend(backend)
    if q.ndim != 5 or q.shape != k.shape or q.shape != v.shape:
        raise UsageError(
            "Neighborhood attention needs q, k and v of one shape (B, H, W, heads, head_dim); "
            f"got {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}."
        )
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise UsageError(f"The attention window must be odd and at least 1; got {kernel_size}.")
    if dilation < 1:
        raise UsageError(f"Dilation must be at least 1; got {dilation}.")
    side = 2 * kernel_size - 1
    if bias is not None and tuple(bias.shape) != (q.shape[3], side, side):
        raise UsageError(
            f"The position bias must have shape {(q.shape[3], side, side)} for {q.shape[3]} heads and "
            f"window {kernel_size}; got {tuple(bias.shape)}."
        )


def _check_backend(name: str) -> None:
    if name not in BACKENDS:
        raise UsageError(f"Attention backend '{name}' is not known. Choose one of {', '.join(BACKENDS)}.")
