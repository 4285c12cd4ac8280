import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dinonat.images.batches import pack_pictures
from dinonat.images.listing import list_images
from dinonat.images.polarity import FRAMES, _alike, _looks, find_mixed, sentence

Pictures = NDArray[np.uint8]
SIDE = 96


def three(grey: np.ndarray) -> Pictures:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def recording(seed: int, frames: int, *, common: float = 0.7) -> Pictures:
    """Make frames of one place: what all share, and what each has of its own."""
    rng = np.random.default_rng(seed)

    def smooth() -> np.ndarray:
        return np.kron(rng.normal(size=(8, 8)), np.ones((SIDE // 8, SIDE // 8)))

    place = smooth()
    parts = [common * place + np.sqrt(1 - common**2) * smooth() for _ in range(frames)]
    return three(np.clip(128 + 35 * np.stack(parts), 0, 255))


def test_turned_frames_of_a_recording_are_found() -> None:
    """Correlations are about 0.5 within both groups and -0.5 between them."""
    pictures = recording(0, 20)
    assert find_mixed(pictures) == ()
    turned = np.random.default_rng(1).permutation(20)[:6]
    pictures[turned] = 255 - pictures[turned]
    (found,) = find_mixed(pictures, ["rec-1"] * 20)
    assert found.turned == tuple(sorted(turned))
    assert (found.recording, found.of) == ("rec-1", 20)
    assert found.between == pytest.approx(-0.49, abs=0.08)
    assert found.within == pytest.approx(0.49, abs=0.08)
    said = sentence([found], [f"{i}.png" for i in range(20)])
    assert said.startswith("6 of 20 thermal pictures seem to show hot and cold the other way round")
    assert f"({min(turned)}.png, " in said


def test_a_recording_turned_round_as_a_whole_is_found_in_the_set() -> None:
    """All frames of one camera share something; no recording alone is mixed."""
    pictures = recording(0, 24, common=0.8)
    pictures[16:] = 255 - pictures[16:]
    names = [f"rec-{i // 8}" for i in range(24)]
    (found,) = find_mixed(pictures, names)
    assert (found.recording, found.turned) == ("", tuple(range(16, 24)))


def test_two_views_of_one_camera_are_not_two_polarities() -> None:
    """Groups that are very alike within and only a little unlike between are two places."""
    rng = np.random.default_rng(3)
    one = np.kron(rng.normal(size=(8, 8)), np.ones((12, 12)))
    other = -0.4 * one + np.sqrt(1 - 0.16) * np.kron(rng.normal(size=(8, 8)), np.ones((12, 12)))
    frames = np.stack([one] * 6 + [other] * 6)
    assert find_mixed(three(np.clip(128 + 30 * frames, 0, 255))) == ()


@pytest.mark.parametrize("seed", range(5))
def test_pictures_without_anything_in_common_give_nothing(seed: int) -> None:
    assert find_mixed(recording(seed, 30, common=0.2)) == ()


def test_only_the_places_asked_for_count() -> None:
    pictures = recording(0, 20)
    pictures[14:] = 255 - pictures[14:]
    assert find_mixed(pictures, places=np.arange(14)) == ()
    (found,) = find_mixed(pictures, places=np.arange(19, 3, -1))
    assert found.turned == tuple(range(6))


def test_colour_flat_and_few_pictures_are_left_out() -> None:
    pictures = recording(0, 20)
    pictures[:6] = 255 - pictures[:6]
    assert len(find_mixed(pictures)) == 1
    colour = pictures.copy()
    colour[..., 1] //= 2
    assert find_mixed(colour) == ()
    assert find_mixed(np.full_like(pictures, 7)) == ()
    assert find_mixed(pictures[3 : 3 + FRAMES - 1]) == ()
    assert sentence((), ["a"]) == ""


def test_the_mean_correlation_needs_no_table_of_pairs() -> None:
    looks = _looks(recording(2, 9), np.arange(9))
    table = looks.astype(np.float64) @ looks.T
    pairs = table[np.triu_indices(9, 1)]
    assert _alike(looks) == pytest.approx(pairs.mean(), abs=1e-6)


@pytest.fixture(scope="module")
def packed(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Pictures, list[str]]]:
    def pack(name: str) -> tuple[Pictures, list[str]]:
        path = tmp_path_factory.mktemp("packs") / "pictures.npy"
        found = pack_pictures(list_images(data / name).refs, path, side=64)
        return np.array(found.pixels), list(found.names)

    return pack


@pytest.mark.parametrize("folder", ["paired_road", "thermal_aerial"])
def test_real_recordings_give_no_alarm(
    data: Path, packed: Callable[[str], tuple[Pictures, list[str]]], folder: str
) -> None:
    pictures, names = packed(f"{folder}/infrared")
    with (data / folder / "recordings.csv").open() as stream:
        of = dict(csv.reader(stream))
    recordings = [of[name] for name in names]
    assert find_mixed(pictures) == find_mixed(pictures, recordings) == ()
    if folder == "paired_road":
        drive = np.flatnonzero(np.array(recordings) == "road-12")
        turned = np.sort(np.random.default_rng(0).permutation(drive)[: round(0.3 * len(drive))])
        pictures[turned] = 255 - pictures[turned]
        (found,) = find_mixed(pictures, recordings)
        assert (found.recording, found.turned) == ("road-12", tuple(turned))


@pytest.mark.parametrize("folder", ["thermal_modules/images", "thermal_small_targets/images"])
def test_real_sets_without_recordings_give_no_alarm(
    packed: Callable[[str], tuple[Pictures, list[str]]], folder: str
) -> None:
    assert find_mixed(packed(folder)[0]) == ()
