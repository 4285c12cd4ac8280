import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dinonat import polygons
from dinonat.errors import LabelError
from dinonat.formats import cvat
from dinonat.formats.coco_masks import FILLED
from dinonat.formats.cvat_masks import row_runs, window_of
from dinonat.formats.handover import MASKS_BOX, Check, Incoming, Outgoing, outgoing
from dinonat.formats.runs import window_counts
from dinonat.formats.xml_files import UNSAYABLE
from dinonat.geometry import box_of_mask, counts_to_mask, mask_to_counts

Make = Callable[..., pd.DataFrame]
SETS = int(os.environ.get("DINOTOOL_SETS", "25"))  # of labels, that are written and read back
NAMES = (
    "a.png", "night/a.png", "night/ü x.png", 'q"uo\'te & <b>.png', "#5.png", "d.é.png", "😀 </script>.png",
    "comma, tab\tx.png",
)  # fmt: skip
CLASSES = ("bike unused", "car", 'a "b" <c> & d', "person, sitting", "😀</script>", "x:y#1", "Straße")
SIZE_HW = (8, 10)


def ring() -> np.ndarray:
    """A car: box xyxy 3,1,9,6 with a 2x1 hole, 28 pixels."""
    mask = np.zeros(SIZE_HW, bool)
    mask[1:6, 3:9] = True
    mask[3, 5:7] = False
    return mask


def parts() -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    mask[0:2, 0:3] = mask[4:8, 6:10] = True
    return mask


def images(*names: str, split: str = "") -> pd.DataFrame:
    return pd.DataFrame({"image": names, "width": 10, "height": 8, "split": split})


def example(proposals: Make, **more: Any) -> Outgoing:
    rows = proposals(
        {"box": (1, 2, 4, 4), "label": "person", "t_max": 23.45},
        {"box": (3, 1, 6, 5), "mask": ring(), "score": 0.5, "status": "accepted"},
        {"box": (0, 0, 10, 8), "mask": parts(), "cluster": 3},
        {"box": (3.25, 1, 1, 1), "mask": ring() ^ ring() | (np.arange(80).reshape(8, 10) == 13)},
        {"kind": "image", "box": (np.nan,) * 4, "label": "night", "score": np.nan},
    )
    listed = images("a.png", "b.png") if "images" not in more else more.pop("images")
    return outgoing(rows, listed, ["bike unused", "car", "night", "person"], name="trip 1", **more)


def label(incoming: Incoming, number: int) -> Any:
    return incoming.labels.set_index("label_id").loc[f"p{number:03}"]


def test_the_example_of_the_format(tmp_path: Path, proposals: Make) -> None:
    written = cvat.write(example(proposals), tmp_path)
    text = (tmp_path / "annotations.xml").read_text(encoding="utf-8")
    assert '<image id="0" name="a.png" width="10" height="8">' in text
    assert '<image id="1" name="b.png" width="10" height="8">\n</image>' in text
    assert BOX + '<attribute name="label_id">p000</attribute>' in text
    assert (
        'source="manual" occluded="0" z_order="0" rle="0, 14, 2, 14" left="3" top="1" width="6" height="5"'
        in text
    )
    assert 'points="3.00,1.00;4.00,1.00;4.00,2.00;3.00,2.00"' in text
    assert '<tag label="night" source="auto">' in text
    assert '<attribute name="t_max">23.45</attribute>' in text
    assert "<name>trip 1</name><size>2</size><mode>annotation</mode>" in text
    assert (written.annotations, written.image_labels, written.losses) == (4, 1, {MASKS_BOX: 1})
    assert written.files == ("annotations.xml", "cvat_labels.json")


def test_the_labels_for_the_constructor(tmp_path: Path, proposals: Make) -> None:
    cvat.write(example(proposals), tmp_path)
    labels = json.loads((tmp_path / "cvat_labels.json").read_text())
    assert [entry["name"] for entry in labels] == ["bike unused", "car", "night", "person"]
    attributes = {item["name"]: item for item in labels[0]["attributes"]}
    assert {"label_id", "status", "score", "reason", "t_max", "cluster"} <= set(attributes)
    assert "t_min" not in attributes  # no label has it
    assert attributes["status"]["values"] == ["accepted", "proposed", "rejected"]
    for item in attributes.values():
        assert set(item) == {"name", "mutable", "input_type", "default_value", "values"}
        assert all(isinstance(value, str) for value in [item["default_value"], *item["values"]])


def test_subsets_make_a_project(tmp_path: Path, proposals: Make) -> None:
    split = images("a.png", "b.png").assign(split=["train", ""])
    cvat.write(example(proposals, images=split), tmp_path)
    text = (tmp_path / "annotations.xml").read_text()
    assert "<meta><project><name>trip 1</name>" in text
    assert "<subset>default</subset>" in text
    assert 'name="a.png" subset="train"' in text
    assert 'name="b.png" subset="default"' in text
    assert (cvat.picture("train", "n/a.png"), cvat.picture("", "a.png")) == (
        "images/train/n/a.png",
        "images/a.png",
    )
    assert cvat.read(tmp_path).export == "trip 1"
    assert list(cvat.faults(tmp_path, Check())) == []


@pytest.mark.parametrize(
    ("masks", "elements"),
    [("auto", ["mask", "mask", "polygon"]), ("rle", ["mask"] * 3), ("polygon", ["polygon"] * 4)],
)
def test_forms_of_masks(tmp_path: Path, proposals: Make, masks: Any, elements: list[str]) -> None:
    written = cvat.write(example(proposals, masks=masks), tmp_path)
    text = (tmp_path / "annotations.xml").read_text()
    found = [line.split()[0][1:] for line in text.splitlines() if line.startswith(("<mask", "<polygon"))]
    assert sorted(found) == elements
    assert text.count('group_id="1"') == (2 if masks == "polygon" else 0)
    read = cvat.read(tmp_path)
    filled = np.logical_or(ring(), ndimage.binary_fill_holes(ring()))
    hole = filled if masks == "polygon" else ring()
    assert written.losses.get(FILLED, 0) == (masks == "polygon")
    assert label(read, 1)["mask_counts"] == tuple(mask_to_counts(hole))
    assert label(read, 2)["mask_counts"] == tuple(mask_to_counts(parts()))
    assert tuple(label(read, 2)[list("xywh")]) == (0, 0, 10, 8)


@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))).filter(np.any))
@settings(max_examples=100, deadline=None)
def test_run_lengths_by_rows_say_what_the_definition_says(mask: np.ndarray) -> None:
    height, width = mask.shape
    window, (left, top, w, h) = window_of(mask_to_counts(mask), height)
    assert (left, top, w, h) == box_of_mask(mask)
    pixels = [value for number, run in enumerate(row_runs(window)) for value in [number % 2] * run]
    drawn = [[0] * width for _ in range(height)]
    for place, value in enumerate(pixels):  # row by row inside the box, the first run of zeros
        drawn[top + place // w][left + place % w] = value
    assert np.array_equal(np.array(drawn, bool), mask)
    assert list(window_counts(window, left, top, (height, width))) == mask_to_counts(mask)


@st.composite
def label_sets(draw: st.DrawFn) -> tuple[list[dict[str, Any]], pd.DataFrame, dict[str, Any]]:
    """Rows for `proposals`, images and options: all that can vary, in images of a few pixels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    listed = images(*names).assign(split=[rng.choice(["", "train", "val"]) for _ in names])
    rows = []
    for _ in range(draw(st.integers(0, 7)) if names else 0):
        low = rng.uniform(0, (9.5, 7.5)).round(2)
        sides = np.maximum((rng.random(2) * (np.array([10, 8]) - low)).round(2), 0.01)
        kind = draw(st.sampled_from(["box", "mask", "tight", "image"]))
        mask = np.zeros(SIZE_HW, bool)
        top, left = rng.integers(0, 8), rng.integers(0, 10)
        mask[top : top + rng.integers(1, 6), left : left + rng.integers(1, 6)] = True
        mask &= rng.random(SIZE_HW) < draw(st.sampled_from([0.3, 0.8, 1]))
        if kind in ("mask", "tight") and not mask.any():
            mask[top, left] = True
        row = {
            "image": str(rng.choice(names)),
            "label": str(rng.choice(CLASSES)),
            "box": box_of_mask(mask) if kind == "tight" else (*low, *sides),
            "status": str(rng.choice(["proposed", "accepted", "rejected"])),
            "score": rng.choice([rng.random(), np.nan]),
            "cluster": int(rng.integers(-1, 3)),
            "reason": str(rng.choice(["", "3 of 4 <agree> & 'so'"])),
            "t_max": rng.choice([rng.normal(20, 9), np.nan]),
            **({"mask": mask} if kind in ("mask", "tight") else {}),
            **({"kind": "image", "box": (np.nan,) * 4} if kind == "image" else {}),
        }
        rows.append(row)
    options = {
        "masks": draw(st.sampled_from(["auto", "polygon", "rle"])),
        "name": draw(st.sampled_from(NAMES)),
    }
    return rows, listed, options


def filled(counts: tuple[int, ...]) -> tuple[int, ...]:
    """The mask of an image with all that cannot be reached from outside through edges.

    Two rings that meet at corners only, and close something between them, say it as it is.
    """
    mask = counts_to_mask(counts, SIZE_HW)
    if polygons.mask_polygons(mask) is not None:
        return counts
    return tuple(mask_to_counts(ndimage.binary_fill_holes(mask)))


def test_what_two_parts_enclose_at_their_corners_is_not_filled(tmp_path: Path, proposals: Make) -> None:
    mask = np.zeros(SIZE_HW, bool)
    mask[0:4, 5:8] = True
    mask[1, 5:7] = mask[2, 5] = False
    mask[1:3, 4] = True
    rows = proposals({"mask": mask, "box": (4, 0, 4, 4), "image": "a.png"})
    asked = outgoing(rows, images("a.png"), CLASSES, masks="polygon")
    assert FILLED not in cvat.write(asked, tmp_path).losses
    assert cvat.read(tmp_path).labels["mask_counts"].tolist() == [tuple(mask_to_counts(mask))]


def assert_same(asked: Outgoing, incoming: Incoming, losses: dict[str, int]) -> None:
    """What came back is what was asked, but for what the losses say, and they say how often."""
    assert incoming.images == tuple(asked.images["file_name"])
    assert incoming.export == asked.name
    assert incoming.unread == ()
    assert set(incoming.sizes) == set(incoming.images)
    assert set(incoming.sizes.values()) <= {SIZE_HW}
    back = incoming.labels.set_index("label_id")
    assert sorted(back.index) == sorted(asked.labels["proposal"])
    counted = {FILLED: 0, MASKS_BOX: 0}
    for row in asked.labels.itertuples():
        own = back.loc[row.proposal]
        assert (own["image"], own["kind"], own["label"], own["status"]) == (
            row.image,
            row.kind,
            row.label,
            row.status,
        )
        assert np.float32(own["score"]) == row.score or (np.isnan(own["score"]) and np.isnan(row.score))
        counts, box = row.mask_counts, (row.x, row.y, row.w, row.h)
        if counts:
            tight = box_of_mask(counts_to_mask(counts, SIZE_HW))
            counted[MASKS_BOX] += box != tight
            box = tight
        if counts and asked.masks == "polygon":
            counted[FILLED] += counts != filled(counts)
            counts = filled(counts)
        assert own["mask_counts"] == counts
        if row.kind == "region":
            assert tuple(own[list("xywh")]) == tuple(round(value, 2) for value in box)
    assert losses == {text: count for text, count in counted.items() if count}


@given(label_sets())
@settings(max_examples=SETS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_there_and_back(tmp_path_factory: Any, proposals: Make, made: Any) -> None:
    rows, listed, options = made
    asked = outgoing(proposals(*rows) if rows else proposals({}).iloc[:0], listed, CLASSES, **options)
    folder = tmp_path_factory.mktemp("cvat")
    written = cvat.write(asked, folder)
    assert written.annotations + written.image_labels == len(asked.labels)
    warned: list[str] = []
    incoming = cvat.read(folder, warn=warned.append)
    assert warned == []
    assert_same(asked, incoming, {k: v for k, v in written.losses.items() if k not in asked.losses})
    stems = [name.rpartition(".")[0] for name in asked.images["file_name"]]
    assert [what for _, what in cvat.faults(folder, Check())] == [] or len(set(stems)) < len(stems)
    first = (folder / "annotations.xml").read_bytes()
    cvat.write(asked, folder)
    assert (folder / "annotations.xml").read_bytes() == first


def test_a_name_that_xml_cannot_hold_is_counted(tmp_path: Path, proposals: Make) -> None:
    asked = example(proposals, images=images("a.png", "b\x01.png"))
    classes = ("bike unused", "c\x0bar", "night", "person")
    written = cvat.write(dataclasses.replace(asked, classes=classes), tmp_path)
    assert written.losses[UNSAYABLE] == 1 + 3
    assert cvat.read(tmp_path).images == ("a.png", "b\ufffd.png")


def test_labelformat_reads_boxes_and_classes(tmp_path: Path, proposals: Make) -> None:
    formats = pytest.importorskip("labelformat.formats", reason="labelformat is a reader of the test extra")
    cvat.write(example(proposals), tmp_path)
    reader = formats.CVATObjectDetectionInput(input_file=tmp_path / "annotations.xml")
    assert [category.name for category in reader.get_categories()] == [
        "bike unused",
        "car",
        "night",
        "person",
    ]
    read = {entry.image.filename: entry.objects for entry in reader.get_labels()}
    assert set(read) == {"a.png", "b.png"}
    (found,) = read["a.png"]
    assert (found.category.name, found.box.xmin, found.box.ymax) == ("person", 1, 6)


META = "<meta><task><name>t</name><labels><label><name>car</name></label></labels></task></meta>"


def given_back(folder: Path, elements: str, head: str = META, size: str = 'width="10" height="8"') -> Path:
    path = folder / "annotations.xml"
    image = f'<image id="7" name="a.png" {size}>\n{elements}\n</image>\n'
    text = f"<annotations>\n<version>1.1</version>\n{head}\n{image}"
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{text}</annotations>')
    return path


def test_what_people_and_cvat_write(tmp_path: Path) -> None:
    path = given_back(
        tmp_path,
        '<box ybr="4" xbr="5" xtl="1" ytl="2" label="car" rotation="90.0" source="manual"/>\n'
        '<polygon label="car" points="1.0,1.0;5.5,1.0;5.5,3.25"><attribute name="score"> 0.5 </attribute>\n'
        '<attribute name="label_id">p1</attribute><attribute name="status"></attribute></polygon>\n'
        '<mask label="car" rle="1,1,2" left="2" top="1" width="2" height="2" occluded="1"/>\n'
        '<polyline label="car" points="1,1;2,2"/><points label="car" points="1,1"/>'
        '<points label="car" points="2,1"/>\n'
        '<tag label="car"/><skeleton label="car"><points label="x" points="1,1"/></skeleton>\n'
        '<box label="car" xtl="5" ytl="2" xbr="1" ybr="4"/><box label="" xtl="1" ytl="2" xbr="5" ybr="4"/>',
    )
    warned: list[str] = []
    read = cvat.read(path, warn=warned.append)
    turned, polygon, mask, tag = (row for _, row in read.labels.iterrows())
    assert tuple(turned[list("xywh")]) == (2, 1, 2, 4)
    assert tuple(polygon[list("xywh")]) == (1, 1, 4.5, 2.25)
    assert (polygon["score"], polygon["label_id"], polygon["status"]) == (0.5, "p1", "")
    assert polygon["where"] == "annotations.xml, line 7"
    assert sum(polygon["mask_counts"]) == 80
    assert tuple(mask[list("xywh")]) == (3, 1, 1, 1)
    assert mask["mask_counts"] == (25, 1, 54)
    assert (tag["kind"], np.isnan(tag["x"]), np.isnan(tag["score"])) == ("image", True, True)
    assert len(warned) == 6
    assert any("line 10: 2 elements <points>, which are no boxes, masks or tags" in text for text in warned)
    assert any("line 6: 1 rotated boxes" in sentence for sentence in warned)


def test_parts_of_a_label_are_one_and_groups_of_people_are_not(tmp_path: Path) -> None:
    piece = '<polygon label="car" group_id="{}" points="{}">{}</polygon>'
    known = '<attribute name="label_id">p1</attribute>'
    low, high = "0,0;2,0;2,2;0,2", "5,5;7,5;7,8;5,8"
    path = given_back(
        tmp_path,
        piece.format(3, low, known) + piece.format(3, high, known)  # one label
        + piece.format(0, low, known)  # a copy of a part, not in the group
        + piece.format(4, low, "") + piece.format(4, high, ""),  # two things that a person grouped
    )  # fmt: skip
    read = cvat.read(path).labels
    assert [sum(counts[1::2]) for counts in read["mask_counts"]] == [10, 4, 4, 6]
    assert tuple(read.iloc[0][list("xywh")]) == (0, 0, 7, 8)


def test_sizes_help_where_a_file_says_none(tmp_path: Path) -> None:
    elements = (
        '<polygon label="car" points="0,0;2,0;2,2;0,2"/>'
        '<mask label="car" rle="0,1" left="0" top="0" width="1" height="1"/>'
    )
    path = given_back(tmp_path, elements, size="")
    warned: list[str] = []
    assert cvat.read(path, warn=warned.append).labels["mask_counts"].tolist() == [()]
    assert len(warned) == 2
    read = cvat.read(path, sizes={"a.png": (8, 10)}, warn=warned.append)
    assert [sum(counts[1::2]) for counts in read.labels["mask_counts"]] == [4, 1]
    huge = given_back(tmp_path, elements, size='width="100000" height="100000"')
    assert cvat.read(huge, warn=warned.append).labels["mask_counts"].tolist() == [()]


LEFT_OUT = {
    "no label": '<box label="" xtl="1" ytl="2" xbr="5" ybr="4"/>',
    "exchanged": '<box label="car" xtl="5" ytl="2" xbr="1" ybr="4"/>',
    "no number": '<box label="car" xtl="x" ytl="2" xbr="5" ybr="4"/>',
    "two points": '<polygon label="car" points="1,1;2,2"/>',
    "no area": '<polygon label="car" points="1,1;1,2;1,3"/>',
    "no points": '<polygon label="car" points="1;2"/>',
    "mask outside": '<mask label="car" rle="0,1" left="30" top="0" width="1" height="1"/>',
    "mask text": '<mask label="car" rle="0,x" left="0" top="0" width="1" height="1"/>',
    "mask short": '<mask label="car" rle="0,1" left="0" top="0" width="2" height="2"/>',
    "mask empty": '<mask label="car" rle="1" left="0" top="0" width="1" height="1"/>',
    "tangled": f'<polygon label="car" points="{"0,0;0,8;9,8;" * 100}"/>',
    "polyline": '<polyline label="car" points="1,1;2,2"/>',
    "ellipse": '<ellipse label="car" cx="3" cy="3" rx="1" ry="1"/>',
    "unknown": '<star label="car"/>',
}


@pytest.mark.parametrize("what", LEFT_OUT)
def test_an_image_of_which_something_is_left_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(polygons, "FEWEST", 100)  # crossings of rows that any polygon may have
    good = '<box label="car" xtl="1" ytl="2" xbr="5" ybr="4"/>'
    path = given_back(tmp_path, good + LEFT_OUT[what])
    other = f'<image id="8" name="b.png" width="4" height="6">{good}</image><image id="9" name="c.png"/>'
    path.write_text(path.read_text().replace("</annotations>", f"{other}</annotations>"))
    warned: list[str] = []
    read = cvat.read(path, warn=warned.append)
    assert read.unread == ("a.png",)
    assert read.labels["image"].tolist() == ["a.png", "b.png"]
    assert read.sizes == {"a.png": (8, 10), "b.png": (6, 4)}
    assert len(warned) == 1
    assert warned[0].endswith(": left out.")
    path.write_text(path.read_text().replace('name="a.png"', ""))
    assert cvat.read(path, warn=warned.append).unread == ("",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation/>", "is not CVAT's <annotations>"),
        ("<annotations/>", "neither <meta> nor <image>"),
        (f'<annotations>{META}<track id="0" label="car"></track></annotations>', "CVAT for video"),
        ("<annotations>", "not well-formed"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(LabelError, match=message):
        cvat.read(tmp_path)
    assert list(cvat.faults(tmp_path, Check()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabelError, match=r"no annotations\.xml"):
        cvat.read(tmp_path / "empty")


BOX = (
    '<box label="person" source="auto" occluded="0" z_order="0" xtl="1.00" ytl="2.00" xbr="5.00" ybr="6.00">'
)
MASK = 'rle="0, 14, 2, 14" left="3" top="1" width="6" height="5"'
ONE_FAULT = {  # fault: (what is replaced, by what, what is said of it)
    "root": ("annotations>", "annotation>", "is not CVAT's <annotations>"),
    "version": ("<version>1.1", "<version>1.0", "not '1.1'"),
    "no meta": ("meta>", "head>", "no <meta>"),
    "no task": ("task>", "thing>", "without <task>"),
    "job": ("task>", "job>", "datumaro refuses it"),
    "no id": ('image id="1" ', "image ", "without a whole number as 'id'"),
    "same id": ('image id="1"', 'image id="0"', "image id a second time"),
    "no name": ('name="b.png" ', "", "without a 'name'"),
    "same name": ('name="b.png"', 'name="a.png"', "image name a second time"),
    "same stem": ('name="b.png"', 'name="a.jpg"', "only after the last dot"),
    "absolute": ('name="b.png"', 'name="/b.png"', "absolute image name"),
    "climbing": ('name="b.png"', 'name="x/../../b.png"', "one with '..'"),
    "drive": ('name="b.png"', 'name="C:\\b.png"', "absolute image name"),
    "backslash": ('name="b.png"', 'name="n\\b.png"', "backslash"),
    "no size": ('name="b.png" width="10"', 'name="b.png"', "'width' and 'height'"),
    "broken size": ('name="b.png" width="10"', 'name="b.png" width="0"', "'width' and 'height'"),
    "undeclared label": (BOX, BOX.replace("person", "tree"), "label that is not declared"),
    "no label": (BOX, BOX.replace('label="person" ', ""), "without a 'label'"),
    "undeclared attribute": ('name="label_id">p000', 'name="colour">p000', "attribute that is not declared"),
    "attribute without name": ('<attribute name="label_id">p000', "<attribute>p000", "without a 'name'"),
    "attribute twice": ('name="label_id">p000', 'name="score">p000', "one attribute a second time"),
    "outside": ('xbr="5.00"', 'xbr="10.02"', "outside its image"),
    "inverted": ('xbr="5.00"', 'xbr="0.50"', "corners exchanged"),
    "no coordinate": (' xbr="5.00"', "", "without the numbers"),
    "nan": ('xbr="5.00"', 'xbr="nan"', "without the numbers"),
    "no occluded": (BOX, BOX.replace('occluded="0" ', ""), "no 'occluded'"),
    "z_order": (BOX, BOX.replace('z_order="0"', 'z_order="top"'), "'z_order'"),
    "group": (BOX, BOX.replace('z_order="0"', 'z_order="0" group_id="a"'), "'group_id'"),
    "rle short": (MASK, MASK.replace("2, 14", "2, 13"), "does not fill width x height"),
    "rle text": (MASK, MASK.replace("2, 14", "2, x"), "not whole numbers"),
    "rle negative": (MASK, MASK.replace("0, 14, 2, 14", "0, 15, -1, 16"), "not whole numbers"),
    "empty mask": (MASK, MASK.replace("0, 14, 2, 14", "30"), "without a pixel"),
    "mask outside": (MASK, MASK.replace('left="3"', 'left="5"'), "not inside their image"),
    "no left": (MASK, MASK.replace('left="3" ', ""), "without the numbers"),
    "two points": ("3.00,1.00;4.00,1.00;4.00,2.00;3.00,2.00", "3.00,1.00;4.00,1.00", "fewer than three"),
    "broken points": ("3.00,1.00;4.00,1.00", "3.00;4.00,1.00", "not x,y;x,y"),
    "tangled": ('points="3.00,1.00', f'points="{"0,0;0,8;9,8;" * 100}3.00,1.00', "goes up and down"),
    "polygon outside": ("3.00,1.00;4.00,1.00", "3.00,-1.00;4.00,1.00", "polygon reaches outside"),
    "unknown shape": ("</image>\n<image", '<star label="car"/></image>\n<image', "<star> is no shape"),
    "label twice": ("<label><name>car<", "<label><name>person<", "label that is declared a second time"),
    "label long": ("<label><name>bike unused<", f"<label><name>{'b' * 70}<", "more than 64 characters"),
    "input type": ("<input_type>select", "<input_type>choice", "input_type 'choice'"),
    "entities": ("<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>', "document type or entities"),
    "torn": ("</annotations>", "", "not well-formed"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ONE_FAULT)
def test_one_fault_is_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proposals: Make, fault: str
) -> None:
    monkeypatch.setattr(polygons, "FEWEST", 100)
    cvat.write(example(proposals), tmp_path)
    path = tmp_path / "annotations.xml"
    assert list(cvat.faults(path, Check())) == []
    text = path.read_text(encoding="utf-8")
    old, new, said = ONE_FAULT[fault]
    assert old in text
    count = -1 if old.endswith(">") and old[0] != "<" else 1
    broken = text.replace(old, new, count)
    path.write_text(broken, encoding="utf-8")
    found = [
        (where, what) for where, what in cvat.faults(tmp_path, Check()) if not where.startswith("cvat_labels")
    ]
    assert [what for _, what in found if said in what], found
    alone = {"label twice": "label that is not declared", "no meta": "", "root": "", "attribute twice": ""}
    assert all(said in what or alone.get(fault, said) in what for _, what in found), found
    if found[0][0].startswith("line") and fault not in ("root", "label twice", "torn"):
        line = int(found[0][0].removeprefix("line ").partition(",")[0])
        assert broken.splitlines()[line - 1] != text.splitlines()[line - 1]


CONSTRUCTOR = {
    "not json": (lambda labels: "{", "not valid JSON"),
    "no list": (lambda labels: {"name": "car"}, "not a list"),
    "label lacks": (lambda labels: labels[1:], "is missing, but in annotations.xml"),
    "attribute lacks": (
        lambda labels: [{**labels[0], "attributes": []}, *labels[1:]],
        "lacks the attributes",
    ),
    "no attributes": (lambda labels: [{"name": "bike unused"}, *labels[1:]], "no list 'attributes'"),
    "type": (lambda labels: changed(labels, input_type="string"), "input_type 'string'"),
    "values": (lambda labels: changed(labels, values=[1, 2]), "no list of texts"),
    "mutable": (lambda labels: changed(labels, mutable="no"), "'mutable'"),
    "default": (lambda labels: changed(labels, default_value=0), "'default_value' is no text"),
    "choice": (
        lambda labels: changed(labels, input_type="select", values=[]),
        "without 'values' to choose from",
    ),
    "choice default": (
        lambda labels: changed(labels, input_type="radio", values=["a"], default_value="b"),
        "none of its 'values'",
    ),
    "number": (
        lambda labels: changed(labels, input_type="number", values=["0"]),
        "minimum, maximum and step",
    ),
    "name twice": (lambda labels: [*labels, labels[0]], "a second time"),
}


def changed(labels: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    first = labels[0]
    return [
        {**first, "attributes": [{**first["attributes"][0], **more}, *first["attributes"][1:]]},
        *labels[1:],
    ]


@pytest.mark.parametrize("fault", CONSTRUCTOR)
def test_one_fault_in_the_labels_beside(tmp_path: Path, proposals: Make, fault: str) -> None:
    cvat.write(example(proposals), tmp_path)
    path = tmp_path / "cvat_labels.json"
    change, said = CONSTRUCTOR[fault]
    made: Any = change(json.loads(path.read_text()))
    path.write_text(made if isinstance(made, str) else json.dumps(made))
    ((where, what),) = cvat.faults(tmp_path, Check())
    assert said in what
    assert where.startswith("cvat_labels.json")


def test_pictures_are_looked_for(tmp_path: Path, proposals: Make) -> None:
    cvat.write(example(proposals), tmp_path)
    (tmp_path / "images/a.png").touch()
    found = list(cvat.faults(tmp_path, Check(images=tmp_path / "images")))
    assert [(where.partition(", ")[2], what) for where, what in found] == [
        ("'b.png'", "its picture is not below the image folder; datumaro refuses the file.")
    ]
