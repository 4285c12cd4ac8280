import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from dinonat.agreement import floors
from dinonat.agreement.floors import (
    gradient_energy,
    grey,
    hog_cells,
    intensity,
    orientation_histogram,
    spectral_residual,
    thumbnail,
)

SIDE = 56


def pictures(n: int, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Smooth noise in whole grey levels (n, side, side) float32."""
    rough = np.random.default_rng(seed).normal(size=(n, side, side))
    smooth = gaussian_filter(rough, (0, 1.5, 1.5))
    return np.rint(127 + 400 * smooth).clip(0, 255).astype(np.float32)


def test_grey_is_the_luminance_of_bt_601() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(grey(colour), colour @ [0.299, 0.587, 0.114], atol=0.51)  # whole levels
    np.testing.assert_array_equal(grey(colour[:1, ..., [1, 1, 1]]), colour[:1, ..., 1])
    assert grey(colour[:0]).shape == (0, 8, 8)


def hog_by_loop(levels: np.ndarray, cells: int) -> np.ndarray:
    """One picture, pixel by pixel as the definition says."""
    down, right = np.gradient(levels.astype(np.float64))
    side = len(levels) // cells
    found = np.zeros((cells, cells, 9))
    for y in range(cells * side):
        for x in range(cells * side):
            degrees = np.rad2deg(np.arctan2(down[y, x], right[y, x])) % 180
            found[y // side, x // side, int(degrees // 20)] += np.hypot(down[y, x], right[y, x]) / side**2
    return found


def test_histograms_and_energy_are_those_of_the_definition() -> None:
    levels = pictures(2)
    for place, one in enumerate(levels):
        expected = hog_by_loop(one, 14)
        lengths = np.linalg.norm(expected, axis=-1, keepdims=True)
        np.testing.assert_allclose(hog_cells(levels)[place], expected / lengths, atol=1e-5)
        np.testing.assert_allclose(gradient_energy(levels)[place], expected.sum(axis=-1), rtol=1e-5)
        whole = expected.sum(axis=(0, 1))
        np.testing.assert_allclose(
            orientation_histogram(levels)[place], whole / np.linalg.norm(whole), atol=1e-5
        )


@pytest.mark.parametrize(
    ("down", "right", "where"), [(0, 3, 0), (0, -3, 0), (2, 0, 4), (-2, 0, 4), (3, 3, 2), (3, -3, 6)]
)
def test_a_ramp_has_one_gradient(down: int, right: int, where: int) -> None:
    """Its length everywhere, all of it in one bin, whichever way it rises."""
    y, x = np.indices((28, 28), dtype=np.float32)
    ramp = (100 + down * y + right * x)[None]
    np.testing.assert_allclose(gradient_energy(ramp, 7), np.hypot(down, right), rtol=1e-5)
    np.testing.assert_allclose(hog_cells(ramp, 7), np.broadcast_to(np.eye(9)[where], (1, 7, 7, 9)), atol=1e-6)
    np.testing.assert_allclose(orientation_histogram(ramp, 7)[0], np.eye(9)[where], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(side=st.integers(9, 40), cells=st.integers(1, 9))
def test_cells_hold_exact_areas(side: int, cells: int) -> None:
    """As of the picture enlarged until each cell is made of whole pixels."""
    levels = pictures(1, side)
    enlarged = levels.repeat(cells, axis=1).repeat(cells, axis=2)
    expected = enlarged.reshape(1, cells, side, cells, side).mean(axis=(2, 4), dtype=np.float64)
    np.testing.assert_allclose(intensity(levels, cells), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "make", [gradient_energy, intensity, spectral_residual, hog_cells, orientation_histogram]
)
def test_a_picture_does_not_depend_on_its_neighbours(
    make: floors.Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = pictures(5)
    whole = make(levels)
    monkeypatch.setattr(floors, "CHUNK", 2)
    np.testing.assert_allclose(make(levels), whole, rtol=1e-6)
    np.testing.assert_allclose(make(levels[::-1])[::-1], whole, rtol=1e-6)
    assert whole.dtype == np.float32
    assert make(levels[:0]).shape == (0, *whole.shape[1:])


def test_what_inversion_changes_and_what_it_does_not() -> None:
    """Edges stay where they are; levels and thumbnails turn around."""
    levels = pictures(3)
    turned = 255 - levels
    for make in (gradient_energy, hog_cells, orientation_histogram):
        np.testing.assert_allclose(make(turned), make(levels), atol=1e-5)
    np.testing.assert_allclose(intensity(turned), 255 - intensity(levels), rtol=1e-5)
    np.testing.assert_allclose(thumbnail(turned), -thumbnail(levels), atol=1e-3)


def test_spectral_residual_is_that_of_the_paper() -> None:
    """Written down a second time, with loops over the 3 x 3 frequencies and cells of whole pixels."""
    levels = pictures(1, 64)
    spectrum = np.fft.fft2(levels[0].astype(np.float64))
    log = np.log(np.abs(spectrum))
    steps = (-1, 0, 1)
    mean = sum(np.roll(log, (y, x), (0, 1)) for y in steps for x in steps) / 9
    back = np.fft.ifft2(np.exp(log - mean + 1j * np.angle(spectrum)))
    saliency = gaussian_filter(np.abs(back) ** 2, 2.5)
    expected = saliency.reshape(16, 4, 16, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(spectral_residual(levels, 16)[0], expected, rtol=1e-4)


def test_spectral_residual_points_at_what_is_odd() -> None:
    """A patch of other texture in a regular one."""
    y, x = np.indices((224, 224))
    levels = 127 + 60 * np.sin(x / 3.0)
    levels[64:96, 128:160] = (127 + 60 * np.sin(y / 3.0))[64:96, 128:160]
    found = spectral_residual(levels[None].astype(np.float32))[0]
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 3 <= row <= 6
    assert 7 <= column <= 10


def test_pictures_that_show_nothing_give_zeros() -> None:
    flat = np.full((2, SIDE, SIDE), 77, np.float32)
    for make in (gradient_energy, hog_cells, orientation_histogram, spectral_residual):
        assert not make(flat).any()
    np.testing.assert_allclose(thumbnail(flat), 0, atol=1e-4)
    np.testing.assert_allclose(intensity(flat), 77, rtol=1e-6)


def test_the_cosine_of_thumbnails_is_the_correlation_of_small_pictures() -> None:
    one, other = pictures(2, 224)
    small = [
        np.asarray(Image.fromarray(each).resize((32, 32), Image.Resampling.BILINEAR)).ravel()
        for each in (one, other)
    ]
    first, second = thumbnail(np.stack([one, other]))
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine == pytest.approx(np.corrcoef(*small)[0, 1], abs=1e-5)


def test_more_cells_than_pixels_are_a_defect() -> None:
    with pytest.raises(ValueError, match="of at least 14 pixels"):
        intensity(np.zeros((1, 13, 13), np.float32))
    with pytest.raises(ValueError, match="expected"):
        hog_cells(np.zeros((20, 20), np.float32))
    with pytest.raises(ValueError, match="expected"):
        gradient_energy(np.zeros((1, 20, 20), np.float32), 0)
