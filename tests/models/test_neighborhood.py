import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dinonat.errors import UsageError
from dinonat.models import tiles
from dinonat.models.neighborhood import attention_weights, neighborhood_attention
from dinonat.models.reference import defined, sliding_window
from dinonat.models.tile_plan import plan_for, tile_for, window_starts

BACKENDS = ("torch", "tiled", "dense", "reference", "auto")
MAPS = ((24, 24), (14, 14), (13, 19), (9, 30), (5, 12), (3, 3))  # square, oblong, smaller than the window


def random_qkv(height: int, width: int, *, heads: int = 2, dim: int = 32, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return list(torch.randn(3, batch, height, width, heads, dim, generator=generator, dtype=torch.float64))


def with_gradients(function, inputs: list[Tensor], kernel_size: int, bias: Tensor | None, **options):
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    leaf_bias = None if bias is None else bias.detach().clone().requires_grad_()
    out = function(*leaves, kernel_size, bias=leaf_bias, **options)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = leaves if leaf_bias is None else [*leaves, leaf_bias]
    return [out, *torch.autograd.grad((out * upstream.to(out.dtype)).sum(), wanted)]


@pytest.mark.parametrize(("size", "biased"), list(itertools.product(MAPS, (False, True))))
def test_every_backend_equals_the_definition_in_float64(size, biased):
    inputs = random_qkv(*size)
    bias = torch.randn(2, 13, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 0.5
    bias = bias if biased else None
    exact = with_gradients(defined, inputs, 7, bias)
    single = [x.float() for x in inputs]
    for backend in BACKENDS:
        found = with_gradients(
            neighborhood_attention, single, 7, None if bias is None else bias.float(), backend=backend
        )
        limits = [1e-5, 1e-5, 1e-5, 1e-5, 1e-4]  # output, gradients of q, k, v, gradient of the bias
        for number, (a, b, limit) in enumerate(zip(exact, found, limits, strict=False)):
            error = ((a - b).abs().max() / a.abs().max()).item()
            assert error < limit, f"{backend}, output {number}: {error:.1e}"


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 18),
    width=st.integers(1, 18),
    kernel_size=st.sampled_from([1, 3, 5, 7, 9, 13]),
    dim=st.sampled_from([1, 4, 16]),
    biased=st.booleans(),
)
def test_tiled_and_dense_agree_with_the_definition_on_any_map(height, width, kernel_size, dim, biased):
    q, k, v = random_qkv(height, width, dim=dim, batch=1)
    bias = torch.randn(2, 2 * kernel_size - 1, 2 * kernel_size - 1, dtype=torch.float64) if biased else None
    exact = defined(q, k, v, kernel_size, bias=bias)
    for backend in ("tiled", "dense"):
        found = neighborhood_attention(q, k, v, kernel_size, bias=bias, backend=backend)
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["tiled", "dense"])
def test_gradcheck_in_float64(backend):
    q, k, v = (
        x.requires_grad_() for x in random_qkv(8, 9, heads=2, dim=3, batch=1)
    )  # two tiles, one past the edge
    bias = torch.randn(2, 5, 5, dtype=torch.float64, requires_grad=True)

    def attend(q, k, v, bias):
        return neighborhood_attention(q, k, v, 3, bias=bias, backend=backend)

    assert torch.autograd.gradcheck(attend, (q, k, v, bias))


@pytest.mark.parametrize(("size", "backend"), [((17, 19), "tiled"), ((6, 5), "dense")])
def test_gradients_do_not_depend_on_how_many_images_are_worked_on_at_a_time(monkeypatch, size, backend):
    inputs, bias = random_qkv(*size, dim=8, batch=5), torch.randn(2, 9, 9, dtype=torch.float64)
    exact = with_gradients(neighborhood_attention, inputs, 5, bias, backend="reference")
    one_image = 2 * plan_for(*size, 5, tile_for(*size, 5, backend), "cpu").offsets.numel()
    for scores in (1, 2 * one_image, 100 * one_image):  # one image, two and two and one, all
        monkeypatch.setattr(tiles, "SCORES", scores)
        found = with_gradients(neighborhood_attention, inputs, 5, bias, backend=backend)
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)


def test_a_bias_that_does_not_learn_gives_the_same_to_the_rest():
    inputs, bias = [x.float() for x in random_qkv(17, 9)], torch.randn(2, 13, 13)
    learnt = with_gradients(neighborhood_attention, inputs, 7, bias, backend="tiled")
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = neighborhood_attention(*leaves, 7, bias=bias, backend="tiled")
    assert torch.equal(out, learnt[0])
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = torch.autograd.grad((out * upstream.float()).sum(), leaves)
    torch.testing.assert_close(list(gradients), learnt[1:4])


@pytest.mark.parametrize("biased", [False, True])
def test_autocast_changes_nothing_inside(biased):
    inputs = [x.float() for x in random_qkv(17, 9)]
    bias = torch.randn(2, 13, 13) if biased else None
    plain = with_gradients(neighborhood_attention, inputs, 7, bias, backend="tiled")
    with torch.autocast("cpu", torch.bfloat16):
        mixed = with_gradients(neighborhood_attention, inputs, 7, bias, backend="tiled")
    assert all(torch.equal(a, b) for a, b in zip(plain, mixed, strict=True))


@pytest.mark.parametrize(("size", "same"), [((14, 14), "dense"), ((16, 16), "dense"), ((17, 16), "tiled")])
def test_torch_is_the_faster_of_dense_and_tiled(size, same):
    q, k, v = (x.float() for x in random_qkv(*size))
    found = neighborhood_attention(q, k, v, 7, backend="torch")
    assert torch.equal(found, neighborhood_attention(q, k, v, 7, backend=same))


def test_torch_is_dense_where_the_window_covers_the_map():
    q, k, v = (x.float() for x in random_qkv(17, 17))
    found = neighborhood_attention(q, k, v, 17, backend="torch")
    assert torch.equal(found, neighborhood_attention(q, k, v, 17, backend="dense"))


@pytest.mark.parametrize("backend", ["torch", "tiled", "dense"])
@pytest.mark.parametrize("shape", [(0, 9, 9, 2, 8), (2, 0, 5, 2, 8), (2, 9, 9, 0, 8)])
def test_nothing_gives_nothing(backend, shape):
    x = torch.zeros(shape, requires_grad=True)
    out = neighborhood_attention(x, x, x, 3, backend=backend)
    assert out.shape == shape
    out.sum().backward()
    assert x.grad is not None
    assert attention_weights(x, x, 3).shape[:4] == (shape[0], shape[3], *shape[1:3])


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_self_attention_where_the_window_covers_the_map(backend):
    # What the paper claims first: neighborhood attention approaches self-attention as the window grows.
    q, k, v = random_qkv(7, 7)
    full = [x.permute(0, 3, 1, 2, 4).flatten(2, 3) for x in (q, k, v)]
    expected = torch.nn.functional.scaled_dot_product_attention(*full)
    found = neighborhood_attention(q, k, v, 7, backend=backend).permute(0, 3, 1, 2, 4).flatten(2, 3)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_pixel_attends_to_the_same_number_of_keys(backend):
    # Uniform scores; values are one-hot, so the output of a query is 1/49 at each key that it sees.
    height, width = 11, 13
    q = torch.zeros(1, height, width, 1, height * width, dtype=torch.float64)
    v = torch.eye(height * width, dtype=torch.float64).reshape(1, height, width, 1, -1)
    seen = neighborhood_attention(q, q, v, 7, backend=backend).reshape(height * width, -1)
    counts = (seen > 0).sum(1)
    assert counts.unique().tolist() == [49]  # corners too
    torch.testing.assert_close(
        seen[seen > 0], torch.full((height * width * 49,), 1 / 49, dtype=torch.float64)
    )
    cut = sliding_window(q, q, v, 7).reshape(height, width, -1)
    assert (cut[0, 0] > 0).sum() == 16  # the older sliding window sees a quarter in the corner


def test_values_that_are_coordinates_give_the_centre_of_the_window():
    y, x = torch.meshgrid(torch.arange(10.0), torch.arange(12.0), indexing="ij")
    v = torch.stack([y, x], dim=-1).reshape(1, 10, 12, 1, 2).double()
    out = neighborhood_attention(torch.zeros_like(v), torch.zeros_like(v), v, 7, backend="tiled")[0, :, :, 0]
    assert torch.allclose(out[..., 0], y.double().clamp(3, 6))  # constant within 3 of a border
    assert torch.allclose(out[..., 1], x.double().clamp(3, 8))


@pytest.mark.parametrize("backend", ["tiled", "dense"])
def test_translation_equivariant_in_the_interior(backend):
    q, k, v = random_qkv(20, 22)
    moved = [x.roll((1, 1), dims=(1, 2)) for x in (q, k, v)]
    out = neighborhood_attention(q, k, v, 7, backend=backend)
    out_moved = neighborhood_attention(*moved, 7, backend=backend)
    inner = slice(4, -5)
    torch.testing.assert_close(out_moved[:, 5:-4, 5:-4], out[:, inner, inner])


def test_one_very_large_bias_selects_one_offset():
    _, _, v = random_qkv(12, 12)
    zero = torch.zeros_like(v)
    bias = torch.zeros(2, 13, 13, dtype=torch.float64)
    bias[:, 6 - 2, 6 + 3] = 1e3  # two rows up, three columns right
    out = neighborhood_attention(zero, zero, v, 7, bias=bias, backend="tiled")
    torch.testing.assert_close(out[:, 4:8, 4:8], v[:, 2:6, 7:11])


@pytest.mark.parametrize("dilation", [2, 3])
def test_dilation_is_attention_within_residue_classes(dilation):
    q, k, v = random_qkv(9, 14, dim=8)
    out = neighborhood_attention(q, k, v, 3, dilation=dilation)
    for a, b in itertools.product(range(dilation), repeat=2):
        at = (slice(None), slice(a, None, dilation), slice(b, None, dilation))
        torch.testing.assert_close(out[at], defined(q[at], k[at], v[at], 3))


@pytest.mark.parametrize("at_a_time", [1, 1 << 22])
@pytest.mark.parametrize("size", [(10, 9), (5, 12), (2, 2), (17, 18), (7, 40)])
def test_weights_are_those_that_make_the_output(monkeypatch, size, at_a_time):
    monkeypatch.setattr(tiles, "SCORES", at_a_time)
    q, k, v = random_qkv(*size, dim=8, batch=3)
    bias = torch.randn(2, 13, 13, dtype=torch.float64)
    weights = attention_weights(q, k, 7, bias=bias)  # (B, heads, H, W, Kh * Kw)
    height, width = size
    rows, columns = min(7, height), min(7, width)
    ys = window_starts(height, 7)[:, None] + torch.arange(rows)
    xs = window_starts(width, 7)[:, None] + torch.arange(columns)
    near = v[:, ys][:, :, :, xs]  # (B, H, Kh, W, Kw, heads, D)
    out = torch.einsum("bhyxij,byixjhd->byxhd", weights.unflatten(-1, (rows, columns)), near)
    torch.testing.assert_close(out, neighborhood_attention(q, k, v, 7, bias=bias))


def test_scale_is_applied_inside_and_can_be_given():
    q, k, v = random_qkv(8, 8, dim=16)
    torch.testing.assert_close(
        neighborhood_attention(q, k, v, 7), neighborhood_attention(q / 4, k, v, 7, scale=1.0)
    )


def test_half_precision_stays_near_float32():
    inputs = [x.float() for x in random_qkv(14, 14)]
    exact = neighborhood_attention(*inputs, 7)
    found = neighborhood_attention(*(x.bfloat16() for x in inputs), 7)
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 2e-2


def test_training_works_after_an_evaluation_made_the_plan():
    q, k, v = (x.float() for x in random_qkv(17, 18, dim=8))  # sizes that no other test uses
    with torch.inference_mode():
        neighborhood_attention(q, k, v, 5, backend="tiled")
    q.requires_grad_()
    neighborhood_attention(q, k, v, 5, backend="tiled").sum().backward()
    assert q.grad is not None


def test_masked_products_take_the_fast_path_on_a_cpu():
    q = torch.randn(4, 9, 64, 32)
    mask = torch.zeros(1, 9, 64, 64)
    assert torch._fused_sdp_choice(q, q, q, attn_mask=mask) == 1  # 1 flash, 0 math


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_size": 4}, "must be odd"),
        ({"backend": "magic"}, "not known"),
        ({"dilation": 0}, "at least 1"),
        ({"bias": torch.zeros(2, 3, 3)}, "position bias must have shape"),
    ],
)
def test_wrong_calls_are_refused_in_words(change, words):
    q, k, v = random_qkv(8, 8)
    with pytest.raises(UsageError, match=words):
        neighborhood_attention(q, k, v, **{"kernel_size": 7, **change})


def test_shapes_that_disagree_are_refused_with_the_shapes():
    q, k, v = random_qkv(8, 8)
    with pytest.raises(UsageError, match=r"\(2, 8, 7, 2, 32\)"):
        neighborhood_attention(q, k[:, :, :7], v, 7)
