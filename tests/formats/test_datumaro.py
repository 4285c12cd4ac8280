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

from dinonat.errors import LabelError
from dinonat.formats import datumaro
from dinonat.formats.catalog import FORMATS, sniff
from dinonat.formats.handover import LABEL_ID, Check, Incoming, Outgoing, outgoing
from dinonat.formats.runs import box_of_counts, pack
from dinonat.geometry import box_of_mask, mask_to_counts

IMAGES = pd.DataFrame(
    {
        "image": ["a.png", "b.png", "night/ü x.1.png"],
        "width": 10,
        "height": 8,
        "split": ["train", "val", "train"],
    }
)
SETS = int(os.environ.get("DINOTOOL_SETS", "25"))  # of labels, that are written and read back
CLASSES = ("car", "night", 'per"son', "unused")


def ring() -> np.ndarray:
    """A car: box xyxy 3,1,9,6 with a 2x1 hole, 28 pixels."""
    mask = np.zeros((8, 10), bool)
    mask[1:6, 3:9] = True
    mask[3, 5:7] = False
    return mask


def example(proposals: Any, **more: Any) -> Outgoing:
    table = proposals(
        {"box": (1, 2, 4, 4), "label": 'per"son', "status": "accepted", "cluster": 3},
        {"box": (3, 1, 6, 5), "mask": ring(), "score": 0.5},
        {"box": (2.5, 1, 6, 5), "mask": ring(), "score": np.nan, "image": "night/ü x.1.png"},
        {"kind": "image", "box": (np.nan,) * 4, "label": "night", "score": 0.25},
    )
    return outgoing(table, IMAGES, CLASSES, name="export one", **more)


def document(folder: Path, name: str = "train") -> dict[str, Any]:
    return json.loads((folder / f"annotations/{name}.json").read_text(encoding="utf-8"))


def read(path: Path, **more: Any) -> tuple[Incoming, list[str]]:
    said: list[str] = []
    return datumaro.read(path, warn=said.append, **more), said


def faults(path: Path, **more: Any) -> list[str]:
    return [what for _, what in datumaro.faults(path, Check(**more))]


# ---- what is written


def test_every_split_is_a_file_that_holds_all_of_a_label(tmp_path: Path, proposals: Any) -> None:
    written = datumaro.write(example(proposals), tmp_path)
    assert written.files == ("annotations/train.json", "annotations/val.json")
    assert (written.annotations, written.image_labels, written.losses) == (3, 1, {})
    train, val = document(tmp_path), document(tmp_path, "val")
    assert [one["name"] for one in val["categories"]["label"]["labels"]] == list(CLASSES)
    assert val["items"] == [{"id": "b", "annotations": [], "image": {"path": "b.png", "size": [8, 10]}}]
    assert [item["id"] for item in train["items"]] == ["a", "night/ü x.1"]
    box, mask, tag = train["items"][0]["annotations"]
    assert (box["type"], box["bbox"], box["label_id"], box["group"]) == ("bbox", [1.0, 2.0, 4.0, 4.0], 2, 0)
    known = {LABEL_ID: "p000", "score": 0.875, "status": "accepted", "cluster": 3, "unit": "grey"}
    assert known.items() <= box["attributes"].items()
    assert (mask["type"], mask["rle"]["size"]) == ("mask", [8, 10])
    assert "box" not in mask["attributes"]
    assert (tag["type"], tag["label_id"]) == ("label", 1)
    other = train["items"][1]["annotations"][0]["attributes"]
    assert (other["box"], other["mask_area"]) == ("2.5 1.0 6.0 5.0", 28)
    assert "score" not in other
    assert (tmp_path / datumaro.picture("val", "")).is_dir()


def test_masks_are_packed_as_pycocotools_packs_them(tmp_path: Path, proposals: Any) -> None:
    api = pytest.importorskip("pycocotools.mask")
    datumaro.write(example(proposals), tmp_path)
    rle = document(tmp_path)["items"][0]["annotations"][1]["rle"]
    assert np.array_equal(api.decode(rle).astype(bool), ring())


@settings(max_examples=60, deadline=None)
@given(mask=arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_any_mask_is_packed_as_pycocotools_packs_it_and_has_its_box(mask: np.ndarray) -> None:
    api = pytest.importorskip("pycocotools.mask")
    counts = mask_to_counts(mask)
    assert pack(counts) == api.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert box_of_counts(counts, mask.shape[0]) == box_of_mask(mask)


def test_pictures_that_differ_in_their_ending_only_have_different_ids(tmp_path: Path, proposals: Any) -> None:
    images = pd.DataFrame({"image": ["a.jpg", "a.png", "b.png", "b", "c.d.png"], "width": 10, "height": 8})
    datumaro.write(outgoing(proposals(), images, CLASSES), tmp_path)
    ids = [item["id"] for item in document(tmp_path, "default")["items"]]
    assert len(set(ids)) == len(ids) == 5
    assert ids == ["a.jpg", "a.png", "b", "b.png", "c.d"]
    assert read(tmp_path)[0].images == ("a.jpg", "a.png", "b", "b.png", "c.d.png")


def test_equal_labels_give_equal_bytes(tmp_path: Path, proposals: Any) -> None:
    table = proposals({}, {"image": "b.png", "mask": ring()}, {"label": "night"})
    for name, rows in (("a", table), ("b", table.iloc[::-1])):
        written = datumaro.write(outgoing(rows, IMAGES, CLASSES), tmp_path / name)
    for file in written.files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_more_images_than_one_block_stay_in_order(tmp_path: Path, proposals: Any) -> None:
    images = pd.DataFrame({"image": [f"{n:05}.png" for n in range(2001)], "width": 10, "height": 8})
    asked = outgoing(proposals({"image": "02000.png"}, {"image": "00999.png"}), images, CLASSES)
    datumaro.write(asked, tmp_path)
    back = read(tmp_path)[0]
    assert back.images == tuple(images["image"])
    assert back.labels["image"].tolist() == ["00999.png", "02000.png"]


# ---- there and back

NAMES = st.lists(
    st.sampled_from(
        [
            "a.png",
            "a.jpg",
            "a",
            "night/a.png",
            "night/ü/d'e\".png",
            "x#1.png",
            "50%.png",
            "😀</script>.jpg",
            "<b>,.c.tif",
        ]
    ),
    min_size=1,
    max_size=4,
    unique=True,
)
HUNDREDTH = st.integers(0, 1100).map(lambda n: n / 100)
LABEL = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["box", "mask", "mask", "image"]),
        "at": st.integers(0, 3),
        "label": st.sampled_from(["car", "ü, person", "a \"b\" <c> & 'd'", "</script>😀"]),
        "box": st.tuples(HUNDREDTH, HUNDREDTH, HUNDREDTH, HUNDREDTH),
        "mask": arrays(bool, (8, 11)),
        "mask_box": st.booleans(),
        "score": st.one_of(st.just(np.nan), st.floats(-2, 2, width=32)),
        "status": st.sampled_from(["proposed", "accepted", "rejected"]),
        "reason": st.sampled_from(["", '3 of 4 "agree" <&>']),
        "cluster": st.sampled_from([-1, 0, 7]),
        "t_mean": st.one_of(st.just(np.nan), st.floats(-50, 500, width=32)),
    }
)


def make(proposals: Any, names: list[str], rows: list[dict[str, Any]]) -> Outgoing:
    table = []
    for row in rows:
        mask = row["mask"] if row["kind"] == "mask" else None
        box = box_of_mask(mask) if mask is not None and row["mask_box"] else row["box"]
        box = (np.nan,) * 4 if row["kind"] == "image" else box
        kind = "image" if row["kind"] == "image" else "region"
        table.append({**row, "image": names[row["at"] % len(names)], "kind": kind, "box": box, "mask": mask})
    splits = ["train", "", "val", "train"][: len(names)]
    images = pd.DataFrame({"image": names, "width": 11, "height": 8, "split": splits})
    return outgoing(proposals(*table), images, ["unused", *dict.fromkeys(row["label"] for row in rows)])


@settings(
    max_examples=SETS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(names=NAMES, rows=st.lists(LABEL, max_size=6))
def test_everything_comes_back(
    tmp_path_factory: Any, proposals: Any, names: list[str], rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("export")
    asked = make(proposals, names, rows)
    written = datumaro.write(asked, folder)
    back, said = read(folder)
    assert (said, faults(folder), written.losses) == ([], [], asked.losses)
    assert sorted(back.images) == sorted(names)
    assert back.export == "export"
    sent = asked.labels.sort_values("proposal").reset_index(drop=True)
    got = back.labels.sort_values(LABEL_ID).reset_index(drop=True)
    assert got[LABEL_ID].tolist() == sent["proposal"].tolist()
    for name in ("image", "kind", "label", "status", "mask_counts"):
        assert got[name].tolist() == sent[name].tolist()
    boxes = [table[list("xywh")].to_numpy(np.float64) for table in (got, sent)]
    assert np.array_equal(*boxes, equal_nan=True)
    assert np.array_equal(got["score"].astype("float32"), sent["score"].astype("float32"), equal_nan=True)


def test_facts_keep_every_digit(tmp_path: Path, proposals: Any) -> None:
    exact = {"t_mean": 17.8759, "similarity": 1 / 3, "lo": 29300.137, "margin": 1e-9}
    datumaro.write(outgoing(proposals({**exact, "unit": "celsius"}), IMAGES, CLASSES), tmp_path)
    kept = document(tmp_path)["items"][0]["annotations"][0]["attributes"]
    assert {name: np.float32(kept[name]) for name in exact} == {n: np.float32(v) for n, v in exact.items()}
    assert "t_max" not in kept


# ---- what other tools write


def item(*annotations: Any, **more: Any) -> dict[str, Any]:
    media = {"path": "night_a.png", "size": [8, 10]}
    return {"id": "night/a", "annotations": list(annotations), "image": media, **more}


def saved(tmp_path: Path, *items: Any, **more: Any) -> Path:
    labels = [{"name": name, "parent": ""} for name in ("car", "bus")]
    categories = {"label": {"labels": labels}}
    path = tmp_path / "some name.json"
    path.write_text(json.dumps({"categories": categories, "items": list(items), **more}))
    return path


BOX = {"id": 0, "type": "bbox", "attributes": {}, "group": 0, "label_id": 1, "bbox": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("item_id", "path", "name"),
    [
        ("night/a", "night_a.png", "night/a.png"),  # datumaro puts folders into the name
        ("night/a", "night/a.png", "night/a.png"),
        ("a", "/home/me/data/images/default/a.png", "a.png"),  # older versions
        ("a.b", "a.b.png", "a.b.png"),
        ("a.png", "a.png", "a.png"),
        ("a", "other.png", "other.png"),
        ("a", "", "a"),
        (5, "5.png", "5.png"),
    ],
)
def test_the_name_of_a_picture(tmp_path: Path, item_id: Any, path: str, name: str) -> None:
    back, said = read(saved(tmp_path, {"id": item_id, "annotations": [BOX], "image": {"path": path}}))
    assert (back.images, said) == ((name,), [])
    assert back.labels["image"].tolist() == [name]


def test_polygons_become_masks(tmp_path: Path) -> None:
    points = [1.0, 1.0, 5.0, 1.0, 5.0, 3.0, 1.0, 3.0]
    back = read(saved(tmp_path, item({**BOX, "type": "polygon", "points": points})))[0].labels
    mask = np.zeros((8, 10), bool)
    mask[1:3, 1:5] = True
    assert back["mask_counts"].iloc[0] == tuple(mask_to_counts(mask))
    assert back[list("xywh")].to_numpy().tolist() == [[1, 1, 4, 2]]


def test_sizes_that_the_file_does_not_say_are_asked_for(tmp_path: Path) -> None:
    polygon = {**BOX, "type": "polygon", "points": [1, 1, 5, 1, 5, 3, 1, 3]}
    path = saved(tmp_path, item(polygon, image={"path": "night/a.png"}))
    assert "unknown size" in read(path)[1][0]
    assert read(path, sizes={"night/a.png": (8, 10)})[0].labels["w"].tolist() == [4]


def test_attributes_may_have_become_texts(tmp_path: Path) -> None:
    attributes = {"score": "0.5", LABEL_ID: 17, "status": 3}
    back = read(
        saved(tmp_path, item({**BOX, "attributes": attributes}, {**BOX, "attributes": {"score": "high"}}))
    )
    assert back[0].labels["score"].fillna(-1).tolist() == [0.5, -1]
    assert back[0].labels[LABEL_ID].tolist() == ["17", ""]
    assert back[0].labels["status"].tolist() == ["", ""]


def test_a_box_of_its_own_goes_with_its_mask_until_the_mask_is_changed(
    tmp_path: Path, proposals: Any
) -> None:
    datumaro.write(example(proposals), tmp_path)
    file = document(tmp_path)
    changed = ring()
    changed[1, 3] = False
    file["items"][1]["annotations"][0]["rle"]["counts"] = pack(mask_to_counts(changed))
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(file))
    boxes = [read(one)[0].labels[list("xywh")].to_numpy().tolist()[-1] for one in (tmp_path, path)]
    assert boxes == [[2.5, 1, 6, 5], [3, 1, 6, 5]]


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        ({**BOX, "type": "ellipse", "points": [1, 2, 3, 4]}, "type ellipse"),
        ({**BOX, "type": "caption"}, "type caption"),
        (5, "type None"),
        ({**BOX, "label_id": 2}, "without a class"),
        ({**BOX, "label_id": None}, "without a class"),
        ({**BOX, "label_id": True}, "without a class"),
        ({**BOX, "bbox": [1, 2, 0, 4]}, "without a size"),
        ({**BOX, "bbox": [1, 2, 3]}, "without a size"),
        ({**BOX, "bbox": [1, 2, 0.004, 3]}, "without a size"),
        ({**BOX, "type": "polygon", "points": [1, 2, 1e14, 4, 5, 6]}, "up and down"),
        ({**BOX, "type": "mask", "rle": {"counts": "13", "size": [8, 10]}}, "height x width"),
        ({**BOX, "type": "mask", "rle": {"counts": [80], "size": [8, 10]}}, "empty"),
        ({**BOX, "type": "mask", "rle": {"counts": [0, 4**20], "size": [2**20, 2**20]}}, "size"),
        ({**BOX, "type": "mask"}, "empty"),
        ({**BOX, "type": "polygon", "points": [1, 2, 3, 4]}, "three points"),
    ],
)
def test_what_is_no_label_costs_itself_and_gets_a_sentence(
    tmp_path: Path, annotation: Any, sentence: str
) -> None:
    back, said = read(saved(tmp_path, item(annotation, BOX)))
    assert back.labels["label"].tolist() == ["bus"]
    assert len(said) == 1
    assert sentence in said[0]
    assert back.unread == ("night/a.png",)


def test_unread_images_and_the_sizes_that_the_file_states_are_told(tmp_path: Path) -> None:
    other = {"id": "b", "annotations": [BOX], "image": {"path": "b.png"}}
    back, said = read(saved(tmp_path, item(5, BOX), other, 7), sizes={"b.png": (3, 4)})
    assert (back.unread, back.sizes) == (("night/a.png", ""), {"night/a.png": (8, 10)})
    assert len(said) == 2
    assert read(saved(tmp_path, item(BOX), other))[0].unread == ()
    back, said = read(saved(tmp_path, {**item(), "annotations": 5}, other))
    assert (len(back.labels), back.unread, len(said)) == (1, ("night/a.png",), 1)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"categories": {}}', '{"items": {}}'])
def test_what_is_not_datumaro_is_refused_in_words(tmp_path: Path, content: str) -> None:
    path = tmp_path / "default.json"
    path.write_text(content)
    with pytest.raises(LabelError, match=r"default\.json"):
        datumaro.read(path)
    assert len(faults(path)) == 1


# ---- faults


def at(number: int, **more: Any) -> Callable[[dict[str, Any]], None]:
    """Change one annotation of the first item: 0 is a box, 1 a mask, 2 a label of the whole image."""
    return lambda file: file["items"][0]["annotations"][number].update(more)


def entry(**more: Any) -> Callable[[dict[str, Any]], None]:
    return lambda file: file["items"][1].update(more)


def media(**more: Any) -> Callable[[dict[str, Any]], None]:
    return lambda file: file["items"][1]["image"].update(more)


def runs(**more: Any) -> Callable[[dict[str, Any]], None]:
    return lambda file: file["items"][0]["annotations"][1]["rle"].update(more)


def classes(file: dict[str, Any]) -> Any:
    return file["categories"]["label"]["labels"]


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a version to come": (lambda f: f.update(dm_format_version="2"), "dm_format_version"),
    "videos": (lambda f: f.update(media_type=5), "media_type"),
    "no categories": (lambda f: f.pop("categories"), "no 'categories'"),
    "no list of classes": (lambda f: f["categories"]["label"].pop("labels"), "no list 'labels'"),
    "class without parent": (lambda f: classes(f)[0].pop("parent"), "without 'parent'"),
    "class without name": (lambda f: classes(f)[3].pop("name"), "without 'name'"),
    "class twice": (lambda f: classes(f)[3].update(name="car"), "stands twice"),
    "no id": (lambda f: f["items"][1].pop("id"), "no 'id'"),
    "the same id twice": (entry(id="a"), "'id' stands twice"),
    "no picture": (lambda f: f["items"][1].pop("image"), "no object 'image'"),
    "no size": (lambda f: f["items"][1]["image"].pop("size"), "no 'size'"),
    "size in halves": (media(size=[8.5, 10]), "no 'size'"),
    "no path": (media(path=""), "no 'path'"),
    "absolute path": (media(path="/home/a.png"), "absolute"),
    "drive": (media(path="C:\\a.png"), "absolute"),
    "a way out": (media(path="x/../../a.png"), "absolute"),
    "annotations are null": (entry(annotations=None), "no list"),
    "annotation is a text": (entry(annotations=["car"]), "no object"),
    "unknown type": (at(0, type="rectangle"), "type 'rectangle'"),
    "label_id out of range": (at(0, label_id=4), "label_id 4"),
    "label_id is a name": (at(0, label_id="car"), "label_id 'car'"),
    "no label_id": (at(2, label_id=None), "no 'label_id'"),
    "attributes are a list": (at(0, attributes=[]), "'attributes'"),
    "score is a text": (at(0, attributes={"score": "high"}), "score"),
    "score NaN": (at(0, attributes={"score": float("nan")}), "score"),
    "box of three": (at(0, bbox=[1, 2, 3]), "'bbox'"),
    "box of no size": (at(0, bbox=[1, 2, 0, 3]), "no or negative size"),
    "box outside": (at(0, bbox=[1, 2, 30, 3]), "outside"),
    "no rle": (at(1, rle=None), "without an object 'rle'"),
    "rle too short": (runs(counts="13"), "height x width"),
    "rle cut": (runs(counts="1o"), "inside a number"),
    "rle as a list": (runs(counts=[8, 72]), "list of counts"),
    "rle of another size": (runs(counts=pack([80, 8]), size=[8, 11]), "not the image's"),
    "two points": (at(0, type="polygon", points=[1, 2, 3, 4]), "three points"),
    "tangled": (at(0, type="polygon", points=[1, 2, 1e14, 4, 5, 6]), "up and down"),
    "points in pairs": (at(0, type="polygon", points=[[1, 2], [3, 4], [5, 6]]), "flat list"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_single_fault_is_found_and_nothing_else(tmp_path: Path, proposals: Any, name: str) -> None:
    datumaro.write(example(proposals), tmp_path)
    assert faults(tmp_path) == []
    break_it, words = FAULTS[name]
    file = document(tmp_path)
    break_it(file)
    (tmp_path / "annotations/train.json").write_text(json.dumps(file))
    found = faults(tmp_path)
    assert len(found) == 1, found
    assert words in found[0]


def test_missing_pictures_are_found_where_any_lie(tmp_path: Path, proposals: Any) -> None:
    datumaro.write(example(proposals), tmp_path)
    (tmp_path / "images/train/a.png").touch()
    (only,) = datumaro.faults(tmp_path, Check())
    assert only[0] == "train.json, item 'night/ü x.1', 'night/ü x.1.png'"
    assert only[1].startswith("its picture is not below")


def test_the_catalogue_knows_the_format(tmp_path: Path, proposals: Any) -> None:
    datumaro.write(example(proposals), tmp_path)
    assert sniff(tmp_path) == sniff(tmp_path / "annotations/val.json") == "datumaro"
    assert FORMATS["datumaro"].picture("", "a/b.png") == "images/default/a/b.png"
