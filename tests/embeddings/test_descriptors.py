import numpy as np
import pytest
from skimage.feature import hog as skimage_hog

from dinonat.embeddings import descriptors


def pictures(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def definition(picture: np.ndarray) -> np.ndarray:
    """HOG of one 64 x 64 picture by scikit-image."""
    return skimage_hog(
        picture.astype(np.float64),
        orientations=9,
        pixels_per_cell=(8, 8),
        cells_per_block=(2, 2),
        block_norm="L2-Hys",
    )


@pytest.mark.parametrize("seed", range(3))
def test_hog_is_that_of_scikit_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (5, 64, 64)).astype(np.float32)
    levels[3] = np.linspace(0, 255, 64).round()  # a ramp: one orientation
    levels[4, :, 20:] = 0  # an edge, and a flat part
    expected = np.stack([definition(picture) for picture in levels])
    np.testing.assert_allclose(descriptors.hog(levels), expected, atol=1e-6)


def test_hog_of_a_resized_picture_is_hog_after_resizing() -> None:
    crops = pictures(3, 96, 40)
    levels = descriptors.squash(crops, 64)
    expected = np.stack([definition(picture) for picture in levels])
    np.testing.assert_allclose(descriptors.hog(crops), expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(24, 40), (64, 64), (513, 200)])
def test_squash_keeps_the_mean_and_skips_no_line(height: int, width: int) -> None:
    grey = pictures(2, height, width)[..., 0]
    np.testing.assert_allclose(descriptors.squash(grey, 64).mean(axis=(1, 2)), grey.mean(axis=(1, 2)), atol=3)
    lines = np.zeros((1, 640, 640), dtype=np.uint8)
    lines[:, ::10] = 250
    assert (np.abs(descriptors.squash(lines, 32)[:, 1:-1].astype(int) - 25) <= 4).all()


def test_vectors_do_not_depend_on_the_company() -> None:
    crops = pictures(descriptors.CHUNK + 3, 20, 30)
    for function, length in ((descriptors.hog, 1764), (descriptors.raw, 1024)):
        together = function(crops)
        assert together.shape == (len(crops), length)
        assert together.dtype == np.float32
        np.testing.assert_array_equal(together[-2:], function(crops[-2:]))
        assert function(crops[:0]).shape == (0, length)


def test_hog_forgets_brightness_and_raw_keeps_it() -> None:
    dark = pictures(1, 64, 64) // 4
    bright = dark + 100
    np.testing.assert_allclose(descriptors.hog(dark), descriptors.hog(bright), atol=0.05)
    np.testing.assert_allclose(descriptors.raw(bright) - descriptors.raw(dark), 100 / 255, atol=1e-4)


def test_a_flat_picture_has_no_gradient() -> None:
    for level in (0, 127, 255):
        flat = np.full((1, 37, 91, 3), level, dtype=np.uint8)
        assert not descriptors.hog(flat).any()
        np.testing.assert_allclose(descriptors.raw(flat), level / 255, atol=1e-6)


def test_grey_and_its_three_equal_channels_are_one_picture() -> None:
    grey = pictures(2, 50, 60)[..., 0]
    colour = np.repeat(grey[..., None], 3, axis=3)
    np.testing.assert_allclose(descriptors.raw(colour), descriptors.raw(grey), atol=1e-6)
    np.testing.assert_allclose(descriptors.hog(colour), descriptors.hog(grey), atol=0.02)


def test_both_at_once_are_each_alone_whatever_the_sizes() -> None:
    mixed = [pictures(1, 70, 30)[0], pictures(1, 64, 64, seed=1)[0, ..., 0], pictures(1, 9, 200, seed=2)[0]]
    both = descriptors.hand_made(mixed)
    for name, function in (("hog", descriptors.hog), ("raw", descriptors.raw)):
        alone = np.concatenate([function(one[None]) for one in mixed])
        np.testing.assert_array_equal(both[name], alone)
    assert {name: values.shape for name, values in descriptors.hand_made([]).items()} == {
        "hog": (0, 1764),
        "raw": (0, 1024),
    }
