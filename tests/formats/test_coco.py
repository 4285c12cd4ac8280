import io
import json
import math
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dinonat.formats import coco
from dinonat.formats.coco_masks import FILLED, segmentation
from dinonat.formats.handover import BAD_MASK, CUT, NOT_A_BOX, WHOLE_IMAGE, Outgoing, outgoing
from dinonat.formats.image_labels import IMAGE_LABELS
from dinonat.geometry import mask_to_counts

MAIN = "annotations/instances_default.json"
RESULTS = "annotations/results_default.json"
CLASSES = ["bike unused", "car", "night", "person"]
NAN = float("nan")


def ring() -> np.ndarray:
    """A ring of 795 pixels: rows 5-29, columns 5-39, its hole rows 12-19, columns 15-24."""
    mask = np.zeros((48, 64), bool)
    mask[5:30, 5:40] = True
    mask[12:20, 15:25] = False
    return mask


def parts() -> np.ndarray:
    """Two parts of 36 and 200 pixels."""
    mask = np.zeros((48, 64), bool)
    mask[0:6, 0:6] = mask[20:30, 40:60] = True
    return mask


def edge() -> np.ndarray:
    """A triangle at the right and lower border."""
    return np.add.outer(np.arange(48), np.arange(64)) >= 100


# Nested folder, 16-bit files, a picture that EXIF turns (so its size is turned), no label, a name of words.
IMAGES = pd.DataFrame(
    {
        "image": ["night/a.png", "b16.png", "c16.tiff", "d_exif6.jpg", "e_empty.png", "f è space.png"],
        "width": [64, 64, 64, 48, 64, 64],
        "height": [48, 48, 48, 64, 48, 48],
    }
)
MASKS = {"p001": ring(), "p002": parts(), "p004": edge()}


@pytest.fixture
def asked(proposals: Any) -> Callable[..., Outgoing]:
    """A function that makes the fixture set, to be written with some options."""

    def make(images: pd.DataFrame = IMAGES, **options: Any) -> Outgoing:
        table = proposals(
            {"box": (1, 2, 4.25, 4), "label": "person", "image": "night/a.png", "cluster": 3},
            {"box": (5, 5, 35, 25), "mask": ring(), "score": 0.5, "image": "b16.png"},
            {"box": (0, 0, 60, 30), "mask": parts(), "image": "c16.tiff"},
            {"box": (0, 0, 48, 64), "image": "d_exif6.jpg", "score": NAN, "similarity": NAN},
            {"box": (37, 1, 27, 47), "mask": edge(), "image": "f è space.png", "reason": ""},
            {"kind": "image", "image": "b16.png", "box": (NAN,) * 4, "label": "night"},
        )
        return outgoing(table, images, CLASSES, **options)

    return make


def entries(folder: Path, name: str = MAIN) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def real_readers(path: Path) -> list[Any]:
    import faster_coco_eval
    import pycocotools.coco

    with redirect_stdout(io.StringIO()):
        return [pycocotools.coco.COCO(str(path)), faster_coco_eval.COCO(str(path))]


def test_what_is_written_is_what_was_asked(tmp_path: Path, asked: Any) -> None:
    report = coco.write(asked(name="march"), tmp_path)
    file = entries(tmp_path)
    assert file["info"] == {"description": "dinotool export", "version": "1", "export": "march"}
    assert file["licenses"] == [{"id": 0, "name": "", "url": ""}]
    assert [(c["id"], c["name"], c["supercategory"]) for c in file["categories"]] == [
        (number, name, "") for number, name in enumerate(CLASSES, start=1)
    ]
    assert [(i["id"], i["file_name"], i["width"]) for i in file["images"]] == [
        (number, name, 48 if name == "d_exif6.jpg" else 64)
        for number, name in enumerate(sorted(IMAGES["image"]), start=1)
    ]
    by_id = {entry["attributes"]["label_id"]: entry for entry in file["annotations"]}
    assert sorted(entry["id"] for entry in file["annotations"]) == [1, 2, 3, 4, 5]
    box, bare = by_id["p000"], by_id["p003"]
    assert (box["bbox"], box["segmentation"], box["area"], box["score"], box["category_id"]) == (
        [1.0, 2.0, 4.25, 4.0], [], 17.0, 0.875, 4,
    )  # fmt: skip
    assert box["attributes"] == {
        "label_id": "p000", "status": "proposed", "advice": "review", "reason": "3 of 4 neighbours agree",
        "source": "ncut", "model": "0123456789abcdef", "prepare": "percentile", "unit": "grey",
        "similarity": 0.75, "objectness": 0.5, "margin": 0.5, "lo": 1.0, "hi": 9.0, "cluster": 3,
    }  # fmt: skip
    assert "score" not in bare
    assert not bare["attributes"].keys() & {"similarity", "cluster"}  # NaN is not JSON, and no zero either
    assert "reason" not in by_id["p004"]["attributes"]
    assert by_id["p001"]["segmentation"]["counts"] == mask_to_counts(ring())
    assert (by_id["p001"]["area"], by_id["p002"]["area"]) == (795, 236)
    assert len(by_id["p002"]["segmentation"]) == 2
    assert report.files == (MAIN, IMAGE_LABELS, RESULTS)
    assert (report.annotations, report.image_labels, report.losses) == (5, 1, {WHOLE_IMAGE: 1})
    assert (tmp_path / "images/default").is_dir()  # datumaro refuses annotations without it


def test_every_entry_is_a_line(tmp_path: Path, asked: Any) -> None:
    coco.write(asked(), tmp_path)
    lines = (tmp_path / MAIN).read_text(encoding="utf-8").splitlines()
    single = [
        json.loads(line.removesuffix(",")) for line in lines if line.startswith("{") and "info" not in line
    ]
    file = entries(tmp_path)
    assert single == [*file["categories"], *file["images"], *file["annotations"]]


def test_temperatures_are_attributes_in_hundredths_of_their_unit(tmp_path: Path, proposals: Any) -> None:
    measured = {"t_min": 17.8759, "t_median": 21.0128, "t_mean": 21.0894, "t_p95": 23.005, "t_max": 24.7004}
    rows = proposals({**measured, "unit": "celsius", "lo": 18.1, "hi": 24.2, "image": "b16.png"})
    coco.write(outgoing(rows, IMAGES, CLASSES), tmp_path)
    (warm,) = (entry["attributes"] for entry in entries(tmp_path)["annotations"])
    assert [warm[name] for name in measured] == [17.88, 21.01, 21.09, pytest.approx(23, abs=0.011), 24.7]
    assert (warm["unit"], warm["prepare"]) == ("celsius", "percentile")
    assert (np.float32(warm["lo"]), np.float32(warm["hi"])) == (np.float32(18.1), np.float32(24.2))


@pytest.mark.parametrize("masks", ["auto", "polygon", "rle"])
def test_pycocotools_and_faster_coco_eval_read_every_mask(tmp_path: Path, asked: Any, masks: Any) -> None:
    report = coco.write(asked(masks=masks), tmp_path)
    filled = ring()
    filled[12:20, 15:25] = True
    truth = MASKS | ({"p001": filled} if masks == "polygon" else {})
    assert report.losses.get(FILLED, 0) == (masks == "polygon")
    for reader in real_readers(tmp_path / MAIN):
        assert sorted(reader.getAnnIds()) == [1, 2, 3, 4, 5]
        names = [image["file_name"] for image in reader.loadImgs(reader.getImgIds())]
        assert sorted(names) == sorted(IMAGES["image"])
        by_id = {entry["attributes"]["label_id"]: entry for entry in reader.loadAnns(reader.getAnnIds())}
        for label_id, mask in truth.items():
            assert np.array_equal(reader.annToMask(by_id[label_id]).astype(bool), mask)
            assert by_id[label_id]["area"] == mask.sum()
        assert by_id["p000"]["score"] == 0.875


def test_results_are_read_by_loadres(tmp_path: Path, asked: Any) -> None:
    coco.write(asked(), tmp_path)
    assert len(entries(tmp_path, RESULTS)) == 4  # the one without a score is no result
    for reader in real_readers(tmp_path / MAIN):
        with redirect_stdout(io.StringIO()):
            results = reader.loadRes(str(tmp_path / RESULTS))
        found = {tuple(entry["bbox"]): entry for entry in results.loadAnns(results.getAnnIds())}
        assert found[1.0, 2.0, 4.25, 4.0]["score"] == 0.875
        holed = found[5.0, 5.0, 35.0, 25.0]
        assert np.array_equal(results.annToMask(holed).astype(bool), ring())


def test_labelformat_reads_boxes_scores_and_polygons(tmp_path: Path, asked: Any) -> None:
    module = pytest.importorskip("labelformat.formats.coco", reason="labelformat is not installed")
    coco.write(asked(masks="polygon"), tmp_path)
    found = {
        (labels.image.filename, one.category.name): (one.box, one.confidence)
        for labels in module.COCOObjectDetectionInput(tmp_path / MAIN).get_labels()
        for one in labels.objects
    }
    box, confidence = found["night/a.png", "person"]
    assert ((box.xmin, box.ymin, box.xmax, box.ymax), confidence) == ((1, 2, 5.25, 6), 0.875)
    assert found["d_exif6.jpg", "car"][1] is None
    assert len(found) == 5
    shapes = {
        labels.image.filename: [len(one.segmentation.polygons) for one in labels.objects]
        for labels in module.COCOInstanceSegmentationInput(tmp_path / MAIN).get_labels()
    }
    assert shapes == {
        "night/a.png": [0], "b16.png": [1], "c16.tiff": [2], "d_exif6.jpg": [0], "e_empty.png": [],
        "f è space.png": [1],
    }  # fmt: skip


def test_globox_reads_every_box_and_confidence(tmp_path: Path, asked: Any) -> None:
    globox = pytest.importorskip("globox", reason="globox is not installed")
    coco.write(asked(), tmp_path)
    found = globox.AnnotationSet.from_coco(tmp_path / MAIN)
    assert set(found.image_ids) == set(IMAGES["image"])
    (box,) = found["night/a.png"].boxes
    assert (box.ltwh, box.label, box.confidence) == ((1, 2, 4.25, 4), "person", 0.875)
    assert found["d_exif6.jpg"].image_size == (48, 64)
    assert not found["e_empty.png"].boxes


def test_splits_keep_the_ids_of_the_whole_set(tmp_path: Path, asked: Any) -> None:
    split = ["train", "val", "train", "val", "test", "train"]
    coco.write(asked(), tmp_path / "whole")
    report = coco.write(asked(IMAGES.assign(split=split)), tmp_path / "parts")
    whole = entries(tmp_path / "whole")
    for key in ("images", "annotations"):
        apart = [
            entry
            for name in ("test", "train", "val")
            for entry in entries(tmp_path / "parts", coco.annotations_file(name))[key]
        ]
        assert sorted(apart, key=lambda entry: entry["id"]) == whole[key]
    assert entries(tmp_path / "parts", coco.annotations_file("test"))["annotations"] == []
    assert not (tmp_path / "parts" / coco.results_file("test")).exists()
    assert all((tmp_path / "parts" / file).is_file() for file in report.files)
    assert (tmp_path / "parts" / coco.picture("val", "x/y.png")).parent.parent.is_dir()


def test_annotations_that_fill_several_blocks_are_joined(
    tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    coco.write(asked(), tmp_path / "one")
    monkeypatch.setattr(coco, "BLOCK", 2)
    coco.write(asked(), tmp_path / "many")
    for name in (MAIN, RESULTS):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_no_image_and_no_label_still_give_files_that_open(tmp_path: Path, proposals: Any) -> None:
    for name, images in (("a", IMAGES), ("b", IMAGES.iloc[:0])):
        report = coco.write(outgoing(proposals(), images, CLASSES), tmp_path / name)
        assert report.files == (MAIN,)
        for reader in real_readers(tmp_path / name / MAIN):
            assert (len(reader.getImgIds()), reader.getAnnIds()) == (len(images), [])


def test_categories_may_start_at_zero_if_asked(tmp_path: Path, asked: Any) -> None:
    coco.write(asked(category_base=0), tmp_path)
    file = entries(tmp_path)
    assert [category["id"] for category in file["categories"]] == [0, 1, 2, 3]
    assert {entry["category_id"] for entry in file["annotations"]} == {1, 3}


def test_display_pictures_keep_the_name_of_the_image(tmp_path: Path, asked: Any) -> None:
    coco.write(asked(IMAGES.assign(file_name=[f"{name}.8bit.png" for name in IMAGES["image"]])), tmp_path)
    image = entries(tmp_path)["images"][0]
    assert (image["file_name"], image["raw"]) == ("b16.png.8bit.png", "b16.png")


def test_losses_found_before_are_kept(tmp_path: Path, proposals: Any) -> None:
    rows = proposals(
        {"box": (90, 1, 2, 2), "image": "b16.png"},
        {"mask_counts": [3, 4], "box": (1, 1, 2, 2), "image": "b16.png"},
        {"box": (-2, 1, 9, 99), "image": "b16.png"},
    )
    report = coco.write(outgoing(rows, IMAGES, CLASSES), tmp_path)
    assert report.losses == {NOT_A_BOX: 1, BAD_MASK: 1, CUT: 1}
    assert report.annotations == 2


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


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_numbers_as_text_are_those_of_json(values: list[float]) -> None:
    texts = coco._numbers("lo", pd.Series(values, dtype="float32")).to_pylist()
    for value, text in zip(np.float32(values).tolist(), texts, strict=True):
        rounded = float(np.round(np.float64(value), 6))
        if not math.isfinite(value):
            assert text is None
        else:
            assert json.loads(text) == rounded
