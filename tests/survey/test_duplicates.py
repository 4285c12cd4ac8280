from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from dinonat.images.listing import list_images
from dinonat.records import ImageRef, ThermalFrame
from dinonat.survey import duplicates
from dinonat.survey.duplicates import connected, find_duplicates, one_of_each
from dinonat.survey.facts import Facts, facts_of, survey

Textures = Callable[..., np.ndarray]


def facts(*pictures: np.ndarray, unit: str = "grey") -> list[Facts]:
    return [
        facts_of(ImageRef(Path("set"), f"{i:03}.png"), ThermalFrame(picture.astype(np.float32), unit))  # type: ignore[arg-type]
        for i, picture in enumerate(pictures)
    ]


def pairs(own: Sequence[Facts]) -> list[tuple[int, int]]:
    return [(pair.first, pair.second) for pair in find_duplicates(own).pairs]


def test_different_scenes_are_no_duplicates(textures: Textures) -> None:
    found = find_duplicates(facts(*(textures(seed) for seed in range(30))))
    assert found.pairs == found.groups == found.equal_groups == ()


def test_gain_offset_noise_and_polarity_do_not_hide_a_duplicate(textures: Textures) -> None:
    picture = textures(1).astype(np.float64)
    rng = np.random.default_rng(2)
    agc = 128 + 60 * np.tanh((picture - 120) / 60)
    own = facts(
        textures(0),
        picture,
        (0.5 * picture + 60).round(),
        (picture + rng.normal(0, 4, picture.shape)).clip(0, 255).round(),
        agc.round(),
        255 - picture,
        textures(3),
    )
    found = find_duplicates(own)
    assert found.groups == ((1, 2, 3, 4, 5),)
    assert {(pair.first, pair.second): np.sign(pair.correlation) for pair in found.pairs} == {
        (a, b): -1 if b == 5 else 1 for a in range(1, 6) for b in range(a + 1, 6)
    }
    assert not any(pair.equal for pair in found.pairs)
    assert one_of_each(own, found) == [0, 1, 6]


def test_equal_pixels_are_told_from_near_duplicates_whatever_the_file(textures: Textures) -> None:
    picture = textures(4)
    changed = picture.copy()
    changed[100:104, 100:104] = 250
    found = find_duplicates(facts(picture, textures(5), picture, changed))
    assert found.equal_groups == ((0, 2),)
    assert [(pair.first, pair.second) for pair in found.pairs if pair.equal] == [(0, 2)]
    assert found.groups == ((0, 2, 3),)


def test_degrees_that_differ_by_a_constant_are_near_but_not_equal(textures: Textures) -> None:
    warm = textures(6) / 10.0
    found = find_duplicates(facts(warm, warm + 1.0, unit="celsius"))
    assert len(found.pairs) == 1
    assert found.equal_groups == ()


def test_flat_frames_are_not_called_duplicates() -> None:
    assert find_duplicates(facts(np.full((200, 300), 7.0), np.full((200, 300), 7.0))).pairs == ()


def test_a_small_crop_must_agree_better(textures: Textures) -> None:
    rng = np.random.default_rng(7)
    crop = textures(8, 44, 44)
    other = (0.75 * crop + 0.25 * textures(9, 44, 44)).round()
    whole, blend = textures(8), (0.75 * textures(8) + 0.25 * textures(9)).round()
    assert pairs(facts(whole, blend)) == [(0, 1)]
    assert pairs(facts(crop, other)) == []
    assert pairs(facts(crop, (crop + rng.normal(0, 1, crop.shape)).clip(0, 255).round())) == [(0, 1)]


def test_blocks_and_the_whole_matrix_agree(textures: Textures, monkeypatch: pytest.MonkeyPatch) -> None:
    own = facts(*(textures(seed % 9, 96, 128) for seed in range(40)))
    whole = find_duplicates(own)
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    assert find_duplicates(own) == whole
    assert len(whole.groups) == 9


def test_a_camera_that_stands_still_gives_few_pairs_and_the_same_groups(
    textures: Textures, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    scenes = [textures(seed, 96, 128) for seed in range(3)]
    own = facts(*(scenes[i % 3] + rng.integers(0, 3, (96, 128)) for i in range(45)))
    whole = find_duplicates(own)
    monkeypatch.setattr(duplicates, "MOST_EDGES", 10)
    thinned = find_duplicates(own)
    assert thinned.groups == whole.groups
    assert [len(group) for group in whole.groups] == [15, 15, 15]
    assert len(thinned.pairs) == 3 * 14 < len(whole.pairs)
    correlations = {(pair.first, pair.second): pair.correlation for pair in whole.pairs}
    assert all(correlations[pair.first, pair.second] == pair.correlation for pair in thinned.pairs)


def test_beyond_the_limit_only_neighbours_in_order_are_compared(
    textures: Textures, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    order = [0, 1, 2, 0, 3, 4, 5, 6, 0]
    own = facts(*(textures(seed) + rng.integers(0, 2, (192, 256)) for seed in order))
    monkeypatch.setattr(duplicates, "MOST_PAIRED", 5)
    monkeypatch.setattr(duplicates, "WINDOW", 3)
    monkeypatch.setattr(duplicates, "BLOCK", 2)
    found = find_duplicates(own)
    assert not found.all_compared
    assert [(pair.first, pair.second) for pair in found.pairs] == [(0, 3)]


def test_connected_groups_follow_from_any_order_of_the_pairs() -> None:
    links = [(8, 2), (3, 5), (2, 5), (7, 9)]
    assert connected(links) == connected(links[::-1]) == ((2, 3, 5, 8), (7, 9))


def test_the_real_sets_hold_these_and_no_others(data: Path) -> None:
    """Each was looked at: the same scene a moment later; no two solar modules are the same."""
    found = {}
    for folder in ("thermal_aerial", "paired_road/infrared", "thermal_small_targets/images"):
        own = list(survey(list_images(data / folder).refs))
        found[folder] = [(own[a].ref.file.stem, own[b].ref.file.stem) for a, b in pairs(own)]
    assert found == {
        "thermal_aerial": [
            ("0_130_30_0_09691", "0_130_30_0_09694"),
            ("1_60_60_0_00420", "1_60_60_0_00422"),
        ],
        "paired_road/infrared": [("FLIR_07119", "FLIR_07125")],
        "thermal_small_targets/images": [],
    }
