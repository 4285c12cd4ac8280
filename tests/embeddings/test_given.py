from pathlib import Path

import pytest

from dinonat.embeddings.given import given_boxes, recordings_beside, recordings_of
from dinonat.errors import LabelError
from dinonat.records import ImageRef


def refs(*paths: str) -> list[ImageRef]:
    return [ImageRef(Path("set"), path) for path in paths]


def test_boxes_are_sorted_to_their_images_and_others_are_said(tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(
        "image,label,x,y,w,h\na.png,car,1,2,3,4\nb.png,dog,5,6,7,8\na.png,cat,0,0,9,9\ngone.png,car,1,1,2,2\nb.png,day,,,,\n"
    )
    said: list[str] = []
    given = given_boxes(file, refs("day/a.png", "b.png", "c.png"), warn=said.append)
    assert {image: [(r.label, r.box_xywh) for r in own] for image, own in given.items()} == {
        "day/a.png": [("car", (1, 2, 3, 4)), ("cat", (0, 0, 9, 9))],
        "b.png": [("dog", (5, 6, 7, 8))],
    }
    assert len(said) == 1
    assert "gone.png" in said[0]


def test_a_file_without_a_box_for_this_set_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text("image,label,x,y,w,h\nother.png,car,1,2,3,4\n")
    with pytest.raises(LabelError, match=r"named like 'a.png'"):
        given_boxes(file, refs("a.png"), warn=lambda sentence: None)


def test_recordings_are_found_by_name_path_and_file_name(tmp_path: Path) -> None:
    file = tmp_path / "recordings.csv"
    file.write_text("image,recording\nir/a.png,1\nb.png,2\nx/c.png,3\ny/c.png,4\nfilm.tif,5\n")
    stack = [ImageRef(Path("set"), "film.tif", frame, 2) for frame in range(2)]
    said: list[str] = []
    known = recordings_of(
        file, [*refs("ir/a.png", "ir/b.png", "rgb/b.png", "z/c.png"), *stack], warn=said.append
    )
    assert known == {"ir/a.png": "1", "ir/b.png": "2", "rgb/b.png": "2", "film.tif#0": "5", "film.tif#1": "5"}
    assert said == [f"{file}: no recording for 1 of 6 images."]  # which c.png is meant cannot be told


def test_recordings_csv_is_found_in_the_folder_and_beside_it(tmp_path: Path) -> None:
    images = tmp_path / "infrared"
    images.mkdir()
    assert recordings_beside(images) is None
    (tmp_path / "recordings.csv").touch()
    assert recordings_beside(images) == tmp_path / "recordings.csv"
    (images / "recordings.csv").touch()
    assert recordings_beside(images) == images / "recordings.csv"
