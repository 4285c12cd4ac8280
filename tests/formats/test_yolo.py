import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dinonat import polygons
from dinonat.errors import LabelError
from dinonat.formats import yolo, yolo_reading, yolo_rules
from dinonat.formats.coco_masks import FILLED
from dinonat.formats.handover import (
    MASKS_BOX,
    NO_FACTS,
    NO_IDS,
    NO_MASKS,
    NO_SCORES,
    NUMBERS,
    TEXTS,
    WHOLE_IMAGE,
    Check,
    Incoming,
    Outgoing,
    outgoing,
)
from dinonat.formats.yolo_rows import SPLIT_UP
from dinonat.geometry import box_of_mask, counts_to_mask, mask_to_counts
from dinonat.polygons import mask_polygons, polygon_mask

WRITE = {"detect": yolo.write_detect, "segment": yolo.write_segment}
SETS = int(os.environ.get("DINOTOOL_SETS", "25"))  # of labels, that are written and read back
NAMES = [
    "a b.png",
    "ü#1.png",
    "say 'x', y.JPG",
    '"q" & <b>.tif',
    "</script>.png",
    "🔥.v1.2.png",
    "night_a.png",
]
CLASSES = ["car", "a, b: {c}", "ü \"q\" 's'", "🔥</script>", "- x # y", "no", "line\nend\u2028 ", " null"]


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


def asked_of(rows: list[dict[str, Any]], images: pd.DataFrame, classes: list[str], **more: Any) -> Outgoing:
    default = {
        "kind": "region", "cluster": -1, "mask_counts": (), "score": np.nan,
        **dict.fromkeys("xywh", np.nan), **dict.fromkeys(TEXTS, ""),
        **dict.fromkeys(NUMBERS, np.nan),
    }  # fmt: skip
    table = [{**default, "proposal": f"p{number:03}", **row} for number, row in enumerate(rows)]
    columns = [*default, "proposal", "image", "label"]
    return outgoing(pd.DataFrame(table, columns=columns), images, classes, **more)


def example(**more: Any) -> Outgoing:
    images = pd.DataFrame({"image": ["a.png", "b.png"], "width": 10, "height": 8})
    rows = [
        {"image": "a.png", "label": "person", "x": 1, "y": 2, "w": 4, "h": 4, "score": 0.875, "status": "x"},
        {
            "image": "a.png",
            "label": "car",
            "x": 3,
            "y": 1,
            "w": 6,
            "h": 5,
            "mask_counts": mask_to_counts(ring()),
        },
    ]
    return asked_of(rows, images, ["person", "car"], **more)


def sizes_of(asked: Outgoing) -> dict[str, tuple[int, int]]:
    columns = (asked.images[name] for name in ("file_name", "height", "width"))
    return {name: (h, w) for name, h, w in zip(*columns, strict=True)}


def even_odd(row: str, size_hw: tuple[int, int]) -> np.ndarray:
    """Fill one polygon row by asking each pixel's centre how many edges are to its left: the definition."""
    values = np.array(row.split()[1:], float).reshape(-1, 2) * size_hw[::-1]
    mask = np.zeros(size_hw, bool)
    for (x0, y0), (x1, y1) in zip(values, np.roll(values, -1, axis=0), strict=True):
        for line in range(size_hw[0]):
            middle = line + 0.5
            if (y0 <= middle) != (y1 <= middle):
                crossing = x0 + (middle - y0) * (x1 - x0) / (y1 - y0)
                mask[line] ^= crossing < np.arange(size_hw[1]) + 0.5
    return mask


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    written = yolo.write_detect(example(), tmp_path)
    assert (tmp_path / "labels/train/a.txt").read_text() == (
        "0 0.300000 0.500000 0.400000 0.500000\n1 0.600000 0.437500 0.600000 0.625000\n"
    )
    assert (tmp_path / "labels/train/b.txt").read_bytes() == b""
    data = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert data["names"] == {0: "person", 1: "car"}
    assert (data["path"], data["train"], data["val"]) == (".", "images/train", "images/train")
    assert yolo.picture("train", "a.png") == yolo.picture("", "a.png") == "images/train/a.png"
    assert written.losses == {NO_MASKS: 1, NO_SCORES: 1, NO_IDS: 2, NO_FACTS: 1}
    assert written.files[0] == "data.yaml"
    assert all((tmp_path / file).is_file() for file in written.files)


def test_polygons_of_masks_and_of_boxes(tmp_path: Path) -> None:
    written = yolo.write_segment(example(), tmp_path)
    box, mask = (tmp_path / "labels/train/a.txt").read_text().splitlines()
    assert box == "0 0.100000 0.250000 0.500000 0.250000 0.500000 0.750000 0.100000 0.750000"
    filled = ring()
    filled[3, 5:7] = True
    assert np.array_equal(even_odd(mask, (8, 10)), filled)
    assert written.losses[FILLED] == 1


@pytest.mark.parametrize(
    ("splits", "train", "val"),
    [(["", ""], "train", "train"), (["train", "val"], "train", "val"), (["val", "val"], "val", "val"),
     (["test", "test"], "test", "test"), (["train", "test"], "train", "train")],
)  # fmt: skip
def test_train_and_val_are_always_named(tmp_path: Path, splits: list[str], train: str, val: str) -> None:
    asked = example()
    images = asked.images.assign(split=splits)
    yolo.write_detect(Outgoing(asked.labels, images, asked.classes), tmp_path)
    data = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert (data["train"], data["val"]) == (f"images/{train}", f"images/{val}")
    assert data.get("test") == ("images/test" if "test" in splits else None)
    assert ("There is no split" in (tmp_path / "data.yaml").read_text()) == (set(splits) != {"train", "val"})
    assert sorted(yolo_reading.read(tmp_path, sizes=sizes_of(asked)).images) == ["a.png", "b.png"]


def test_pictures_with_one_stem_cannot_share_a_text(tmp_path: Path) -> None:
    images = pd.DataFrame({"image": ["a.png", "a.jpg"], "width": 10, "height": 8})
    with pytest.raises(LabelError, match=r"a[.]jpg.*a[.]png.*one label file"):
        yolo.write_detect(asked_of([], images, []), tmp_path)


# ---- there and back ----


@st.composite
def label_sets(draw: Any) -> Outgoing:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=1, max_size=4, unique=True))
    big = draw(st.sampled_from([1, 1, 1, 977]))
    images = pd.DataFrame(
        {
            "image": [f"night/{number}.png" for number in range(len(names))],
            "file_name": names,
            "width": [draw(st.integers(1, 12)) * big for _ in names],
            "height": [draw(st.integers(1, 9)) for _ in names],
            "split": [draw(st.sampled_from(["", "train", "val", "test"])) for _ in names],
        }
    )
    rows = [
        draw(label(images.iloc[draw(st.integers(0, len(images) - 1))], classes))
        for _ in range(draw(st.integers(0, 6)))
    ]
    multipart = draw(st.sampled_from(["bridge", "split"]))
    return asked_of(rows, images, classes, multipart=multipart, name=draw(st.sampled_from(["e1", "a: b\n#"])))


@st.composite
def label(draw: Any, image: pd.Series, classes: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"image": image["image"], "label": draw(st.sampled_from(classes))}
    row["score"] = draw(st.sampled_from([np.nan, 0.0, 0.123456789, 1.0]))
    row["status"] = draw(st.sampled_from(["", "accepted"]))
    row["cluster"] = draw(st.sampled_from([-1, 3]))
    row["t_max"] = draw(st.sampled_from([np.nan, 36.6]))
    if draw(st.integers(0, 5)) == 0:
        return {**row, "kind": "image"}
    height, width = int(image["height"]), int(image["width"])
    x, y = draw(st.integers(0, width * 100 - 1)), draw(st.integers(0, height * 100 - 1))
    w, h = draw(st.integers(1, width * 100 - x)), draw(st.integers(1, height * 100 - y))
    row |= {"x": x / 100, "y": y / 100, "w": w / 100, "h": h / 100}
    if draw(st.booleans()):
        bits = np.random.default_rng(draw(st.integers(0, 2**32))).random((height, width))
        mask = bits < (draw(st.sampled_from([0.02, 0.3, 0.6, 0.9, 1.0])) if width < 100 else 5 / bits.size)
        if mask.any():
            row["mask_counts"] = tuple(mask_to_counts(mask))
            if draw(st.booleans()):
                row |= dict(zip("xywh", box_of_mask(mask), strict=True))
    return row


def expected(asked: Outgoing, *, segment: bool) -> tuple[list[Any], Counter[str]]:
    """What must come back, and what must be said to be lost."""
    rows, losses = [], Counter[str](asked.losses)
    sizes = asked.images[["height", "width"]].to_numpy()
    for row in asked.labels.itertuples():
        if row.kind == "image":
            rows.append(("image", row.image, row.label, (), (), row.proposal, row.score))
            losses[WHOLE_IMAGE] += 1
            continue
        box, mask = (row.x, row.y, row.w, row.h), row.mask_counts
        losses[NO_IDS] += 1
        losses[NO_SCORES] += math.isfinite(row.score)
        losses[NO_FACTS] += bool(row.status or row.cluster >= 0 or math.isfinite(row.t_max))
        if mask and not segment:
            losses[NO_MASKS] += 1
            mask = ()
        if mask:
            filled, holes, several = outline(counts_to_mask(mask, tuple(sizes[row.at])))
            losses[FILLED] += holes
            losses[SPLIT_UP] += several and asked.multipart == "split"
            losses[MASKS_BOX] += box != box_of_mask(filled)
            box, mask = box_of_mask(filled), tuple(mask_to_counts(filled))
        name = asked.images["file_name"][row.at]
        rows.append(("region", name, row.label, box, mask, row.proposal, row.score))
    return rows, Counter({text: count for text, count in losses.items() if count})


def outline(mask: np.ndarray) -> tuple[np.ndarray, bool, bool]:
    """The mask without holes, whether it had any, whether it has several parts."""
    from scipy.ndimage import binary_fill_holes
    from scipy.ndimage import label as label_parts

    simple = mask_polygons(mask) is not None
    filled = mask if simple else binary_fill_holes(mask)
    return filled, not simple, label_parts(filled)[1] > 1


def found(incoming: Incoming, *, side: bool = True) -> list[Any]:
    """The rows that came back, as `expected` names them."""
    rows = []
    for row in incoming.labels.itertuples():
        box = () if row.kind == "image" else (row.x, row.y, row.w, row.h)
        rows.append((row.kind, row.image, row.label, box, row.mask_counts, row.label_id, row.score))
    return rows


def comparable(rows: list[Any], *, beside: bool = True) -> list[str]:
    """Rows in one order; without what only predictions.jsonl says if that is gone."""
    kept = [row if beside or row[0] == "image" else row[:5] for row in rows]
    return sorted(
        repr([np.float32(part) if isinstance(part, float) else part for part in row]) for row in kept
    )


@settings(max_examples=SETS, deadline=None)
@given(asked=label_sets(), kind=st.sampled_from(["detect", "segment"]), data=st.data())
def test_what_is_not_named_as_lost_comes_back(
    tmp_path_factory: pytest.TempPathFactory, asked: Outgoing, kind: str, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("yolo")
    written = WRITE[kind](asked, folder)
    rows, losses = expected(asked, segment=kind == "segment")
    assert Counter(written.losses) == losses
    assert written.annotations + written.image_labels == len(asked.labels)
    for file in (folder / "labels").rglob("*.txt"):
        for line in file.read_text().splitlines():
            values = np.array(line.split()[1:], float)
            assert ((values >= 0) & (values <= 1)).all()
            if kind == "detect":
                assert all(low >= 0 and high <= 1 for low, high in edges(line))
    warnings: list[str] = []
    back = yolo_reading.read(folder, sizes=sizes_of(asked), warn=warnings.append)
    assert warnings == []
    assert comparable(found(back)) == comparable(rows)
    assert back.export == asked.name
    assert back.unread == ()
    assert set(asked.images["file_name"]) <= set(back.images)
    # Without the file beside, boxes and masks still come back; ids and scores are lost, as was said.
    (folder / "predictions.jsonl").unlink()
    if kind == "detect" or (asked.multipart == "bridge" and all(map(bool, asked.labels["mask_counts"]))):
        bare = yolo_reading.read(folder, sizes=sizes_of(asked), warn=warnings.append)
        assert comparable(found(bare), beside=False) == comparable(rows, beside=False)


def edges(line: str) -> list[tuple[Any, Any]]:
    """Where a box begins and ends, in decimals, in which nothing is rounded."""
    from decimal import Decimal

    xc, yc, w, h = map(Decimal, line.split()[1:])
    return [(xc - w / 2, xc + w / 2), (yc - h / 2, yc + h / 2)]


# ---- what others write ----


def picture_at(path: Path, size: tuple[int, int] = (10, 8), **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path, **more)


BOX, POLYGON = "1 0.3 0.5 0.4 0.5\n", "0 0.1 0.25 0.5 0.25 0.5 0.75\n"
HALF = "0 0 0 1 0 1 0.5 0 0.5\n"  # the upper half
YAML = "names: {0: person, 1: car}\n"
LAYOUTS: dict[str, dict[str, str]] = {
    "ultralytics": {"data.yaml": YAML, "labels/train/a.txt": BOX, "images/train/a.png": ""},
    "roboflow": {"data.yaml": "names: ['person', car]", "train/labels/a.txt": BOX, "train/images/a.png": ""},
    "windows": {"data.yaml": "\ufeffnames:\r\n  '0': person\r\n  '1': car\r\n",
                "labels/a.txt": "\ufeff" + BOX.replace("\n", "\r\n"),
                "images/a.png": ""},
    "lists": {"data.yaml": "train: train.txt\nnames: [person, car]\n", "train.txt": "./images/train/a.png\n",
              "labels/train/a.txt": BOX},
    "cvat yolo 1.1": {"obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n",
                      "obj.names": "person\ncar\n", "train.txt": "data/obj_train_data/a.png\n",
                      "obj_train_data/a.txt": BOX},
    "labelimg": {"classes.txt": "person\ncar\n", "a.txt": BOX, "a.png": ""},
    "label studio": {"classes.txt": "person\ncar\n", "notes.json": "{}",
                     "labels/a.txt": BOX, "images/a.png": ""},
    "prediction": {"data.yaml": "names: [person, car]", "labels/a.txt": BOX[:-1] + " 0.75",
                   "images/a.png": ""},
}  # fmt: skip


def lay_out(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        if name.endswith(".png"):
            picture_at(folder / name)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", newline="")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_reads_the_same(tmp_path: Path, name: str) -> None:
    lay_out(tmp_path, LAYOUTS[name])
    back = yolo_reading.read(
        tmp_path, sizes={"a.png": (8, 10)} if name in ("lists", "cvat yolo 1.1") else None
    )
    assert back.images == ("a.png",)
    row = back.labels.iloc[0]
    assert (row["image"], row["label"], row["kind"], row["mask_counts"]) == ("a.png", "car", "region", ())
    assert row[list("xywh")].tolist() == [1, 2, 4, 4]
    assert row["where"].endswith("a.txt, line 1")
    assert math.isnan(row["score"]) if name != "prediction" else row["score"] == 0.75


def test_a_picture_is_as_large_as_exif_turns_it(tmp_path: Path) -> None:
    lay_out(tmp_path, {"classes.txt": "car\n", "a.txt": "0 0.5 0.5 1 0.5\n"})
    exif = Image.Exif()
    exif[0x0112] = 6
    picture_at(tmp_path / "a.jpg", (10, 8), exif=exif)
    assert yolo_reading.read(tmp_path).labels[list("xywh")].iloc[0].tolist() == [0, 2.5, 8, 5]


def test_bad_rows_cost_themselves_with_one_sentence_a_kind(tmp_path: Path) -> None:
    rows = [
        "0 0.5 0.5 0.2 0.2", "0 0.5 0.5 0.2", "0 0.1 0.1 0.2", "0 0.1 0.1 0.3 0.1 0.3 0.3 0.9",
        "0 0.1 0.1 0.3 0.1 0.3 0.3",
        "7 0.5 0.5 0.2 0.2", "0 5 5 2 2", "0 nan 0.5 0.2 0.2", "0 inf 0.5 0.2 0.2", "0 0.5 0.5 0 0.2",
        "x 0.5 0.5 0.2 0.2",
        "0 0.5 0.5 1e-9 0.2", "",
    ]  # fmt: skip
    lay_out(tmp_path, {"data.yaml": "names: [car]", "labels/a.txt": "\n".join(rows), "labels/b.txt": rows[0]})
    warnings: list[str] = []
    back = yolo_reading.read(tmp_path, sizes={"a.png": (8, 10)}, warn=warnings.append)
    assert len(back.labels) == 1
    assert set(back.images) == {"a.png", "b"}
    words = {"number of fields": 3, "of 7 numbers among boxes": 1, "no name": 1, "outside 0 to 1": 3,
             "no width or height": 2, "something else": 1, "size is not known": 1}  # fmt: skip
    assert len(warnings) == len(words)
    for word, count in words.items():
        assert any(word in sentence and f" {count} row(s)" in sentence for sentence in warnings), word


LEFT_OUT = {
    "4 numbers": "0 0.1 0.1 0.2",
    "8 numbers": "0 0.1 0.1 0.3 0.1 0.3 0.3 0.9",
    "triangle among boxes": "0 0.1 0.1 0.3 0.1 0.3 0.3",
    "unknown class": "7 0.5 0.5 0.2 0.2",
    "broken class": "0.5 0.5 0.5 0.2 0.2",
    "outside": "0 5 5 2 2",
    "not a number": "0 nan 0.5 0.2 0.2",
    "text": "x 0.5 0.5 0.2 0.2",
    "no side": "0 0.5 0.5 0 0.2",
    "no pixel": "0 0.5 0.5 1e-9 0.2",
    "no area": "0 0.5 0.1 0.5 0.2 0.5 0.3 0.5 0.4",
    "tangled": "0" + " 0 0 0 1 1 1" * 200 + " 0 0",
}


@pytest.mark.parametrize("what", LEFT_OUT)
def test_a_picture_of_which_a_row_is_left_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(polygons, "FEWEST", 100)  # crossings of rows that any polygon may have
    good = "0 0.5 0.5 0.2 0.2\n"
    files = {"data.yaml": "names: [car]", "a.txt": good + LEFT_OUT[what] + "\n", "b.txt": good, "c.txt": ""}
    lay_out(tmp_path, files)
    warnings: list[str] = []
    told = {"a.png": (8, 10), "b.png": (8, 10), "c.png": (8, 10)}
    back = yolo_reading.read(tmp_path, sizes=told, warn=warnings.append)
    assert back.unread == ("a.png",)
    assert back.labels["image"].tolist() == ["a.png", "b.png"]
    assert len(warnings) == 1
    assert back.sizes == {}
    lay_out(tmp_path, {"b.png": ""})
    picture_at(tmp_path / "a.png", (50, 40))
    back = yolo_reading.read(tmp_path, warn=warnings.append)
    assert (back.sizes, back.unread) == ({"a.png": (40, 50), "b.png": (8, 10)}, ("a.png",))
    (tmp_path / "b.png").unlink()
    assert set(yolo_reading.read(tmp_path, warn=warnings.append).unread) == {"a.png", "b"}


def test_a_triangle_among_polygons_is_one(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "data.yaml": "names: [car]",
            "labels/a.txt": POLYGON + "0 0 0 1 0 1 0.5 0 0.5\n",
            "images/a.png": "",
        },
    )
    back = yolo_reading.read(tmp_path)
    masks = [counts_to_mask(counts, (8, 10)) for counts in back.labels["mask_counts"]]
    assert np.array_equal(masks[0], polygon_mask([[1, 2, 5, 2, 5, 6]], (8, 10)))
    assert masks[1][:4].all()
    assert not masks[1][4:].any()


def test_no_text_says_nothing_and_an_empty_one_that_nothing_is_there(tmp_path: Path) -> None:
    lay_out(
        tmp_path, {"data.yaml": "names: [car]", "labels/a.txt": "", "images/a.png": "", "images/b.png": ""}
    )
    back = yolo_reading.read(tmp_path)
    assert back.images == ("a.png",)
    assert back.labels.empty


def test_one_name_in_two_splits_keeps_its_path(tmp_path: Path) -> None:
    files = {
        f"{kind}/{split}/a.{end}": BOX
        for split in ("train", "val")
        for kind, end in (("labels", "txt"), ("images", "png"))
    }
    lay_out(tmp_path, {"data.yaml": "names: [person, car]", **files})
    assert yolo_reading.read(tmp_path).images == ("images/train/a.png", "images/val/a.png")


def test_a_moved_box_loses_its_id_and_a_relabelled_one_keeps_it(tmp_path: Path) -> None:
    yolo.write_detect(example(), tmp_path)
    text = tmp_path / "labels/train/a.txt"
    person, car = text.read_text().splitlines()
    text.write_text(f"{car}\n1{person[1:]}\n0 0.5 0.5 0.1 0.1\n")
    labels = yolo_reading.read(tmp_path, sizes={"a.png": (8, 10)}).labels
    assert labels["label_id"].tolist() == ["p001", "p000", ""]
    assert labels["label"].tolist() == ["car", "car", "person"]
    assert labels["score"].isna().all()  # the score was the person's


def test_a_side_file_that_is_damaged_is_passed_over(tmp_path: Path) -> None:
    yolo.write_detect(example(), tmp_path)
    (tmp_path / "predictions.jsonl").write_text(
        '{"image": 3}\n[]\nno\n{"image":"a.png","box":[1e999],"label":1}\n'
    )
    warnings: list[str] = []
    labels = yolo_reading.read(tmp_path, sizes={"a.png": (8, 10)}, warn=warnings.append).labels
    assert labels["label_id"].tolist() == ["", ""]
    assert "4 line(s)" in warnings[0]


@pytest.mark.parametrize(
    "text", ["", "names: 3", "a: [", "- x", "names: {0: a", "\x00", "&a [*a]", "!!python/object:os.system x"]
)
def test_what_is_no_data_yaml_is_a_sentence(tmp_path: Path, text: str) -> None:
    lay_out(tmp_path, {"data.yaml": text, "labels/a.txt": BOX})
    with pytest.raises(LabelError):
        yolo_reading.read(tmp_path)
    assert len(list(yolo_rules.faults(tmp_path, Check()))) == 1


def test_a_folder_of_nothing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"data[.]yaml"):
        yolo_reading.read(tmp_path)
    lay_out(tmp_path, {"data.yaml": "names: [a]"})
    with pytest.raises(LabelError, match="no text with rows"):
        yolo_reading.read(tmp_path)


# ---- faults ----

GOOD = {"data.yaml": "path: .\ntrain: images/train\nval: images/train\nnames:\n  0: person\n  1: car\n",
        "labels/train/a.txt": BOX, "labels/train/b.txt": "",
        "images/train/a.png": "", "images/train/b.png": ""}  # fmt: skip
TEXT, DATA = "labels/train/a.txt", "data.yaml"
FAULTS: dict[str, tuple[str, str, str]] = {  # file, its text, a word of the sentence
    "4 numbers": (TEXT, BOX + "0 0.5 0.5 0.2\n", "neither 5 numbers"),
    "8 numbers": (TEXT, BOX + "0 0.5 0.5 0.2 0.2 0.1 0.1 0.1\n", "neither 5 numbers"),
    "6 numbers": (TEXT, "0 0.5 0.5 0.2 0.2 0.9\n", "a prediction with its score"),
    "above one": (TEXT, "0 0.666670 0.375 1.333330 0.75\n", "outside 0 to 1"),
    "negative": (TEXT, "0 -0.1 0.5 0.2 0.2\n", "outside 0 to 1"),
    "over the border": (TEXT, "0 0.1 0.5 0.4 0.2\n", "reaches outside its image"),
    "NaN": (TEXT, "0 nan 0.5 0.2 0.2\n", "NaN"),
    "text": (TEXT, "car 0.5 0.5 0.2 0.2\n", "no number"),
    "class out of range": (TEXT, "2 0.5 0.5 0.2 0.2\n", "class without a name"),
    "class negative": (TEXT, "-1 0.5 0.5 0.2 0.2\n", "class without a name"),
    "class decimal": (TEXT, "1.0 0.5 0.5 0.2 0.2\n", "as a decimal number"),
    "class broken": (TEXT, "0.5 0.5 0.5 0.2 0.2\n", "no whole number"),
    "no size": (TEXT, "0 0.5 0.5 0 0.2\n", "box of no width"),
    "no size of a polygon": (TEXT, "0 0.5 0.1 0.5 0.2 0.5 0.3\n", "polygon of no width"),
    "twice": (TEXT, BOX * 2, "a second time"),
    "mixed": (TEXT, BOX * 1 + POLYGON, "a set is for detection or for segmentation"),
    "not ASCII": (TEXT, "0 0,5 ü 0.2 0.2\n", "no plain text"),
    "gap in names": (DATA, GOOD["data.yaml"] + "  3: dog\n", "numbered 0, 1, 2"),
    "from one": (DATA, GOOD["data.yaml"].replace("0: person", "2: person"), "numbered 0, 1, 2"),
    "name as key": (DATA, GOOD["data.yaml"] + "  dog: 2\n", "no number from 0"),
    "name twice": (DATA, GOOD["data.yaml"] + "  2: car\n", "stands twice"),
    "no val": (DATA, GOOD["data.yaml"].replace("val: images/train\n", ""), "no 'val'"),
    "no train": (DATA, GOOD["data.yaml"].replace("train: images/train\n", ""), "no 'train'"),
    "nc": (DATA, GOOD["data.yaml"] + "nc: 3\n", "'nc' is not"),
    "absolute": (DATA, GOOD["data.yaml"].replace("train: images", "train: /data/images"), "absolute path"),
    "no picture": ("labels/train/c.txt", BOX, "no picture of this name"),
    "no label file": ("images/train/c.png", "", "no label file"),
    "nested": ("labels/train/night/c.txt", BOX, "in a folder below its split"),
    "one stem": ("images/train/a.jpg", "", "the same name before its ending"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_gives_one_sentence(tmp_path: Path, fault: str) -> None:
    file, text, word = FAULTS[fault]
    lay_out(tmp_path, {**GOOD, file: text})
    if fault == "nested":
        picture_at(tmp_path / "images/train/night/c.png")
    found = list(yolo_rules.faults(tmp_path, Check()))
    assert len(found) == 1, found
    assert word in found[0][1]
    assert found[0][0].startswith("images/train/a" if fault == "one stem" else file)


def test_a_text_named_after_the_whole_picture_is_its_own_fault(tmp_path: Path) -> None:
    files = {name: text for name, text in GOOD.items() if name != TEXT}
    lay_out(tmp_path, {**files, "labels/train/a.png.txt": BOX})
    assert [(where, "whole name" in what) for where, what in yolo_rules.faults(tmp_path, Check())] == [
        ("labels/train/a.png.txt", True)
    ]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    lay_out(tmp_path, GOOD)
    (tmp_path / DATA).write_bytes(GOOD[DATA].replace("car", "fußgänger").encode("cp1252"))
    assert ["not UTF-8" in what for _, what in yolo_rules.faults(tmp_path, Check())] == [True]


@pytest.mark.parametrize("kind", WRITE)
def test_our_own_files_have_no_fault(tmp_path: Path, kind: str) -> None:
    assert list(yolo_rules.faults(tmp_path, Check()))
    WRITE[kind](example(multipart="split"), tmp_path)
    assert list(yolo_rules.faults(tmp_path, Check())) == []
    found = list(yolo_rules.faults(tmp_path, Check(target="datumaro")))
    assert len(found) == (2 if kind == "segment" else 0)
    lay_out(
        tmp_path,
        {
            "images/train/a.png": "",
            "images/train/b.png": "",
            TEXT: (tmp_path / TEXT).read_text().replace("\n", "\r\n"),
        },
    )
    assert list(yolo_rules.faults(tmp_path, Check(images=tmp_path / "images/train"))) == []
