from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinonat.images.alignment import Alignment, measure_alignment
from dinonat.images.batches import pack_pictures
from dinonat.images.edge_maps import CELLS, REACH, edges, surfaces
from dinonat.images.listing import list_images
from dinonat.scenes import automatic_gain, make_scene

Pictures = NDArray[np.uint8]
Pair = tuple[Pictures, Pictures]
SIDE = 128


def measured(colour: Pictures, thermal: Pictures) -> Alignment:
    count = len(colour)
    pairs = np.stack([np.arange(count), np.arange(count, 2 * count)], axis=1)
    return measure_alignment(np.concatenate([colour, thermal]), pairs)


def squashed(pictures: list[np.ndarray], box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Pictures:
    """Cut pictures to a box in shares of their sides, and squash them."""
    small = []
    for each in pictures:
        whole = Image.fromarray(each)
        wide, high = whole.size
        cut = (box[0] * wide, box[1] * high, box[2] * wide, box[3] * high)
        small.append(np.asarray(whole.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=cut)))
    return np.stack(small)


@pytest.fixture(scope="module")
def scenes() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Made scenes of several recordings: the same places in colour and in thermal."""
    made = [make_scene(0, index) for index in range(0, 192, 8)]
    return [scene.colour for scene in made], [automatic_gain(scene.counts) for scene in made]


def shifted(scenes: tuple[list[np.ndarray], list[np.ndarray]], dx: float, dy: float) -> Pair:
    """Return pairs whose thermal pictures must be moved by (dx, dy), shares of a side, to fit."""
    left, top, right, low = max(0, dx), max(0, dy), 1 + min(0, dx), 1 + min(0, dy)
    other = (max(0, -dx), max(0, -dy), 1 + min(0, -dx), 1 + min(0, -dy))
    return squashed(scenes[0], other), squashed(scenes[1], (left, top, right, low))


def test_aligned_pairs_are_aligned_whatever_the_polarity(scenes: tuple[list, list]) -> None:
    colour, thermal = shifted(scenes, 0, 0)
    found = measured(colour, thermal)
    assert found.verdict == "aligned"
    assert found.shift == (0, 0)
    assert found.gap > 0.3
    assert found.best == pytest.approx(found.gap)
    turned = measured(colour, 255 - thermal)
    assert (turned.verdict, turned.shift) == ("aligned", (0, 0))
    assert turned.gap == pytest.approx(found.gap, abs=0.02)
    assert found.sentence((256, 192)).startswith("The pairs are aligned: edges correlate 0.")


@pytest.mark.parametrize("shift", [(0.05, 0.0), (-0.08, 0.0), (0.0, 0.06), (0.05, -0.04)])
def test_a_shift_is_told_and_the_offset_that_mends_it(
    scenes: tuple[list, list], shift: tuple[float, float]
) -> None:
    found = measured(*shifted(scenes, *shift))
    assert found.verdict == "shifted"
    common = [each / (1 - abs(each)) for each in shift]  # in shares of what is left after the cut
    assert found.shift == pytest.approx(common, abs=0.6 / CELLS)
    x, y = found.offset((1000, 1000))
    assert f"--pair-offset {x},{y}" in found.sentence((1000, 1000))
    assert (x, y) == pytest.approx([1000 * each for each in common], abs=10)


def test_what_is_left_after_an_offset_is_added_to_it(scenes: tuple[list, list]) -> None:
    """Cut for half the shift, the rest is found in shares of the smaller common area."""
    found = measured(*shifted(scenes, 0.05, 0.0))
    x, y = found.offset((1000, 500), given=(100.0, -50.0))
    assert (x, y) == (round(100 + found.shift[0] * 900), round(-50 + found.shift[1] * 450))


def test_strangers_and_mirrored_pictures_are_not_aligned(scenes: tuple[list, list]) -> None:
    colour, thermal = shifted(scenes, 0, 0)
    wrong = np.random.default_rng(0).permutation(len(thermal))
    found = measured(colour, thermal[wrong])
    assert found.verdict == "not aligned"
    assert "edges correlate" in found.sentence((256, 192))
    noise = np.random.default_rng(1).integers(0, 255, thermal.shape, dtype=np.uint8)
    assert measured(colour, noise).verdict == "not aligned"
    flat = measured(colour, np.full_like(thermal, 9))
    assert (flat.verdict, flat.paired, flat.odd) == ("not aligned", 0.0, ())


def test_partners_one_place_later_are_out_of_step(scenes: tuple[list, list]) -> None:
    colour, thermal = shifted(scenes, 0, 0)
    for step in (1, -2):
        found = measured(colour, np.roll(thermal, step, axis=0))
        assert (found.verdict, found.step) == ("out of step", step)
    assert "1 earlier" in measured(colour, np.roll(thermal, -1, axis=0)).sentence((9, 9))


def test_another_field_of_view_is_told(scenes: tuple[list, list]) -> None:
    middle = squashed(scenes[1], (0.15, 0.15, 0.85, 0.85))
    found = measured(squashed(scenes[0]), middle)
    assert (found.verdict, found.field) == ("another field", pytest.approx(0.7))
    assert "thermal pictures seem to show only the middle 70% of the colour" in found.sentence((9, 9))
    other = measured(squashed(scenes[0], (0.1, 0.1, 0.9, 0.9)), squashed(scenes[1]))
    assert (other.verdict, other.field) == ("another field", pytest.approx(1.25))
    assert "colour pictures seem to show only the middle 80% of the thermal" in other.sentence((9, 9))


def test_single_wrong_pairs_are_named_and_right_ones_are_not(textures: Callable[..., np.ndarray]) -> None:
    """Of pictures that share nothing every wrong partner is as good as a stranger, half of them worse."""
    made = squashed([textures(seed) for seed in range(40)])
    assert measured(made, made).odd == ()
    order = np.arange(40)
    wrong = [3, 9, 14, 20, 26, 33, 38, 39]
    order[wrong] = np.roll(wrong, 1)
    odd = measured(made, made[order]).odd
    assert set(odd) <= set(wrong)
    assert len(odd) >= 1


def test_a_few_pairs_tell_nothing() -> None:
    pictures = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    assert measured(pictures, pictures).verdict == "too few"
    assert measured(pictures, pictures).sentence((9, 9)).startswith("3 pairs are too few")


def test_surfaces_are_the_plain_correlations(textures: Callable[..., np.ndarray]) -> None:
    """Against loops over all pairs and slices of the maps, in float64."""
    made = squashed([textures(seed) for seed in range(8)])
    one, other = edges(made, np.arange(4)), edges(made, np.arange(4, 8))
    assert np.linalg.norm(one.reshape(4, -1), axis=1) == pytest.approx(1.0, abs=1e-5)
    own, strangers = surfaces(one, other)
    for dx, dy in ((0, 0), (3, -2), (-REACH, REACH)):
        here = (slice(max(0, dy), CELLS + min(0, dy)), slice(max(0, dx), CELLS + min(0, dx)))
        there = (slice(max(0, -dy), CELLS + min(0, -dy)), slice(max(0, -dx), CELLS + min(0, -dx)))
        table = np.array([[(a[here].astype(np.float64) * b[there]).sum() for b in other] for a in one])
        place = (dy + REACH, dx + REACH)
        assert own[place] == pytest.approx(np.trace(table) / 4, abs=1e-6)
        assert strangers[place] == pytest.approx((table.sum() - np.trace(table)) / 12, abs=1e-6)


@pytest.fixture(scope="module")
def road(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("road")
    colour, thermal = (
        pack_pictures(list_images(data / "paired_road" / name).refs, folder / f"{name}.npy", side=128).pixels
        for name in ("visible", "infrared")
    )
    return np.asarray(colour), np.asarray(thermal)


def test_real_aligned_pairs(road: Pair) -> None:
    colour, thermal = road
    found = measured(colour, thermal)
    assert (found.verdict, found.shift, found.odd) == ("aligned", (0, 0), ())
    assert found.gap > 0.25
    few = measured(colour[::20], thermal[::20])
    assert (few.pairs, few.verdict) == (5, "aligned")


def test_real_pairs_that_were_shuffled_mirrored_or_moved(road: Pair) -> None:
    colour, thermal = road
    wrong = np.random.default_rng(0).permutation(len(thermal))
    assert measured(colour, thermal[wrong]).verdict == "not aligned"
    assert measured(colour, thermal[:, :, ::-1]).verdict == "not aligned"
    for cells in (6, 12):  # of 128: the thermal pictures lie 4.7 and 9.4 % too far left
        found = measured(colour[:, :, : 128 - cells], thermal[:, :, cells:])
        assert found.verdict == "shifted"
        assert found.shift == pytest.approx((cells / (128 - cells), 0.0), abs=0.01)
