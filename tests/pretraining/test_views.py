from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD
from dinonat.pretraining.distortions import _hue_matrix, blur_, draw_jitter, recoloured
from dinonat.pretraining.views import (
    Draws,
    ViewPlan,
    crop_boxes,
    cut,
    draw_views,
    make_views,
    normalised,
)

PLAIN = ViewPlan(32, (1.0, 1.0), blur=0, solarise=0, jitter=0, grey=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(boxes: torch.Tensor, flips: torch.Tensor, size: int, pictures: int = 1) -> Draws:
    """Crops, and nothing else."""
    count = len(boxes) // pictures
    plain = ViewPlan(size, (1.0, 1.0), blur=0, solarise=0, jitter=0, grey=0)
    return replace(draw_views(torch.ones(pictures), plain, seeded(), count), boxes=boxes, flips=flips)


def ramp(side: int = 64) -> torch.Tensor:
    """Red rises to the right, green downwards: a crop's colours tell where it was."""
    line = (torch.arange(side) + 0.5) / side * 255
    image = torch.stack(
        [line.expand(side, side), line[:, None].expand(side, side), torch.zeros(side, side)], -1
    )
    return image.round().byte()[None]


def test_a_crop_lies_where_its_box_says():
    box = torch.tensor([[0.25, 0.5, 0.5, 0.25]])
    view = cut(ramp(), drawn(box, torch.tensor([False]), 16))[0]
    assert view[0].mean().item() == pytest.approx(0.5, abs=0.01)  # x from .25 to .75
    assert view[1].mean().item() == pytest.approx(0.625, abs=0.01)  # y from .5 to .75
    assert view[0, 0, 0] < view[0, 0, -1]
    flipped = cut(ramp(), drawn(box, torch.tensor([True]), 16))[0]
    torch.testing.assert_close(flipped, view.flip(-1), atol=1e-5, rtol=0)


def test_several_crops_of_each_picture_come_as_if_each_had_been_cut_alone():
    pictures = torch.cat([ramp(), 255 - ramp(), ramp().flip(1)])
    boxes = crop_boxes(torch.ones(12), (0.2, 0.5), seeded())
    flips = torch.rand(12, generator=seeded(1)) < 0.5
    together = cut(pictures, drawn(boxes, flips, 32, 3))
    for number in range(12):
        at = slice(number, number + 1)
        alone = cut(pictures[number % 3][None], drawn(boxes[at], flips[at], 32))
        torch.testing.assert_close(together[at], alone)


def test_fine_texture_does_not_alias():
    checker = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    checker[:, ::2, ::2] = checker[:, 1::2, 1::2] = 255
    view = cut(checker, drawn(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([False]), 16))
    assert (view - 0.5).abs().max() < 0.01


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
    view = normalised(make_views(colour.expand(2, 32, 32, 3), draw_views(torch.ones(2), PLAIN, seeded())))
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    expected = ((colour / 255 - mean) / std)[:, None, None].expand(2, 3, 32, 32)
    torch.testing.assert_close(view, expected, atol=1e-4, rtol=0)


def test_hue_keeps_grey_and_turns_by_full_circles():
    matrix = _hue_matrix(torch.tensor([0.0, 0.37, 1.0]))
    grey = torch.full((3,), 0.6)
    torch.testing.assert_close(matrix @ grey, grey.expand(3, 3), atol=1e-3, rtol=0)
    torch.testing.assert_close(matrix[0], torch.eye(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(matrix[2], torch.eye(3), atol=1e-3, rtol=0)


def test_grey_views_have_three_equal_channels_with_the_luminance():
    view = torch.rand(4, 3, 8, 8)
    out = recoloured(view, *draw_jitter(4, 0.0, 1.0, seeded()))
    luminance = (view * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    for channel in range(3):
        torch.testing.assert_close(out[:, channel], luminance, atol=1e-5, rtol=0)


def test_blur_keeps_the_mean_and_lowers_the_variance():
    view = torch.rand(3, 3, 96, 96)
    out = view.clone()
    blur_(out, torch.tensor([0.5, 0.7, 0.85]))
    torch.testing.assert_close(out.mean((1, 2, 3)), view.mean((1, 2, 3)), atol=5e-3, rtol=0)
    assert (out.var((1, 2, 3)) <= view.var((1, 2, 3)) + 1e-6).all()
    assert out.var((1, 2, 3)).min() < view.var() / 2


def test_equal_seeds_give_equal_views_and_other_seeds_other_ones():
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (4, 48, 48, 3), dtype=np.uint8))
    plan = ViewPlan(32, (0.4, 1.0), blur=0.5, solarise=0.2)
    first, again, other = (
        make_views(pictures, draw_views(torch.ones(4), plan, seeded(s))) for s in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@settings(deadline=None, max_examples=25)
@given(
    some=st.lists(st.integers(0, 6), min_size=1, max_size=9),
    count=st.integers(1, 3),
    size=st.sampled_from([8, 17, 32]),
    seed=st.integers(0, 99),
)
def test_views_of_some_pictures_are_those_rows_of_the_views_of_all(some, count, size, seed):
    pictures = torch.randint(0, 256, (7, 40, 40, 3), generator=seeded(seed), dtype=torch.uint8)
    plan = ViewPlan(size, (0.1, 1.0), blur=0.5, solarise=0.3)
    draws = draw_views(torch.linspace(0.5, 2, 7), plan, seeded(seed), count)
    rows = make_views(pictures, draws).view(count, 7, 3, size, size)
    at = torch.tensor(some)
    assert torch.equal(make_views(pictures[at], draws.of(at)), rows[:, at].flatten(0, 1))
