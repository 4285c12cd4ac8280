"""What supervision reads of our files is what we wrote; what it cannot hold is said here, and checked."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from dinonat.formats.catalog import FORMATS

Found = dict[str, Any]
SETS = ("fixture", "drawn")
STEP = 1e-3  # supervision keeps float32


def folders(export: Any, name: str) -> tuple[Path, Path]:
    """Return the folder of the pictures and that of the labels."""
    place = FORMATS[name].picture("", "x.png")
    pictures = export.folder / PurePosixPath(place).parent
    labels = {
        "yolo": "labels" + str(PurePosixPath(place).parent).removeprefix("images"),
        "voc": "Annotations",
    }
    return pictures, export.folder / labels.get(name, "annotations")


def pairs(wanted: dict[str, Found], found: list[Found], step: float) -> list[tuple[Found, Found]]:
    """Pair each label with one that was read, of its class, with corners within ``step``."""
    left, paired = list(found), []
    for label in wanted.values():
        same = [one for one in left if one["label"] == label["label"] and apart(one, label) <= step]
        assert same, (label, left)
        left.remove(same[0])
        paired.append((label, same[0]))
    assert not left
    return paired


def apart(found: Found, label: Found) -> float:
    corners = [(x, y, x + w, y + h) for x, y, w, h in (found["box"], label["box"])]
    return float(np.abs(np.subtract(*corners)).max())


def drawn(counts: list[int], size_hw: list[int]) -> np.ndarray:
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(size_hw, order="F")


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize("masks", ["rle", "auto"])
def test_coco_comes_back_with_its_masks(
    oracle: Callable[..., Any], exported: Callable[..., Any], said: Callable[..., Any], which: str, masks: str
) -> None:
    export = exported("coco", which, masks=masks)
    pictures, labels = folders(export, "coco")
    read = oracle("read_supervision.py", "coco", pictures, labels / "instances_default.json")
    assert read["classes"] == list(export.asked.classes)
    wanted, sizes = said(export.asked), export.asked.images.set_index("file_name")[["height", "width"]]
    assert set(read["images"]) == set(wanted)  # nested folders, spaces, umlauts, quotes; empty ones too
    for file, each in wanted.items():
        for label, found in pairs(each, read["images"][file]["labels"], STEP):
            assert "score" not in found  # supervision reads none
            if not label["counts"]:
                assert not any(found.get("counts", [0])[1::2])
                continue
            size = sizes.loc[file].tolist()
            own, theirs = drawn(label["counts"], size), drawn(found["counts"], size)
            if masks == "auto":  # OpenCV draws the outline of a polygon too: up to a pixel right and below
                assert (own <= theirs).all()
                assert (theirs <= ndimage.binary_dilation(own, np.ones((3, 3)))).all()
            else:
                assert np.array_equal(own, theirs)


@pytest.mark.parametrize("which", SETS)
def test_boxes_of_yolo_come_back(
    oracle: Callable[..., Any], exported: Callable[..., Any], said: Callable[..., Any], which: str
) -> None:
    export = exported("yolo", which)
    pictures, labels = folders(export, "yolo")
    read = oracle("read_supervision.py", "yolo", pictures, labels, export.folder / "data.yaml")
    assert read["classes"] == list(export.asked.classes)
    wanted = said(export.asked)
    assert set(read["images"]) == set(wanted)
    for file, each in wanted.items():
        pairs(each, read["images"][file]["labels"], STEP)


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize("base", [0, 1])
def test_voc_is_read_as_its_authors_meant_it(
    oracle: Callable[..., Any], exported: Callable[..., Any], said: Callable[..., Any], which: str, base: int
) -> None:
    export = exported("voc", which, voc_base=base)
    pictures, labels = folders(export, "voc")
    read = oracle("read_supervision.py", "voc", pictures, labels)
    used = set(export.asked.labels["label"])
    assert set(read["classes"]) == used  # it knows no others: VOC's own lists are not read
    wanted = said(export.asked)
    assert set(read["images"]) == set(wanted)
    for file, each in wanted.items():
        if base:
            pairs(each, read["images"][file]["labels"], 1.0)  # outwards to whole pixels
        else:
            # It takes 1 from xmin and ymin, so 0-based boxes come one pixel too large: --voc-base 1.
            for label, found in pairs(each, read["images"][file]["labels"], 2.0):
                assert found["box"][0] < label["box"][0]
                assert found["box"][1] < label["box"][1]
