"""Neighborhood attention as it is defined: slow, plain, and the oracle of every test.

``defined`` is two loops straight from Hassani et al. 2023 (arXiv 2204.07143, equations 1-4), to be run
in float64. ``gathered`` collects the keys of each query, as the first public implementations did.
``sliding_window`` is the other reading of locality (stand-alone self-attention, Ramachandran et al.
2019): the window is cut at the border, so corners see fewer keys. NAT differs exactly there.
"""

import torch
from torch import Tensor


def defined(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel_size: int,
    *,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Compute the definition, one query at a time; shapes as in ``neighborhood_attention``."""
    height, width = q.shape[1:3]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    rows = []
    for y in range(height):
        for x in range(width):
            ys, xs = _window(y, height, kernel_size), _window(x, width, kernel_size)
            rows.append(
                _attend(q[:, y, x], k[:, ys, xs], v[:, ys, xs], (y, x), ys, xs, kernel_size, bias, scale)
            )
    out = torch.stack(rows, dim=1)  # (B, H * W, heads, D)
    return out.reshape(q.shape)


def sliding_window(q: Tensor, k: Tensor, v: Tensor, kernel_size: int) -> Tensor:
    """Attend within a window cut at the border, without bias: what NAT is not."""
    height, width = q.shape[1:3]
    half, rows = kernel_size // 2, []
    for y in range(height):
        for x in range(width):
            ys = slice(max(0, y - half), min(height, y + half + 1))
            xs = slice(max(0, x - half), min(width, x + half + 1))
            scale = q.shape[-1] ** -0.5
            rows.append(
                _attend(q[:, y, x], k[:, ys, xs], v[:, ys, xs], (y, x), ys, xs, kernel_size, None, scale)
            )
    out = torch.stack(rows, dim=1)  # (B, H * W, heads, D)
    return out.reshape(q.shape)


def gathered(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel_size: int,
    *,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Collect the keys and values of every query, then one einsum: the naive form, and its memory.

    Half precision is computed in float32, so that this stays a witness there, and returned as it came.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    if wide != q.dtype:
        table = None if bias is None else bias.to(wide)
        return gathered(q.to(wide), k.to(wide), v.to(wide), kernel_size, bias=table, scale=scale).to(q.dtype)
    batch, height, width, heads, dim = q.shape
    scale = dim**-0.5 if scale is None else scale
    ys = torch.stack([_positions(y, height, kernel_size) for y in range(height)])  # (H, Kh)
    xs = torch.stack([_positions(x, width, kernel_size) for x in range(width)])  # (W, Kw)
    flat = (ys[:, None, :, None] * width + xs[None, :, None, :]).reshape(height * width, -1)  # (HW, KK)
    near_k = k.reshape(batch, height * width, heads, dim)[:, flat]  # (B, HW, KK, heads, D)
    near_v = v.reshape(batch, height * width, heads, dim)[:, flat]
    scores = torch.einsum("bnhd,bnkhd->bnhk", q.reshape(batch, -1, heads, dim) * scale, near_k)
    if bias is not None:
        rel_y = ys - torch.arange(height)[:, None] + kernel_size - 1  # (H, Kh)
        rel_x = xs - torch.arange(width)[:, None] + kernel_size - 1
        spread = bias[:, rel_y[:, None, :, None], rel_x[None, :, None, :]]  # (heads, H, W, Kh, Kw)
        scores = scores + spread.reshape(heads, height * width, -1).transpose(0, 1)
    out = torch.einsum("bnhk,bnkhd->bnhd", scores.softmax(-1), near_v)
    return out.reshape(batch, height, width, heads, dim)


def _window(position: int, length: int, kernel_size: int) -> slice:
    size = min(kernel_size, length)
    start = min(max(position - kernel_size // 2, 0), length - size)
    return slice(start, start + size)


def _positions(position: int, length: int, kernel_size: int) -> Tensor:
    window = _window(position, length, kernel_size)
    return torch.arange(window.start, window.stop)


def _attend(
    query: Tensor,  # (B, heads, D)
    keys: Tensor,  # (B, h, w, heads, D)
    values: Tensor,
    at: tuple[int, int],
    ys: slice,
    xs: slice,
    kernel_size: int,
    bias: Tensor | None,
    scale: float,
) -> Tensor:
    scores = torch.einsum("bhd,bijhd->bhij", query * scale, keys)
    if bias is not None:
        middle = kernel_size - 1
        scores = (
            scores
            + bias[
                :,
                ys.start - at[0] + middle : ys.stop - at[0] + middle,
                xs.start - at[1] + middle : xs.stop - at[1] + middle,
            ]
        )
    weights = scores.flatten(2).softmax(-1).reshape(scores.shape)
    return torch.einsum("bhij,bijhd->bhd", weights, values)
