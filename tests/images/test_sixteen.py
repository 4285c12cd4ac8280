from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dinonat.images.reader import read_thermal
from dinonat.images.sixteen import NO_DATA, block_means, sixteen

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
DEGREES = st.floats(-70, 580, width=32)
REAL = {
    "thermal_parser/FLIR_E40.jpg": "celsius",
    "thermal_parser/FLIR_AX8.jpg": "celsius",
    "thermal_parser/FLIR_B60.jpg": "celsius",
    "thermal_parser/DJI_XT2.jpg": "celsius",
    "thermal_parser/M3T/DJI_0001_R.JPG": "counts",
    "flirpy/frame_000000.fff": "celsius",
    "flirpy/example_radiometric.tiff": "counts",
}


def off(data: np.ndarray) -> tuple[np.ndarray, float]:
    """How far levels lie from the values, by arithmetic in float64 as a browser does it, and the step."""
    told = sixteen(data)
    there = told.levels != NO_DATA
    again = told.offset + told.step * told.levels[there].astype(np.float64)
    return np.abs(again - data[there].astype(np.float64)), told.step


@given(arrays(np.float32, SHAPES, elements=FINITE))
def test_no_value_is_more_than_half_a_step_off(data: np.ndarray) -> None:
    distance, step = off(data)
    assert distance.size == data.size
    largest = float(np.abs(data).max())
    assert distance.max() <= step / 2 + 4 * np.finfo(np.float64).eps * largest


@given(arrays(np.float32, SHAPES, elements=DEGREES))
def test_degrees_of_a_span_below_655_have_a_step_below_a_hundredth(data: np.ndarray) -> None:
    distance, step = off(data)
    assert distance.max() <= 0.005 + 1e-9
    assert step <= 0.01 or (distance == 0).all()


def test_a_wider_span_says_its_step() -> None:
    told = sixteen(np.linspace(-273, 3000, 1000, dtype=np.float32).reshape(10, 100))
    assert told.step == pytest.approx(3273 / 65534)


@given(st.integers(-(2**23), 2**23), st.data())
def test_whole_counts_are_exact(low: int, draw: st.DataObject) -> None:
    whole = st.integers(low, low + 65534).map(float)
    data = draw.draw(arrays(np.float32, SHAPES, elements=whole))
    told = sixteen(data)
    assert told.step == 1
    assert np.array_equal(told.values(), data)
    assert told.offset == 0 or low < 0 or data.max() > 65534


def test_every_count_of_16_bits_but_the_last_stands_for_itself() -> None:
    counts = np.arange(65535, dtype=np.float32).reshape(5, -1)
    assert np.array_equal(sixteen(counts).levels, counts)
    with_last = np.arange(65536, dtype=np.float32).reshape(16, -1)
    assert off(with_last)[1] == pytest.approx(65535 / 65534)
    assert np.array_equal(sixteen(with_last[1:]).values(), with_last[1:])


@given(arrays(np.float32, SHAPES, elements=st.floats(width=32)))
def test_what_is_not_finite_is_no_data(data: np.ndarray) -> None:
    told = sixteen(data)
    assert np.array_equal(told.levels == NO_DATA, ~np.isfinite(data))
    assert np.array_equal(np.isnan(told.values()), ~np.isfinite(data))


def test_one_value_alone() -> None:
    told = sixteen(np.full((1, 1), 21.37, np.float32))
    assert (told.offset, told.levels[0, 0]) == (np.float32(21.37), 0)
    assert sixteen(np.full((1, 1), np.nan, np.float32)).levels[0, 0] == NO_DATA


@pytest.mark.parametrize(("file", "unit"), REAL.items())
def test_real_files_keep_their_values(data: Path, file: str, unit: str) -> None:
    frame = read_thermal(data / "radiometric" / file)
    distance, step = off(frame.data)
    assert frame.unit == unit
    assert distance.size == np.isfinite(frame.data).sum()
    if unit == "counts":
        assert step == 1
        assert (distance == 0).all()
    else:
        assert step <= 0.01
        assert distance.max() <= step / 2 * (1 + 1e-9)


@given(
    arrays(np.float32, SHAPES, elements=st.floats(-1e6, 1e6, width=32) | st.just(np.nan)), st.integers(1, 7)
)
def test_means_of_blocks_are_those_of_the_definition(data: np.ndarray, factor: int) -> None:
    means = block_means(data, factor)
    for row in range(means.shape[0]):
        for column in range(means.shape[1]):
            block = data[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            there = block[np.isfinite(block)].astype(np.float64)
            expected = there.mean() if there.size else np.nan
            assert means[row, column] == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)


def test_bands_meet_without_a_seam() -> None:
    data = np.random.default_rng(0).normal(size=(700, 31)).astype(np.float32)
    expected = data[:699, :30].reshape(233, 3, 10, 3).mean(axis=(1, 3), dtype=np.float64)
    assert np.allclose(block_means(data, 3)[:233, :10], expected, atol=1e-6)
    assert block_means(data, 3).shape == (234, 11)
