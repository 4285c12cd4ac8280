"""Neighborhood attention in plain PyTorch: the queries of a tile share the keys around it.

A tile of T x T queries meets (T + K - 1) ** 2 keys, so that attention is one masked product for each tile,
all of them in one call of torch's fused attention. One tile as large as the map is "dense" attention.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag, scaled_dot_product_attention

from dinonat.models.tile_plan import Plan, plan_for, tile_for, windows

SCORES = 1 << 22  # worked on at a time where they are kept: 16 MB; speed hardly depends on it


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel_size: int,
    bias: Tensor | None,
    scale: float,
    tile: tuple[int, int],
) -> Tensor:
    """Neighborhood attention by tiles; other arguments as in ``neighborhood_attention``."""
    _, height, width, _, _ = q.shape
    if q.numel() == 0:
        return v.clone()
    plan = plan_for(height, width, kernel_size, tile, str(q.device))
    if q.device.type != "cpu":
        return _products(q, k, v, bias, plan, scale)
    wide = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):  # small masked products in half precision are slower on CPUs
        wide_q, wide_k, wide_v = (x.to(wide) for x in (q, k, v))
        learns = bias is not None and bias.requires_grad and torch.is_grad_enabled()
        if not learns or torch.compiler.is_compiling():
            return _products(wide_q, wide_k, wide_v, bias, plan, scale).to(q.dtype)
        out: Tensor = _Trained.apply(wide_q, wide_k, wide_v, bias, plan, scale)  # type: ignore[no-untyped-call]
        return out.to(q.dtype)


def weights(q: Tensor, k: Tensor, kernel_size: int, bias: Tensor | None, scale: float) -> Tensor:
    """Softmaxed weights (B, heads, H, W, Kh * Kw); see ``attention_weights``."""
    batch, height, width, heads, _ = q.shape
    if q.numel() == 0:
        return q.new_zeros(batch, heads, height, width, min(kernel_size, height) * min(kernel_size, width))
    tile = tile_for(height, width, kernel_size, "torch")
    plan = plan_for(height, width, kernel_size, tile, str(q.device))
    inside, offsets = windows(plan)
    table = None if bias is None else _spread(bias.flatten(1), offsets).flatten(0, 1)
    out, many = [], _images_at_once(plan, heads)
    for first in range(0, batch, many):
        queries, keys = _rows(q[first : first + many]) * scale, _rows(k[first : first + many])
        scores = _tiled(plan, queries, plan.queries) @ _tiled(plan, keys, plan.keys).mT
        near = scores.gather(-1, inside.repeat(len(scores) // plan.tiles, 1, 1))
        if table is not None:
            near = (near.view(-1, *table.shape) + table).flatten(0, 1)
        out.append(_untiled(plan, near.softmax(-1)))
    return torch.cat(out).reshape(batch, heads, height, width, -1)


def _images_at_once(plan: Plan, heads: int) -> int:
    """How many images have no more than SCORES scores, at least one."""
    return max(1, SCORES // max(1, heads * plan.offsets.numel()))


def _products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, plan: Plan, scale: float) -> Tensor:
    """All tiles of all images in one call of torch's fused attention."""
    batch, height, width, heads, dim = q.shape
    q, k, v = (x.permute(0, 3, 1, 2, 4).reshape(batch, heads, height * width, dim) for x in (q, k, v))
    if not plan.whole:
        q = q.index_select(2, plan.queries)
        k, v = (x.index_select(2, plan.keys) for x in (k, v))
    # One mask for all heads without a bias: heads join the batch, tiles take their place.
    first = batch if bias is not None else batch * heads
    q, k, v = (x.reshape(first, -1, x.shape[2] // plan.tiles, dim) for x in (q, k, v))
    mask = _mask(plan, bias, q.dtype)
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    out = out.reshape(batch, heads, -1, dim)
    if not plan.whole:
        out = out.index_select(2, plan.untile)
    return out.reshape(batch, heads, height, width, dim).permute(0, 2, 3, 1, 4)


class _Trained(torch.autograd.Function):
    """Attention whose bias learns, on CPUs: there fused attention is slow where its mask wants a gradient.

    The gradient makes the scores again, of as many images at a time as SCORES allows.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, plan: Plan, scale: float) -> Tensor:
        out = _products(q, k, v, bias, plan, scale)
        ctx.save_for_backward(q, k, v, bias, out)
        ctx.plan, ctx.scale = plan, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, out = ctx.saved_tensors
        # Laid out as a packed qkv: where q, k and v came from one, this is its gradient.
        gradients = torch.empty((*q.shape[:3], 3, *q.shape[3:]), dtype=q.dtype).unbind(3)
        mask = _masking(ctx.plan, bias, q.dtype).flatten(0, 1)  # (heads * tiles, T, S)
        d_mask = torch.zeros_like(mask)
        many = _images_at_once(ctx.plan, len(bias))
        parts = (x.split(many) for x in (q, k, v, out, d_out, *gradients))
        with torch.autocast("cpu", enabled=False):
            for maps in zip(*parts, strict=True):
                _add_gradients(ctx.plan, ctx.scale, mask, maps, d_mask)
        return *gradients, _collected(ctx.plan, d_mask, bias), None, None


def _add_gradients(plan: Plan, scale: float, mask: Tensor, maps: tuple[Tensor, ...], d_mask: Tensor) -> None:
    """Write the gradients dq, dk and dv of some images, and add that of the spread bias to ``d_mask``.

    ``maps`` are q, k, v, out, d_out, dq, dk and dv, (B, H, W, heads, D). With P = softmax(S):
    dS = P (dP - sum(d_out out)), as in Dao et al. 2022 (arXiv 2205.14135, appendix B.2).
    """
    q, k, v, out, d_out, dq, dk, dv = maps
    queries = _tiled(plan, _rows(q) * scale, plan.queries)  # (B * heads * tiles, T, D)
    keys, values = (_tiled(plan, _rows(x), plan.keys) for x in (k, v))
    upstream = _slots(plan, _rows(d_out))
    total = _slots(plan, _rows((d_out * out).sum(-1, keepdim=True)))
    scores = queries @ keys.mT
    scores.view(-1, *mask.shape).add_(mask)
    shares = scores.softmax(-1)
    d_scores = torch.bmm(upstream, values.mT, out=scores).sub_(total).mul_(shares)
    d_mask.add_(d_scores.view(-1, *mask.shape).sum(0))
    _put(dq, _untiled(plan, (d_scores @ keys).mul_(scale)))
    _put(dk, _folded(plan, d_scores.mT @ queries))
    _put(dv, _folded(plan, shares.mT @ upstream))


def _rows(x: Tensor) -> Tensor:
    """Map (B, H, W, heads, D) to (B * heads, H * W, D)."""
    return x.permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)


def _put(x: Tensor, rows: Tensor) -> None:
    """Write rows (B * heads, H * W, D) into the map (B, H, W, heads, D)."""
    batch, height, width, heads, dim = x.shape
    x.copy_(rows.view(batch, heads, height, width, dim).permute(0, 2, 3, 1, 4))


def _tiled(plan: Plan, rows: Tensor, index: Tensor) -> Tensor:
    """Rows (n, H * W, D) to those of the tiles, (n * tiles, T or S, D)."""
    if plan.whole:
        return rows
    return rows.index_select(1, index).view(len(rows) * plan.tiles, -1, rows.shape[-1])


def _slots(plan: Plan, rows: Tensor) -> Tensor:
    """Rows (n, H * W, D) to query slots, zero in those past the edge: they count for nothing."""
    if plan.whole:
        return rows
    slots = rows.new_zeros(len(rows), len(plan.queries), rows.shape[-1])
    return slots.index_copy_(1, plan.untile, rows).view(len(rows) * plan.tiles, -1, rows.shape[-1])


def _untiled(plan: Plan, slots: Tensor) -> Tensor:
    """Query slots (n * tiles, T, D) to rows (n, H * W, D)."""
    if plan.whole:
        return slots
    return slots.reshape(-1, len(plan.queries), slots.shape[-1]).index_select(1, plan.untile)


def _folded(plan: Plan, slots: Tensor) -> Tensor:
    """Sum over the key slots (n * tiles, S, D) of each position: rows (n, H * W, D)."""
    if plan.whole:
        return slots
    flat = slots.flatten(0, 1)
    first = torch.arange(0, len(flat), len(plan.keys), dtype=torch.int32)[:, None]
    bags = (plan.sorted_keys + first).flatten(), flat, (plan.first_keys + first).flatten()
    return embedding_bag(*bags, mode="sum").view(len(first), -1, slots.shape[-1])


def _mask(plan: Plan, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Additive mask of four dimensions: with three, the CPU silently takes its slow path."""
    if bias is not None:
        return _masking(plan, bias, dtype).flatten(0, 1)[None]
    return None if plan.covered else plan.mask.to(dtype)


def _masking(plan: Plan, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Bias (heads, 2K - 1, 2K - 1) as an additive mask (heads, tiles, T, S), -inf outside the window."""
    outside = bias.new_full((len(bias), 1), -math.inf)
    # Rounded last: the gradient, a sum over all positions, is then summed in the bias's own precision.
    return _spread(torch.cat([bias.flatten(1), outside], dim=1), plan.offsets).to(dtype)


def _spread(table: Tensor, offsets: Tensor) -> Tensor:
    """Look up ``offsets`` (tiles, T, n) in a table of each head: (heads, tiles, T, n)."""
    # Row by row: along the second axis index_select is half as fast.
    return torch.stack([row.index_select(0, offsets.flatten()) for row in table]).view(-1, *offsets.shape)


def _collected(plan: Plan, d_mask: Tensor, bias: Tensor) -> Tensor:
    """Gradient of the bias table from that of the spread mask."""
    flat, size = plan.offsets.flatten(), bias[0].numel() + 1
    sums = [each.new_zeros(size).index_add_(0, flat, each) for each in d_mask.reshape(len(bias), -1)]
    return torch.stack(sums)[:, :-1].reshape(bias.shape).to(bias.dtype)
