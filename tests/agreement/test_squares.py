import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dinonat.agreement.squares import CROPPED, MOVED, Squares, copies, in_grey, kept_side, random_boxes
from dinonat.embeddings.framing import shown
from dinonat.images.batches import read_prepared
from dinonat.images.listing import list_images

Textures = Callable[..., np.ndarray]


def places(side: int) -> np.ndarray:
    """A picture that says where each pixel lies: red the share of the width, green of the height, of 255."""
    levels = np.rint(255 * (np.arange(side) + 0.5) / side).astype(np.uint8)
    across, down = np.meshgrid(levels, levels)
    return np.stack([across, down, np.zeros_like(across)], axis=-1)


def squares(size: int, pictures: list[np.ndarray]) -> Squares:
    kept = np.stack([shown(each, (kept_side(size), kept_side(size))) for each in pictures])
    return Squares(np.stack([shown(each, (size, size)) for each in kept]), kept)


def of_places(size: int, count: int = 1) -> Squares:
    return squares(size, [places(kept_side(size))] * count)


def coloured(seed: int, textures: Textures, side: int = 96) -> np.ndarray:
    return np.stack([textures(10 * seed + channel, side, side) for channel in range(3)], axis=-1)


def in_cells(pictures: np.ndarray, cell: int) -> np.ndarray:
    """Return what each cell of ``cell`` pixels shows, across and down: (n, cells, cells, 2)."""
    n, side = pictures.shape[:2]
    parts = pictures[..., :2].astype(np.float64).reshape(n, side // cell, cell, side // cell, cell, 2)
    return parts.mean(axis=(2, 4))


@pytest.mark.parametrize(("size", "cell"), [(224, 16), (224, 14), (96, 8), (64, 16)])
def test_moved_pictures_show_the_same_by_cells_further_on(size: int, cell: int) -> None:
    """The near token (r, k) shows what the far token (r - MOVED, k - MOVED) does, to a level of 255."""
    both = of_places(size)
    near, far = (in_cells(both.moved(cell, far=each), cell) for each in (False, True))
    np.testing.assert_allclose(near[:, MOVED:, MOVED:], far[:, :-MOVED, :-MOVED], atol=1)
    step = 255 * cell / (size + MOVED * cell)  # what one cell makes
    assert step > 10
    assert np.abs(near - far).min() > 1.5 * step  # in the same place they show what lies further on


@pytest.mark.parametrize(("size", "cell"), [(224, 16), (112, 8), (100, 100 / 14)])
def test_moved_pictures_begin_and_end_where_they_should(size: int, cell: float) -> None:
    both = of_places(size)
    whole = size + MOVED * cell
    along = 255 * (np.arange(size) + 0.5) / whole
    for picture, start in ((both.moved(cell, far=False), 0.0), (both.moved(cell, far=True), MOVED * cell)):
        expected = along + 255 * start / whole
        np.testing.assert_allclose(picture[0, size // 2, :, 0], expected, atol=2)
        np.testing.assert_allclose(picture[0, :, size // 3, 1], expected, atol=2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_random_boxes_lie_inside_and_keep_most(seed: int, count: int) -> None:
    left, top, right, low = random_boxes(count, seed).T
    for start, end in ((left, right), (top, low)):
        assert (start >= 0).all()
        assert (end <= 1).all()
        assert (end - start >= CROPPED[0] - 1e-12).all()
        assert (end - start <= CROPPED[1] + 1e-12).all()
    np.testing.assert_allclose(right - left, low - top)
    np.testing.assert_array_equal(random_boxes(count, seed), random_boxes(count, seed))
    assert not np.allclose(random_boxes(count, seed), random_boxes(count, seed + 1))


def test_random_boxes_lie_everywhere() -> None:
    assert CROPPED == (0.67, 0.85)
    left, top, right, _ = random_boxes(2000, 0).T
    sides = right - left
    assert (sides.min(), sides.max()) == pytest.approx(CROPPED, abs=0.005)
    for start, other in ((left, top), (top, left)):
        share = start / (1 - sides)  # of the room that there is
        assert share.mean() == pytest.approx(0.5, abs=0.03)
        assert (share < 0.1).mean() == pytest.approx(0.1, abs=0.03)
        assert abs(np.corrcoef(start / (1 - sides), other / (1 - sides))[0, 1]) < 0.1


def test_crops_show_their_boxes() -> None:
    size, pictures = 96, of_places(96, count=4)
    for picture, (left, top, right, low) in zip(pictures.cropped(3), random_boxes(4, 3), strict=True):
        share = (np.arange(size) + 0.5) / size
        across, down = left + share * (right - left), top + share * (low - top)
        np.testing.assert_allclose(picture[size // 2, :, 0], 255 * across, atol=2)
        np.testing.assert_allclose(picture[:, size // 2, 1], 255 * down, atol=2)
    np.testing.assert_array_equal(pictures.cropped(3), pictures.cropped(3))
    assert (pictures.cropped(3) != pictures.cropped(4)).any(axis=(1, 2, 3)).all()
    assert pictures.cropped(3).shape == pictures.whole.shape


@settings(deadline=None)
@given(st.integers(64, 1024))
def test_no_crop_is_enlarged(size: int) -> None:
    side = kept_side(size)
    assert CROPPED[0] * side >= size
    assert side % 16 == 0
    assert CROPPED[0] * (side - 16) < size  # and no more is kept than that takes


def test_inverted_twice_is_the_same(textures: Textures) -> None:
    own = squares(64, [coloured(seed, textures) for seed in range(2)])
    turned = own.inverted()
    np.testing.assert_array_equal(turned.whole.astype(int) + own.whole, np.full(own.whole.shape, 255))
    np.testing.assert_array_equal(turned.kept.astype(int) + own.kept, np.full(own.kept.shape, 255))
    np.testing.assert_array_equal(turned.inverted().whole, own.whole)
    np.testing.assert_array_equal(turned.inverted().kept, own.kept)
    assert own.size == turned.size == 64


def test_grey_is_pillows_and_that_of_bt_601(textures: Textures) -> None:
    own = squares(64, [coloured(seed, textures) for seed in range(2)])
    for found, given_ in ((own.in_grey().whole, own.whole), (own.in_grey().kept, own.kept)):
        np.testing.assert_array_equal(found, in_grey(given_))
        for one, other in zip(found, given_, strict=True):
            for channel in range(3):
                np.testing.assert_array_equal(
                    one[..., channel], np.asarray(Image.fromarray(other).convert("L"))
                )
        luminance = given_.astype(np.float64) @ (0.299, 0.587, 0.114)
        np.testing.assert_allclose(found[..., 0], luminance, atol=1)
        assert np.abs(found[..., 0] - given_.astype(np.float64).mean(axis=3)).max() > 5  # not the plain mean


def saved_again(picture: np.ndarray, quality: int = 60) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def test_copies_are_found_and_nothing_else(textures: Textures) -> None:
    made = [coloured(seed, textures) for seed in range(9)]
    grey = in_grey(np.stack(made))
    others = [
        made[0],  # the same
        saved_again(made[1]),
        grey[2],
        255 - made[3],
        255 - grey[4] // 2,  # darker, too
        saved_again(255 - grey[5]),
        made[7],  # another
        saved_again(grey[8]),  # another
        np.roll(made[8], 12, axis=1),  # the same scene, from elsewhere
    ]
    found = copies(squares(64, made), squares(64, others))
    assert found.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.dtype == np.int64


def test_pictures_without_contrast_are_no_copies() -> None:
    flat = np.full((2, 96, 96, 3), 128, np.uint8)
    assert copies(Squares(flat, flat), Squares(flat, flat)).tolist() == []
    assert copies(Squares(flat, flat), Squares(flat // 2, flat // 2)).tolist() == []


def test_no_real_pair_is_a_copy_and_all_are_once_their_lights_are_one(data: Path) -> None:
    lights = []
    for name in ("visible", "infrared"):
        loaded = read_prepared(list_images(data / "paired_road" / name).refs)
        kept = np.stack([shown(each.prepared.pixels, (96, 96)) for each in loaded if each.prepared])
        assert len(kept) == 82
        lights.append(Squares(kept, kept))
    assert copies(*lights).tolist() == []
    for light in lights:
        assert len(copies(light, light.in_grey().inverted())) == 82
