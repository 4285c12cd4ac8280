from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dinonat.images.listing import list_images
from dinonat.records import ImageRef, ThermalFrame
from dinonat.survey.duplicates import find_duplicates, one_of_each
from dinonat.survey.facts import Facts, facts_of, survey
from dinonat.survey.overlays import Overlay, Stuck, boxes_of, find_overlays, find_stuck

Textures = Callable[..., np.ndarray]
HOT, DEAD = ((60, 50), (200, 120)), ((100, 30),)


def facts(pictures: list[np.ndarray], unit: str = "grey") -> list[Facts]:
    return [
        facts_of(ImageRef(Path("set"), f"{i}.png"), ThermalFrame(picture.astype(np.float32), unit))  # type: ignore[arg-type]
        for i, picture in enumerate(pictures)
    ]


def judged(own: list[Facts]) -> tuple[list[Overlay], list[Stuck]]:
    different = one_of_each(own, find_duplicates(own))
    overlays = find_overlays(own, different)
    return overlays, find_stuck(own, different, overlays)


def with_logo(picture: np.ndarray) -> np.ndarray:
    drawn = picture.copy()
    drawn[6:22, 6:50] = 0
    drawn[8:20:3, 8:48] = 255
    drawn[96, 118:139] = drawn[86:107, 128] = 255  # a crosshair
    return drawn


def with_stuck(picture: np.ndarray) -> np.ndarray:
    drawn = picture.copy()
    for x, y in HOT:
        drawn[y, x] = 255
    for x, y in DEAD:
        drawn[y, x] = 0
    return drawn


def test_drawings_are_found_where_they_are_and_only_while_the_scene_changes(textures: Textures) -> None:
    (overlay,), stuck = judged(facts([with_logo(textures(seed)) for seed in range(10)]))
    assert stuck == []
    assert overlay.places == tuple(range(10))
    logo, cross = overlay.boxes
    assert abs(np.array(logo) - (6, 6, 44, 16)).max() <= 2
    assert abs(np.array(cross) - (118, 86, 21, 21)).max() <= 3
    one = with_logo(textures(0)).astype(int)
    rng = np.random.default_rng(0)
    still = [(one + rng.integers(-2, 3, one.shape)).clip(0, 255) for _ in range(10)]
    assert judged(facts(still)) == ([], [])


def test_scenes_without_drawings_have_none(textures: Textures) -> None:
    assert judged(facts([textures(seed) for seed in range(20)])) == ([], [])
    hard = [np.where(textures(seed) > 120, 255, 0) for seed in range(20)]
    assert judged(facts(hard)) == ([], [])


def test_too_few_images_prove_nothing(textures: Textures) -> None:
    assert judged(facts([with_logo(textures(seed)) for seed in range(7)]))[0] == []
    assert judged(facts([with_stuck(textures(seed)) for seed in range(4)]))[1] == []


@pytest.mark.parametrize(
    ("unit", "scale", "offset"), [("grey", 1, 0), ("counts", 8, 7000), ("celsius", 0.1, -5)]
)
def test_stuck_pixels_are_found_in_every_unit(
    textures: Textures, unit: str, scale: float, offset: float
) -> None:
    pictures = [with_stuck(textures(seed)) * np.float32(scale) + offset for seed in range(6)]
    overlays, (stuck,) = judged(facts(pictures, unit))
    assert overlays == []
    assert (set(stuck.hot), set(stuck.dead)) == (set(HOT), set(DEAD))


def test_small_hot_things_at_different_places_are_no_stuck_pixels(textures: Textures) -> None:
    rng = np.random.default_rng(1)
    pictures = []
    for seed in range(12):
        picture = textures(seed)
        picture[rng.integers(5, 180), rng.integers(5, 250)] = 255
        pictures.append(picture)
    assert judged(facts(pictures)) == ([], [])


def test_boxes_join_the_parts_of_a_word() -> None:
    mask = np.zeros((60, 120), bool)
    mask[10:16, 10:14] = mask[10:16, 19:23] = True  # two letters, five pixels apart
    mask[40:46, 80:84] = True
    mask[55, 5] = True  # a speck
    assert boxes_of(mask) == ((10, 10, 13, 6), (80, 40, 4, 6))


@pytest.mark.parametrize("folder", ["thermal_aerial", "paired_road", "thermal_modules/images"])
def test_no_false_alarm_on_real_images(data: Path, folder: str) -> None:
    assert judged(list(survey(list_images(data / folder).refs))) == ([], [])
