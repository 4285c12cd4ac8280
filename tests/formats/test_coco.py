import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dinonat.errors import LabelError
from dinonat.formats import coco
from dinonat.formats.coco_masks import FILLED, segmentation
from dinonat.formats.handover import BAD_MASK
from dinonat.geometry import mask_to_counts

IMAGES = pd.DataFrame(
    {"image": ["b.png", "a.png", "night/ü x.png"], "width": [10, 10, 6], "height": [8, 8, 5]}
)


def ring() -> np.ndarray:
    """A car: box xyxy 3,1,9,6 with a 2x1 hole, 28 pixels."""
    mask = np.zeros((8, 10), bool)
    mask[1:6, 3:9] = True
    mask[3, 5:7] = False
    return mask


def parts() -> np.ndarray:
    mask = np.zeros((8, 10), bool)
    mask[0:2, 0:3] = mask[4:8, 6:10] = True
    return mask


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / coco.ANNOTATIONS).read_text(encoding="utf-8"))


def real_readers(path: Path) -> list[Any]:
    import faster_coco_eval
    import pycocotools.coco

    with redirect_stdout(io.StringIO()):
        return [pycocotools.coco.COCO(str(path)), faster_coco_eval.COCO(str(path))]


def rows(proposals: Any) -> pd.DataFrame:
    return proposals(
        {"box": (1, 2, 4, 4), "label": "person"},
        {"box": (3, 1, 6, 5), "mask": ring(), "score": 0.5},
        {"box": (0, 0, 10, 8), "mask": parts(), "cluster": 3},
        {"box": (-2, 1, 9, 99), "image": "night/ü x.png", "score": np.nan, "similarity": np.nan},
        {"kind": "image", "image": "b.png", "box": (np.nan,) * 4, "label": "night"},
    )


CLASSES = ["bike unused", "car", "night", "person"]


def test_the_example_of_the_reference(tmp_path: Path, proposals: Any) -> None:
    report = coco.write(rows(proposals), tmp_path, images=IMAGES, classes=CLASSES)
    file = written(tmp_path)
    assert [c["name"] for c in file["categories"]] == CLASSES
    assert [i["file_name"] for i in file["images"]] == ["a.png", "b.png", "night/ü x.png"]
    assert [a["id"] for a in file["annotations"]] == [1, 2, 3, 4]
    box, holed, joined, clipped = file["annotations"]
    assert (box["bbox"], box["segmentation"], box["area"], box["score"]) == (
        [1.0, 2.0, 4.0, 4.0],
        [],
        16.0,
        0.875,
    )
    assert holed["segmentation"]["counts"] == [25, 5, 3, 5, 3, 2, 1, 2, 3, 2, 1, 2, 3, 5, 3, 5, 10]
    assert (holed["area"], len(joined["segmentation"]), joined["area"]) == (28, 2, 22)
    assert clipped["bbox"] == [0.0, 1.0, 6.0, 4.0]
    assert "score" not in clipped
    assert "similarity" not in clipped["attributes"]
    assert box["attributes"]["proposal"] == "p000"
    assert joined["attributes"]["cluster"] == 3
    assert (report.annotations, report.image_labels) == (4, 1)
    assert report.losses[coco.WHOLE_IMAGE] == 1
    assert coco.validate(tmp_path / coco.ANNOTATIONS) == []


def test_temperatures_are_attributes_in_hundredths_of_their_unit(tmp_path: Path, proposals: Any) -> None:
    measured = {"t_min": 17.8759, "t_median": 21.0128, "t_mean": 21.0894, "t_p95": 23.005, "t_max": 24.7004}
    table = proposals({**measured, "unit": "celsius", "lo": 18.1, "hi": 24.2}, {"unit": "grey"})
    coco.write(table, tmp_path, images=IMAGES, classes=CLASSES)
    warm, plain = (entry["attributes"] for entry in written(tmp_path)["annotations"])
    assert [warm[name] for name in measured] == [17.88, 21.01, 21.09, pytest.approx(23, abs=0.011), 24.7]
    assert (warm["unit"], warm["prepare"]) == ("celsius", "percentile")
    assert (np.float32(warm["lo"]), np.float32(warm["hi"])) == (np.float32(18.1), np.float32(24.2))
    assert not measured.keys() & plain.keys()  # NaN is not JSON, and no zero either
    assert plain["unit"] == "grey"


@pytest.mark.parametrize("masks", ["auto", "polygon", "rle"])
def test_real_readers_load_every_annotation_and_decode_every_mask(
    tmp_path: Path, proposals: Any, masks: Any
) -> None:
    report = coco.write(rows(proposals), tmp_path, images=IMAGES, classes=CLASSES, masks=masks)
    filled = ring()
    filled[3, 5:7] = True
    truth = {2: filled if masks == "polygon" else ring(), 3: parts()}
    assert report.losses.get(FILLED, 0) == (masks == "polygon")
    for reader in real_readers(tmp_path / coco.ANNOTATIONS):
        assert sorted(reader.getAnnIds()) == [1, 2, 3, 4]
        assert len(reader.getImgIds()) == 3
        for number, mask in truth.items():
            entry = reader.loadAnns([number])[0]
            assert np.array_equal(reader.annToMask(entry).astype(bool), mask)
            assert entry["area"] == mask.sum()


@settings(max_examples=60, deadline=None)
@given(mask=arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_any_mask_decodes_to_itself_or_to_its_filled_form(mask: np.ndarray) -> None:
    from pycocotools import mask as api

    counts, (height, width) = mask_to_counts(mask), mask.shape
    for masks in ("auto", "polygon", "rle"):
        shape = segmentation(counts, (height, width), masks=masks)  # type: ignore[arg-type]
        if not mask.any():
            assert (shape.written, shape.loss) == ([], BAD_MASK)
            continue
        runs = api.frPyObjects(shape.written, height, width)
        decoded = api.decode(api.merge(runs) if isinstance(runs, list) else runs).astype(bool)
        assert decoded.sum() == shape.area
        assert (decoded & mask).sum() == mask.sum()
        assert np.array_equal(decoded, mask) or (masks == "polygon" and shape.loss == FILLED)


def test_the_same_rows_in_any_order_give_the_same_bytes(tmp_path: Path, proposals: Any) -> None:
    table = rows(proposals)
    for name, one, images in (("a", table, IMAGES), ("b", table.iloc[::-1], IMAGES.iloc[::-1])):
        coco.write(one, tmp_path / name, images=images, classes=CLASSES)
    for file in (coco.ANNOTATIONS, coco.IMAGE_LABELS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_boxes_come_back_and_image_labels_never_become_boxes(tmp_path: Path, proposals: Any) -> None:
    coco.write(rows(proposals), tmp_path, images=IMAGES, classes=CLASSES)
    back = coco.read(tmp_path / coco.ANNOTATIONS)
    assert back["label"].tolist() == ["person", "car", "car", "car"]
    assert back["image"].tolist() == ["a.png"] * 3 + ["night/ü x.png"]
    assert back[["x", "y", "w", "h"]].iloc[1].tolist() == [3, 1, 6, 5]
    assert "night" not in back["label"].tolist()


def test_image_labels_of_an_earlier_export_do_not_stay(tmp_path: Path, proposals: Any) -> None:
    coco.write(rows(proposals), tmp_path, images=IMAGES, classes=CLASSES)
    assert (tmp_path / coco.IMAGE_LABELS).is_file()
    coco.write(proposals({}), tmp_path, images=IMAGES, classes=CLASSES)
    assert not (tmp_path / coco.IMAGE_LABELS).exists()


def test_losses_are_counted(tmp_path: Path, proposals: Any) -> None:
    bad = proposals(
        {"box": (20, 1, 2, 2)}, {"mask_counts": [3, 4], "box": (1, 1, 2, 2)}, {"box": (1, np.nan, 1, 1)}
    )
    report = coco.write(bad, tmp_path, images=IMAGES, classes=CLASSES)
    assert (report.losses[coco.NOT_A_BOX], report.losses[BAD_MASK], report.annotations) == (2, 1, 1)
    with pytest.raises(LabelError, match=r"c[.]png"):
        coco.write(proposals({"image": "c.png"}), tmp_path, images=IMAGES, classes=CLASSES)


def test_categories_may_start_at_zero_if_asked(tmp_path: Path, proposals: Any) -> None:
    coco.write(proposals({}), tmp_path, images=IMAGES, classes=["car"], category_base=0)
    path = tmp_path / coco.ANNOTATIONS
    assert written(tmp_path)["annotations"][0]["category_id"] == 0
    assert coco.validate(path, category_base=0) == []
    assert "category id 0" in " ".join(coco.validate(path))


def test_display_pictures_keep_the_name_of_the_image(tmp_path: Path, proposals: Any) -> None:
    images = IMAGES.assign(file_name=["b.png", "a.8bit.png", "night/ü x.png"])
    coco.write(proposals({}), tmp_path, images=images, classes=["car"])
    assert written(tmp_path)["images"][0]["file_name"] == "a.8bit.png"
    assert coco.read(tmp_path / coco.ANNOTATIONS)["image"].tolist() == ["a.png"]


NAN = float("nan")
# One fault each: what is done to a good file, and a word of the sentence.
FAULTS = {
    "no segmentation": (lambda c: c["annotations"][0].pop("segmentation"), "no key 'segmentation'"),
    "segmentation null": (lambda c: c["annotations"][0].update(segmentation=None), "segmentation is null"),
    "no iscrowd": (lambda c: c["annotations"][0].pop("iscrowd"), "iscrowd"),
    "no area": (lambda c: c["annotations"][0].pop("area"), "area"),
    "no info": (lambda c: c.pop("info"), "'info'"),
    "no licenses": (lambda c: c.pop("licenses"), "'licenses'"),
    "no supercategory": (lambda c: c["categories"][0].pop("supercategory"), "supercategory"),
    "no image size": (lambda c: c["images"][0].pop("width"), "'width'"),
    "size is not the mask's": (lambda c: c["images"][0].update(width=11), "size of the run lengths"),
    "category id 0": (
        lambda c: (c["categories"][3].update(id=0), c["annotations"][0].update(category_id=0)),
        "category id 0",
    ),
    "unknown category": (lambda c: c["annotations"][0].update(category_id=99), "category_id that no"),
    "unknown image": (lambda c: c["annotations"][0].update(image_id=99), "image_id that no"),
    "duplicate annotation ids": (lambda c: c["annotations"][1].update(id=1), "stands twice"),
    "annotation id 0": (lambda c: c["annotations"][0].update(id=0), "annotation id 0"),
    "string id": (lambda c: c["annotations"][0].update(id="1"), "not a whole number"),
    "score NaN": (lambda c: c["annotations"][0].update(score=NAN), "score is NaN"),
    "negative box": (lambda c: c["annotations"][0].update(bbox=[5, 6, -4, -4]), "negative size"),
    "box outside": (lambda c: c["annotations"][0].update(bbox=[8, 2, 4, 4]), "outside its image"),
    "absolute name": (lambda c: c["images"][1].update(file_name="/data/b.png"), "absolute 'file_name'"),
    # Beyond the table: faults that users reported.
    "bare polygon": (
        lambda c: c["annotations"][0].update(segmentation=[1, 2, 5, 2, 5, 6]),
        "list of polygons",
    ),
    "runs do not fill": (lambda c: c["annotations"][1]["segmentation"]["counts"].pop(), "add up"),
    "area is not the mask's": (lambda c: c["annotations"][1].update(area=30), "'area' is not"),
    "box NaN": (lambda c: c["annotations"][0].update(bbox=[1, 2, NAN, 4]), "'bbox' is not"),
    "backslash": (lambda c: c["images"][1].update(file_name="x\\b.png"), "backslash"),
    "one name twice": (lambda c: c["images"][1].update(file_name="a.png"), "a second time"),
    "annotations no list": (lambda c: c.update(annotations={}), "no list 'annotations'"),
    "entry no object": (lambda c: c["images"].append(7), "not objects"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_gives_one_sentence(tmp_path: Path, proposals: Any, fault: str) -> None:
    coco.write(rows(proposals), tmp_path, images=IMAGES, classes=CLASSES)
    file = written(tmp_path)
    spoil, word = FAULTS[fault]
    spoil(file)
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(file))
    found = coco.validate(path)
    assert len(found) == 1, found
    assert word in found[0]


def test_missing_picture_is_a_fault_where_there_is_an_image_folder(tmp_path: Path, proposals: Any) -> None:
    coco.write(proposals({}), tmp_path, images=IMAGES.iloc[:2], classes=["car"])
    path = tmp_path / coco.ANNOTATIONS
    assert coco.validate(path) == []
    (tmp_path / coco.PICTURES / "a.png").touch()
    assert [s for s in coco.validate(path) if "image 2" in s and "not below the image folder" in s]
    assert len(coco.validate(path, images=tmp_path)) == 2


def test_run_lengths_of_single_objects_are_right_but_not_for_labelformat(
    tmp_path: Path, proposals: Any
) -> None:
    coco.write(rows(proposals), tmp_path, images=IMAGES, classes=CLASSES)
    path = tmp_path / coco.ANNOTATIONS
    assert coco.validate(path) == []
    assert "labelformat" in coco.validate(path, polygons_only=True)[0]


def test_equal_faults_are_one_sentence_with_their_number(tmp_path: Path, proposals: Any) -> None:
    coco.write(rows(proposals), tmp_path, images=IMAGES, classes=CLASSES)
    file = written(tmp_path)
    for entry in file["annotations"]:
        del entry["iscrowd"]
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(file))
    assert coco.validate(path) == [
        "annotation 1 and 3 more: no 'iscrowd' of 0 or 1; datumaro and CVAT refuse the file. Write 0."
    ]


@pytest.mark.parametrize("text", ["", "no", "[1]", "{" * 5000, '{"a": ' * 5000, "\x00"])
def test_what_is_not_coco_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert len(coco.validate(path)) == 1
    with pytest.raises(LabelError):
        coco.read(path)
    assert coco.validate(tmp_path / "none.json")[0].endswith("Give a file with labels.")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "score"]


@settings(max_examples=150, deadline=None)
@given(
    entry=st.dictionaries(st.sampled_from(KEYS), values),
    image=st.dictionaries(st.sampled_from(["id", "file_name", "width", "height"]), values),
)
def test_no_content_makes_the_validator_fail(
    tmp_path_factory: pytest.TempPathFactory, entry: dict[str, Any], image: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(
        json.dumps({"images": [image], "categories": [image, entry], "annotations": [entry, image]})
    )
    assert all(isinstance(sentence, str) for sentence in coco.validate(path))
    with pytest.raises(LabelError):
        coco.read(path, warn=lambda sentence: None)


def test_real_coco_files_are_read_whole(data: Path) -> None:
    for name, count in (
        ("paired_road/labels/annotations_coco.json", 567),
        ("thermal_aerial/annotations_coco.json", 1137),
    ):
        path = data / name
        labels = coco.read(path)
        raw = json.loads(path.read_text())
        assert len(labels) == len(raw["annotations"]) == count
        assert set(labels["image"]) <= {image["file_name"] for image in raw["images"]}
    assert any("category id 0" in sentence for sentence in coco.validate(path))
