"""`validate` names the known faults of files that datumaro and supervision write from correct ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dinonat.formats.catalog import FORMATS
from dinonat.formats.handover import Check

COCO = "annotations/instances_default.json"


def named(name: str, folder: Path, images: Path | None = None, target: str = "") -> dict[str, list[str]]:
    """Return what is wrong -> where, as `validate` says it."""
    found: dict[str, list[str]] = {}
    for where, what in FORMATS[name].faults(folder, Check(target=target, images=images)):
        found.setdefault(what, []).append(where)
    return found


def places(found: dict[str, list[str]], *words: str) -> list[str]:
    """Return where the one fault is whose sentence holds all these words."""
    (what,) = [sentence for sentence in found if all(word in sentence for word in words)]
    return found[what]


@pytest.fixture
def by_datumaro(
    oracle: Callable[..., Any], exported: Callable[..., Any], tmp_path: Path
) -> Callable[..., Path]:
    """A function that lets datumaro write the fixture set, which it reads from our COCO."""

    def write(target: str, **keywords: Any) -> Path:
        out = tmp_path / "theirs"
        oracle("write_datumaro.py", "coco", exported("coco").folder, target, out, json.dumps(keywords))
        return out

    return write


@pytest.fixture
def by_supervision(
    oracle: Callable[..., Any], exported: Callable[..., Any], originals: Path, tmp_path: Path
) -> Callable[..., Path]:
    """A function that lets supervision write the fixture set, which it reads from our COCO.

    With ``raw`` the set is that of a tool that does not know EXIF: the original pictures, sizes and boxes
    as the file of the turned one has them.
    """

    def write(target: str, *, raw: bool = False) -> Path:
        given, out = exported("coco").folder, tmp_path / "theirs"
        pictures, file = given / "images" / "default", given / COCO
        if raw:
            pictures, file = originals, tmp_path / "raw.json"
            file.write_text(json.dumps(as_in_the_file(json.loads((given / COCO).read_text("utf-8")))))
        (out / "Annotations").mkdir(parents=True)
        oracle("write_supervision.py", target, pictures, file, out)
        return out

    return write


def as_in_the_file(coco: dict[str, Any]) -> dict[str, Any]:
    """Return COCO of the original pictures, the one that EXIF turns as it lies in its file."""
    for image in coco["images"]:
        image["file_name"] = image.get("raw", image["file_name"])
        if "d_exif6" in image["file_name"]:
            image |= {"file_name": "d_exif6.jpg", "width": 64, "height": 48}
            turned = image["id"]
        if "c16" in image["file_name"]:
            image["file_name"] = "c16.tiff"
    for one in coco["annotations"]:
        if one["image_id"] == turned:
            one |= {"bbox": [0, 0, 64, 48], "area": 64 * 48}
    return coco


def test_our_own_files_have_none(oracle: Callable[..., Any], exported: Callable[..., Any]) -> None:
    for name, format_ in FORMATS.items():
        if not format_.holds_pictures:
            assert named(name, exported(name).folder, target=name) == {}, name


def test_datumaro_calls_every_mask_a_crowd(by_datumaro: Callable[..., Path]) -> None:
    out = by_datumaro("coco_instances", segmentation_mode="mask")
    found = named("coco", out)
    masks = [one["id"] for one in annotations(out) if one["segmentation"]]
    assert places(found, "crowd") == [f"annotation {number}" for number in masks]


def test_datumaro_fills_holes_and_says_so_consistently(by_datumaro: Callable[..., Path]) -> None:
    """A loss, no fault: nothing in the file says what was lost, but the areas do."""
    out = by_datumaro("coco_instances")
    assert named("coco", out) == {}
    filled = [one for one in annotations(out) if isinstance(one["segmentation"], list) and one["area"] == 816]
    assert len(filled) == 2  # 795 px with the hole, as outlines that OpenCV finds


def test_datumaro_writes_attributes_that_cvat_drops(by_datumaro: Callable[..., Path]) -> None:
    found = named("cvat", by_datumaro("cvat", allow_undeclared_attrs=True))
    spots = places(found, "not declared")
    for name in ("'label_id'", "'score'"):
        assert any(name in spot and "'person'" in spot for spot in spots)
    assert all("not declared" in what for what in found)


def test_datumaro_writes_voc_in_fractions_with_a_wrong_depth_and_without_empty_images(
    by_datumaro: Callable[..., Path],
) -> None:
    found = named("voc", by_datumaro("voc_detection", save_media=True))
    assert places(found, "fractions")[0].startswith("night/a.xml, line ")
    assert {where.split(",")[0] for where in places(found, "<depth> '64'")} >= {"b16.xml", "c16.xml"}
    (spot,) = places(found, "no file in Annotations")
    assert spot.startswith("ImageSets/Main/default.txt, line 4")
    assert "'e_empty'" in spot
    assert places(found, "folder below Annotations") == ["night/a.xml, line 1"]


def test_datumaro_writes_places_of_pictures_that_it_refuses(by_datumaro: Callable[..., Path]) -> None:
    assert len(places(named("datumaro", by_datumaro("datumaro")), "absolute")) == 7


def test_datumaro_writes_darknets_yolo_without_a_fault(
    by_datumaro: Callable[..., Path], exported: Callable[..., Any]
) -> None:
    out = by_datumaro("yolo", save_media=True)
    assert named("yolo", out) == {}
    read, asked = FORMATS["yolo"].read(out), exported("coco").asked
    assert sorted(read.labels["label"]) == sorted(asked.labels["label"])
    assert set(read.images) == set(asked.images["file_name"])


def test_supervision_fills_holes_and_keeps_the_area(by_supervision: Callable[..., Path]) -> None:
    out = by_supervision("coco")
    found = named("coco", out)
    rings = [one for one in annotations(out) if one["area"] == 795]
    assert len(rings) == 2
    assert places(found, "polygon inside another") == [f"annotation {one['id']}" for one in rings]


def test_supervision_flattens_folders(
    by_supervision: Callable[..., Path], exported: Callable[..., Any]
) -> None:
    pictures = exported("coco").folder / "images" / "default"
    found = named("coco", by_supervision("coco"), pictures)
    assert len(places(found, "image", "not")) == 1  # night/a.png is a.png now


def test_supervision_swaps_the_size_of_a_turned_picture(
    by_supervision: Callable[..., Path], originals: Path
) -> None:
    found = named("coco", by_supervision("coco", raw=True), originals)
    assert places(found, "outside")


def test_supervision_writes_yolo_beyond_the_picture_where_exif_turns_it(
    by_supervision: Callable[..., Path],
) -> None:
    found = named("yolo", by_supervision("yolo", raw=True))
    assert "labels/train/d_exif6.txt, line 1" in places(found, "outside 0 to 1")


def test_supervision_mixes_boxes_with_polygons_and_names_no_folders(
    by_supervision: Callable[..., Path],
) -> None:
    found = named("yolo", by_supervision("yolo"))
    assert "labels/train/d_exif6.txt, line 1" in places(found, "a box among polygons")
    assert places(found, "no 'train'") == places(found, "no 'val'") == ["data.yaml"]


def test_supervision_writes_voc_without_lists_and_classes(by_supervision: Callable[..., Path]) -> None:
    found = named("voc", by_supervision("voc"))
    assert places(found, "20 classes") == ["labelmap.txt"]
    assert places(found, "list of images") == ["ImageSets/Main"]
    assert places(found, "<difficult>")


def annotations(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / COCO).read_text("utf-8"))["annotations"]
    return found
