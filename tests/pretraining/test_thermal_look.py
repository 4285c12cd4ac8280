import pytest
import torch

from dinonat.pretraining.thermal_look import ThermalLook, draw_look, thermal_like

VIEWS = torch.rand(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def look(tone: float, low_resolution: float, seed: int = 0) -> torch.Tensor:
    return looking(VIEWS, ThermalLook(tone, low_resolution), seed)


def looking(views: torch.Tensor, look: ThermalLook, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return thermal_like(views, draw_look(len(views), look, views.shape[-1], generator))


def test_without_ingredients_nothing_changes():
    assert torch.equal(look(0, 0), VIEWS)


def test_tone_makes_full_range_grey_of_either_polarity():
    rising = torch.linspace(0, 1, 64).expand(200, 3, 64, 64)
    out = looking(rising, ThermalLook(1, 0), 1)
    assert torch.equal(out[:, 0], out[:, 1])
    assert torch.equal(out[:, 0], out[:, 2])
    assert out.amin(dim=(1, 2, 3)).max() == 0
    assert out.amax(dim=(1, 2, 3)).min() == 1
    steps = out[:, 0, 0].diff(dim=1)
    hot_is_white, hot_is_black = (steps >= 0).all(1), (steps <= 0).all(1)
    assert (hot_is_white ^ hot_is_black).all()  # a curve bends, it never turns back
    assert 60 < hot_is_white.sum() < 140


def test_low_resolution_keeps_the_mean_and_loses_detail():
    out = look(0, 1)
    torch.testing.assert_close(out.mean(dim=(2, 3)), VIEWS.mean(dim=(2, 3)), atol=0.01, rtol=0)
    assert (out.var(dim=(2, 3)) < 0.5 * VIEWS.var(dim=(2, 3))).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_each_ingredient_comes_as_often_as_asked(share):
    changed = (look(share, 0, seed=3) != VIEWS).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(share, abs=0.15)


def test_equal_seeds_give_equal_looks():
    assert torch.equal(look(0.7, 0.3, seed=5), look(0.7, 0.3, seed=5))
    assert not torch.equal(look(0.7, 0.3, seed=5), look(0.7, 0.3, seed=6))


def test_a_flat_view_stays_finite():
    out = looking(torch.full((2, 3, 8, 8), 0.4), ThermalLook(1, 1))
    assert torch.isfinite(out).all()
