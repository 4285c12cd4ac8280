import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.pretraining.distortions import (
    LUMINANCE,
    _hue_matrix,
    blur_,
    draw_jitter,
    recoloured,
    solarise_,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=seeded())


def test_hue_keeps_grey_and_turns_by_full_circles():
    matrix = _hue_matrix(torch.tensor([0.0, 0.37, 1.0]))
    grey = torch.full((3,), 0.6)
    torch.testing.assert_close(matrix @ grey, grey.expand(3, 3), atol=1e-3, rtol=0)
    torch.testing.assert_close(matrix[0], torch.eye(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(matrix[2], torch.eye(3), atol=1e-3, rtol=0)


def test_grey_views_have_three_equal_channels_with_the_luminance():
    view = made(4, 3, 8, 8)
    out = recoloured(view, *draw_jitter(4, 0.0, 1.0, seeded()))
    luminance = (view * torch.tensor(LUMINANCE)[:, None, None]).sum(1)
    for channel in range(3):
        torch.testing.assert_close(out[:, channel], luminance, atol=1e-5, rtol=0)


def test_without_jitter_colours_stay():
    view = made(4, 3, 8, 8)
    matrix, lift = draw_jitter(4, 0.0, 0.0, seeded())
    torch.testing.assert_close(recoloured(view, matrix, lift), view, atol=1e-3, rtol=0)
    assert torch.equal(lift, torch.zeros(4))


def test_jitter_changes_mean_luminance_by_brightness_alone():
    """Contrast pulls towards the mean luminance; hue and saturation keep every luminance."""
    view = 0.4 + 0.2 * made(200, 3, 8, 8)  # nothing is clipped
    matrix, lift = draw_jitter(200, 1.0, 0.0, seeded())
    weights = torch.tensor(LUMINANCE)[:, None, None]
    before, after = ((x * weights).sum(1).mean((1, 2)) for x in (view, recoloured(view, matrix, lift)))
    ratio = after / before
    assert ratio.min() > 0.595
    assert ratio.max() < 1.405
    assert ratio.std().item() == pytest.approx(0.8 / math.sqrt(12), rel=0.1)  # uniform in 0.6 .. 1.4
    gain = (weights.flatten() @ matrix).sum(1)  # brightness times contrast
    torch.testing.assert_close(gain + lift, ratio, atol=2e-3, rtol=0)


def test_colours_are_the_affine_map_in_float64():
    view, (matrix, lift) = made(6, 3, 9, 7), draw_jitter(6, 1.0, 0.3, seeded(1))
    pixels = view.double()
    mean = (pixels * torch.tensor(LUMINANCE).double()[:, None, None]).sum(1).mean((1, 2))
    expected = torch.einsum("ndc,nchw->ndhw", matrix.double(), pixels)
    expected = (expected + (lift.double() * mean)[:, None, None, None]).clamp(0, 1)
    torch.testing.assert_close(recoloured(view, matrix, lift).double(), expected, atol=1e-6, rtol=0)


def test_blur_keeps_the_mean_and_lowers_the_variance():
    view = made(3, 3, 96, 96)
    out = view.clone()
    blur_(out, torch.tensor([0.5, 0.7, 0.85]))
    torch.testing.assert_close(out.mean((1, 2, 3)), view.mean((1, 2, 3)), atol=5e-3, rtol=0)
    assert (out.var((1, 2, 3)) < view.var((1, 2, 3)) / 2).all()


@settings(deadline=None, max_examples=20)
@given(size=st.integers(1, 130), chosen=st.lists(st.booleans(), min_size=1, max_size=4))
def test_blur_is_the_sum_over_a_gaussian_window_of_the_chosen_views(size, chosen):
    """Written in float64, the window as a whole square, the border repeated."""
    view = made(len(chosen), 3, size, size)
    sigma = torch.tensor(chosen) * torch.linspace(0.3, 1.1, len(chosen))
    out = view.clone()
    blur_(out, sigma)
    reach = max(1, math.ceil(4 * size / 224))
    index = torch.arange(size)
    for number, on in enumerate(chosen):
        if not on:
            assert torch.equal(out[number], view[number])
            continue
        expected, total = torch.zeros(3, size, size, dtype=torch.float64), 0.0
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                weight = math.exp(-(dx * dx + dy * dy) / (2 * sigma[number].item() ** 2))
                rows, columns = (index + dy).clamp(0, size - 1), (index + dx).clamp(0, size - 1)
                expected += weight * view[number].double()[:, rows][:, :, columns]
                total += weight
        torch.testing.assert_close(out[number].double(), expected / total, atol=1e-5, rtol=0)


def test_solarising_inverts_what_is_brighter_than_half_in_the_chosen_views():
    view = made(3, 3, 8, 8)
    out = view.clone()
    solarise_(out, torch.tensor([True, False, True]))
    expected = torch.where(view >= 0.5, 1 - view, view)
    assert torch.equal(out[::2], expected[::2])
    assert torch.equal(out[1], view[1])
