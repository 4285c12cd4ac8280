from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.color import hsv2rgb, rgb2hsv

from dinonat.errors import ImageError
from dinonat.pipelines.bench_views import BenchViewsSettings, run_views, view_plans
from dinonat.pipelines.pillow_views import pillow_view, turned
from dinonat.pretraining.views import ViewPlan, draw_views, make_views, normalised

PLAIN = ViewPlan(16, (0.3, 0.9), blur=0, solarise=0, jitter=0, grey=0)


def smooth(width: int = 64, height: int = 48) -> Image.Image:
    coarse = np.random.default_rng(0).integers(30, 220, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def test_ratios_are_those_of_the_medians(tmp_path: Path) -> None:
    settings = BenchViewsSettings(images=2, rounds=2, crops=((32, 16, 1), (200, 24, 2)), picture_side=40)
    report = run_views(settings, tmp_path)
    assert [(row.global_size, row.local_size, row.n_local, row.picture_side) for row in report.rows] == [
        (32, 16, 1, 40),
        (200, 24, 2, 229),  # 200 px crops come from larger pictures
    ]
    for row in report.rows:
        assert row.ratio == pytest.approx(row.official / row.ours, abs=0.006)
        assert row.decoded_ratio == pytest.approx((row.official + report.decode) / row.ours, abs=0.006)
    assert any("2x200 + 2x24" in line for line in report.lines())


def test_pictures_may_come_from_a_folder_and_a_bad_one_is_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "colour"
    folder.mkdir()
    for i in range(5):
        smooth().save(folder / f"{i}.jpg")
    report = run_views(BenchViewsSettings(folder=folder, images=3, rounds=1, crops=((32, 16, 1),)), tmp_path)
    assert (report.images, report.pictures) == (3, "pictures of colour")
    (folder / "0.jpg").write_bytes(b"\xff\xd8\xff text")
    with pytest.raises(ImageError, match="cannot be read"):
        run_views(BenchViewsSettings(folder=folder, images=3, rounds=1), tmp_path)


def test_both_recipes_draw_the_same_views_on_average() -> None:
    picture = smooth()
    pixels = torch.from_numpy(np.array(picture.resize((64, 64), Image.Resampling.BICUBIC)))
    ((plan, _), *_) = view_plans(24, 16, 1)
    count, chance, generator = 600, Random(0), torch.Generator().manual_seed(0)
    official = torch.stack([pillow_view(picture, plan, chance) for _ in range(count)])
    draws = draw_views(torch.full((count,), 4 / 3), plan, generator)
    ours = normalised(make_views(pixels.expand(count, 64, 64, 3), draws))
    for each in (
        lambda x: x.mean((0, 2, 3)),
        lambda x: x.std((1, 2, 3)).mean(),
        lambda x: x.mean((1, 2, 3)).std(),
    ):
        assert torch.allclose(each(official), each(ours), atol=0.08)


def test_a_view_without_distortions_is_a_crop_perhaps_mirrored() -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (50, 1, 3)))
    signs = set()
    for seed in range(20):
        step = pillow_view(ramp, PLAIN, Random(seed)).diff(dim=2)[:, :, 2:-2]  # bicubic bends at the edges
        assert (step > 0).all() or (step < 0).all()
        signs.add(bool((step > 0).all()))
    assert signs == {True, False}


def test_chances_of_one_always_happen() -> None:
    grey = pillow_view(smooth(), ViewPlan(16, (0.5, 1), blur=1, solarise=0, jitter=0, grey=1), Random(0))
    mean, std = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    grey = grey * std + mean
    assert torch.allclose(grey[0], grey[1], atol=1e-6)
    white = Image.new("RGB", (20, 20), (255, 255, 255))
    dark = pillow_view(white, ViewPlan(16, (0.5, 1), blur=0, solarise=1, jitter=0, grey=0), Random(0))
    assert torch.allclose(dark * std + mean, torch.zeros(1), atol=1e-6)


@given(
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    turn=st.floats(-0.1, 0.1),
)
def test_hue_turns_in_hsv(colour: tuple[int, int, int], turn: float) -> None:
    (got,) = np.asarray(turned(Image.new("RGB", (1, 1), colour), turn)).astype(float).reshape(1, 3)
    hsv = rgb2hsv(np.array([[colour]], np.uint8))
    hsv[..., 0] = (hsv[..., 0] + turn) % 1
    # Pillow's HSV has 8 bits: half a step of 6/255 of hue at full chroma, and as much for the turn.
    assert np.abs(got - 255 * hsv2rgb(hsv)[0, 0]).max() <= 10


def test_a_picture_too_thin_for_any_crop_gives_its_middle() -> None:
    thin = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (2, 1, 3)))
    plan = ViewPlan(8, (1.0, 1.0), blur=0, solarise=0, jitter=0, grey=0)
    mean, std = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    view = (pillow_view(thin, plan, Random(0)) * std + mean) * 255
    assert 95 < view.min() <= view.max() < 105
