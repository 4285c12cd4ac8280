import contextlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO

from dinonat import scenes
from dinonat.errors import UsageError

SMALL = (96, 128)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> scenes.MadeScenes:
    folder = tmp_path_factory.mktemp("world")
    return scenes.write_scenes(folder, colour=9, thermal=8, labelled=4, size_hw=SMALL)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_world(
    world: scenes.MadeScenes, tmp_path: Path
) -> None:
    same = scenes.write_scenes(tmp_path / "same", colour=9, thermal=8, labelled=4, size_hw=SMALL)
    other = scenes.write_scenes(tmp_path / "other", colour=9, thermal=8, labelled=4, size_hw=SMALL, seed=1)
    assert content(same.rgb.parent) == content(world.rgb.parent)
    assert not set(content(other.rgb).values()) & set(content(world.rgb).values())


def test_a_finished_world_is_left_alone_and_a_broken_off_one_is_made_again(tmp_path: Path) -> None:
    def make() -> scenes.MadeScenes:
        return scenes.write_scenes(tmp_path, colour=2, thermal=2, labelled=1, size_hw=SMALL)

    made = make()
    before = content(tmp_path)
    (made.rgb / "made-0000.png").unlink()
    make()
    assert not (made.rgb / "made-0000.png").exists()  # made.json said: complete
    (tmp_path / "made.json").unlink()
    make()
    assert content(tmp_path) == before


def test_masks_do_not_overlap_and_boxes_enclose_them_exactly() -> None:
    for index in range(12):
        scene = scenes.make_scene(3, index, size_hw=SMALL)
        assert 1 <= len(scene.things) <= 5
        assert sum(thing.mask.astype(int) for thing in scene.things).max() == 1
        for thing in scene.things:
            x, y, w, h = (int(side) for side in thing.box_xywh)
            inside = thing.mask[y : y + h, x : x + w]
            assert inside.sum() == thing.mask.sum()
            assert inside.any(axis=1)[[0, -1]].all()
            assert inside.any(axis=0)[[0, -1]].all()


def test_bodies_are_warmer_than_the_ground_beside_them_in_every_weather() -> None:
    for index in range(0, 60, scenes.RECORDING):
        scene = scenes.make_scene(0, index)
        air = scenes.weather(0, index // scenes.RECORDING).air
        for thing in scene.things:
            kelvin = scene.counts[thing.mask] * scenes.KELVIN_PER_COUNT
            if thing.kind != "car":
                assert np.median(kelvin) > air + 2
            else:
                assert kelvin.max() > air + 3  # tyres and bonnet


def test_grey_bodies_lie_between_their_own_temperature_and_the_sky() -> None:
    assert scenes.apparent(1.0, 300, 250) == pytest.approx(300)
    assert scenes.apparent(0.0, 300, 250) == pytest.approx(250)
    assert scenes.apparent(0.5, 300, 250) == pytest.approx(((300**4 + 250**4) / 2) ** 0.25)


def test_texture_stays_within_its_range() -> None:
    texture = scenes.cloud(np.random.default_rng(0), (50, 70))
    assert texture.shape == (50, 70)
    assert 0.3 < np.abs(texture).max() <= 1


def test_files_keep_their_depth(world: scenes.MadeScenes, tmp_path: Path) -> None:
    with Image.open(world.thermal / "made-0000.png") as picture:
        stored = np.asarray(picture)
    assert np.array_equal(stored, scenes.make_scene(0, 0, size_hw=SMALL).counts)
    assert stored.min() > 255
    made = scenes.write_scenes(tmp_path, colour=1, thermal=1, labelled=1, bits=8, size_hw=SMALL)
    with Image.open(made.thermal / "made-0000.png") as picture:
        assert picture.mode == "L"
        assert picture.getextrema() == (0, 255)


def test_labels_are_some_of_the_truth_and_the_truth_is_coco(world: scenes.MadeScenes) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(world.truth))
    for annotation in truth.anns.values():
        assert truth.annToMask(annotation).sum() == annotation["area"]
    names = {image["id"]: image["file_name"] for image in truth.imgs.values()}
    classes = {category["id"]: category["name"] for category in truth.cats.values()}
    rows = {(names[a["image_id"]], classes[a["category_id"]], *a["bbox"]) for a in truth.anns.values()}
    labels = pd.read_csv(world.labels)
    assert list(labels) == ["image", "label", "x", "y", "w", "h"]
    assert set(labels.itertuples(index=False, name=None)) < rows
    assert labels["image"].nunique() == 4
    assert sorted(path.name for path in world.thermal.iterdir()) == sorted(names.values())
    recordings = pd.read_csv(world.labels.with_name("recordings.csv"))
    assert recordings["recording"].tolist() == ["made-00"] * 6 + ["made-01"] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": 2, "thermal": 3, "labelled": 1},
        {"colour": 2, "thermal": 2, "labelled": 0},
        {"colour": 1, "thermal": 1, "labelled": 1, "bits": 12},
        {"colour": 1, "thermal": 1, "labelled": 1, "size_hw": (8, 8)},
    ],
)
def test_senseless_numbers_are_refused_in_words(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need"):
        scenes.write_scenes(tmp_path, **wrong)
