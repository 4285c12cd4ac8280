import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dinonat.embeddings.warmth import UNMEASURED, warmth
from dinonat.errors import LabelError
from dinonat.geometry import mask_to_counts
from dinonat.images.reader import read_thermal
from dinonat.records import TEMPERATURE_COLUMNS

VALUES = st.floats(-300, 70000, width=32) | st.just(float("nan"))
PICTURES = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=VALUES)
)
SIDE = st.floats(-2, 12) | st.integers(-4, 24).map(lambda n: n / 2)


def by_definition(values: np.ndarray) -> dict[str, float]:
    """NumPy's own definitions, in float64."""
    exact = values.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing but NaN gives NaN, which is meant
        if not exact.size:
            return UNMEASURED
        found = {
            "t_min": np.nanmin(exact),
            "t_median": np.nanmedian(exact),
            "t_mean": np.nanmean(exact),
            "t_p95": np.nanpercentile(exact, 95),
            "t_max": np.nanmax(exact),
        }
    return {name: float(value) for name, value in found.items()}


def holds(start: float, length: float, limit: int) -> np.ndarray:
    """The pixels of one axis whose centres the side holds; else the one under the side's middle."""
    centres = np.arange(-6, 40) + 0.5
    inside = (start <= centres) & (centres < start + length)
    if not inside.any():
        middle = start + length / 2
        inside = (centres - 0.5 <= middle) & (middle < centres + 0.5)
    return inside[6 : 6 + limit]


@given(PICTURES, SIDE, SIDE, st.floats(0.01, 12), st.floats(0.01, 12))
def test_a_box_is_the_pixels_whose_centres_it_holds(
    measured: np.ndarray, x: float, y: float, w: float, h: float
) -> None:
    height, width = measured.shape
    inside = np.outer(holds(y, h, height), holds(x, w, width))
    assert warmth(measured, (x, y, w, h)) == pytest.approx(
        by_definition(measured[inside]), rel=1e-6, nan_ok=True
    )


@given(PICTURES, st.data())
def test_a_mask_is_its_pixels_whatever_the_box(measured: np.ndarray, data: st.DataObject) -> None:
    mask = data.draw(arrays(bool, measured.shape))
    found = warmth(measured, (0.0, 0.0, 1.0, 1.0), mask_to_counts(mask))
    assert found == pytest.approx(by_definition(measured[mask]), rel=1e-6, nan_ok=True)


@given(PICTURES)
def test_the_numbers_are_in_order_and_the_whole_picture_is_a_box(measured: np.ndarray) -> None:
    height, width = measured.shape
    found = warmth(measured, (0, 0, width, height))
    assert list(found) == list(TEMPERATURE_COLUMNS)
    whole = mask_to_counts(np.ones(measured.shape, bool))
    assert found == pytest.approx(warmth(measured, (0, 0, 1, 1), whole), nan_ok=True)
    if not math.isnan(found["t_max"]):
        assert found["t_min"] <= found["t_median"] <= found["t_p95"] <= found["t_max"]
        assert found["t_min"] <= found["t_mean"] <= found["t_max"]
        assert found["t_max"] in measured  # exact in float32: no detour through another precision


def test_percentiles_lie_between_the_two_nearest_ranks() -> None:
    found = warmth(np.float32([[0, 10, 20, 30]]), (0, 0, 4, 1))
    assert found == pytest.approx({"t_min": 0, "t_median": 15, "t_mean": 15, "t_p95": 28.5, "t_max": 30})


@pytest.mark.parametrize(
    ("box", "values"),
    [
        ((1.4, 0.4, 0.2, 0.2), [1]),  # holds the centre of pixel (0, 1)
        ((1.6, 0.6, 0.2, 0.2), [1]),  # holds none
        ((2.9, 1.9, 0.1, 0.1), [5]),
        ((0.5, 0.0, 1.0, 1.0), [0]),  # the left edge is inside, the right is not
        ((0.6, 0.0, 1.0, 1.0), [1]),
        ((-5.0, -5.0, 50.0, 50.0), [0, 1, 2, 3, 4, 5]),
        ((3.0, 0.0, 2.0, 2.0), []),
    ],
)
def test_boxes_smaller_than_a_pixel_and_beyond_the_picture(box: tuple[float, ...], values: list[int]) -> None:
    measured = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = warmth(measured, box)
    assert found == pytest.approx(by_definition(np.float64(values)), nan_ok=True)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 8))
def test_boxes_side_by_side_share_no_pixel(width: int, height: int, cut: int) -> None:
    measured = np.arange(width * height, dtype=np.float32).reshape(height, width)
    cut = min(cut, width - 1)
    right = warmth(measured, (cut, 0, width - cut, height))
    assert right["t_min"] == cut
    if cut:
        assert warmth(measured, (0, 0, cut, height))["t_max"] == (height - 1) * width + cut - 1


def test_nothing_measured_is_not_zero() -> None:
    for found in (
        warmth(None, (0, 0, 1, 1)),
        warmth(np.full((2, 2), np.nan, np.float32), (0, 0, 2, 2)),
        warmth(np.full((2, 2), np.inf, np.float32), (0, 0, 2, 2)),
        warmth(np.ones((2, 2), np.float32), (0, 0, 1, 1), mask_to_counts(np.zeros((2, 2), bool))),
    ):
        assert found == pytest.approx(UNMEASURED, nan_ok=True)


@pytest.mark.parametrize("counts", [[3], [2, 3], [1, -1, 4]])
def test_a_mask_of_another_picture_is_a_sentence(counts: list[int]) -> None:
    with pytest.raises(LabelError, match="2x2"):
        warmth(np.ones((2, 2), np.float32), (0, 0, 1, 1), counts)


def test_a_real_picture_in_degrees(data: Path) -> None:
    """A mug under a tap, seen by an E40: values of the whole formula in float64."""
    measured = read_thermal(data / "radiometric/thermal_parser/FLIR_E40.jpg").data
    found = warmth(measured, (0, 0, 160, 120))
    expected = {"t_min": 17.8759, "t_median": 21.0128, "t_mean": 21.0894, "t_max": 24.7004}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.001)
    corner = warmth(measured, (159, 119, 1, 1))
    assert corner["t_max"] == pytest.approx(19.8556, abs=0.001)


@pytest.mark.parametrize("top", [1, 255, 7000, 65535, 65536])
@pytest.mark.parametrize("odd", [None, -1.0, 0.5, float("nan")])
def test_large_pictures_of_whole_numbers_are_as_any(top: int, odd: float | None) -> None:
    rng = np.random.default_rng(top)
    measured = rng.integers(0, top, (150, 150), endpoint=True).astype(np.float32)
    measured[0, 0] = top
    if odd is not None:
        measured[70, 80] = odd
    found = warmth(measured, (0, 0, 150, 150))
    assert found == pytest.approx(by_definition(measured), rel=1e-6)
    assert found["t_max"] == top
