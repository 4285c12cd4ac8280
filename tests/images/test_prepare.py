from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dinonat.errors import ImageError, UsageError
from dinonat.images.prepare import MID_GREY, parse_preparation, prepare, to_grey
from dinonat.images.reader import read_thermal
from dinonat.records import Float32, Polarity, ThermalFrame


def frame(data: object) -> ThermalFrame:
    return ThermalFrame(np.asarray(data, np.float32), "counts")


def test_percentiles_map_to_black_and_white_by_the_definition() -> None:
    values = np.arange(10_001, dtype=np.float32).reshape(73, 137) * 0.5 + 6743
    prepared = prepare(frame(values))
    low, high = 6743 + 0.5 * 100, 6743 + 0.5 * 9900  # of 10001 even steps, 1 % and 99 %
    assert (prepared.lo, prepared.hi) == (low, high)
    expected = np.clip((values.astype(np.float64) - low) / (high - low) * 255, 0, 255)
    assert np.abs(prepared.pixels[..., 0] - expected).max() <= 0.5
    assert prepared.pixels.shape == (73, 137, 3)
    assert (prepared.pixels == prepared.pixels[..., :1]).all()
    assert (prepared.mode, prepared.unit) == ("percentile", "counts")


def test_one_hot_pixel_costs_percentiles_nothing_and_minmax_everything() -> None:
    counts = np.random.default_rng(0).integers(6743, 7078, (64, 80)).astype(np.float32)
    hot = counts.copy()
    hot[20, 30] = 65535
    cool, heated = (prepare(frame(data)).pixels for data in (counts, hot))
    away = np.ones((64, 80), bool)
    away[20, 30] = False
    assert np.abs(cool.astype(int) - heated)[away].max() <= 1
    assert heated[20, 30].tolist() == [255, 255, 255]
    assert np.ptp(prepare(frame(hot), parse_preparation("percentile=0:100")).pixels[away]) <= 2


@pytest.mark.parametrize("value", [0.0, 6743.0, -40.0, 3.4e38, 1e-40])
@pytest.mark.parametrize("shape", [(1, 1), (5, 4)])
def test_a_flat_frame_is_mid_grey(value: float, shape: tuple[int, int]) -> None:
    flat = frame(np.full(shape, value))
    with np.errstate(all="raise", under="ignore"):
        prepared = prepare(flat)
    assert (prepared.pixels == MID_GREY).all()
    assert prepared.lo == prepared.hi == np.float32(value)


def test_a_flat_frame_with_one_hot_and_one_cold_pixel_shows_both() -> None:
    data = np.full((40, 40), 500.0)
    data[3, 4], data[5, 6] = 501, 499
    grey = prepare(frame(data)).pixels[..., 0]
    assert (grey[3, 4], grey[5, 6], grey[0, 0]) == (255, 0, MID_GREY)


def test_missing_pixels_are_black_and_do_not_move_the_range() -> None:
    data = np.linspace(10, 20, 400).reshape(20, 20)
    whole = prepare(frame(data))
    holes = np.concatenate([data, np.full((5, 20), np.nan)])
    prepared = prepare(frame(holes))
    assert (prepared.lo, prepared.hi) == (whole.lo, whole.hi)
    np.testing.assert_array_equal(prepared.pixels[:20], whole.pixels)
    assert not prepared.pixels[20:].any()


def test_nothing_to_see_and_nothing_understood_are_sentences() -> None:
    with pytest.raises(ImageError, match="No pixel holds data"):
        prepare(frame(np.full((3, 3), np.nan)))
    with pytest.raises(ImageError, match=r"values 3 to 3 \(counts\) all lie outside the window 20:40"):
        prepare(frame(np.full((3, 3), 3)), parse_preparation("window=20:40"))
    with pytest.raises(ValueError, match="limits of the set"):
        prepare(frame(np.zeros((3, 3))), parse_preparation("dataset"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("histogram", "expected percentile, recording, dataset or clahe"),
        ("percentile=99:1", "0 <= low < high <= 100"),
        ("dataset=0:101", "0 <= low < high <= 100"),
        ("window", "window=20:40"),
        ("window=40:20", "the lower value first"),
        ("window=20:warm", "not two numbers"),
        ("window=-inf:40", "finite"),
        ("window=1:2:3", "expected percentile"),
        ("", "expected percentile"),
    ],
)
def test_a_preparation_that_makes_no_sense_is_a_sentence(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_preparation(text)
    with pytest.raises(UsageError, match="invert=perhaps"):
        parse_preparation("clahe", invert="perhaps")


def test_a_window_maps_its_own_values_whatever_the_image_holds() -> None:
    window = parse_preparation("window=-20.5:39.5")
    for data in ([[-30.0, -20.5, 9.5, 39.5, 50.0]], [[9.5, 9.5]], [[0.0, np.nan]]):
        prepared = prepare(frame(data), window)
        assert (prepared.mode, prepared.lo, prepared.hi) == ("window", -20.5, 39.5)
        expected = np.clip((np.float64(data) + 20.5) / 60 * 255, 0, 255)
        np.testing.assert_allclose(prepared.pixels[..., 0], np.nan_to_num(expected), atol=0.5)


@pytest.mark.parametrize(
    ("invert", "polarity", "turned"),
    [("yes", "white_hot", True), ("no", "black_hot", False), ("auto", "black_hot", True),
     ("auto", "white_hot", False), ("auto", "unknown", False)],
)  # fmt: skip
def test_turning_polarity_swaps_the_limits(invert: str, polarity: Polarity, turned: bool) -> None:
    values = np.arange(200, dtype=np.float32).reshape(10, 20)
    plain = prepare(frame(values))
    other = prepare(ThermalFrame(values, "counts", polarity), parse_preparation("percentile", invert=invert))
    assert (other.lo, other.hi) == ((plain.hi, plain.lo) if turned else (plain.lo, plain.hi))
    expected = 255 - plain.pixels.astype(int) if turned else plain.pixels.astype(int)
    assert np.abs(other.pixels - expected).max() <= 1  # a half rounds up on both sides
    again = prepare(
        ThermalFrame(values, "counts", polarity),
        parse_preparation("dataset", invert=invert),
        limits=(other.lo, other.hi),
    )
    np.testing.assert_array_equal(again.pixels, other.pixels)


def test_clahe_lifts_faint_detail_and_keeps_no_data_black() -> None:
    rng = np.random.default_rng(3)
    data = np.full((128, 128), 20.0) + rng.normal(0, 0.02, (128, 128))
    data[:, 64:] += 30  # a hot half, so that percentiles leave the texture of both halves flat
    data[5, 5] = np.nan
    flat = prepare(frame(data)).pixels[..., 0]
    local = prepare(frame(data), parse_preparation("clahe"))
    assert local.mode == "clahe"
    assert local.pixels[:, 80:, 0].std() > 3 * flat[:, 80:].std()
    assert local.pixels[5, 5].tolist() == [0, 0, 0]


def test_colour_passes_as_it_is() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    prepared = prepare(ThermalFrame(rgb.mean(axis=2, dtype=np.float32), "grey", rgb=rgb))
    assert prepared.pixels is rgb
    assert (prepared.mode, prepared.lo, prepared.hi) == ("colour", 0.0, 255.0)


values = st.integers(-(10**6), 10**6).map(lambda eighths: eighths / 8)


@given(npst.arrays(np.float32, npst.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=values))
def test_order_is_kept_and_a_linear_change_of_counts_changes_little(data: Float32) -> None:
    """Hotter is never darker; twice the counts plus an offset give the same picture."""
    grey = prepare(frame(data)).pixels[..., 0].astype(int)
    ranks = np.argsort(data, axis=None, kind="stable")
    assert (np.diff(grey.ravel()[ranks]) >= 0).all()
    doubled = prepare(frame(data * 2)).pixels[..., 0].astype(int)
    assert np.abs(doubled - grey).max() <= 1


def test_grey_is_rounded_to_the_nearest() -> None:
    np.testing.assert_array_equal(
        to_grey(np.array([[-9, 0, 0.49, 0.51, 254.6, 300]], np.float32), 0, 255), [[0, 0, 0, 1, 255, 255]]
    )


def test_real_counts_become_a_picture_with_contrast(data: Path) -> None:
    thermal = read_thermal(data / "radiometric/flirpy/example_radiometric.tiff")
    prepared = prepare(thermal)
    assert 6743 <= prepared.lo < prepared.hi <= 7077
    grey = prepared.pixels[..., 0]
    assert 0.005 < (grey == 0).mean() < 0.03
    assert 0.005 < (grey == 255).mean() < 0.03
