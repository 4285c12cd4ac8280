"""The floors on 82 real pairs, against figures that were measured before with other code.

The same recipe: grey (BT.601), squashed to 224 x 224, thermal asks colour unless it says otherwise.
"""

from pathlib import Path

import numpy as np
import pytest

from dinonat.agreement.floors import (
    gradient_energy,
    grey,
    hog_cells,
    intensity,
    orientation_histogram,
    spectral_residual,
    thumbnail,
)
from dinonat.agreement.maps import MEASURES, pearson
from dinonat.agreement.matches import dense_matches
from dinonat.agreement.squares import SEEDS, Squares, kept_side
from dinonat.embeddings.framing import shown
from dinonat.images.batches import read_prepared
from dinonat.images.listing import list_images
from dinonat.neighbors.pairs import TIE, partner_ranks, units
from dinonat.records import Float32, UInt8

SIDE = 224
ONE = 100 / 82  # points that one pair makes
MAPS = {"gradient": gradient_energy, "residual": spectral_residual, "intensity": intensity}
Pair = tuple[Float32, Float32]


def squashed(folder: Path, side: int) -> UInt8:
    pictures = [
        loaded.prepared.pixels for loaded in read_prepared(list_images(folder).refs) if loaded.prepared
    ]
    return np.stack([shown(each, (side, side)) for each in pictures])


@pytest.fixture(scope="module")
def pairs(data: Path) -> Pair:
    """Luminance of colour and of thermal pictures (82, 224, 224)."""
    folders = (data / "paired_road/visible", data / "paired_road/infrared")
    colour, thermal = (grey(squashed(folder, SIDE)) for folder in folders)
    assert len(colour) == len(thermal) == 82
    return colour, thermal


def recalls(colour: Float32, thermal: Float32) -> list[float]:
    """Return R@1 and R@5 in percent, thermal asking and then colour asking."""
    one, other = (units(each.reshape(len(each), -1)) for each in (colour, thermal))
    ranks = (partner_ranks(other, one), partner_ranks(one, other))
    return [100 * float(np.mean(each < k)) for each in ranks for k in (1, 5)]


@pytest.mark.parametrize(
    ("name", "expected"),  # paired and mismatched, by Pearson, Spearman and the overlap of the top quarter
    [
        ("gradient", [(0.570, 0.135), (0.636, 0.164), (0.365, 0.185)]),
        ("residual", [(0.476, 0.099), (0.579, 0.135), (0.340, 0.181)]),
        ("intensity", [(-0.087, -0.004), (-0.023, 0.045), (0.147, 0.141)]),
    ],
)
def test_maps_of_partners_and_strangers(name: str, expected: list[tuple[float, float]], pairs: Pair) -> None:
    colour, thermal = (MAPS[name](each) for each in pairs)
    for measure, (paired, mismatched) in zip(("pearson", "spearman", "overlap"), expected, strict=True):
        all_with_all = MEASURES[measure](colour, thermal)
        assert np.diagonal(all_with_all).mean() == pytest.approx(paired, abs=0.02)
        strangers = all_with_all[~np.eye(len(all_with_all), dtype=bool)]
        assert strangers.mean() == pytest.approx(mismatched, abs=0.02)


@pytest.mark.parametrize(("name", "expected"), [("gradient", 80.5), ("residual", 48.8), ("intensity", 1.2)])
def test_maps_find_their_partners(name: str, expected: float, pairs: Pair) -> None:
    """By the correlation of maps: the partner before all others, ties against it."""
    near = pearson(*(MAPS[name](each) for each in reversed(pairs)))  # (thermal, colour)
    first = (near >= np.diagonal(near)[:, None] - TIE).sum(axis=1) == 1
    assert 100 * first.mean() == pytest.approx(expected, abs=2)


def test_vectors_find_their_partners(pairs: Pair) -> None:
    """R@1 and R@5 of thermal, and of colour pictures that ask."""
    colour, thermal = pairs
    small, other = thumbnail(colour), thumbnail(thermal)
    found = {
        "hog": recalls(hog_cells(colour), hog_cells(thermal)),
        "histogram": recalls(orientation_histogram(colour), orientation_histogram(thermal)),
        "thumbnail": recalls(small, other),
        "inverted": recalls(small, -other),
    }
    expected = {
        "hog": [98.8, 98.8, 98.8, 100.0],
        "histogram": [19.5, 43.9, 17.1, 41.5],
        "thumbnail": [3.7, 23.2, 4.9, 9.8],
        "inverted": [18.3, 30.5, 20.7, 30.5],
    }
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, abs=2), name
    np.testing.assert_allclose(recalls(small, thumbnail(255 - thermal)), found["inverted"], atol=ONE)


def test_the_size_of_the_correlation_alone_finds_partners(pairs: Pair) -> None:
    """Of thumbnails, whatever its sign: what looks like the negative of a picture may be its partner."""
    colour, thermal = (units(thumbnail(each)) for each in pairs)
    for near, expected in ((thermal @ colour.T, 14.6), (colour @ thermal.T, 25.6)):
        first = (np.abs(near) >= np.abs(np.diagonal(near))[:, None] - TIE).sum(axis=1) == 1
        assert 100 * first.mean() == pytest.approx(expected, abs=2)


def test_cells_find_their_places(pairs: Pair) -> None:
    found = dense_matches(*(hog_cells(each) for each in pairs))
    assert 100 * found.hit.mean() == pytest.approx(15.2, abs=1)
    assert 100 * found.mutual.mean() == pytest.approx(6.8, abs=1)
    assert 100 * found.chance == pytest.approx(4.2, abs=0.05)


def test_random_crops_take_most_of_it_away(pairs: Pair, data: Path) -> None:
    """The mean of five crops of the thermal side; one alone strays by 4 to 5 points (40 were drawn)."""
    folder = data / "paired_road/infrared"
    thermal = Squares(squashed(folder, SIDE), squashed(folder, kept_side(SIDE)))
    colour = hog_cells(pairs[0])
    cropped = [recalls(colour, hog_cells(grey(thermal.cropped(seed)))) for seed in range(SEEDS)]
    assert np.mean(cropped, axis=0) == pytest.approx([37.8, 64.6, 45.1, 65.9], abs=8)
    assert np.std(cropped, axis=0).max() > 1  # five crops, not one five times
