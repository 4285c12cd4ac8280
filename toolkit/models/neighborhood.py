"""Neighborhood attention: every query attends to the K x K keys nearest to it, shifted at borders.

The operation is that of Hassani et al. 2023, "Neighborhood Attention Transformer" (arXiv 2204.07143,
section 3), with one addition: on a map smaller than the window the window is clipped to the map.
``reference.py`` holds the definition that every backend here is tested against.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from dinonat.errors import UsageError
from dinonat.models import fused, kernel, tiles
from dinonat.models.tile_plan import tile_for

# "torch" is what "auto" takes where nothing compiled serves: "dense" or "tiled", whichever is faster.
BACKENDS = ("auto", "c", "natten", "torch", "tiled", "dense", "reference")
COMPILED = {"c": kernel, "natten": fused}  # backends that may refuse, in the order in which "auto" asks
_CHOSEN: ContextVar[str] = ContextVar("attention_backend", default="auto")


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
        window up; else "torch", the PyTorch path: "dense" up to 256 tokens or where the window covers
        the map, and "tiled" above. Those two compute the same with one tile and with many.

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
    tile = tile_for(q.shape[1], q.shape[2], kernel_size, backend)
    return tiles.attend(q, k, v, kernel_size, bias, scale, tile)


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


def attention_weights(
    q: Tensor, k: Tensor, kernel_size: int, *, bias: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Return the softmaxed weights themselves, for pictures and saliency.

    Shape (B, heads, H, W, Kh * Kw) with Kh = min(K, H), Kw = min(K, W): keys row-major in the window
    that starts at ``tile_plan.window_starts``. Beside the result this holds the
    scores of each query with all keys of its tile, of one image, or of as many as have 4 M together: at
    most 256 numbers for each query and head on maps up to 16 x 16, about 4 K * K on larger ones.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return tiles.weights(q, k, kernel_size, bias, scale)


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
