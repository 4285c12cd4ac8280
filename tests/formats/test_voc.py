import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dinonat.errors import LabelError
from dinonat.formats import voc
from dinonat.formats.handover import (
    NO_FACTS,
    NO_MASKS,
    WHOLE_IMAGE,
    Check,
    Incoming,
    Outgoing,
    outgoing,
    sentences,
)
from dinonat.formats.voc import NO_CLASS, UNLISTED, WHOLE_PIXELS, whole_pixels
from dinonat.formats.xml_files import UNSAYABLE

Make = Callable[..., pd.DataFrame]
SETS = int(os.environ.get("DINOTOOL_SETS", "25"))  # of labels, that are written and read back
NAMES = ("a.png", "night_a.png", "ü x.png", "q\"uo'te & <b>.png", "n#5.png", "d.é.png", "😀, x.png")
CLASSES = ("bike unused", "car", 'a "b" <c> & d', "person, sitting", "😀</script>", "Straße")
BARE = {"reason": "", "advice": "", "source": "", "model": "", "prepare": "", "unit": ""} | dict.fromkeys(
    ("similarity", "objectness", "margin", "lo", "hi"), np.nan
)


def images(*names: str, **more: Any) -> pd.DataFrame:
    return pd.DataFrame({"image": names, "width": 10, "height": 8, **more})


def example(proposals: Make, **more: Any) -> Outgoing:
    rows = proposals(
        {"box": (1, 2, 4, 4), "label": "person", "status": "accepted"},
        {"box": (2.6, 1.4, 6, 5), "mask": np.eye(8, 10), "score": 0.5},
        {"box": (3.1, 3.2, 0.2, 0.2), "score": np.nan},
        {"kind": "image", "box": (np.nan,) * 4, "label": "night"},
    )
    listed = more.pop("images", images("a.png", "b.png"))
    return outgoing(rows, listed, ["bike unused", "car", "night", "person"], name="trip 1", **more)


def test_the_example_of_the_format(tmp_path: Path, proposals: Make) -> None:
    written = voc.write(example(proposals), tmp_path)
    text = (tmp_path / "Annotations/a.xml").read_text(encoding="utf-8")
    for part in (
        "<folder>JPEGImages</folder>",
        "<filename>a.png</filename>",
        "<source><database>trip 1</database>",
        "<size><width>10</width><height>8</height><depth>1</depth></size>",
        "<segmented>0</segmented>",
        "<object><name>person</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
        "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>",
        "<bndbox><xmin>3</xmin><ymin>1</ymin><xmax>9</xmax><ymax>6</ymax></bndbox>",
        "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>",
    ):
        assert part in text
    assert "<object>" not in (tmp_path / "Annotations/b.xml").read_text()
    assert (tmp_path / "ImageSets/Main/trainval.txt").read_text() == "a\nb\n"
    lines = (tmp_path / "labelmap.txt").read_text().splitlines()
    assert lines[0] == "# label:color_rgb:parts:actions"
    assert lines[2:] == ["background:::", "bike unused:::", "car:::", "night:::", "person:::"]
    assert (written.annotations, written.image_labels) == (3, 1)
    assert written.losses == {WHOLE_PIXELS: 2, NO_MASKS: 1, NO_FACTS: 3, WHOLE_IMAGE: 1}
    assert all((tmp_path / file).is_file() for file in written.files)
    assert voc.picture("train", "a.png") == "JPEGImages/a.png"


@pytest.mark.parametrize("marks", [("file", "labelmap"), ("file",), ("labelmap",)])
def test_boxes_from_one_come_back_by_what_the_files_say(
    tmp_path: Path, proposals: Make, marks: tuple[str, ...]
) -> None:
    voc.write(example(proposals, voc_base=1), tmp_path)
    path = tmp_path / "Annotations/a.xml"
    text = path.read_text()
    assert "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>" in text
    if "labelmap" not in marks:
        (tmp_path / "labelmap.txt").unlink()
    if "file" not in marks:  # as labelImg saves it
        path.write_text(text.replace("dinotool: pixels from 1, the last one included", "Unknown"))
    for place in (tmp_path, tmp_path / "Annotations", path):
        assert voc.read(place).labels.iloc[0][list("xywh")].tolist() == [1, 2, 4, 4]
    assert [what for _, what in voc.faults(tmp_path, Check()) if "labelmap" not in _] == []


def test_the_data_of_voc_itself_counts_from_one(tmp_path: Path) -> None:
    (tmp_path / "2007_000027.xml").write_text(
        "<annotation>\r\n\t<folder>VOC2012</folder>\r\n\t<filename>2007_000027.jpg</filename>\r\n"
        "\t<source>\n<database>The VOC2007 Database</database>"
        "<annotation>PASCAL VOC2007</annotation></source>\n"
        "<size><width>486</width><height>500</height><depth>3</depth></size>\n"
        "<object>\n\t<name>\n person\n </name>\n"
        "<bndbox><xmax>349.0</xmax><ymax>351</ymax><xmin> 174.5 </xmin><ymin>101</ymin></bndbox>\n"
        "<part><name>head</name><bndbox><xmin>169</xmin><ymin>104</ymin><xmax>209</xmax><ymax>146</ymax></bndbox>"
        "</part></object><object><name>cat</name></object><object><name>dog</name><bndbox><xmin>9</xmin>"
        "<ymin>1</ymin><xmax>2</xmax><ymax>5</ymax></bndbox></object></annotation>"
    )
    warned: list[str] = []
    read = voc.read(tmp_path, warn=warned.append)
    (row,) = (row for _, row in read.labels.iterrows())
    assert (row["label"], *row[list("xywh")]) == ("person", 173.5, 100, 175.5, 251)
    assert row["where"] == "2007_000027.xml, line 7"
    assert (read.images, read.export, read.step) == (("2007_000027.jpg",), "", 0.51)
    assert len(warned) == 2


@given(st.lists(st.tuples(*[st.integers(0, 50000)] * 2, *[st.integers(1, 9900)] * 2), min_size=1))
@settings(max_examples=100, deadline=None)
def test_whole_pixels_are_the_nearest_and_never_nothing(boxes: Any) -> None:
    given_boxes = np.array(boxes) / 100
    corners = whole_pixels(given_boxes)
    assert (corners[:, 2:] > corners[:, :2]).all()
    for (x, y, w, h), own in zip(given_boxes, corners, strict=True):
        for low, side, a, b in ((x, w, own[0], own[2]), (y, h, own[1], own[3])):
            if side >= 1:
                assert abs(a - low) <= 0.5 + 1e-9
                assert abs(b - low - side) <= 0.5 + 1e-9
            else:  # the whole pixel meets the box
                assert a < low + side
                assert b > low


@st.composite
def label_sets(draw: st.DrawFn) -> tuple[list[dict[str, Any]], pd.DataFrame, dict[str, Any]]:
    """Rows for `proposals`, images and options, in images of a few pixels; names are flat."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=5))
    listed = images(*names, split=[rng.choice(["", "train", "val"]) for _ in names])
    rows = []
    for _ in range(draw(st.integers(0, 7))):
        low = rng.uniform(0, (9.5, 7.5)).round(draw(st.sampled_from([0, 2])))
        sides = np.maximum(
            (rng.random(2) * (np.array([10, 8]) - low)).round(draw(st.sampled_from([0, 2]))), 0.01
        )
        mask = np.zeros((8, 10), bool)
        mask[rng.integers(0, 8), rng.integers(0, 10)] = True
        row = {
            "image": str(rng.choice(names)),
            "label": str(rng.choice(CLASSES)),
            "box": (*low, *sides),
            "status": str(rng.choice(["proposed", "accepted", ""])),
            "score": rng.choice([rng.random(), np.nan]),
            **(BARE if rng.random() < 0.5 else {}),
            **({"mask": mask} if rng.random() < 0.3 else {}),
            **({"kind": "image", "box": (np.nan,) * 4, "mask": None} if rng.random() < 0.2 else {}),
        }
        rows.append(row)
    return rows, listed, {"voc_base": draw(st.sampled_from([0, 1])), "name": draw(st.sampled_from(NAMES))}


def assert_same(asked: Outgoing, incoming: Incoming, losses: dict[str, int]) -> None:
    """What came back is what was asked, but for what the losses say, and they say how often."""
    assert sorted(incoming.images) == sorted(asked.images["file_name"])
    assert incoming.export == asked.name
    back = incoming.labels.set_index("label_id")
    assert sorted(back.index) == sorted(asked.labels["proposal"])
    assert (back["mask_counts"].str.len() == 0).all()
    counted = dict.fromkeys((WHOLE_PIXELS, NO_MASKS, NO_FACTS, WHOLE_IMAGE), 0)
    for row in asked.labels.itertuples():
        own = back.loc[row.proposal]
        assert (own["image"], own["kind"], own["label"]) == (row.image, row.kind, row.label)
        assert own["status"] == row.status
        assert np.float32(own["score"]) == row.score or (np.isnan(own["score"]) and np.isnan(row.score))
        if row.kind == "image":
            counted[WHOLE_IMAGE] += 1
            continue
        box = np.array([row.x, row.y, row.x + row.w, row.y + row.h]).round(2)
        got = own[list("xywh")].to_numpy(float)
        got[2:] += got[:2]
        assert (got == got.round()).all()
        limit = 1 if min(row.w, row.h) < 1 else incoming.step
        assert (abs(got - box) < limit).all()
        counted[WHOLE_PIXELS] += bool((got != box).any())
        counted[NO_MASKS] += bool(row.mask_counts)
        counted[NO_FACTS] += row.reason != ""
    assert losses == {text: count for text, count in counted.items() if count}


@given(label_sets())
@settings(max_examples=SETS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_there_and_back(tmp_path_factory: Any, proposals: Make, made: Any) -> None:
    rows, listed, options = made
    asked = outgoing(proposals(*rows) if rows else proposals({}).iloc[:0], listed, CLASSES, **options)
    folder = tmp_path_factory.mktemp("voc")
    written = voc.write(asked, folder)
    warned: list[str] = []
    incoming = voc.read(folder, warn=warned.append)
    assert warned == []
    assert_same(asked, incoming, {k: v for k, v in written.losses.items() if k not in asked.losses})
    assert list(voc.faults(folder, Check())) == []
    shutil.rmtree(folder)


def test_splits_are_lists(tmp_path: Path, proposals: Make) -> None:
    voc.write(example(proposals, images=images("a.png", "b.png", split=["train", "val"])), tmp_path)
    lists = {file.name: file.read_text() for file in (tmp_path / "ImageSets/Main").iterdir()}
    assert lists == {"train.txt": "a\n", "val.txt": "b\n"}


def test_what_lists_and_labelmap_cannot_hold_is_counted(tmp_path: Path, proposals: Make) -> None:
    rows = proposals({"label": "a:b"}, {"label": "c\x01"})
    listed = images("a.png", file_name=["#a.png"])
    written = voc.write(outgoing(rows, listed, ["a:b", "background", "c\x01"]), tmp_path)
    assert (written.losses[UNLISTED], written.losses[NO_CLASS], written.losses[UNSAYABLE]) == (1, 1, 1)
    assert (tmp_path / "labelmap.txt").read_text().count("background") == 1
    assert voc.read(tmp_path).labels["label"].tolist() == ["a:b", "c\ufffd"]


@pytest.mark.parametrize("names", [("a.png", "a.jpg"), ("../a.png", "b.png"), ("/a.png", "b.png")])
def test_names_that_cannot_be_files_of_their_own_are_refused(
    tmp_path: Path, proposals: Make, names: tuple[str, str]
) -> None:
    with pytest.raises(LabelError, match=r"one file for both|leaves the export's folder"):
        voc.write(example(proposals, images=images("a.png", "b.png", file_name=list(names))), tmp_path)


def test_labelformat_and_globox_read_the_boxes(tmp_path: Path, proposals: Make) -> None:
    formats = pytest.importorskip("labelformat.formats", reason="labelformat is a reader of the test extra")
    globox = pytest.importorskip("globox", reason="globox is a reader of the test extra")
    voc.write(example(proposals), tmp_path)
    names = "bike unused,car,night,person"
    reader = formats.PascalVOCObjectDetectionInput(
        input_folder=tmp_path / "Annotations", category_names=names
    )
    read = {entry.image.filename: entry.objects for entry in reader.get_labels()}
    assert [(o.category.name, o.box.xmin, o.box.ymin, o.box.xmax, o.box.ymax) for o in read["a.png"]] == [
        ("person", 1, 2, 5, 6), ("car", 3, 1, 9, 6), ("car", 3, 3, 4, 4),
    ]  # fmt: skip
    assert read["b.png"] == []
    own = {a.image_id: a for a in globox.AnnotationSet.from_pascal_voc(tmp_path / "Annotations")}
    assert sorted(own) == ["a.png", "b.png"]
    assert [(box.label, box.xmin, box.ymax) for box in own["a.png"].boxes] == [
        ("person", 1, 6), ("car", 3, 6), ("car", 3, 4),
    ]  # fmt: skip


def test_files_that_cannot_be_read_cost_themselves(tmp_path: Path, proposals: Make) -> None:
    voc.write(example(proposals), tmp_path)
    (tmp_path / "Annotations/c.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    (tmp_path / "Annotations/d.xml").write_text("<annotations/>")
    (tmp_path / "Annotations/n").mkdir()
    shutil.copy(tmp_path / "Annotations/b.xml", tmp_path / "Annotations/n/e.xml")
    warned: list[str] = []
    read = voc.read(tmp_path, warn=warned.append)
    assert read.images == ("a.png", "b.png", "n/b.png")
    assert len(warned) == 1
    assert "c.xml, line 1: a document type" in warned[0]
    assert warned[0].endswith("2 files that cannot be read: left out.")
    with pytest.raises(LabelError, match="is not VOC's <annotation>"):
        voc.read(tmp_path / "Annotations/d.xml")
    with pytest.raises(LabelError, match="no XML file"):
        voc.read(tmp_path / "JPEGImages")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<name>person</name>", ""),
        ("<xmin>1</xmin>", ""),
        ("<xmin>1<", "<xmin>inf<"),
        ("<xmin>1<", "<xmin>5<"),
        ("</annotation>", ""),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>'),
    ],
)
def test_an_image_of_which_something_is_left_out_is_named(
    tmp_path: Path, proposals: Make, old: str, new: str
) -> None:
    voc.write(example(proposals), tmp_path)
    path, sizes = tmp_path / "Annotations/a.xml", {"a.png": (8, 10), "b.png": (8, 10)}
    read = voc.read(tmp_path, sizes=sizes)
    assert (read.unread, read.sizes) == ((), sizes)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    said: list[str] = []
    read = voc.read(tmp_path, sizes=sizes, warn=said.append)
    assert read.unread == ("a.png",)
    assert len(said) == 1
    torn = "annotation>" in old
    assert len(read.labels) == (1 if torn else 3)
    assert voc.read(tmp_path, warn=said.append).unread == (("a",) if torn else ("a.png",))
    assert set(read.sizes) == ({"b.png"} if torn else {"a.png", "b.png"})


def test_a_whole_image_without_its_class_is_named(tmp_path: Path, proposals: Make) -> None:
    voc.write(example(proposals), tmp_path)
    with (tmp_path / "image_labels.csv").open("a") as stream:
        stream.write('"p009","b.png",""\n')
    said: list[str] = []
    assert voc.read(tmp_path, warn=said.append).unread == ("b.png",)
    assert len(said) == 1


A, MAP, LIST = "Annotations/a.xml", "labelmap.txt", "ImageSets/Main/trainval.txt"
ONE_FAULT = {  # fault: (file, what is replaced, by what, what is said of it)
    "fractions": (A, "<xmin>1<", "<xmin>1.5<", "coordinates in fractions"),
    "inverted": (A, "<xmin>1<", "<xmin>6<", "corners exchanged"),
    "no area": (A, "<xmin>1<", "<xmin>5<", "without area"),
    "outside": (A, "<xmax>5<", "<xmax>11<", "outside its image"),
    "negative": (A, "<xmin>1<", "<xmin>-1<", "outside its image"),
    "nan": (A, "<xmin>1<", "<xmin>nan<", "no <bndbox> of four finite numbers"),
    "text": (A, "<xmin>1<", "<xmin>left<", "no <bndbox> of four finite numbers"),
    "no coordinate": (A, "<xmin>1</xmin>", "", "no <bndbox> of four finite numbers"),
    "no box": (A, "bndbox>", "box>", "no <bndbox> of four finite numbers"),
    "no name": (A, "<name>person</name>", "", "without a <name>"),
    "unknown class": (A, "<name>person</name>", "<name>tree</name>", "not in labelmap.txt"),
    "difficult": (A, "<difficult>0<", "<difficult>no<", "<difficult> is not 0 or 1"),
    "no difficult": (A, "<difficult>0</difficult>", "", "no <difficult>"),
    "no size": (A, "size>", "format>", "no <size>"),
    "broken size": (A, "<width>10<", "<width>0<", "no <size>"),
    "depth": (A, "<depth>1<", "<depth>64<", "<depth> '64'"),
    "no filename": (A, "<filename>a.png</filename>", "", "no <filename>"),
    "other filename": (A, "<filename>a.png", "<filename>c.png", "not the picture of this file"),
    "absolute filename": (A, "<filename>a.png", "<filename>C:\\x\\a.png", "is absolute"),
    "climbing filename": (A, "<filename>a.png", "<filename>../a.png", "has '..'"),
    "root": (A, "annotation>\n", "annotations>\n", "is not VOC's <annotation>"),
    "torn": (A, "</annotation>\n", "", "not well-formed"),
    "entities": (A, "<annotation>\n", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>\n', "document type"),
    "labelmap line": (MAP, "car:::", "car", "not NAME:COLOUR:PARTS:ACTIONS"),
    "labelmap colour": (MAP, "car:::", "car:red::", "the colour is not R,G,B"),
    "labelmap twice": (MAP, "car:::", "car:::\ncar:::", "a class a second time"),
    "listed only": (LIST, "b\n", "b\nc\n", "has no file in Annotations"),
    "not listed": (LIST, "b\n", "", "is in no list"),
    "list comment": (LIST, "b\n", "b\n#b\n", "begins with '#'"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ONE_FAULT)
def test_one_fault_is_found_and_named(tmp_path: Path, proposals: Make, fault: str) -> None:
    voc.write(example(proposals), tmp_path)
    assert list(voc.faults(tmp_path, Check())) == []
    file, old, new, said = ONE_FAULT[fault]
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert old in text
    count = -1 if old.endswith(">") and not old.startswith("<") else 1
    (tmp_path / file).write_text(text.replace(old, new, 2 * count if fault == "root" else count))
    found = list(voc.faults(tmp_path, Check()))
    assert found
    also = {"list comment": "has no file in Annotations"}
    assert any(said in what for _, what in found), found
    assert all(said in what or also.get(fault, said) in what for _, what in found), found
    assert {where.split(", line")[0] for where, _ in found} <= {"a.xml", "b.xml", MAP, LIST}


def test_faults_of_the_folder(tmp_path: Path, proposals: Make) -> None:
    voc.write(example(proposals), tmp_path)

    def said(target: str = "", pictures: Path | None = None) -> list[str]:
        return [what.partition(";")[0] for _, what in voc.faults(tmp_path, Check(target, pictures))]

    (tmp_path / "JPEGImages/c.png").touch()
    assert said() == ["picture without a file in Annotations"]
    assert sorted(said(pictures=tmp_path / "JPEGImages")) == [
        *["its picture is not below the image folder"] * 2,
        "picture without a file in Annotations",
    ]
    assert len(sentences(voc.faults(tmp_path, Check(images=tmp_path / "JPEGImages")))) == 2
    (tmp_path / "JPEGImages/c.png").unlink()
    (tmp_path / "ImageSets/Main/val.txt").write_text("b\n")
    assert said() == ["is in trainval.txt too"]
    shutil.rmtree(tmp_path / "ImageSets")
    assert said() == ["holds no list of images"]
    (tmp_path / "labelmap.txt").unlink()
    assert said() == ["is missing", "holds no list of images"]
    (tmp_path / "Annotations/n").mkdir()
    (tmp_path / "Annotations/b.xml").rename(tmp_path / "Annotations/n/b.xml")
    assert "file in a folder below Annotations" in said()


def test_one_mistake_in_all_files_is_one_sentence(tmp_path: Path, proposals: Make) -> None:
    names = [f"{number}.png" for number in range(10)]
    rows = proposals(*[{"image": name, "label": f"class {name}"} for name in names])
    voc.write(outgoing(rows, images(*names), [f"class {name}" for name in names]), tmp_path)
    (tmp_path / "labelmap.txt").write_text("background:::\n")
    for number in range(9):
        (tmp_path / f"Annotations/{number}.xml").rename(tmp_path / f"Annotations/x{number}.xml")
    found = sentences(voc.faults(tmp_path, Check()))
    assert sum(" and 8 more: " in each for each in found) == 3
    assert sum(" and 9 more: not in labelmap.txt" in each for each in found) == 1
    assert len(found) == 4
    assert any(
        each.startswith("x0.xml, line 1, <filename> '0.png' and 8 more: not the picture") for each in found
    )


def test_names_that_cvat_may_not_find(tmp_path: Path, proposals: Make) -> None:
    voc.write(example(proposals, images=images("a.png", "b.png", file_name=["a 1.png", "b.c.png"])), tmp_path)
    assert list(voc.faults(tmp_path, Check())) == []
    found = list(voc.faults(tmp_path, Check("cvat")))
    assert [where for where, _ in found] == ["a 1.xml, line 1", "b.c.xml, line 1"]
    assert all("#6319" in what for _, what in found)
