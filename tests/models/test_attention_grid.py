"""Every backend that is present, on every device that is present, beside the definition in float64."""

import functools
import itertools
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from dinonat.errors import UsageError
from dinonat.models import tiles
from dinonat.models.neighborhood import BACKENDS, neighborhood_attention

OTHERS = [name for name in BACKENDS if name not in ("reference", "natten")]
NAMES = ("output", "gradient of q", "gradient of k", "gradient of v", "gradient of the bias")
LIMITS = {  # where nothing else is said: 1e-5
    torch.float32: {"output": 5e-6, "gradient of the bias": 1e-4},
    torch.bfloat16: dict.fromkeys(NAMES, 2e-2),
}


class Case(NamedTuple):
    height: int
    width: int
    heads: int = 2
    dim: int = 32
    batch: int = 2
    window: int = 7
    dilation: int = 1


CASES = (
    # the maps of a NAT at 224, 192 and 96 pixels, and an oblong one
    *(Case(24, 24), Case(14, 14, 3), Case(28, 28, 1), Case(7, 7), Case(13, 19), Case(12, 12, 4)),
    # windows from 3 to 13
    *(Case(15, 14, window=window) for window in (3, 5, 9, 11, 13)),
    # head sizes, batches, maps below the window
    *(Case(9, 10, 1, dim, batch) for dim, batch in ((8, 1), (20, 3), (48, 2), (64, 1), (1, 5), (40, 2))),
    *(Case(height, width) for height, width in ((1, 1), (3, 3), (6, 6), (5, 12), (12, 4), (2, 9))),
    # dilation: sizes that it divides and that it does not, classes below the window
    *(Case(14, 21, window=3, dilation=2), Case(16, 15, window=5, dilation=3), Case(12, 12, dilation=4)),
    Case(9, 22, 3, 24, 1, 13, 2),
)


def made(case: Case, *, biased: bool) -> tuple[list[Tensor], Tensor]:
    """Inputs in float64 (q, k, v and, if wanted, the bias), and what the loss weighs the output with."""
    generator = torch.Generator().manual_seed(sum(case) + biased)
    shape = (case.batch, case.height, case.width, case.heads, case.dim)
    inputs = [torch.randn(shape, generator=generator).double() for _ in range(3)]
    if biased:
        side = 2 * case.window - 1
        inputs.append(torch.randn(case.heads, side, side, generator=generator).double() / 2)
    return inputs, torch.randn(shape, generator=generator).double()


def answers(case: Case, inputs: list[Tensor], upstream: Tensor, backend: str) -> list[Tensor]:
    """Output and the gradient of each input, in float64 on the CPU."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    bias = leaves[3] if len(leaves) == 4 else None
    options = {"bias": bias, "dilation": case.dilation, "backend": backend}
    out = neighborhood_attention(*leaves[:3], case.window, **options)
    assert out.dtype == inputs[0].dtype
    gradients = torch.autograd.grad((out * upstream.to(out)).sum(), leaves)
    return [x.detach().double().cpu() for x in (out, *gradients)]


def rounded(case: Case, biased: bool, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """Inputs as a backend gets them; a bias stays in float32, as it does under autocast."""
    inputs, upstream = made(case, biased=biased)
    return [x.to(torch.float32 if i == 3 else dtype) for i, x in enumerate(inputs)], upstream.to(dtype)


@functools.cache
def exact(case: Case, biased: bool, dtype: torch.dtype) -> list[Tensor]:
    # The plain gather equals the two loops of the definition; test_neighborhood.py shows it.
    inputs, upstream = rounded(case, biased, dtype)
    return answers(case, [x.double() for x in inputs], upstream, "reference")


def errors(case: Case, biased: bool, backend: str, device: str, dtype: torch.dtype) -> dict[str, float]:
    """Largest difference of each answer, relative to its largest value, or to 1 where that is smaller.

    Over a single key the exact gradient of q and k is zero, the difference of two equal products which a
    GPU may round differently.
    """
    inputs, upstream = rounded(case, biased, dtype)
    found = answers(case, [x.to(device) for x in inputs], upstream, backend)
    pairs = zip(NAMES, exact(case, biased, dtype), found, strict=False)
    return {name: ((a - b).abs().max() / a.abs().max().clamp(min=1)).item() for name, a, b in pairs}


def wrong(found: dict[str, float], dtype: torch.dtype) -> dict[str, float]:
    return {name: error for name, error in found.items() if not error < LIMITS[dtype].get(name, 1e-5)}


def skip_where_it_cannot_serve(backend: str, device: str) -> None:
    x = torch.zeros(1, 7, 7, 1, 8, device=device)
    try:
        neighborhood_attention(x, x, x, 7, backend=backend)
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_single_precision(backend, case):
    skip_where_it_cannot_serve(backend, "cpu")
    for biased in (False, True):
        assert not wrong(errors(case, biased, backend, "cpu", torch.float32), torch.float32)


@pytest.mark.parametrize("backend", [*OTHERS, "reference"])
@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: "-".join(map(str, case)))
def test_bfloat16(backend, case):
    skip_where_it_cannot_serve(backend, "cpu")
    for biased in (False, True):
        assert not wrong(errors(case, biased, backend, "cpu", torch.bfloat16), torch.bfloat16)


@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: "-".join(map(str, case)))
@pytest.mark.parametrize("backend", ["tiled", "dense"])
def test_bfloat16_as_gpus_compute_it(backend, case, monkeypatch):
    # On CPUs half precision is computed in float32; the other way is taken here, so that it is seen.
    def plainly(q, k, v, window, bias, scale, tile):
        plan = tiles.plan_for(q.shape[1], q.shape[2], window, tile, "cpu")
        return tiles._products(q, k, v, bias, plan, scale)

    monkeypatch.setattr(tiles, "attend", plainly)
    for biased in (False, True):
        assert not wrong(errors(case, biased, backend, "cpu", torch.bfloat16), torch.bfloat16)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", LIMITS, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "c"])
def test_on_a_gpu(backend, dtype):
    skip_where_it_cannot_serve(backend, "cuda")
    bad, served = {}, 0
    for case, biased in itertools.product(CASES, (False, True)):
        try:
            found = errors(case, biased, backend, "cuda", dtype)
        except UsageError:  # maps below the window, a bias
            if backend != "natten":
                raise
            continue
        served += 1
        if failures := wrong(found, dtype):
            bad[case, biased] = failures
    assert served > 10
    assert not bad


def test_a_backend_that_cannot_serve_says_why():
    x = torch.zeros(1, 7, 7, 1, 8)
    with pytest.raises(UsageError, match="'natten' cannot serve here: NATTEN's fused kernels work on CUDA"):
        neighborhood_attention(x, x, x, 7, backend="natten")
