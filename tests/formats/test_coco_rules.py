import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as api

from dinonat.formats import coco
from dinonat.formats.coco_rules import faults
from dinonat.formats.handover import Check, Fault, outgoing, sentences

MAIN = "annotations/instances_default.json"
RESULTS = "annotations/results_default.json"
TARGETS = ("coco", "datumaro", "cvat", "labelformat")
NAN = float("nan")
EVERY = "coco datumaro cvat labelformat"
Spoil = Callable[[dict[str, Any]], object]


def runs() -> np.ndarray:
    """The mask of the third annotation: 28 pixels with a hole."""
    mask = np.zeros((8, 10), bool)
    mask[1:6, 3:9] = True
    mask[3, 5:7] = False
    return mask


@pytest.fixture
def folder(tmp_path: Path, proposals: Any) -> Path:
    """An export of two boxes and two masks, the third annotation with a hole, so as run lengths."""
    corner = np.zeros((8, 10), bool)
    corner[0:2, 0:3] = True
    table = proposals(
        {"box": (1, 2, 4, 4), "label": "person"},
        {"box": (0, 0, 3, 2), "mask": corner},
        {"box": (3, 1, 6, 5), "mask": runs(), "score": 0.5},
        {"box": (0, 1, 6, 4), "image": "night/ü x.png", "score": NAN},
    )
    images = pd.DataFrame({"image": ["a.png", "b.png", "night/ü x.png"], "width": 10, "height": 8})
    coco.write(outgoing(table, images, ["bike unused", "car", "person"]), tmp_path)
    return tmp_path


def spoilt(folder: Path, spoil: Spoil) -> Path:
    file = json.loads((folder / MAIN).read_text(encoding="utf-8"))
    spoil(file)
    path = folder / "spoilt.json"
    path.write_text(json.dumps(file))
    return path


def found(path: Path, target: str = "", **more: Any) -> list[Fault]:
    """Return the faults, without that of run lengths, which stand in the file on purpose."""
    return [
        (where, what)
        for where, what in faults(path, Check(target, **more))
        if "run lengths with iscrowd 0" not in what
    ]


def put(number: int, **values: Any) -> Spoil:
    return lambda c: c["annotations"][number].update(values)


def packed(mask: np.ndarray) -> str:
    return api.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


def size(*counts: int) -> dict[str, Any]:
    return {"size": [8, 10], "counts": list(counts)}


# One fault each: what is done to a good file, where and a word of the sentence, and whom it hurts.
FAULTS: dict[str, tuple[Spoil, str, str, str]] = {
    # The one-fault table of the readers.
    "no segmentation": (
        lambda c: c["annotations"][0].pop("segmentation"),
        "annotation 1", "no key 'segmentation'", "coco cvat labelformat",
    ),
    "segmentation null": (
        put(0, segmentation=None), "annotation 1", "segmentation is null", "coco datumaro cvat",
    ),
    "no iscrowd": (
        lambda c: c["annotations"][0].pop("iscrowd"),
        "annotation 1", "iscrowd", EVERY,
    ),
    "no area": (
        lambda c: c["annotations"][0].pop("area"),
        "annotation 1", "'area'", EVERY,
    ),
    "no info": (lambda c: c.pop("info"), "file", "'info'", "cvat"),
    "no licenses": (lambda c: c.pop("licenses"), "file", "'licenses'", "cvat"),
    "no supercategory": (
        lambda c: c["categories"][0].pop("supercategory"), "category 1", "supercategory", "cvat",
    ),
    "no image size": (
        lambda c: c["images"][1].pop("width"), "image 2", "'width'", EVERY,
    ),
    "size is not the mask's": (
        put(2, segmentation={"size": [10, 8], "counts": [10, 28, 42]}),
        "annotation 3", "size of the run lengths", EVERY,
    ),
    "category id 0": (
        lambda c: (c["categories"][2].update(id=0), c["annotations"][0].update(category_id=0)),
        "category 0", "category id 0", "coco datumaro cvat",
    ),
    "unknown category": (
        put(0, category_id=99), "annotation 1", "category_id that no", EVERY,
    ),
    "unknown image": (
        put(0, image_id=99), "annotation 1", "image_id that no", EVERY,
    ),
    "annotation ids twice": (put(1, id=1), "annotation 1", "stands twice", "coco"),
    "annotation id 0": (put(0, id=0), "annotation 0", "annotation id 0", "coco"),
    "text as id": (put(0, id="1"), "annotation at place 0", "not a whole number", "coco datumaro cvat"),
    "score NaN": (put(0, score=NAN), "annotation 1", "score is NaN", EVERY),
    "negative box": (
        put(0, bbox=[5, 6, -4, -4]), "annotation 1", "negative size", EVERY,
    ),
    "box outside": (
        put(0, bbox=[8, 2, 4, 4]), "annotation 1", "outside its image", EVERY,
    ),
    "absolute name": (
        lambda c: c["images"][1].update(file_name="/data/b.png"),
        "image 2", "absolute 'file_name'", "coco datumaro cvat",
    ),
    # Beyond the table: what else the rules for writers say, and what users reported.
    "category ids twice": (
        lambda c: c["categories"][0].update(id=2), "category 2", "two classes", EVERY,
    ),
    "image ids twice": (
        lambda c: c["images"][1].update(id=1), "image 1", "wrong picture", EVERY,
    ),
    "no class name": (
        lambda c: c["categories"][0].pop("name"), "category 1", "no 'name'", EVERY,
    ),
    "class name twice": (
        lambda c: c["categories"][1].update(name="person"),
        "category 3", "a second time", EVERY,
    ),
    "class names by case": (
        lambda c: c["categories"][1].update(name="PERSON"),
        "category 3", "only in case", EVERY,
    ),
    "no file name": (
        lambda c: c["images"][1].pop("file_name"),
        "image 2", "no 'file_name'", EVERY,
    ),
    "file name twice": (
        lambda c: c["images"][1].update(file_name="a.png"),
        "image 2", "a second time", EVERY,
    ),
    "file names by case": (
        lambda c: c["images"][1].update(file_name="A.png"),
        "image 2", "only in case", EVERY,
    ),
    "file names by Unicode form": (
        lambda c: c["images"][1].update(file_name="night/u\u0308 x.png"),
        "image 3", "Unicode form", EVERY,
    ),
    "name above": (
        lambda c: c["images"][1].update(file_name="x/../../b.png"), "image 2", "'..'", "coco datumaro cvat",
    ),
    "name of a drive": (
        lambda c: c["images"][1].update(file_name="C:/b.png"), "image 2", "absolute", "coco datumaro cvat",
    ),
    "backslash": (
        lambda c: c["images"][1].update(file_name="x\\b.png"),
        "image 2", "backslash", EVERY,
    ),
    "bare polygon": (
        put(0, segmentation=[1, 2, 5, 2, 5, 6]),
        "annotation 1", "list of polygons", EVERY,
    ),
    "polygon of two points": (
        put(0, segmentation=[[1, 2, 5, 2]]),
        "annotation 1", "list of polygons", EVERY,
    ),
    "runs do not fill": (
        put(2, segmentation=size(10, 28)), "annotation 3", "add up", EVERY,
    ),
    "runs without size": (
        put(2, segmentation={"counts": [80]}), "annotation 3", "without 'size'", EVERY,
    ),
    "runs of nothing": (
        put(2, segmentation=size(80)), "annotation 3", "without a pixel", EVERY,
    ),
    "area is not the mask's": (
        put(2, area=30), "annotation 3", "'area' is not", EVERY,
    ),
    "packed runs, cut": (
        put(2, segmentation={"size": [8, 10], "counts": packed(runs())[:-1] + "P"}),
        "annotation 3", "end inside a number", EVERY,
    ),
    "packed runs do not fill": (
        put(2, segmentation={"size": [8, 10], "counts": packed(runs())[:-1]}),
        "annotation 3", "add up", EVERY,
    ),
    "packed runs of another area": (
        put(2, segmentation={"size": [8, 10], "counts": packed(~runs())}),
        "annotation 3", "'area' is not", EVERY,
    ),
    "packed runs of another size": (
        put(2, segmentation={"size": [10, 8], "counts": packed(runs())}),
        "annotation 3", "size of the run lengths", EVERY,
    ),
    "hole as a polygon": (
        put(0, segmentation=[[1, 1, 8, 1, 8, 7, 1, 7], [3, 3, 3, 5, 5, 5, 5, 3]]),
        "annotation 1", "inside another", EVERY,
    ),
    "tangled polygon": (
        put(0, segmentation=[[1, 1, 1e13, 1, 8, 7]]), "annotation 1", "up and down", EVERY,
    ),
    "crowd that is ours": (put(0, iscrowd=1), "annotation 1", "a crowd that is one object", "coco"),
    "iscrowd is true": (
        put(0, iscrowd=True), "annotation 1", "'iscrowd'", EVERY,
    ),
    "box NaN": (
        put(0, bbox=[1, 2, NAN, 4]), "annotation 1", "'bbox' is not", EVERY,
    ),
    "box beyond any number": (
        put(0, bbox=[1, 2, 10**400, 4], more=NAN), "annotation 1", "'bbox' is not", EVERY,
    ),
    "size beyond any number": (
        lambda c: c["images"][1].update(width=10**400, more=NAN), "image 2", "'width'", EVERY,
    ),
    "attribute NaN": (
        put(0, attributes={"lo": NAN}), "annotation 1", "not JSON", EVERY,
    ),
    "attributes no object": (put(0, attributes=[]), "annotation 1", "no object", "datumaro cvat"),
    "annotations no list": (
        lambda c: c.update(annotations={}), "file", "no list 'annotations'", EVERY,
    ),
    "image no object": (
        lambda c: c["images"].append(7), "file", "not objects", EVERY,
    ),
    "annotation no object": (
        lambda c: c["annotations"].append(7),
        "annotation at place 4", "not an object", EVERY,
    ),
}  # fmt: skip


def test_what_we_write_has_no_fault(folder: Path) -> None:
    for target in ("", *TARGETS):
        for path in (folder, folder / MAIN, spoilt(folder, lambda file: None)):
            assert found(path, target) == []
    for target in ("", "coco"):
        assert found(folder / RESULTS, target) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_is_found_for_those_it_hurts(folder: Path, fault: str) -> None:
    spoil, where, word, hurt = FAULTS[fault]
    path = spoilt(folder, spoil)
    (only,) = found(path)
    assert only[0].partition(", ")[0] == where
    assert word in only[1]
    assert [target for target in TARGETS if found(path, target)] == hurt.split()


def fails(reader: str, path: Path) -> bool:
    """Say whether a real reader stops at a file, or keeps less than its four annotations."""
    try:
        with redirect_stdout(io.StringIO()):
            return READERS[reader](path) != 4
    except Exception:  # whatever a reader raises, its user has no labels
        return True


def _pycocotools(path: Path) -> int:
    from pycocotools.coco import COCO

    return len(COCO(str(path)).anns)


def _globox(path: Path) -> int:
    import globox

    return len(list(globox.AnnotationSet.from_coco(path).all_boxes))


def _labelformat(path: Path, kind: str) -> int:
    import labelformat.formats.coco

    source = getattr(labelformat.formats.coco, kind)(path)
    return sum(len(one.objects) for one in source.get_labels())


READERS: dict[str, Callable[[Path], int]] = {
    "pycocotools": _pycocotools,
    "globox": _globox,
    "labelformat": lambda path: _labelformat(path, "COCOObjectDetectionInput"),
    "labelformat masks": lambda path: _labelformat(path, "COCOInstanceSegmentationInput"),
}
STUMBLES = {
    "no segmentation": "labelformat masks",
    "segmentation null": "labelformat masks",
    "no iscrowd": "labelformat masks",
    "no image size": "globox, labelformat, labelformat masks",
    "unknown category": "globox, labelformat, labelformat masks",
    "unknown image": "globox, labelformat, labelformat masks",
    "annotation ids twice": "pycocotools",
    "score NaN": "globox, labelformat",
    "negative box": "globox",
}


@pytest.mark.parametrize("fault", STUMBLES)
def test_real_readers_stumble_where_a_fault_says_so(folder: Path, fault: str) -> None:
    for module in ("globox", "labelformat"):
        pytest.importorskip(module, reason=f"{module} is not installed")

    def plain(file: dict[str, Any]) -> None:
        file["annotations"][2]["segmentation"] = []

    def spoil(file: dict[str, Any]) -> None:
        plain(file)
        FAULTS[fault][0](file)

    assert not [reader for reader in READERS if fails(reader, spoilt(folder, plain))]
    stumbling = [reader for reader in READERS if fails(reader, spoilt(folder, spoil))]
    assert ", ".join(stumbling) == STUMBLES[fault]


def test_run_lengths_of_single_objects_are_right_but_not_for_labelformat(folder: Path) -> None:
    pytest.importorskip("labelformat", reason="labelformat is not installed")
    (only,) = faults(folder / MAIN, Check("labelformat"))
    assert only[0] == "annotation 3"
    assert "labelformat" in only[1]
    for target in ("", "coco", "datumaro", "cvat"):
        assert list(faults(folder / MAIN, Check(target))) == []
    assert fails("labelformat masks", folder / MAIN)


def test_parts_beside_each_other_are_no_holes(folder: Path) -> None:
    notch = [0, 0, 9, 0, 9, 7, 6, 7, 6, 2, 3, 2, 3, 7, 0, 7]
    for other in ([4, 4, 5, 4, 5, 6, 4, 6], [9, 7, 10, 7, 10, 8, 9, 8]):
        assert found(spoilt(folder, put(0, segmentation=[notch, other]))) == []


def test_packed_runs_that_are_right_are_no_fault(folder: Path) -> None:
    for mask in (runs(), np.eye(8, 10, dtype=bool)):
        shape = {"size": [8, 10], "counts": packed(mask)}
        assert found(spoilt(folder, put(2, segmentation=shape, area=int(mask.sum())))) == []


def test_categories_may_start_at_zero_where_that_was_asked(folder: Path) -> None:
    path = spoilt(folder, FAULTS["category id 0"][0])
    assert found(path, category_base=0) == []


def test_pictures_are_looked_for(folder: Path) -> None:
    assert found(folder / MAIN) == []  # nothing was exported, so nothing is missing
    pictures = folder / "images/default"
    Image.new("L", (10, 8)).save(pictures / "a.png")
    assert [where for where, what in found(folder / MAIN) if "not below the image folder" in what] == [
        "image 2, 'b.png'", "image 3, 'night/ü x.png'",
    ]  # fmt: skip
    assert len(found(folder / MAIN, images=folder)) == 3
    (pictures / "b.png").write_bytes(b"no picture of Pillow's")
    (pictures / "night").mkdir()
    Image.new("L", (9, 8)).save(pictures / "night/ü x.png")
    (only,) = found(folder)
    assert only[0] == "image 3, 'night/ü x.png': 10x8, the picture 9x8"
    assert "not that of its picture" in only[1]


def test_a_size_before_exif_turns_the_picture_is_named(folder: Path) -> None:
    pictures = folder / "pictures"
    (pictures / "night").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, shape in (("a.png", (10, 8)), ("b.png", (8, 10)), ("night/ü x.png", (8, 10))):
        Image.new("L", shape).save(pictures / name, exif=exif)
    (only,) = found(folder / MAIN, images=pictures)
    assert only[0] == "image 1, 'a.png'"
    assert "before EXIF turns it" in only[1]


def test_names_that_leave_the_folder_are_never_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spoilt(folder, lambda c: c["images"][1].update(file_name="../spoilt.json"))
    looked: list[Path] = []
    monkeypatch.setattr(Path, "is_file", lambda self: bool(looked.append(self)) or True)
    assert [where for where, what in found(path, images=folder) if "'..'" in what] == [
        "image 2, '../spoilt.json'"
    ]
    assert not [one for one in looked if ".." in one.parts]


def results(folder: Path, change: Callable[[list[Any]], object]) -> Path:
    entries = json.loads((folder / RESULTS).read_text())
    change(entries)
    (folder / RESULTS).write_text(json.dumps(entries))
    return folder / RESULTS


RESULT_FAULTS: dict[str, tuple[Callable[[list[Any]], object], str]] = {
    "unknown image": (lambda r: r[0].update(image_id=99), "image_id that the instances file"),
    "unknown category": (lambda r: r[0].update(category_id=99), "category_id that the instances file"),
    "text as id": (lambda r: r[0].update(image_id="1"), "no whole number 'image_id'"),
    "no score": (lambda r: r[0].pop("score"), "'score'"),
    "score NaN": (lambda r: r[0].update(score=NAN), "'score'"),
    "box outside": (lambda r: r[0].update(bbox=[8, 2, 4, 4]), "outside its image"),
    "no box": (lambda r: r[0].pop("bbox"), "'bbox' is not"),
    "torn mask": (lambda r: r[0].update(segmentation=size(1, 2)), "add up"),
    "no object": (lambda r: r.append(7), "not an object"),
    "empty": (lambda r: r.clear(), "no result"),
}


@pytest.mark.parametrize("fault", RESULT_FAULTS)
def test_one_fault_in_results_is_found(folder: Path, fault: str) -> None:
    change, word = RESULT_FAULTS[fault]
    (only,) = found(results(folder, change))
    assert word in only[1]


def test_results_are_for_loadres_alone(folder: Path) -> None:
    for target in ("datumaro", "cvat", "labelformat"):
        (only,) = found(folder / RESULTS, target)
        assert "instances file" in only[1]
    (folder / MAIN).unlink()
    assert found(results(folder, lambda r: r[0].update(image_id=99))) == []  # nothing to compare with


def test_a_folder_names_the_file_of_each_fault(folder: Path) -> None:
    other = folder / "annotations/instances_val.json"
    other.write_text((folder / MAIN).read_text().replace('"id":1,"image_id"', '"id":0,"image_id"'))
    assert [where for where, _ in found(folder)] == ["instances_val.json, annotation 0"]


def test_a_correct_file_by_hand_passes_for_coco(tmp_path: Path) -> None:
    entry = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 20, "bbox": [1, 2, 5, 4]}
    file = {
        "images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 8}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{**entry, "segmentation": [[1, 2, 6, 2, 6, 6, 1, 6]]}],
    }
    (tmp_path / "by_hand.json").write_text(json.dumps(file))
    assert found(tmp_path / "by_hand.json", "coco") == []


def test_missing_pictures_are_one_sentence(folder: Path) -> None:
    said = sentences(found(folder / MAIN, images=folder))
    assert said == [
        "image 1, 'a.png' and 2 more: its picture is not below the image folder; "
        "every tool shows nothing there."
    ]


def test_equal_faults_are_one_sentence_with_their_number(folder: Path) -> None:
    path = spoilt(folder, lambda c: [entry.pop("iscrowd") for entry in c["annotations"]])
    assert sentences(found(path)) == [
        "annotation 1 and 3 more: no 'iscrowd' of 0 or 1; datumaro and CVAT refuse the file. Write 0."
    ]


@pytest.mark.parametrize("text", ["", "no", "{", "{" * 5000, '{"a": ' * 5000, "\x00", "[", "7"])
def test_what_is_not_coco_is_one_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert len(list(faults(path, Check()))) == 1
    (missing,) = faults(tmp_path / "none.json", Check())
    assert missing[1].endswith("Give a file with labels.")
    (tmp_path / "empty").mkdir()
    assert len(list(faults(tmp_path / "empty", Check()))) == 1


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.just(10**400) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "score", "attributes"]


@settings(max_examples=150, deadline=None)
@given(
    entry=st.dictionaries(st.sampled_from(KEYS), values),
    image=st.dictionaries(st.sampled_from(["id", "file_name", "width", "height"]), values),
)
def test_no_content_makes_the_rules_fail(
    tmp_path_factory: pytest.TempPathFactory, entry: dict[str, Any], image: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    lists = {"images": [image], "categories": [image, entry], "annotations": [entry, image]}
    for content in (lists, [entry, image]):
        path.write_text(json.dumps(content))
        assert list(faults(path, Check(images=path.parent)))  # nothing in it is whole


def test_real_files_have_the_faults_that_are_known(data: Path) -> None:
    told = sentences(faults(data / "thermal_aerial/annotations_coco.json", Check("cvat")))
    told += sentences(faults(data / "paired_road/labels/annotations_coco.json", Check("cvat")))
    assert any("category id 0" in sentence for sentence in told)
