import warnings
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD
from dinonat.pretraining import views
from dinonat.pretraining.views import (
    Draws,
    ViewPlan,
    _cut_at_once,
    crop_boxes,
    cut,
    draw_views,
    make_views,
    normalised,
)

PLAIN = ViewPlan(32, (1.0, 1.0), blur=0, solarise=0, jitter=0, grey=0)
WILD = ViewPlan(32, (0.1, 1.0), blur=0.5, solarise=0.3)
WAYS = pytest.mark.parametrize("way", [cut, _cut_at_once])  # on the CPU, and elsewhere


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), generator=seeded(seed), dtype=torch.uint8)


def drawn(boxes: torch.Tensor, flips: torch.Tensor, size: int, pictures: int = 1) -> Draws:
    """Crops, and nothing else."""
    draws = draw_views(torch.ones(pictures), replace(PLAIN, size=size), seeded(), len(boxes) // pictures)
    return replace(draws, boxes=boxes, flips=flips)


def ramp(side: int = 64) -> torch.Tensor:
    """Red rises to the right, green downwards: a crop's colours tell where it was."""
    line = (torch.arange(side) + 0.5) / side * 255
    image = torch.stack(
        [line.expand(side, side), line[:, None].expand(side, side), torch.zeros(side, side)], -1
    )
    return image.round().byte()[None]


@WAYS
def test_a_crop_lies_where_its_box_says(way):
    box = torch.tensor([[0.25, 0.5, 0.5, 0.25]])
    view = way(ramp(), drawn(box, torch.tensor([False]), 16))[0]
    assert view[0].mean().item() == pytest.approx(0.5, abs=0.01)  # x from .25 to .75
    assert view[1].mean().item() == pytest.approx(0.625, abs=0.01)  # y from .5 to .75
    assert view[0, 0, 0] < view[0, 0, -1]
    flipped = way(ramp(), drawn(box, torch.tensor([True]), 16))[0]
    torch.testing.assert_close(flipped, view.flip(-1), atol=1e-5, rtol=0)


@WAYS
def test_several_crops_of_each_picture_come_as_if_each_had_been_cut_alone(way):
    pictures = torch.cat([ramp(), 255 - ramp(), ramp().flip(1)])
    boxes = crop_boxes(torch.ones(12), (0.2, 0.5), seeded())
    flips = torch.rand(12, generator=seeded(1)) < 0.5
    together = way(pictures, drawn(boxes, flips, 32, 3))
    for number in range(12):
        at = slice(number, number + 1)
        alone = way(pictures[number % 3][None], drawn(boxes[at], flips[at], 32))
        torch.testing.assert_close(together[at], alone)


@WAYS
def test_fine_texture_does_not_alias(way):
    checker = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    checker[:, ::2, ::2] = checker[:, 1::2, 1::2] = 255
    view = way(checker, drawn(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([False]), 16))
    inside = view[:, :, 1:-1, 1:-1]  # a bicubic kernel that is cut at the border weighs unevenly
    assert (inside - 0.5).abs().max() < 0.01
    assert (view - 0.5).abs().max() < 0.05


@settings(deadline=None, max_examples=30)
@given(side=st.integers(1, 70), size=st.integers(1, 48), seed=st.integers(0, 999))
def test_a_crop_is_pillow_s_bicubic_one(side, size, seed):
    """Reduced or enlarged, any place: within two levels of 255, since each rounds between the two axes.

    Noise of half the contrast: what is cut off between the axes depends on which of them comes first.
    """
    pictures = noise(1, side, seed) // 2 + 64
    draws = draw_views(torch.ones(1), ViewPlan(size, (0.05, 1), 0, 0, jitter=0, grey=0), seeded(seed))
    x, y, width, height = (draws.boxes[0] * side).round().int().tolist()
    width, height = max(width, 1), max(height, 1)
    x, y = min(x, side - width), min(y, side - height)
    crop = Image.fromarray(pictures[0].numpy()).crop((x, y, x + width, y + height))
    expected = np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC)).astype(int)
    if draws.flips[0]:
        expected = expected[:, ::-1]
    got = make_views(pictures, draws)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(got - expected).max() < 2.01


def test_both_ways_of_cutting_give_about_the_same_views_of_a_smooth_picture():
    pictures = functional.interpolate(
        noise(6, 6).permute(0, 3, 1, 2), (64, 64), mode="bicubic", antialias=True
    ).permute(0, 2, 3, 1)
    draws = draw_views(torch.ones(6), replace(PLAIN, scale=(0.3, 1.0)), seeded(), 2)
    difference = (cut(pictures, draws) - _cut_at_once(pictures, draws)).abs()
    assert difference.mean() < 0.02
    assert difference.max() < 0.15


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.5])
def test_crops_have_the_area_that_was_asked_and_the_shape_of_the_original(aspect):
    boxes = crop_boxes(torch.full((4000,), aspect), (0.1, 0.3), seeded())
    area = boxes[:, 2] * boxes[:, 3]
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 1 + 1e-6
    assert area.min() > 0.04
    assert area.max() < 0.3 + 1e-5
    assert area.median().item() == pytest.approx(0.2, abs=0.02)
    shape = boxes[:, 2] * aspect / boxes[:, 3]  # width to height in the original's geometry
    assert shape.log().median().abs() < 0.1


def test_a_view_without_distortions_is_normalised_and_nothing_else():
    colour = torch.tensor([200, 100, 50], dtype=torch.uint8)
    draws = draw_views(torch.ones(2), PLAIN, seeded())
    view = normalised(make_views(colour.expand(2, 32, 32, 3), draws))
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    expected = ((colour / 255 - mean) / std)[:, None, None].expand(2, 3, 32, 32)
    torch.testing.assert_close(view, expected, atol=1e-4, rtol=0)


def test_equal_seeds_give_equal_views_and_other_seeds_other_ones():
    first, again, other = (
        make_views(noise(4, 48), draw_views(torch.ones(4), WILD, seeded(s))) for s in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@settings(deadline=None, max_examples=25)
@given(
    some=st.lists(st.integers(0, 6), min_size=0, max_size=9),
    count=st.integers(1, 3),
    size=st.sampled_from([8, 17, 32]),
    portion=st.sampled_from([1, 3000, 10_000, 1_000_000]),
    seed=st.integers(0, 99),
)
def test_views_of_some_pictures_are_those_rows_of_the_views_of_all(some, count, size, portion, seed):
    """Bit for bit, however many are worked on together."""
    pictures = noise(7, 40, seed)
    draws = draw_views(torch.linspace(0.5, 2, 7), replace(WILD, size=size), seeded(seed), count)
    rows = make_views(pictures, draws).view(count, 7, 3, size, size)
    at = torch.tensor(some, dtype=torch.long)
    with patch.object(views, "PORTION", portion):
        alone = make_views(pictures[at], draws.of(at))
    assert torch.equal(alone, rows[:, at].flatten(0, 1))


def test_draws_of_some_pictures_are_a_view_of_all_of_them_after_the_other():
    draws = draw_views(torch.ones(5), WILD, seeded(), 3)
    some = draws.of(torch.tensor([4, 1]))
    assert torch.equal(some.boxes, draws.boxes[[4, 1, 9, 6, 14, 11]])
    assert torch.equal(some.of(torch.tensor([1])).matrix, draws.matrix[[1, 6, 11]])


def test_draws_of_another_number_of_pictures_are_refused():
    draws = draw_views(torch.ones(5), WILD, seeded(), 3)
    with pytest.raises(ValueError, match=r"3 views of 4 pictures .* 15 drawn rows"):
        make_views(noise(4, 32), draws)


def test_pairs_may_share_places_and_differ_in_colours():
    picture = noise(1, 48)
    here, there = (draw_views(torch.ones(1), replace(WILD, jitter=1), seeded(s), 4) for s in (0, 1))
    moved = replace(there, boxes=here.boxes, flips=here.flips)
    assert torch.equal(cut(picture, moved), cut(picture, here))
    assert not torch.equal(make_views(picture, moved), make_views(picture, here))


def test_drawn_chances_come_as_often_as_asked():
    draws = draw_views(torch.ones(2000), ViewPlan(32, (0.1, 1.0), blur=0.3, solarise=0.2), seeded())
    share = {
        "flipped": draws.flips.float().mean().item(),
        "blurred": (draws.sigma > 0).float().mean().item(),
        "solarised": draws.solarised.float().mean().item(),
    }
    assert share == pytest.approx({"flipped": 0.5, "blurred": 0.3, "solarised": 0.2}, abs=0.04)
    assert draws.sigma.max() <= 2 * 32 / 224


@pytest.mark.parametrize("side", [1, 2, 40])  # pictures smaller than their crops, too
@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("size", [1, 24])
def test_flat_and_tiny_pictures_give_finite_views_without_a_word(side, level, size):
    pictures = torch.full((3, side, side, 3), level, dtype=torch.uint8)
    plan = ViewPlan(size, (0.05, 0.4), blur=1, solarise=0.5)
    draws = draw_views(torch.tensor([0.01, 1.0, 100.0]), plan, seeded(), 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        view = make_views(pictures, draws)
        _cut_at_once(pictures, draws)
    assert torch.isfinite(normalised(view)).all()
    assert view.min() >= 0
    assert view.max() <= 1
    torch.testing.assert_close(view.amax((2, 3)), view.amin((2, 3)), atol=1e-5, rtol=0)


def test_views_are_made_where_the_pictures_are():
    """Of a device that computes nothing but refuses to mix: no part of the work is left on the CPU."""
    draws = draw_views(torch.ones(3), replace(WILD, blur=1, solarise=1), seeded(), 2)
    view = normalised(make_views(noise(3, 40).to("meta"), draws))
    assert (view.device.type, tuple(view.shape)) == ("meta", (6, 3, 32, 32))
