import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as api
from scipy import ndimage

from dinonat.errors import LabelError
from dinonat.formats import coco, coco_files, coco_reading
from dinonat.formats.coco_masks import FILLED, mask_counts, unpack
from dinonat.formats.handover import (
    NUMBERS,
    TEXTS,
    WHOLE_IMAGE,
    Incoming,
    Outgoing,
    Written,
    outgoing,
)
from dinonat.geometry import counts_to_mask, mask_to_counts
from dinonat.records import TEMPERATURE_COLUMNS

MAIN = "annotations/instances_default.json"
NAN = float("nan")
SETS = int(os.environ.get("DINOTOOL_SETS", "25"))  # of labels, that are written and read back

# Names that break formats: of files, of classes, of anything that a person may type.
NAMES = [
    "night/a b.png", "ü/ö ß.tiff", "a'b\".jpg", "#1 & <2>.png", "</script>.png", "\N{GRINNING FACE}.png",
    "x,y;z.png", "e\u0301.png", "{}[]:.png", "images/default/a.png", "a.png.8bit.png", "%41.png",
]  # fmt: skip
words = st.sampled_from(NAMES) | st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\\"),
    min_size=1,
    max_size=8,
).filter(lambda text: text == text.strip())
numbers = st.floats(-1e4, 1e4, width=32) | st.just(NAN) | st.just(math.inf)


@st.composite
def label_sets(draw: st.DrawFn) -> tuple[list[dict[str, Any]], pd.DataFrame, list[str], dict[str, Any]]:
    """Rows of labels, images, classes and options of an export."""
    names = draw(st.lists(words, min_size=1, max_size=4, unique=True))
    sides = st.integers(1, 7)
    images = pd.DataFrame(
        {
            "image": names,
            "width": [draw(sides) for _ in names],
            "height": [draw(sides) for _ in names],
            "split": [draw(st.sampled_from(["", "train", "val"])) for _ in names],
        }
    )
    if draw(st.booleans()):
        images["file_name"] = [f"{number}.8bit.png" for number in range(len(names))]
    classes = draw(st.lists(words, min_size=1, max_size=4, unique=True))
    rows = [
        _label(draw, image, draw(st.sampled_from(classes)))
        for image in images.itertuples()
        for _ in range(draw(st.integers(0, 3)))
    ]
    options = {
        "masks": draw(st.sampled_from(["auto", "polygon", "rle"])),
        "category_base": draw(st.integers(0, 1)),
        "name": draw(words),
    }
    return rows, images, classes, options


def _label(draw: st.DrawFn, image: Any, label: str) -> dict[str, Any]:
    corner, sides = st.integers(-100, 900), st.integers(1, 900)
    row = {
        "image": image.image,
        "label": label,
        "box": tuple(draw(one) / 100 for one in (corner, corner, sides, sides)),
        **{name: draw(numbers) for name in ("similarity", "lo", "t_min", "t_max")},
        **{name: draw(words | st.just("")) for name in ("reason", "source", "unit")},
        "status": draw(st.sampled_from(["proposed", "accepted", "rejected"])),
        "score": draw(st.floats(0, 1, width=32) | st.just(NAN)),
        "cluster": draw(st.integers(-1, 3)),
    }
    kind = draw(st.sampled_from(["box", "mask", "image"]))
    if kind == "mask":
        row["mask"] = draw(arrays(bool, (image.height, image.width)))
    return row | ({"kind": "image", "box": (NAN,) * 4} if kind == "image" else {})


def assert_same(asked: Outgoing, written: Written, back: Incoming) -> None:
    """What came back is what was asked, but for what the losses name, which they count."""
    own = {name: count for name, count in written.losses.items() if name not in asked.losses}
    assert {name: written.losses[name] for name in asked.losses} == asked.losses
    assert set(own) <= {FILLED, WHOLE_IMAGE}
    assert own.get(WHOLE_IMAGE, 0) == written.image_labels == (asked.labels["kind"] == "image").sum()
    assert written.annotations == (asked.labels["kind"] == "region").sum()
    assert sorted(back.images) == sorted(asked.images["image"])
    assert back.export == asked.name
    given_rows = asked.labels.sort_values("proposal").reset_index(drop=True)
    found = back.labels.sort_values("label_id").reset_index(drop=True)
    assert found["label_id"].tolist() == given_rows["proposal"].tolist()
    for name in ("image", "kind", "label", "status"):
        assert found[name].tolist() == given_rows[name].tolist()
    for name in "xywh":
        assert np.array_equal(found[name].to_numpy(), given_rows[name].to_numpy(), equal_nan=True)
    assert np.allclose(found["score"], given_rows["score"], rtol=0, atol=5.1e-7, equal_nan=True)
    filled = 0
    for mine, theirs, at in zip(
        given_rows["mask_counts"], found["mask_counts"], given_rows["at"], strict=True
    ):
        if mine != theirs:
            size = (int(asked.images["height"][at]), int(asked.images["width"][at]))
            whole = ndimage.binary_fill_holes(counts_to_mask(mine, size))
            assert theirs == tuple(mask_to_counts(whole))
            filled += 1
    # One that touches itself at a corner only is the same filled, and counted.
    assert filled <= own.get(FILLED, 0)
    assert not filled or asked.masks == "polygon"


def assert_facts(asked: Outgoing, folder: Path, written: Written) -> None:
    """Every text and every number that exists is an attribute, and nothing else is."""
    rows = asked.labels.set_index("proposal")
    for file in written.files:
        if "instances" not in file:
            continue
        for entry in json.loads((folder / file).read_text(encoding="utf-8"))["annotations"]:
            facts = entry["attributes"]
            row = rows.loc[facts.pop("label_id")]
            texts = {name: row[name] for name in TEXTS if row[name]}
            values = {
                name: float(row[name]) for name in NUMBERS if name != "score" and math.isfinite(row[name])
            }
            assert {name: facts[name] for name in texts} == texts
            for name, value in values.items():
                assert abs(facts[name] - value) <= (0.00501 if name in TEMPERATURE_COLUMNS else 5.1e-7)
            cluster = {"cluster"} if row["cluster"] >= 0 else set()
            assert facts.keys() == texts.keys() | values.keys() | cluster


# The fixture holds no state.
@settings(max_examples=SETS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_set=label_sets())
def test_there_and_back_loses_what_the_losses_say(
    tmp_path_factory: pytest.TempPathFactory, proposals: Any, given_set: Any
) -> None:
    rows, images, classes, options = given_set
    asked = outgoing(proposals(*rows), images, classes, **options)
    folder = tmp_path_factory.mktemp("coco")
    written = coco.write(asked, folder)
    assert_same(asked, written, coco_reading.read(folder, warn=pytest.fail))
    assert_facts(asked, folder, written)


@pytest.fixture
def export(tmp_path: Path, proposals: Any) -> Callable[..., Path]:
    """A function that writes a small export and returns its file, changed by a function."""

    def make(change: Callable[[dict[str, Any]], object] = lambda file: None, name: str = "back.json") -> Path:
        mask = np.zeros((8, 10), bool)
        mask[1:6, 3:9] = True
        mask[3, 5:7] = False
        table = proposals(
            {"box": (1, 2, 4, 4), "label": "person"},
            {"box": (3, 1, 6, 5), "mask": mask, "score": 0.5, "status": "accepted"},
        )
        images = pd.DataFrame({"image": ["a.png", "b.png"], "width": 10, "height": 8})
        coco.write(outgoing(table, images, ["car", "person"]), tmp_path)
        file = json.loads((tmp_path / MAIN).read_text())
        change(file)
        path = tmp_path / name
        path.write_text(json.dumps(file))
        return path

    return make


def first(**values: Any) -> Callable[[dict[str, Any]], object]:
    """Return a change of the first annotation."""
    return lambda file: file["annotations"][0].update(values)


def test_line_by_line_and_whole_are_one_reading(export: Any) -> None:
    whole = export()
    ours = whole.parent / MAIN
    assert isinstance(coco_files.parse(whole).annotations, list)
    assert not isinstance(coco_files.parse(ours).annotations, list)
    a, b = coco_reading.read(whole), coco_reading.read(ours)
    pd.testing.assert_frame_equal(a.labels, b.labels)
    assert (a.images, a.export) == (b.images, b.export) == (("a.png", "b.png"), "export")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace('"annotations": [\n', '"annotations": [\n\n'),
        lambda text: text.replace('},\n{"id":2,"image_id"', '}\n,{"id":2,"image_id"'),
        lambda text: text.replace("\n]}", '\n],"more": {"a": 1}}'),
        lambda text: text.replace('"bbox":[', '"bbox":\n['),
        lambda text: text.replace("\n", ""),
    ],
)
def test_a_file_of_ours_that_was_edited_reads_the_same(export: Any, change: Callable[[str], str]) -> None:
    ours = export().parent / MAIN
    plain = coco_reading.read(ours).labels
    text = ours.read_text()
    assert change(text) != text
    ours.write_bytes(change(text).encode())
    pd.testing.assert_frame_equal(coco_reading.read(ours).labels, plain)


def test_a_broken_line_is_named(export: Any) -> None:
    ours = export().parent / MAIN
    ours.write_text(ours.read_text().replace('"area":16.0', '"area":16.0.0'))
    line = next(n for n, text in enumerate(ours.read_text().splitlines(), 1) if "16.0.0" in text)
    with pytest.raises(LabelError, match=f"line {line}: not JSON"):
        coco_reading.read(ours)


def test_what_tools_change_is_understood(export: Any) -> None:
    facts = {"label_id": 17, "score": "0.25", "status": " accepted ", "occluded": False}

    def change(file: dict[str, Any]) -> None:
        file["annotations"][0] |= {"attributes": facts, "bbox": [1, 2, 4, 4]}
        del file["annotations"][0]["score"], file["annotations"][0]["segmentation"]
        file["images"][0]["file_name"] = "night\\a.png"

    row = coco_reading.read(export(change), warn=pytest.fail).labels.iloc[0]
    assert row[["label_id", "score", "status", "image"]].tolist() == ["17", 0.25, "accepted", "night/a.png"]
    assert row["where"] == "annotation 1"


def test_a_crowd_is_left_out_unless_it_is_ours(export: Any) -> None:
    said: list[str] = []
    assert len(coco_reading.read(export(first(iscrowd=1)), warn=said.append).labels) == 2
    read = coco_reading.read(export(first(iscrowd=1, attributes={})), warn=said.append)
    assert (read.labels["label_id"].tolist(), len(said)) == (["p001"], 1)
    assert "1 annotation(s) of a crowd" in said[0]


RUNS = {"size": [8, 10], "counts": [18, 2, 60]}
RING = [[1, 2, 5, 2, 5, 6, 1, 6]]
CVATS = {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""}


@pytest.mark.parametrize(
    ("info", "shapes", "kept"),  # shapes: segmentation and iscrowd of two annotations without an id
    [
        (CVATS, [(RUNS, 1), (RING, 0)], 2),
        (CVATS, [(RUNS, 1), (RUNS, 0)], 2),
        (CVATS, [(RING, 1), (RUNS, 0)], 1),
        ({}, [(RUNS, 1), (RUNS, 1)], 2),
        ({}, [(RUNS, 1), ([], 0)], 2),
        ({}, [(RUNS, 1), (RING, 0)], 1),
        ({}, [(RUNS, 1), (RUNS, 0)], 1),
        ({"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017}, [(RUNS, 1), (RING, 0)], 1),
        ({"description": coco.DESCRIPTION}, [(RUNS, 1), (RUNS, 1)], 0),
    ],
)
def test_crowds_are_single_objects_where_the_file_has_all_masks_so(
    export: Any, info: dict[str, str], shapes: list[tuple[Any, int]], kept: int
) -> None:
    def change(file: dict[str, Any]) -> None:
        file["info"] = info
        for entry, (shape, crowd) in zip(file["annotations"], shapes, strict=True):
            entry |= {"attributes": {}, "segmentation": shape, "iscrowd": crowd}

    said: list[str] = []
    read = coco_reading.read(export(change), warn=said.append)
    assert len(read.labels) == kept
    assert read.unread == (() if kept == 2 else ("a.png",))
    assert len(said) == 1
    masks = dict(zip(read.labels["where"], read.labels["mask_counts"], strict=True))
    if kept == 2:
        assert masks["annotation 1"] == (18, 2, 60)
        assert "read as single objects" in said[0]


# What is done to the first annotation, and a word of the one sentence; None = the label stays.
SPOILT: dict[str, tuple[dict[str, Any], str]] = {
    "unknown image": ({"image_id": 99}, "an image or a category"),
    "list as image": ({"image_id": [1]}, "an image or a category"),
    "unknown category": ({"category_id": 0}, "an image or a category"),
    "no size": ({"bbox": [1, 2, 0, 4]}, "without a box"),
    "no hundredth of a pixel": ({"bbox": [1, 2, 1, 0.004]}, "without a box"),
    "beyond any picture": ({"bbox": [1, 2, 1e300, 4]}, "without a box"),
    "three numbers": ({"bbox": [1, 2, 3]}, "without a box"),
    "texts": ({"bbox": ["1", "2", "3", "4"]}, "without a box"),
    "NaN": ({"bbox": [1, 2, NAN, 4]}, "without a box"),
    "beyond any number": ({"bbox": [1, 2, 10**400, 4], "more": NAN}, "without a box"),
    "no box, no mask": ({"bbox": None}, "without a box"),
    "crowd": ({"iscrowd": 1, "attributes": {}}, "of a crowd"),
}
SPOILT_MASKS: dict[str, tuple[Any, str]] = {
    "two points": ([[1, 1, 2, 2]], "three points"),
    "odd": ([[1, 1, 2, 2, 3, 3, 4]], "three points"),
    "text": ([["a"] * 6], "no lists of numbers"),
    "nested": ([[[1, 1], [2, 2], [3, 3]]], "three points"),
    "beyond any number": ([[1, 1, 2, 2, NAN, 10**400]], "no lists of numbers"),
    "infinite": ([[1, 1, 2, 2, 3, math.inf]], "three points"),
    "a word": ("mask", "neither polygons nor run lengths"),
    "short": ({"size": [8, 10], "counts": [3, 4]}, "add up"),
    "negative": ({"size": [8, 10], "counts": [-1, 81]}, "whole numbers"),
    "other size": ({"size": [10, 8], "counts": [3, 77]}, "not that of the image"),
    "no counts": ({"size": [8, 10]}, "whole numbers"),
    "no size": ({"counts": [80]}, "without 'size'"),
    "packed, cut": ({"size": [8, 10], "counts": "P"}, "end inside a number"),
    "packed, foreign": ({"size": [8, 10], "counts": "\u20ac "}, "do not belong"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_an_annotation_that_is_no_label_costs_itself(export: Any, name: str) -> None:
    said: list[str] = []
    values, word = SPOILT[name]
    read = coco_reading.read(export(first(**values)), warn=said.append)
    assert read.labels["label_id"].tolist() == ["p001"]
    assert len(said) == 1
    assert word in said[0]
    assert read.images == ("a.png", "b.png")
    assert read.unread == ("" if "image" in name else "a.png",)


def test_what_is_no_annotation_is_of_an_unknown_image(export: Any) -> None:
    read = coco_reading.read(export(lambda file: file["annotations"].append(7)), warn=lambda said: None)
    assert (len(read.labels), read.unread) == (2, ("",))


def test_the_sizes_that_the_file_states_are_told(export: Any) -> None:
    def unsized(file: dict[str, Any]) -> None:
        del file["images"][1]["height"]

    read = coco_reading.read(export(unsized), sizes={"b.png": (3, 4)}, warn=pytest.fail)
    assert (read.sizes, read.unread) == ({"a.png": (8, 10)}, ())


@pytest.mark.parametrize("name", SPOILT_MASKS)
def test_a_mask_that_cannot_be_drawn_costs_the_mask(export: Any, name: str) -> None:
    said: list[str] = []
    shape, word = SPOILT_MASKS[name]
    read = coco_reading.read(export(first(segmentation=shape)), warn=said.append)
    assert read.labels["mask_counts"].iloc[0] == ()
    assert read.labels[list("xywh")].iloc[0].tolist() == [1, 2, 4, 4]
    assert len(said) == 1
    assert word in said[0]


def test_masks_without_a_box_and_boxes_of_unknown_size(export: Any) -> None:
    shape = {"size": [8, 10], "counts": [18, 2, 60]}
    row = coco_reading.read(export(first(bbox=[], segmentation=shape))).labels.iloc[0]
    assert row[list("xywh")].tolist() == [2, 2, 1, 2]

    def unsized(file: dict[str, Any]) -> None:
        del file["images"][0]["width"]
        file["annotations"][0]["segmentation"] = [[1, 2, 5, 2, 5, 6, 1, 6]]

    said: list[str] = []
    path = export(unsized)
    assert coco_reading.read(path, warn=said.append).labels["mask_counts"].iloc[0] == ()
    assert "unknown size" in said[0]
    read = coco_reading.read(path, sizes={"a.png": (8, 10)}, warn=pytest.fail)
    assert read.labels["mask_counts"].iloc[0] == (10, 4, 4, 4, 4, 4, 4, 4, 42)


def test_a_bare_ring_and_runs_in_pieces_are_understood(export: Any) -> None:
    for shape in (
        [1, 2, 5, 2, 5, 6, 1, 6],
        {"size": [8, 10], "counts": [10, 2, 0, 2, 4, 4, 4, 4, 4, 4, 42, 0]},
    ):
        read = coco_reading.read(export(first(segmentation=shape)), warn=pytest.fail)
        assert read.labels["mask_counts"].iloc[0] == (10, 4, 4, 4, 4, 4, 4, 4, 42)


@settings(max_examples=100, deadline=None)
@given(mask=arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)), fill=st.booleans()))
def test_packed_runs_are_those_of_pycocotools(mask: np.ndarray) -> None:
    packed = api.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert unpack(packed) == mask_to_counts(mask)
    shape = {"size": list(mask.shape), "counts": packed}
    assert mask_counts(shape, mask.shape) == (tuple(mask_to_counts(mask)) if mask.any() else ())


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 2**28), min_size=1, max_size=9))  # more overruns its buffer
def test_long_packed_runs_are_those_of_pycocotools(counts: list[int]) -> None:
    total = min(sum(counts), 2**31 - 1)  # its own size must fit; what it packs are the runs alone
    packed = api.frPyObjects({"size": [1, total], "counts": counts}, 1, total)["counts"].decode()
    assert unpack(packed) == counts


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=12))
def test_any_text_is_runs_or_a_sentence(text: str) -> None:
    try:
        counts = unpack(text)
    except LabelError:
        counts = []
    assert all(isinstance(count, int) for count in counts)


def test_a_folder_holds_a_file_for_each_split_and_labels_of_images(tmp_path: Path, proposals: Any) -> None:
    images = pd.DataFrame(
        {"image": ["a.png", "b.png", "c.png"], "width": 10, "height": 8, "split": ["train", "val", "train"]}
    )
    rows = proposals(
        {"image": "b.png"}, {"image": "c.png"}, {"kind": "image", "image": "b.png", "label": "car"}
    )
    coco.write(outgoing(rows, images, ["car"]), tmp_path)
    read = coco_reading.read(tmp_path, warn=pytest.fail)
    assert read.labels["where"].tolist() == [
        "instances_train.json, annotation 2", "instances_val.json, annotation 1", "image_labels.csv, line 2",
    ]  # fmt: skip
    assert read.labels["kind"].tolist() == ["region", "region", "image"]
    assert read.labels["label_id"].tolist() == ["p001", "p000", "p002"]
    assert sorted(read.images) == ["a.png", "b.png", "c.png"]
    one = coco_reading.read(tmp_path / coco.annotations_file("val"))
    assert (one.labels["label_id"].tolist(), one.images) == (["p000"], ("b.png",))


def test_folders_of_other_tools(export: Any, tmp_path: Path) -> None:
    data = export().read_bytes()
    for number, place in enumerate(["any.json", "train/_annotations.coco.json", "annotations/my.json"]):
        path = tmp_path / f"tool{number}" / place
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        assert len(coco_reading.read(tmp_path / f"tool{number}").labels) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabelError, match="no COCO file"):
        coco_reading.read(tmp_path / "empty")


def test_images_without_any_label_are_listed(export: Any) -> None:
    read = coco_reading.read(export(lambda file: file.update(annotations=[])), warn=pytest.fail)
    assert (len(read.labels), read.images) == (0, ("a.png", "b.png"))


@pytest.mark.parametrize(
    "text",
    ["", "no", "[1]", "{}", "{" * 5000, '{"a": ' * 5000, "\x00", '{"images": [], "categories": []}'],
)
def test_what_is_not_coco_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(LabelError, match=r"x[.]json"):
        coco_reading.read(path)
    with pytest.raises(LabelError, match="cannot be read"):
        coco_reading.read(tmp_path / "none.json")


def test_a_file_beyond_any_label_file_is_refused_before_it_is_read(
    export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export()
    monkeypatch.setattr(coco_files, "LARGEST_FILE", 100)
    with pytest.raises(LabelError, match="larger than"):
        coco_reading.read(path)
    assert len(coco_reading.read(path.parent / MAIN).labels) == 2  # ours is never held as a whole


def test_an_image_too_large_to_draw_costs_the_mask(export: Any) -> None:
    def change(file: dict[str, Any]) -> None:
        file["images"][0] |= {"width": 1 << 20, "height": 1 << 20}
        file["annotations"][0]["segmentation"] = [[1, 2, 5, 2, 5, 6]]
        file["annotations"][1]["segmentation"] = {"size": [1 << 20, 1 << 20], "counts": [1, 0, (1 << 40) - 1]}

    said: list[str] = []
    assert coco_reading.read(export(change), warn=said.append).labels["mask_counts"].tolist() == [(), ()]
    assert len(said) == 1
    assert "2 mask(s)" in said[0]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.just(10**400) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "score", "attributes"]


@settings(max_examples=100, deadline=None)
@given(
    entry=st.dictionaries(st.sampled_from(KEYS), values),
    image=st.dictionaries(st.sampled_from(["id", "file_name", "width", "height", "name"]), values),
)
def test_no_content_makes_reading_fail(
    tmp_path_factory: pytest.TempPathFactory, entry: dict[str, Any], image: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    good = {"id": 1, "file_name": "a.png", "width": 4, "height": 4, "name": "car"}
    whole = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], **entry}
    lists = {"images": [good, image], "categories": [good, image], "annotations": [entry, whole]}
    path.write_text(json.dumps(lists))
    read = coco_reading.read(path, warn=lambda sentence: None)
    assert read.images[0] in ("a.png", image.get("file_name"))
    assert (read.labels[["w", "h"]] > 0).all().all()


def test_real_coco_files_are_read_whole(data: Path) -> None:
    for name, count in (
        ("paired_road/labels/annotations_coco.json", 567),
        ("thermal_aerial/annotations_coco.json", 1137),
    ):
        path = data / name
        read = coco_reading.read(path, warn=pytest.fail)
        raw = orjson.loads(path.read_bytes())
        assert len(read.labels) == len(raw["annotations"]) == count
        assert list(read.images) == [image["file_name"] for image in raw["images"]]
