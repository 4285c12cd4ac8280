"""What datumaro reads of our files is what we wrote: counts, boxes, masks with holes, facts, ids."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dinonat.formats.handover import LABEL_ID, NUMBERS

Found = dict[str, Any]
SETS = ("fixture", "drawn")


def objects(labels: list[Found]) -> dict[str, Found]:
    """Join what datumaro has of one label: its box, and the masks or polygons of its group."""
    joined: dict[str, Found] = {}
    for one in labels:
        mine = joined.setdefault(one["attributes"][LABEL_ID], {**one, "masks": [], "box": None})
        assert (mine["label"], mine["attributes"]) == (one["label"], one["attributes"])
        if one["kind"] == "bbox":
            mine["box"] = one["box"]
        else:
            mine["masks"].append(one["counts"])
    return joined


def drawn(counts: list[int]) -> np.ndarray:
    """Run lengths as a mask, flat."""
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def assert_masks(found: list[list[int]], counts: list[int]) -> None:
    assert bool(found) == bool(counts)
    if counts:
        assert np.array_equal(np.logical_or.reduce([drawn(one) for one in found]), drawn(counts))


def assert_facts(found: Found, facts: Found) -> None:
    for name, value in facts.items():
        if name in NUMBERS or name == "cluster":
            assert float(found[name]) == pytest.approx(value, abs=1e-6), name
        elif value:
            assert found[name] == value, name


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize(("name", "theirs"), [("coco", "coco"), ("cvat", "cvat"), ("datumaro", "datumaro")])
def test_nothing_is_lost_that_the_format_holds(
    oracle: Callable[..., Any],
    exported: Callable[..., Any],
    said: Callable[..., Any],
    name: str,
    theirs: str,
    which: str,
) -> None:
    export = exported(name, which)
    assert dict(export.written.losses) == {}
    read = oracle("read_datumaro.py", theirs, export.folder)
    assert read["classes"] == list(export.asked.classes)  # the one that is never used, too
    wanted = said(export.asked)
    assert set(read["images"]) == {file.rsplit(".", 1)[0] for file in wanted}
    sizes = export.asked.images.set_index("file_name")[["height", "width"]]
    for file, labels in wanted.items():
        image = read["images"][file.rsplit(".", 1)[0]]
        assert image["size"] == sizes.loc[file].tolist()
        assert image["file"].endswith(f"/{file}")
        got = objects(image["labels"])
        assert set(got) == set(labels)
        for key, label in labels.items():
            assert got[key]["label"] == label["label"]
            assert_masks(got[key]["masks"], label["counts"])
            if got[key]["box"] is not None:
                assert got[key]["box"] == pytest.approx(label["box"], abs=1e-4)  # datumaro keeps float32
            assert label["counts"] or got[key]["box"] is not None
            assert_facts(got[key]["attributes"], label["facts"])


def test_ids_of_images_and_annotations_are_those_of_the_file(
    oracle: Callable[..., Any], exported: Callable[..., Any]
) -> None:
    export = exported("coco")
    read = oracle("read_datumaro.py", "coco", export.folder)
    names = [file.rsplit(".", 1)[0] for file in export.asked.images["file_name"]]
    assert {name: read["images"][name]["attributes"]["id"] for name in names} == {
        name: number for number, name in enumerate(names, start=1)
    }
    ids = {
        one["attributes"][LABEL_ID]: one["id"] for image in read["images"].values() for one in image["labels"]
    }
    assert [ids[key] for key in export.asked.labels["proposal"]] == list(range(1, len(ids) + 1))


@pytest.mark.parametrize("name", ["voc", "yolo"])
@pytest.mark.parametrize("which", SETS)
def test_boxes_come_back_where_the_format_holds_no_more(
    oracle: Callable[..., Any], exported: Callable[..., Any], said: Callable[..., Any], name: str, which: str
) -> None:
    export = exported(name, which)
    read = oracle("read_datumaro.py", {"voc": "voc_detection", "yolo": "yolo"}[name], export.folder)
    wanted, sizes = said(export.asked), export.asked.images.set_index("file_name")[["height", "width"]]
    background = ["background"] if name == "voc" else []  # its label 0
    assert read["classes"] == [*background, *export.asked.classes]
    assert set(read["images"]) == {file.rsplit(".", 1)[0] for file in wanted}
    step = {"voc": 0.5, "yolo": 1e-4}[name]  # VOC has whole pixels, YOLO six decimals of the width
    for file, labels in wanted.items():
        image = read["images"][file.rsplit(".", 1)[0]]
        assert image["size"] in (sizes.loc[file].tolist(), None)
        assert len(image["labels"]) == len(labels)
        left = list(image["labels"])
        for label in labels.values():
            same = [one for one in left if one["label"] == label["label"] and near(one, label, step)]
            assert same, (file, label, left)
            left.remove(same[0])


def near(found: Found, label: Found, step: float) -> bool:
    """Say whether both corners are within ``step`` of each other."""
    corners = [(x, y, x + w, y + h) for x, y, w, h in (found["box"], label["box"])]
    return bool(np.abs(np.subtract(*corners)).max() <= step + 1e-4)
