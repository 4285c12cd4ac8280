import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.saliency.guided import guided_filter, resized, shrunk


def test_the_filter_is_the_least_squares_fit_of_its_definition():
    rng = np.random.default_rng(0)
    guide, values = rng.random((2, 30, 30), dtype=np.float32)
    radius, eps = 2, 0.01
    fits = {}
    for y in range(radius, 30 - radius):
        for x in range(radius, 30 - radius):
            window = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
            g, v = guide[window].ravel().astype(float), values[window].ravel().astype(float)
            # ridge on the slope: minimise sum (a g + b - v)^2 + n eps a^2
            slope = ((g - g.mean()) @ (v - v.mean())) / ((g - g.mean()) @ (g - g.mean()) + len(g) * eps)
            fits[y, x] = slope, v.mean() - slope * g.mean()
    y, x = 15, 12
    covering = [fits[y + dy, x + dx] for dy in range(-2, 3) for dx in range(-2, 3)]
    expected = np.mean([a * guide[y, x] + b for a, b in covering])
    assert guided_filter(guide, values, radius=radius, eps=eps)[y, x] == pytest.approx(expected, abs=1e-5)


def test_a_blurred_mask_gets_the_edge_of_the_picture():
    picture = np.zeros((60, 60), np.float32)
    picture[:, 27:] = 1
    coarse = np.zeros((6, 6), np.float32)
    coarse[:, 3:] = 1  # the nearest edge of the coarse grid lies at 30
    mask = guided_filter(picture, resized(coarse, (60, 60)), radius=10) > 0.5
    assert (mask == (picture > 0.5)).all()


@settings(deadline=None)  # the first call loads SciPy
@given(st.floats(0, 1, width=32))
def test_constants_stay(value):
    rng = np.random.default_rng(0)
    values = np.full((9, 7), value, np.float32)
    assert guided_filter(rng.random((9, 7), dtype=np.float32), values, radius=2) == pytest.approx(
        value, abs=1e-5
    )
    assert resized(values, (30, 20)) == pytest.approx(value, abs=1e-5)


def test_resizing_reproduces_a_plane_between_the_outer_cell_centres():
    y, x = np.mgrid[0:5, 0:6] + 0.5  # cell centres
    fine_y, fine_x = np.mgrid[0:20, 0:24] / 4 + 0.125
    out = resized((2 * y + x).astype(np.float32), (20, 24))
    inside = (slice(2, -2), slice(2, -2))
    assert out[inside] == pytest.approx((2 * fine_y + fine_x)[inside], abs=1e-4)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_shrinking_takes_means_of_blocks_and_loses_no_pixel(height, width, factor):
    picture = np.random.default_rng(0).random((height, width), dtype=np.float32)
    out = shrunk(picture, factor)
    assert out.shape == (-(-height // factor), -(-width // factor))
    if height % factor == width % factor == 0:
        assert out.mean() == pytest.approx(picture.mean(), abs=1e-5)
        assert out[0, 0] == pytest.approx(picture[:factor, :factor].mean(), abs=1e-6)
