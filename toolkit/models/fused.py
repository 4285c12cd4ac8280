"""NATTEN's fused kernels for CUDA: an optional library, asked only where it computes the same thing.

Since 0.20 it takes no position bias, and it refuses maps that are smaller than the window; there the
backends in PyTorch serve. The layout is that of ``neighborhood_attention`` (NATTEN's documentation of
``natten.na2d``: query, key and value (batch, height, width, heads, head_dim)).
"""

import re
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor

OLDEST = (0, 20)  # before, the functions had other names and layouts
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel_size: int,
    bias: Tensor | None,
    scale: float,
    *,
    engine: str | None = None,  # which of NATTEN's own backends; it chooses by the device where None
) -> Tensor:
    """Neighborhood attention by NATTEN; arguments as in ``neighborhood_attention``, ``bias`` is None."""
    assert bias is None, "NATTEN takes no position bias"
    library, reason = load()
    assert library is not None, reason
    # Its kernels read rows as they lie in memory; parts of a packed qkv are strided.
    q, k, v = (x.contiguous() for x in (q, k, v))
    out: Tensor = library.na2d(q, k, v, kernel_size=kernel_size, scale=scale, backend=engine)
    return out


def refusal(q: Tensor, k: Tensor, v: Tensor, kernel_size: int, bias: Tensor | None = None) -> str | None:
    """Say why NATTEN's compiled kernels cannot serve these tensors, or None where they can."""
    if any(x.device.type != "cuda" for x in (q, k, v)):
        return f"NATTEN's fused kernels work on CUDA, and a tensor is on {q.device.type}"
    library, reason = load()
    if library is None:
        return reason
    if not getattr(library, "HAS_LIBNATTEN", False):
        return f"natten {library.__version__} is installed without its compiled kernels"
    if bias is not None:
        return "NATTEN takes no position bias since version 0.20"
    height, width, _, dim = q.shape[1:]
    if kernel_size > min(height, width) or kernel_size < 2:
        return f"NATTEN needs a window of 2 up to the map, and got {kernel_size} on {height}x{width}"
    if dim % 8:
        return f"NATTEN needs a head size that is a multiple of 8, and got {dim}"
    if q.dtype not in DTYPES or not q.dtype == k.dtype == v.dtype:
        return f"NATTEN takes float32, float16 or bfloat16, and got {str(q.dtype).removeprefix('torch.')}"
    return None


@lru_cache(maxsize=1)
def load() -> tuple[ModuleType | None, str]:
    """Return the library, or None and the reason why it is not used."""
    try:
        import natten
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # old ones break on new torch
        return None, f"natten is not installed or cannot be loaded ({error})"
    version = tuple(
        int(digits) for digits in re.findall(r"\d+", natten.__version__)[:2]
    )  # 0.22rc1 is (0, 22)
    if version < OLDEST:
        return None, f"natten {natten.__version__} is older than {'.'.join(map(str, OLDEST))}"
    return natten, ""
