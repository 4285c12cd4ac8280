import math
import warnings
from dataclasses import fields
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.pretraining import views
from dinonat.pretraining.thermal_look import COLUMN_NOISE, ThermalLook, draw_look, thermal_like

VIEWS = torch.rand(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NONE = {each.name: 0.0 for each in fields(ThermalLook)}
EACH = pytest.mark.parametrize("ingredient", sorted(NONE))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(**chances: float) -> ThermalLook:
    return ThermalLook(**(NONE | chances))


def looking(views: torch.Tensor, look: ThermalLook, seed: int = 0) -> torch.Tensor:
    return thermal_like(views, draw_look(len(views), look, views.shape[-1], seeded(seed)))


def test_without_ingredients_nothing_changes():
    assert torch.equal(looking(VIEWS, only()), VIEWS)


@EACH
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_each_ingredient_comes_as_often_as_asked_and_touches_no_other_view(ingredient, share):
    before = VIEWS.clone()
    out = looking(VIEWS, only(**{ingredient: share}), seed=3)
    assert torch.equal(VIEWS, before)
    changed = (out != VIEWS).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(share, abs=0.2)
    if share == 1 and ingredient != "blur":  # some blurs are too narrow to be seen
        assert changed == 1
    assert out.min() >= 0
    assert out.max() <= 1


def test_tone_makes_full_range_grey_of_either_polarity():
    rising = torch.linspace(0, 1, 64).expand(200, 3, 64, 64)
    out = looking(rising, only(tone=1), 1)
    assert torch.equal(out[:, 0], out[:, 1])
    assert torch.equal(out[:, 0], out[:, 2])
    assert out.amin(dim=(1, 2, 3)).max() == 0
    assert out.amax(dim=(1, 2, 3)).min() == 1
    steps = out[:, 0, 0].diff(dim=1)
    hot_is_white, hot_is_black = (steps >= 0).all(1), (steps <= 0).all(1)
    assert (hot_is_white ^ hot_is_black).all()  # a curve bends, it never turns back
    assert 60 < hot_is_white.sum() < 140


def test_the_curve_is_xoftr_s_formula():
    """cos(w (x - 1/2) + phi) of the grey x, stretched to 0 .. 1, in float64."""
    draws = draw_look(len(VIEWS), only(curve=1), 64, seeded(1))
    out = thermal_like(VIEWS, draws)
    for number in range(len(VIEWS)):
        red, green, blue = VIEWS[number].double()
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        frequency, phase = draws.waves[number].double()
        wave = torch.cos(frequency * (grey - 0.5) + phase)
        expected = (wave - wave.min()) / (wave.max() - wave.min())
        torch.testing.assert_close(out[number].double(), expected.expand(3, 64, 64), atol=1e-4, rtol=0)


def test_the_curve_s_waves_are_drawn_as_xoftr_draws_them():
    waves = draw_look(5000, only(curve=1), 8, seeded()).waves
    assert waves[:, 0].min() >= 2 * math.pi / 3
    half_normal = math.pi / 2 * math.sqrt(2 / math.pi)  # the mean of |N| pi / 2
    assert waves[:, 0].mean().item() == pytest.approx(2 * math.pi / 3 + half_normal, abs=0.05)
    assert waves[:, 1].mean().item() == pytest.approx(math.pi / 2, abs=0.07)
    assert waves[:, 1].std().item() == pytest.approx(math.pi / 2, abs=0.05)


def test_inverting_twice_gives_the_view_back():
    once = looking(VIEWS, only(invert=1))
    torch.testing.assert_close(once, 1 - VIEWS, atol=0, rtol=0)
    torch.testing.assert_close(looking(once, only(invert=1)), VIEWS, atol=1e-7, rtol=0)


def test_gamma_bends_each_view_by_its_own_power_between_a_half_and_two():
    draws = draw_look(len(VIEWS), only(gamma=1), 64, seeded())
    assert draws.gamma.min() >= 0.5
    assert draws.gamma.max() <= 2
    assert 0.2 < (draws.gamma > 1).float().mean() < 0.8
    expected = VIEWS.double() ** draws.gamma.double()[:, None, None, None]
    torch.testing.assert_close(thermal_like(VIEWS, draws).double(), expected, atol=1e-6, rtol=0)


def test_low_resolution_keeps_the_mean_and_loses_detail():
    out = looking(VIEWS, only(low_resolution=1))
    torch.testing.assert_close(out.mean(dim=(2, 3)), VIEWS.mean(dim=(2, 3)), atol=0.01, rtol=0)
    assert (out.var(dim=(2, 3)) < 0.5 * VIEWS.var(dim=(2, 3))).all()


def test_views_that_are_smaller_than_the_low_resolution_stay():
    small = VIEWS[:, :, :10, :10]
    assert torch.equal(looking(small, only(low_resolution=1)), small)


def test_column_noise_is_equal_along_columns_and_channels_and_has_no_mean():
    grey = torch.full((64, 3, 64, 64), 0.5)
    added = looking(grey, only(column_noise=1)) - grey
    assert torch.equal(added, added[:, :1, :1].expand_as(added))
    assert added.mean(dim=(1, 2, 3)).abs().max() < 1e-6
    strength = added[:, 0, 0].std(dim=1)
    low, high = COLUMN_NOISE
    assert low * 0.7 < strength.min()  # 64 columns tell their deviation to within a tenth or so
    assert strength.max() < high * 1.3
    assert strength.mean().item() == pytest.approx((low + high) / 2, rel=0.15)


def test_blur_lowers_the_variance_and_keeps_the_mean():
    out = looking(VIEWS, only(blur=1))
    torch.testing.assert_close(out.mean(dim=(2, 3)), VIEWS.mean(dim=(2, 3)), atol=0.01, rtol=0)
    assert (out.var(dim=(2, 3)) <= VIEWS.var(dim=(2, 3)) + 1e-6).all()


def test_the_defaults_are_what_was_measured():
    assert {name: value for name, value in vars(ThermalLook()).items() if value} == {
        "tone": 0.7,
        "low_resolution": 0.3,
    }


def test_equal_seeds_give_equal_looks():
    assert torch.equal(looking(VIEWS, ThermalLook(), 5), looking(VIEWS, ThermalLook(), 5))
    assert not torch.equal(looking(VIEWS, ThermalLook(), 5), looking(VIEWS, ThermalLook(), 6))


@settings(deadline=None, max_examples=20)
@given(
    some=st.lists(st.integers(0, 7), min_size=0, max_size=9),
    count=st.integers(1, 3),
    size=st.sampled_from([8, 17, 32]),
    portion=st.sampled_from([1, 3000, 1_000_000]),
)
def test_the_look_of_some_pictures_is_those_rows_of_the_look_of_all(some, count, size, portion):
    """Bit for bit, however many are worked on together; pictures are counted as those of views are."""
    shown = VIEWS[: 8 * count, :, :size, :size]
    draws = draw_look(8, ThermalLook(*[0.5] * len(NONE)), size, seeded(size), count)
    rows = thermal_like(shown, draws).view(count, 8, 3, size, size)
    at = torch.tensor(some, dtype=torch.long)
    given_rows = shown.reshape(count, 8, 3, size, size)[:, at].flatten(0, 1)
    with patch.object(views, "PORTION", portion):
        assert torch.equal(thermal_like(given_rows, draws.of(at)), rows[:, at].flatten(0, 1))


def test_a_look_that_was_drawn_for_other_views_is_refused():
    with pytest.raises(ValueError, match="2 views are given and the look of 3"):
        thermal_like(VIEWS[:2], draw_look(3, ThermalLook(), 64, seeded()))


@EACH
@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("size", [1, 12])
def test_a_flat_view_stays_finite_and_in_range_without_a_word(ingredient, level, size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = looking(torch.full((4, 3, size, size), level), only(**{ingredient: 1}))
    assert torch.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1


def test_the_look_is_made_where_the_views_are():
    draws = draw_look(64, ThermalLook(*[1.0] * len(NONE)), 64, seeded())
    assert thermal_like(VIEWS.to("meta"), draws).device.type == "meta"
