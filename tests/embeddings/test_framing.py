import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinonat.embeddings import framing

NAT = (4, 8, 16, 32)
VIT = (14.0, math.inf)  # patches and CLS, which is a map of one cell

SIDES = st.integers(1, 700)


@given(height=SIDES, width=SIDES, size=st.sampled_from([32, 96, 224]))
def test_shorter_side_and_aspect_are_kept(height: int, width: int, size: int) -> None:
    shown = framing.fitted((height, width), size=size)
    if max(height, width) <= 4 * min(height, width):
        assert min(shown) == size
    assert max(shown) <= 4 * size
    scale = max(shown) / max(height, width)
    assert abs(shown[0] - height * scale) <= 1
    assert abs(shown[1] - width * scale) <= 1


@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_valid_tokens_hold_the_picture_and_lie_over_each_other(height: int, width: int) -> None:
    valid = framing.valid_tokens((height, width), NAT)
    whole = framing.padded(np.zeros((height, width, 3), np.uint8), stride=32).shape
    for stride, (rows, columns) in zip(NAT, valid, strict=True):
        assert rows * stride >= height
        assert columns * stride >= width
        assert rows * stride <= whole[0]
        assert columns * stride <= whole[1]
    assert (valid[2][0] - 1) * 16 < height  # no token that the picture does not touch
    patches, cls = framing.valid_tokens((height, width), VIT)
    assert cls == (1, 1)
    assert (patches[0] - 1) * 14 < height <= patches[0] * 14


def test_padding_repeats_the_border() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    whole = framing.padded(pixels, stride=32)
    assert whole.shape == (64, 64, 3)
    np.testing.assert_array_equal(whole[:40], pixels)
    np.testing.assert_array_equal(whole[40:], np.broadcast_to(pixels[39:], (24, 64, 3)))
    assert framing.padded(whole, stride=32) is whole


def test_a_picture_shown_at_its_own_size_is_itself() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(framing.shown(pixels, (40, 64)), pixels)


def test_luminance_reaches_as_far_as_the_tokens() -> None:
    pixels = np.zeros((100, 230, 3), dtype=np.uint8)
    pixels[:, 229] = 255
    shape = framing.fitted(pixels.shape[:2], size=224)  # 224 x 515: 33 tokens of 16 cover 528
    grey = framing.under_tokens(pixels, shape, NAT)
    assert grey.shape == (100, round(230 * 528 / 515))
    np.testing.assert_allclose(grey[:, 229:], 1, atol=1e-5)
    assert not grey[:, :229].any()


def test_a_square_that_fits_is_the_pixels_themselves() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    taken = framing.cut(pixels, (20, 10, 16, 16), side=32, crop="square", context=0.5)
    np.testing.assert_array_equal(taken, pixels[2:34, 12:44])
    taken = framing.cut(pixels, (20, 10, 16, 16), side=16, crop="squash", context=0.5)
    np.testing.assert_array_equal(taken, pixels[10:26, 20:36])


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (30, 4), (40, 40)])
@pytest.mark.parametrize("crop", ["square", "squash"])
def test_any_box_gives_a_crop(size_hw: tuple[int, int], crop: framing.Crop) -> None:
    pixels = np.full((*size_hw, 3), 7, dtype=np.uint8)
    height, width = size_hw
    for box in [(0, 0, width, height), (0, 0, 1, 1), (width - 0.5, height - 0.25, 0.5, 0.25)]:
        taken = framing.cut(pixels, box, side=24, crop=crop, context=0.2)
        assert taken.shape == (24, 24, 3)
        assert (taken == 7).all()


def test_a_crop_follows_a_fraction_of_a_pixel() -> None:
    ramp = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(60, axis=0)
    one, half = (framing.cut(ramp, (x, 20, 10, 10), side=10, crop="squash", context=0) for x in (20, 20.5))
    assert (half[:, 3:7].astype(int) - one[:, 3:7] == 2).all()


@pytest.mark.parametrize("size_hw", [(40, 60), (1, 1), (33, 7), (200, 64)])
def test_grey_in_one_plane_is_framed_as_in_three(size_hw: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, size_hw, dtype=np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    plane = framing.one_plane(picture)
    np.testing.assert_array_equal(plane, grey)
    shape = framing.fitted(size_hw, size=32)
    height, width = size_hw
    boxes = [(0, 0, width, height), (0.3 * width, 0.25 * height, 0.7 * width, 0.4 * height)]
    for once, thrice in (
        (framing.shown(plane, shape), framing.shown(picture, shape)),
        (framing.padded(plane, stride=32), framing.padded(picture, stride=32)),
        *(
            [framing.cut(each, box, side=24, crop=crop, context=0.1) for each in (plane, picture)]
            for box in boxes
            for crop in ("square", "squash")
        ),
    ):
        np.testing.assert_array_equal(np.repeat(once[..., None], 3, axis=2), thrice)
    levels = [framing.under_tokens(each, shape, NAT) for each in (plane, picture)]
    np.testing.assert_array_equal(*levels)


def test_one_pixel_of_colour_keeps_three_planes() -> None:
    for channel in range(3):
        picture = np.full((70, 50, 3), 9, np.uint8)
        picture[41, 7, channel] = 10
        assert framing.one_plane(picture) is picture
