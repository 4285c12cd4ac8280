"""What labelformat and globox read of our YOLO, VOC and CVAT, and pycocotools of a COCO in splits."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dinonat.formats.catalog import FORMATS
from dinonat.formats.handover import Outgoing, outgoing

CLASSES = ("person", "Bär & Söhne", "never used")
SPLITS = ("train", "val", "train", "test")
FILES = ("a.png", "f ü space.png", "e_empty.png", "g 'quoted'.png")
Export = Callable[..., Outgoing]


@pytest.fixture
def export(proposals: Callable[..., pd.DataFrame]) -> Export:
    """A function that writes boxes on pictures of two sizes, and a mask, with their pictures."""

    def write(name: str, folder: Path, *, split: bool = False, masks: bool = True) -> Outgoing:
        names = [f"night/{file}" for file in FILES]  # in the set; the files are called after the pictures
        images = pd.DataFrame({"image": names, "file_name": FILES, "width": [40, 30, 40, 20], "height": 32})
        if split:
            images["split"] = SPLITS
        mask = np.zeros((32, 40), bool)
        mask[4:10, 6:20] = mask[8:16, 6:12] = True
        rows = [
            {"image": names[0], "box": (1.25, 2.5, 10.5, 20.25), "label": "person", "score": 0.875},
            {
                "image": names[0],
                "box": (6, 4, 14, 12),
                "label": "Bär & Söhne",
                "mask": mask if masks else None,
            },
            {"image": names[1], "box": (0, 0, 30, 32), "label": "Bär & Söhne", "score": 0.5},
            {"image": names[3], "box": (19, 31, 1, 1), "label": "person", "score": 0.25},
        ]
        asked = outgoing(proposals(*rows), images, CLASSES)
        folder.mkdir(exist_ok=True)
        FORMATS[name].write(asked, folder)
        for part, file, width, height in asked.images[["split", "file_name", "width", "height"]].values:
            picture = folder / FORMATS[name].picture(part, file)
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (width, height)).save(picture)
        return asked

    return write


def wanted(asked: Outgoing) -> dict[str, list[tuple[str, list[float]]]]:
    """Return file name -> class and x0, y0, x1, y1 of each label."""
    found: dict[str, list[tuple[str, list[float]]]] = {file: [] for file in asked.images["file_name"]}
    names = asked.images["file_name"].tolist()
    for row in asked.labels.itertuples():
        corners = [row.x, row.y, row.x + row.w, row.y + row.h]
        found[names[row.at]].append((str(row.label), corners))
    return found


def assert_same(found: dict[str, list[tuple[str, list[float]]]], asked: Outgoing, *, step: float) -> None:
    expected = wanted(asked)
    assert set(found) == set(expected)
    for file, labels in expected.items():
        ours, theirs = sorted(labels), sorted(found[file])
        assert [name for name, _ in theirs] == [name for name, _ in ours]
        for (_, own), (_, other) in zip(ours, theirs, strict=True):
            assert np.abs(np.subtract(own, other)).max() <= step


def by_globox(read: Any, names: dict[str, str]) -> dict[str, list[tuple[str, list[float]]]]:
    return {
        one.image_id: [
            (names.get(box.label, box.label), [box.xmin, box.ymin, box.xmax, box.ymax]) for box in one.boxes
        ]
        for one in read
    }


def by_labelformat(read: Any) -> dict[str, list[tuple[str, list[float]]]]:
    return {
        one.image.filename: [
            (each.category.name, [each.box.xmin, each.box.ymin, each.box.xmax, each.box.ymax])
            for each in one.objects
        ]
        for one in read.get_labels()
    }


def test_globox_reads_boxes_of_yolo_voc_and_cvat(tmp_path: Path, export: Export) -> None:
    globox = pytest.importorskip("globox", reason="globox is not installed")
    sets, middle = globox.AnnotationSet, globox.BoxFormat.XYWH
    numbers = {str(number): name for number, name in enumerate(CLASSES)}
    asked = export("yolo", tmp_path / "yolo")
    texts, pictures = tmp_path / "yolo/labels/train", tmp_path / "yolo/images/train"
    read = sets.from_txt(
        texts, image_folder=pictures, image_extension=".png", relative=True, box_format=middle
    )
    assert_same(by_globox(read, numbers), asked, step=1e-4)  # six decimals of a side
    asked = export("voc", tmp_path / "voc")
    assert_same(by_globox(sets.from_pascal_voc(tmp_path / "voc/Annotations"), {}), asked, step=0.5)
    asked = export("cvat", tmp_path / "cvat", masks=False)
    assert_same(by_globox(sets.from_cvat(tmp_path / "cvat/annotations.xml"), {}), asked, step=0.005)


def test_labelformat_reads_yolo_by_split_and_voc(tmp_path: Path, export: Export) -> None:
    yolov8 = pytest.importorskip("labelformat.formats.yolov8", reason="labelformat is not installed")
    pascalvoc = pytest.importorskip("labelformat.formats.pascalvoc")
    asked = export("yolo", tmp_path / "yolo", split=True)
    parts = [
        yolov8.YOLOv8ObjectDetectionInput(tmp_path / "yolo/data.yaml", part)
        for part in ("train", "val", "test")
    ]
    for part in parts:
        assert [each.name for each in part.get_categories()] == list(CLASSES)
    found = [by_labelformat(part) for part in parts]
    assert [set(part) for part in found] == [{FILES[0], FILES[2]}, {FILES[1]}, {FILES[3]}]
    assert_same(dict(itertools.chain(*(part.items() for part in found))), asked, step=1e-4)
    asked = export("voc", tmp_path / "voc")
    read = pascalvoc.PascalVOCObjectDetectionInput(tmp_path / "voc/Annotations", ",".join(CLASSES))
    assert_same(by_labelformat(read), asked, step=0.5)


def test_labelformat_reads_polygons_of_yolo(tmp_path: Path, export: Export) -> None:
    yolov8 = pytest.importorskip("labelformat.formats.yolov8", reason="labelformat is not installed")
    asked = export("yolo-segment", tmp_path)
    read = yolov8.YOLOv8InstanceSegmentationInput(tmp_path / "data.yaml", "train")
    found = {one.image.filename: one.objects for one in read.get_labels()}
    assert {file: len(labels) for file, labels in found.items()} == {
        file: len(labels) for file, labels in wanted(asked).items()
    }
    (mask,) = [one for one in found["a.png"] if one.category.name == "Bär & Söhne"]
    ((*corners,),) = mask.segmentation.polygons
    outline = [(6, 4), (20, 4), (20, 10), (12, 10), (12, 16), (6, 16)]
    assert np.abs(np.subtract(sorted(corners), sorted(outline))).max() <= 1e-4


def test_pycocotools_reads_every_split_on_its_own(tmp_path: Path, export: Export) -> None:
    from pycocotools.coco import COCO

    asked, found = export("coco", tmp_path, split=True), {}
    for part in sorted(set(SPLITS)):
        coco = COCO(str(tmp_path / f"annotations/instances_{part}.json"))
        for image in coco.loadImgs(coco.getImgIds()):
            picture = tmp_path / FORMATS["coco"].picture(part, image["file_name"])
            with Image.open(picture) as opened:
                assert opened.size == (image["width"], image["height"])
            labels = coco.loadAnns(coco.getAnnIds(image["id"]))
            found[image["file_name"]] = [
                (coco.cats[one["category_id"]]["name"], [x, y, x + w, y + h])
                for one in labels
                for x, y, w, h in [one["bbox"]]
            ]
    assert_same(found, asked, step=0.005)
