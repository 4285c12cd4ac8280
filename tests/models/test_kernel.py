import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dinonat.errors import UsageError
from dinonat.models import kernel
from dinonat.models.neighborhood import neighborhood_attention
from dinonat.models.reference import defined

LIBRARY, REASON = kernel.load()
compiled = pytest.mark.skipif(LIBRARY is None, reason=f"no kernel: {REASON}")
MAPS = ((24, 24), (14, 14), (13, 19), (9, 30), (5, 12), (3, 3))  # square, oblong, smaller than the window
LIMITS = (1e-5, 1e-5, 1e-5, 1e-5, 1e-4)  # output, gradients of q, k and v, gradient of the bias


def random_inputs(height, width, kernel_size=7, *, heads=2, dim=32, batch=2, biased=True) -> list[Tensor]:
    """Return q, k and v as views of one packed tensor, as a linear layer makes them, and the bias."""
    generator = torch.Generator().manual_seed(height * 100 + width)
    qkv = torch.randn(batch, height, width, 3, heads, dim, generator=generator)
    side = 2 * kernel_size - 1
    return [*qkv.unbind(3), *([0.5 * torch.randn(heads, side, side, generator=generator)] if biased else [])]


def with_gradients(inputs: list[Tensor], kernel_size: int, function=neighborhood_attention, **options):
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = function(*leaves[:3], kernel_size, bias=leaves[3] if len(leaves) == 4 else None, **options)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]


def assert_near(found: list[Tensor], exact: list[Tensor], limits=LIMITS) -> None:
    for number, (a, b, limit) in enumerate(zip(found, exact, limits, strict=False)):
        error = ((a.double() - b).abs().max() / b.abs().max().clamp(min=1.0)).item()
        assert error < limit, f"output {number}: {error:.1e}"


@compiled
@pytest.mark.parametrize(("size", "biased"), list(itertools.product(MAPS, (False, True))))
def test_equals_the_definition_in_float64(size, biased):
    inputs = random_inputs(*size, biased=biased)
    exact = with_gradients([x.double() for x in inputs], 7, defined)
    assert_near(with_gradients(inputs, 7, backend="c"), exact)


@compiled
@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9, 11, 13])
@pytest.mark.parametrize("size", MAPS)
def test_windows_and_head_sizes_equal_the_dense_form_in_float64(size, kernel_size):
    for dim, biased in itertools.product((8, 16, 24, 32, 64), (False, True)):
        inputs = random_inputs(*size, kernel_size, heads=1 + dim % 3, dim=dim, batch=1, biased=biased)
        exact = with_gradients([x.double() for x in inputs], kernel_size, backend="dense")
        assert_near(with_gradients(inputs, kernel_size, backend="c"), exact)


@compiled
@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    kernel_size=st.sampled_from([1, 3, 5, 7, 9, 13, 19]),
    dim=st.integers(1, 70),
    heads=st.integers(1, 3),
    batch=st.integers(1, 3),
    biased=st.booleans(),
)
def test_equals_the_dense_form_on_anything(height, width, kernel_size, dim, heads, batch, biased):
    inputs = random_inputs(height, width, kernel_size, heads=heads, dim=dim, batch=batch, biased=biased)
    exact = with_gradients([x.double() for x in inputs], kernel_size, backend="dense")
    assert_near(with_gradients(inputs, kernel_size, backend="c"), exact)


@compiled
@pytest.mark.parametrize("name", kernel.INSTRUCTIONS)
def test_every_instruction_set_computes_the_same(name, monkeypatch):
    number = kernel.INSTRUCTIONS.index(name)
    if number > kernel.instructions():
        pytest.skip(f"this machine has no {name}")
    monkeypatch.setattr(kernel, "instructions", lambda: number)
    for size, kernel_size in itertools.product(((13, 19), (5, 12)), (3, 7, 13)):
        inputs = random_inputs(*size, kernel_size, dim=40)
        exact = with_gradients([x.double() for x in inputs], kernel_size, backend="dense")
        assert_near(with_gradients(inputs, kernel_size, backend="c"), exact)


@compiled
@pytest.mark.parametrize("size", MAPS)
def test_bfloat16_stays_within_its_own_rounding(size):
    inputs = random_inputs(*size)
    rounded = [*(x.bfloat16() for x in inputs[:3]), inputs[3]]
    found = with_gradients(rounded, 7, backend="c")
    assert [x.dtype for x in found] == [torch.bfloat16] * 4 + [torch.float32]
    assert_near(found, with_gradients([x.double() for x in inputs], 7, backend="dense"), [2e-2] * 5)


@compiled
def test_bfloat16_output_is_the_float32_output_rounded():
    inputs = [x.bfloat16() for x in random_inputs(9, 11)[:3]]
    single = neighborhood_attention(*(x.float() for x in inputs), 7, backend="c")
    assert torch.equal(neighborhood_attention(*inputs, 7, backend="c"), single.bfloat16())


@compiled
def test_gradients_are_the_slopes_of_the_output():
    inputs = random_inputs(5, 6, 3, heads=1, dim=4, batch=1)
    _, *gradients = with_gradients(inputs, 3, backend="c")
    upstream = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1)).double()
    generator = torch.Generator().manual_seed(3)
    for number, gradient in enumerate(gradients):
        direction = torch.randn(gradient.shape, generator=generator)
        ends = []
        for step in (1e-2, -1e-2):
            moved = [x + step * direction if i == number else x for i, x in enumerate(inputs)]
            out = neighborhood_attention(*moved[:3], 3, bias=moved[3], backend="c")
            ends.append((out.double() * upstream).sum())
        slope = ((ends[0] - ends[1]) / 2e-2).item()
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=2e-3, abs=2e-3)


@compiled
def test_same_bytes_twice_and_whatever_the_threads():
    inputs, before, results = random_inputs(17, 23, heads=3), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2, 3):
            torch.set_num_threads(threads)
            results.append(with_gradients(inputs, 7, backend="c"))
    finally:
        torch.set_num_threads(before)
    for found in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found, results[0], strict=True))


@compiled
def test_python_threads_stand_in_where_those_of_torch_cannot_be_reached(monkeypatch):
    inputs, before = random_inputs(17, 23), torch.get_num_threads()
    expected = with_gradients(inputs, 7, backend="c")
    monkeypatch.setattr(kernel, "_torch_threads", lambda: None)
    try:
        torch.set_num_threads(3)
        found = with_gradients(inputs, 7, backend="c")
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@compiled
def test_any_strides_are_read_in_place_or_copied():
    inputs = random_inputs(9, 12)
    expected = with_gradients([x.contiguous() for x in inputs], 7, backend="c")
    layouts = (
        lambda x: x.permute(0, 3, 1, 2, 4).contiguous().permute(0, 2, 3, 1, 4),  # heads first
        lambda x: x.transpose(1, 4).contiguous().transpose(1, 4),  # channels apart
        lambda x: x.flip(1).contiguous().flip(1),
        lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
    )
    for layout in layouts:
        found = with_gradients([*map(layout, inputs[:3]), inputs[3].mT.contiguous().mT], 7, backend="c")
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@compiled
def test_a_gradient_that_was_expanded_is_read_right():
    inputs = [x.requires_grad_() for x in random_inputs(6, 9)[:3]]
    out = neighborhood_attention(*inputs, 5, backend="c")
    found = torch.autograd.grad(out.sum(), inputs, retain_graph=True)  # strides of 0
    expected = torch.autograd.grad(out, inputs, torch.ones_like(out))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@compiled
@pytest.mark.parametrize(
    "shape", [(0, 7, 7, 2, 8), (1, 0, 7, 2, 8), (1, 7, 0, 2, 8), (1, 7, 7, 0, 8), (1, 7, 7, 2, 0)]
)
def test_nothing_in_gives_nothing_out(shape):
    leaves = [torch.zeros(shape, requires_grad=True) for _ in range(3)]
    bias = torch.zeros(shape[3], 9, 9, requires_grad=True)
    out = neighborhood_attention(*leaves, 5, bias=bias, scale=1.0, backend="c")
    assert out.shape == shape
    *gradients, d_bias = torch.autograd.grad(out.sum(), [*leaves, bias])
    assert all(x.shape == shape for x in gradients)
    assert not d_bias.any()


@compiled
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_nan_reaches_the_queries_that_see_it_and_no_others(which):
    inputs = [x.clone() for x in random_inputs(12, 13)]
    inputs[which][0, 5, 6, 1, 3] = torch.nan
    out, *_ = with_gradients(inputs, 7, backend="c")
    exact = defined(*(x.double() for x in inputs[:3]), 7, bias=inputs[3].double())
    assert torch.equal(out.isnan(), exact.isnan())


@compiled
def test_keys_can_be_ruled_out_by_minus_infinity_and_large_scores_do_not_overflow():
    *qkv, bias = random_inputs(9, 9)
    bias[:, 3:5] = -torch.inf
    qkv[0] = qkv[0] * 300
    exact = defined(*(x.double() for x in qkv), 7, bias=bias.double())
    assert_near([neighborhood_attention(*qkv, 7, bias=bias, backend="c")], [exact], [1e-4])


@compiled
@pytest.mark.parametrize("dilation", [2, 3])
def test_dilation_is_attention_within_residue_classes(dilation):
    *qkv, bias = random_inputs(9, 14, 3)
    found = neighborhood_attention(*qkv, 3, bias=bias, dilation=dilation, backend="c")
    exact = neighborhood_attention(*(x.double() for x in qkv), 3, bias=bias.double(), dilation=dilation)
    assert_near([found], [exact])


@compiled
def test_works_in_inference_under_autocast_and_in_training_after_both():
    inputs = random_inputs(8, 9)
    with torch.inference_mode():
        quiet = neighborhood_attention(*inputs[:3], 7, bias=inputs[3], backend="c")
    with torch.autocast("cpu", torch.bfloat16):
        out, *gradients = with_gradients(inputs, 7, backend="c")
    assert torch.equal(out, quiet)
    assert all(torch.isfinite(x).all() for x in gradients)
    assert all(
        torch.equal(a, b)
        for a, b in zip([out, *gradients], with_gradients(inputs, 7, backend="c"), strict=True)
    )


@compiled
def test_the_gradient_of_a_packed_tensor_is_not_copied():
    packed = torch.stack(random_inputs(8, 9)[:3], 3).requires_grad_()
    with torch.no_grad():
        views = kernel.unpack(packed)
    assert [x.data_ptr() for x in views] == [x.data_ptr() for x in packed.unbind(3)]
    seen = []
    q, k, v = kernel.unpack(packed)
    q.register_hook(lambda gradient: seen.append(gradient.data_ptr()))
    out = neighborhood_attention(q, k, v, 7, backend="c")
    (found,) = torch.autograd.grad(out.square().sum(), packed, retain_graph=True)
    assert seen == [found.data_ptr()]
    plain = neighborhood_attention(*packed.unbind(3), 7, backend="c")
    (expected,) = torch.autograd.grad(plain.square().sum(), packed)
    assert torch.equal(found, expected)
    (twice,) = torch.autograd.grad(out.square().sum() + (q * k).sum(), packed)  # no longer in one piece
    assert torch.allclose(twice[..., 0, :, :], expected[..., 0, :, :] + k)


@compiled
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.double(), "takes float32 or bfloat16, and got float64"),
        (lambda x: x.half(), "got float16"),
        (lambda x: x.to("meta"), "works on CPUs, and a tensor is on meta"),
    ],
)
def test_what_it_cannot_serve_is_refused_in_words(change, words):
    with pytest.raises(UsageError, match=f"backend 'c' cannot serve here: .*{words}"):
        neighborhood_attention(*map(change, random_inputs(8, 8)[:3]), 7, backend="c")


def test_without_its_library_the_name_is_refused_and_auto_goes_on(monkeypatch):
    monkeypatch.setattr(kernel, "load", lambda: (None, "it was not compiled"))
    *qkv, bias = random_inputs(8, 8)
    with pytest.raises(UsageError, match="it was not compiled"):
        neighborhood_attention(*qkv, 7, backend="c")
    found = neighborhood_attention(*qkv, 7, bias=bias)
    assert torch.equal(found, neighborhood_attention(*qkv, 7, bias=bias, backend="dense"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "was not compiled"), (b"no library", "cannot be loaded"), ("old", "another version")],
)
def test_a_library_that_does_not_fit_is_a_reason_and_no_crash(content, words, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "__file__", str(tmp_path / "kernel.py"))
    if content is not None:
        (tmp_path / "_kernel.abi3.so").write_bytes(b"" if content == "old" else content)
    if content == "old":
        library = type("Old", (), {"na_abi": lambda self=None: 1, "na_best": lambda self=None: 0})
        monkeypatch.setattr(kernel.ctypes, "CDLL", lambda path: library)
    library, reason = kernel.load.__wrapped__()
    assert library is None
    assert words in reason
