"""Files that people edited, as each format has them, come back as exactly what was edited."""

import csv
import getpass
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import tifffile

from dinonat import labels
from dinonat.errors import LabelError, UsageError, WorkspaceError
from dinonat.formats.catalog import FORMATS
from dinonat.geometry import mask_to_counts
from dinonat.pipelines import export, import_labels
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export_settings import ExportSettings
from dinonat.pipelines.import_labels import ImportReport, ImportSettings
from dinonat.pipelines.people import database, said, standing

pytestmark = pytest.mark.usefixtures("no_sync")

ODD = 'a, "b" <😀> </script>'
NAMES = ["day/a.png", "day/b.png", "empty.png", "night/a.png"]  # two of one stem in different folders
SIZE = (48, 64)
BY_CLASS = ("folders", "yolo-classify")


def ring() -> list[int]:
    """Return the run lengths of a mask with a hole, in the box of p5."""
    mask = np.zeros(SIZE, bool)
    mask[10:30, 20:44] = True
    mask[15:20, 25:30] = False
    return mask_to_counts(mask)


BOXES: list[dict[str, Any]] = [
    {"image": "day/a.png", "label": "car", "x": 2, "y": 3, "w": 16, "h": 12, "score": 0.9},
    {"image": "day/a.png", "label": "car", "x": 22, "y": 3, "w": 16, "h": 12},
    {"image": "day/a.png", "label": ODD, "x": 2, "y": 20, "w": 20, "h": 16},
    {"image": "day/a.png", "label": "car", "x": 40, "y": 30, "w": 16, "h": 12},
    {"image": "day/b.png", "label": "car", "x": 10.25, "y": 3.5, "w": 16, "h": 12},
    {"image": "night/a.png", "label": ODD, "x": 20, "y": 10, "w": 24, "h": 20, "mask_counts": ring()},
    {"image": "day/b.png", "label": "night", "kind": "image", "x": np.nan},
]
WHOLE: list[dict[str, Any]] = [
    {"image": image, "label": label, "kind": "image", "x": np.nan}
    for image, label in (("day/a.png", "car"), ("day/b.png", "car"), ("night/a.png", "tram"))
]


@pytest.fixture
def desk(tmp_path: Path, made: SimpleNamespace) -> Path:
    """Return a workspace of four images, with proposals p0 to p6."""
    root: Path = made.workspace(tmp_path, names=NAMES, size_hw=SIZE, proposals=BOXES)
    return root


def exported(root: Path, format_: str, **more: Any) -> Path:
    """Export, and return a copy of the folder, as it lies with the person who corrects it."""
    pictures = FORMATS[format_].holds_pictures
    folder = Path(export.run(ExportSettings(format=format_, **{"proxies": pictures, **more}), root).folder)
    return Path(
        shutil.copytree(
            folder, root.parent / "desk" / folder.name, ignore=lambda *_: ["record", "manifest.json"]
        )
    )


def brought(root: Path, file: Path, **more: Any) -> ImportReport:
    return import_labels.run(ImportSettings(file=file, **{"who": "Ada", **more}), root)


def counts(report: ImportReport) -> dict[str, int]:
    names = ("kept", "accepted", "relabelled", "moved", "removed", "new", "known", "events")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def events(root: Path) -> dict[str, tuple[str, str, str]]:
    """Return the last event of each label: label_id -> (action, image, class)."""
    table = said(root, "set1")
    columns = (table[name].tolist() for name in ("label_id", "action", "image", "label"))
    return {own: (action, image, label) for own, action, image, label in zip(*columns, strict=True)}


# What a person does, in the text of each format: p1 gets class ODD, p2 goes 2 to the right and 3 down, p3
# is deleted, and in empty.png a dog is drawn. p0, p4, p5 and p6 are left alone.


def edit_coco(folder: Path) -> None:
    file = folder / "annotations/instances_default.json"
    coco = json.loads(file.read_text("utf-8"))
    number = {each["name"]: each["id"] for each in coco["categories"]}
    image = {each["file_name"]: each["id"] for each in coco["images"]}
    coco["categories"].append({"id": 77, "name": "dog"})
    left = []
    for entry in coco["annotations"]:
        x, y, w, h = entry["bbox"]
        here = (entry["image_id"], x, y)
        if here == (image["day/a.png"], 22, 3):
            entry["category_id"] = number[ODD]
        if here == (image["day/a.png"], 2, 20):
            entry["bbox"] = [x + 2, y + 3, w, h]
        if here != (image["day/a.png"], 40, 30):
            left.append(entry)
    dog = {
        "id": 999,
        "image_id": image["empty.png"],
        "category_id": 77,
        "bbox": [30, 20, 10, 10],
        "iscrowd": 0,
    }
    coco["annotations"] = [*left, {**dog, "area": 100, "segmentation": []}]
    file.write_text(json.dumps(coco), "utf-8")


def edit_coco_without_ids(folder: Path) -> None:
    """Beside the edits: the tool dropped what it does not know."""
    edit_coco(folder)
    file = folder / "annotations/instances_default.json"
    coco = json.loads(file.read_text("utf-8"))
    for entry in coco["annotations"]:
        entry.pop("attributes", None)
        entry.pop("score", None)
    file.write_text(json.dumps({**coco, "info": {}}), "utf-8")


def edit_datumaro(folder: Path) -> None:
    file = folder / "annotations/default.json"
    data = json.loads(file.read_text("utf-8"))
    classes = data["categories"]["label"]["labels"]
    number = [each["name"] for each in classes].index(ODD)
    classes.append({"name": "dog", "parent": "", "attributes": []})
    items = {item["id"]: item["annotations"] for item in data["items"]}
    kept, relabelled, moved, _ = items["day/a"]
    relabelled["label_id"] = number
    moved["bbox"] = [4, 23, 20, 16]
    items["day/a"][:] = [kept, relabelled, moved]
    dog = {"id": 99, "type": "bbox", "attributes": {}, "group": 0, "label_id": len(classes) - 1, "z_order": 0}
    items["empty"].append({**dog, "bbox": [30.0, 20.0, 10.0, 10.0]})
    file.write_text(json.dumps(data), "utf-8")


def edit_cvat(folder: Path) -> None:
    file = folder / "annotations.xml"
    tree = ElementTree.fromstring(file.read_text("utf-8"))
    image = {each.get("name"): each for each in tree.iter("image")}
    _, relabelled, moved, deleted = image["day/a.png"].findall("box")
    relabelled.set("label", ODD)
    for side, text in {"xtl": "4.00", "xbr": "24.00", "ytl": "23.00", "ybr": "39.00"}.items():
        moved.set(side, text)
    image["day/a.png"].remove(deleted)
    sides = {"xtl": "30.00", "ytl": "20.00", "xbr": "40.00", "ybr": "30.00"}
    dog = ElementTree.SubElement(image["empty.png"], "box", {"label": "dog", "occluded": "0", **sides})
    for name, text in (("label_id", ""), ("status", "accepted")):
        ElementTree.SubElement(dog, "attribute", {"name": name}).text = text
    file.write_text(ElementTree.tostring(tree, encoding="unicode"), "utf-8")


def edit_voc(folder: Path) -> None:
    file = folder / "Annotations/day_a.xml"
    tree = ElementTree.fromstring(file.read_text("utf-8"))
    _, relabelled, moved, deleted = tree.findall("object")
    name, corners = relabelled.find("name"), moved.find("bndbox")
    assert name is not None
    assert corners is not None
    name.text = ODD
    for corner in corners:
        corner.text = str(int(str(corner.text)) + (2 if corner.tag[0] == "x" else 3))
    tree.remove(deleted)
    file.write_text(ElementTree.tostring(tree, encoding="unicode"), "utf-8")
    box = "<xmin>30</xmin><ymin>20</ymin><xmax>40</xmax><ymax>30</ymax>"
    dog = f"<object><name>dog</name><bndbox>{box}</bndbox></object>"
    file = folder / "Annotations/empty.xml"
    file.write_text(file.read_text("utf-8").replace("</annotation>\n", f"{dog}</annotation>\n", 2), "utf-8")


def edit_yolo(folder: Path) -> None:
    rows = folder / "labels/train/day_a.txt"
    lines = rows.read_text().splitlines()
    number = {"car": lines[0].split()[0], ODD: lines[2].split()[0]}
    lines[1] = number[ODD] + lines[1][len(number["car"]) :]
    first, *shares = lines[2].split()
    polygons = len(shares) > 4  # and not xc yc w h
    by = (2 / 64, 3 / 48) * (len(shares) // 2) if polygons else (2 / 64, 3 / 48, 0, 0)
    lines[2] = " ".join(
        [first, *(f"{float(share) + more:.9f}" for share, more in zip(shares, by, strict=True))]
    )
    rows.write_text("\n".join(lines[:3]) + "\n")
    described = folder / "data.yaml"
    text = described.read_text("utf-8")
    (last,) = re.findall(r"^  (\d+): \"night\"$", text, re.MULTILINE)
    described.write_text(text.rstrip() + f"\n  {int(last) + 1}: dog\n", "utf-8")
    corners = [30 / 64, 20 / 48, 40 / 64, 20 / 48, 40 / 64, 30 / 48, 30 / 64, 30 / 48]
    dog = corners if polygons else [35 / 64, 25 / 48, 10 / 64, 10 / 48]
    (folder / "labels/train/empty.txt").write_text(f"{int(last) + 1} {' '.join(map(str, dog))}\n")


def edit_yolo_without_ids(folder: Path) -> None:
    """Beside the edits: only what YOLO has came back."""
    edit_yolo(folder)
    (folder / "predictions.jsonl").unlink()


def edit_label_studio(folder: Path) -> None:
    """The person submitted the two tasks; the tool keeps the predictions beside the annotations."""
    file = folder / "tasks.json"
    tasks = json.loads(file.read_text("utf-8"))
    by_name = {task["data"]["file_name"]: task for task in tasks}
    for number, task in enumerate(tasks):
        task |= {"id": number, "annotations": []}
    result = json.loads(json.dumps(by_name["day/a.png"]["predictions"][0]["result"]))
    result[1]["value"]["rectanglelabels"] = [ODD]
    result[2]["value"] |= {"x": 100 * 4 / 64, "y": 100 * 23 / 48}
    by_name["day/a.png"]["annotations"] = [{"id": 1, "was_cancelled": False, "result": result[:3]}]
    value = {
        "x": 100 * 30 / 64,
        "y": 100 * 20 / 48,
        "width": 100 * 10 / 64,
        "height": 100 * 10 / 48,
        "rotation": 0,
    }
    dog = {"id": "Xy12ab", "type": "rectanglelabels", "from_name": "box", "to_name": "image"}
    dog |= {"original_width": 64, "original_height": 48, "value": {**value, "rectanglelabels": ["dog"]}}
    by_name["empty.png"]["annotations"] = [{"id": 2, "was_cancelled": False, "result": [dog]}]
    file.write_text(json.dumps(tasks), "utf-8")


def edit_csv(folder: Path) -> None:
    file = folder / "labels.csv"
    header, *rows = csv.reader(io.StringIO(file.read_text("utf-8"), newline=""))
    own = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    own["p1"]["label"] = ODD
    own["p2"] |= {"x": "4", "y": "23"}
    del own["p3"]
    dog = dict.fromkeys(header, "") | {
        "image": "empty.png",
        "label": "dog",
        "x": "30",
        "y": "20",
        "w": "10",
        "h": "10",
    }
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, header)
        writer.writeheader()
        writer.writerows([*own.values(), dog])


def edit_parquet(folder: Path) -> None:
    file = folder / "labels.parquet"
    table = pd.read_parquet(file).set_index("label_id", drop=False)
    table.loc["p1", "label"] = ODD
    table.loc["p2", ["x", "y"]] = [4.0, 23.0]
    dog = {"image": "empty.png", "label": "dog", "x": 30.0, "y": 20.0, "w": 10.0, "h": 10.0}
    pd.concat([table.drop(index="p3"), pd.DataFrame([dog])], ignore_index=True).to_parquet(file)


EDITS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "coco": ("coco", edit_coco),
    "coco without ids": ("coco", edit_coco_without_ids),
    "datumaro": ("datumaro", edit_datumaro),
    "cvat": ("cvat", edit_cvat),
    "voc": ("voc", edit_voc),
    "yolo": ("yolo", edit_yolo),
    "yolo without ids": ("yolo", edit_yolo_without_ids),
    "yolo-segment": ("yolo-segment", edit_yolo),
    "yolo-segment without ids": ("yolo-segment", edit_yolo_without_ids),
    "label-studio": ("label-studio", edit_label_studio),
    "csv": ("csv", edit_csv),
    "parquet": ("parquet", edit_parquet),
}
EDITED = {"kept": 4, "accepted": 1, "relabelled": 1, "moved": 1, "removed": 1, "new": 1, "events": 5}
HERE = [how for how, (format_, _) in EDITS.items() if format_ in FORMATS]


def test_each_format_is_edited_here() -> None:
    assert {format_ for format_, _ in EDITS.values()} | set(BY_CLASS) >= set(FORMATS)


@pytest.mark.parametrize("how", HERE)
def test_what_was_edited_is_what_comes_in_and_only_once(desk: Path, how: str) -> None:
    format_, edit = EDITS[how]
    folder = exported(desk, format_)
    edit(folder)
    report = brought(desk, folder)
    assert counts(report) == EDITED, report.lines()
    assert (report.format.split("-")[0], report.export) == (format_.split("-")[0], f"run1-{format_}")
    assert report.by_class == {"car": {"kept": 1, "relabelled": 1, "removed": 1}, ODD: {"moved": 1}}
    assert (report.images, report.standing) == (4, 4)
    found = events(desk)
    (drawn,) = set(found) - {"p0", "p1", "p2", "p3"}
    assert found == {
        "p0": ("accepted", "day/a.png", "car"),
        "p1": ("relabelled", "day/a.png", ODD),
        "p2": ("moved", "day/a.png", ODD),
        "p3": ("rejected", "day/a.png", "car"),
        drawn: ("drawn", "empty.png", "dog"),
    }
    table = said(desk, "set1").set_index("label_id")
    assert table.loc["p1", list("xywh")].to_list() == [22, 3, 16, 12]
    assert table.loc["p2", list("xywh")].to_list() == [4, 23, 20, 16]
    assert table.loc[drawn, list("xywh")].to_list() == [30, 20, 10, 10]
    assert table.loc[["p0", "p1", "p2", "p3"], "run"].unique().tolist() == ["run1"]
    assert set(table["who"]) == {"Ada"}
    again = brought(desk, folder)
    assert (again.events, again.known, again.standing) == (0, 0, 4), again.lines()
    assert "Nothing of it was new" in again.lines()[-1]
    if "without" not in how:  # what people said leaves, and is nothing new when it is back
        later = brought(desk, exported(desk, format_))
        assert (later.events, later.kept, later.new) == (0, 7, 0), later.lines()


@pytest.mark.parametrize("how", ["coco", "cvat", "yolo"])  # JSON, XML, texts in folders
def test_a_zip_of_the_folder_says_what_the_folder_says(desk: Path, how: str) -> None:
    format_, edit = EDITS[how]
    folder = exported(desk, format_)
    edit(folder)
    packed = Path(shutil.make_archive(str(desk.parent / "came back"), "zip", folder.parent, folder.name))
    report = brought(desk, packed)
    assert counts(report) == EDITED, report.lines()
    assert report.file == str(packed)
    assert brought(desk, folder).events == 0


@pytest.mark.parametrize("format_", [name for name in BY_CLASS if name in FORMATS])
def test_pictures_moved_between_folders_of_classes(
    tmp_path: Path, made: SimpleNamespace, format_: str
) -> None:
    root = made.workspace(tmp_path, names=NAMES, size_hw=SIZE, proposals=WHOLE)
    folder = exported(root, format_)
    first, second, third = sorted(folder.rglob("*.png"))  # two cars, then the tram
    place = first.parent.parent
    assert [file.parent for file in (first, second, third)] == [place / "car", place / "car", place / "tram"]
    (place / "dog").mkdir()
    second.rename(place / "dog" / second.name)
    third.unlink()
    shutil.copy(tmp_path / "images/empty.png", place / "dog")
    report = brought(root, folder)
    assert counts(report) == {"kept": 1, "relabelled": 1, "removed": 1, "new": 1, "events": 3}, report.lines()
    assert set(events(root).values()) == {
        ("relabelled", "day/b.png", "dog"),
        ("rejected", "night/a.png", "tram"),
        ("drawn", "empty.png", "dog"),
    }
    packed = Path(shutil.make_archive(str(tmp_path / "back"), "zip", folder))
    assert brought(root, folder).events == 0
    with pytest.raises(LabelError, match="has to be unpacked"):
        brought(root, packed)


def test_boxes_are_not_removed_by_a_format_that_has_none(desk: Path) -> None:
    folder = exported(desk, "folders")
    (picture,) = folder.rglob("*.png")
    (folder / "dusk").mkdir()
    picture.rename(folder / "dusk" / picture.name)
    assert counts(brought(desk, folder)) == {"relabelled": 1, "events": 1}
    assert events(desk) == {"p6": ("relabelled", "day/b.png", "dusk")}


def test_unchanged_labels_are_accepted_where_somebody_looked_or_everywhere(desk: Path) -> None:
    folder = exported(desk, "coco")
    assert counts(brought(desk, folder)) == {"kept": 7}
    every = brought(desk, folder, accept="all")
    assert counts(every) == {"kept": 7, "accepted": 7, "events": 7}
    assert every.by_class == {"car": {"kept": 4}, ODD: {"kept": 2}, "night": {"kept": 1}}
    assert {action for action, _, _ in events(desk).values()} == {"accepted"}
    assert brought(desk, folder, accept="all").events == 0


def test_a_status_in_the_file_rejects_and_accepts(desk: Path) -> None:
    folder = exported(desk, "coco")
    file = folder / "annotations/instances_default.json"
    text = file.read_text("utf-8")
    text = text.replace('"label_id":"p4","status":"proposed"', '"label_id":"p4","status":"rejected"')
    file.write_text(
        text.replace('"label_id":"p5","status":"proposed"', '"label_id":"p5","status":"accepted"'), "utf-8"
    )
    report = brought(desk, folder)
    assert counts(report) == {"kept": 6, "accepted": 2, "removed": 1, "events": 3}  # p6 is of the same image
    assert {own: each[0] for own, each in events(desk).items()} == {
        "p4": "rejected",
        "p5": "accepted",
        "p6": "accepted",
    }
    assert brought(desk, folder).events == 0


def test_a_copy_with_the_same_id_is_a_label_of_its_own(desk: Path) -> None:
    folder = exported(desk, "csv")
    file = folder / "labels.csv"
    (line,) = [line for line in file.read_text("utf-8").splitlines() if line.startswith('"p0"')]
    file.write_text(file.read_text("utf-8") + line.replace(",2,3,16,12,", ",4,4,16,12,") + "\n", "utf-8")
    assert counts(brought(desk, folder)) == {"kept": 7, "accepted": 4, "new": 1, "events": 5}
    found = events(desk)
    assert found["p0"] == ("accepted", "day/a.png", "car")
    (drawn,) = [own for own, (action, _, _) in found.items() if action == "drawn"]
    assert said(desk, "set1").set_index("label_id").loc[drawn, list("xywh")].to_list() == [4, 4, 16, 12]
    assert brought(desk, folder).events == 0


def test_the_mask_of_a_label_that_was_not_redrawn_stays(desk: Path) -> None:
    """Label Studio fills holes; VOC has no masks: neither is a change of the person's."""
    for format_ in ("label-studio", "voc"):
        brought(desk, exported(desk, format_), accept="all")
        (mask,) = [mask for mask in said(desk, "set1")["mask_counts"] if mask]
        assert mask == tuple(ring())


def test_labels_of_another_tool_without_ids_are_new(desk: Path, tmp_path: Path) -> None:
    """COCO as pycocotools has it; the images are named as on another machine."""
    coco = {
        "images": [{"id": 5, "file_name": "C:\\data\\day\\b.png", "height": 48, "width": 64}],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
        "annotations": [
            {
                **{
                    "id": 1,
                    "image_id": 5,
                    "category_id": 18,
                    "area": 12.0,
                    "iscrowd": 0,
                    "bbox": [1, 2, 4, 3],
                },
                "segmentation": [[1, 2, 5, 2, 5, 5, 1, 5]],
            }
        ],
    }
    (tmp_path / "theirs.json").write_text(json.dumps(coco))
    exported(desk, "coco")  # which it has nothing to do with
    report = brought(desk, tmp_path / "theirs.json")
    assert (counts(report), report.export) == ({"new": 1, "events": 1}, "")
    assert "few of its boxes are those of the newest export as coco, run1-coco" in report.why
    ((action, image, label),) = events(desk).values()
    assert (action, image, label) == ("drawn", "day/b.png", "dog")
    assert said(desk, "set1")["mask_counts"].map(bool).all()
    assert brought(desk, tmp_path / "theirs.json").events == 0


def test_a_table_of_ones_own_is_what_its_rows_are_now(desk: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "mine.csv", tmp_path / "other.csv"
    file.write_text(
        "image,label,x,y,w,h\nday/a.png,car,2,3,16,12\nday/b.png,dog,5,5,8,8\nempty.png,night,,,,\n"
    )
    other.write_text("image,label,x,y,w,h\nnight/a.png,tram,1,1,9,9\nday/b.png,cat,30,30,8,8\n")
    assert counts(brought(desk, file)) == {"new": 3, "events": 3}
    assert counts(brought(desk, other)) == {"new": 2, "events": 2}
    assert brought(desk, file).events == 0
    file.write_text(
        "image,label,x,y,w,h\nday/a.png,person,2,3,16,12\nday/b.png,fox,40,5,8,8\nempty.png,night,,,,\n"
    )
    edited = brought(desk, file)
    assert counts(edited) == {"kept": 1, "relabelled": 1, "removed": 1, "new": 1, "events": 3}, edited.lines()
    labels_now = standing(said(desk, "set1"))
    assert sorted(zip(labels_now["image"], labels_now["label"], strict=True)) == [
        ("day/a.png", "person"),
        ("day/b.png", "cat"),
        ("day/b.png", "fox"),
        ("empty.png", "night"),
        ("night/a.png", "tram"),
    ]
    assert brought(desk, file).events == 0


def test_names_of_proxies_lead_back_to_frames(tmp_path: Path, made: SimpleNamespace) -> None:
    frames = [f"night/flight.tif#{i}" for i in range(3)]
    root = made.workspace(
        tmp_path, names=["a.png"], proposals=[{"image": name, "label": "car"} for name in frames]
    )
    rng = np.random.default_rng(0)
    (tmp_path / "images/night").mkdir()
    counts_ = rng.integers(0, 60000, (3, 8, 10)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "images/night/flight.tif", counts_, photometric="minisblack")
    rows = [made.image_row(name) for name in frames]
    made.set(places.set_folder(root, "set1"), tmp_path / "images", rows=rows, again=True)
    folder = exported(root, "cvat", proxies=True)
    file = folder / "annotations.xml"
    text = file.read_text("utf-8")
    assert 'name="night/flight.tif.frame-0001.png"' in text
    before, name, after = text.partition('name="night/flight.tif.frame-0001.png"')
    file.write_text(before + name + after.replace('label="car"', 'label="bus"', 1), "utf-8")
    report = brought(root, folder)
    assert counts(report) == {"kept": 2, "relabelled": 1, "events": 1}, report.lines()
    assert events(root) == {"p1": ("relabelled", "night/flight.tif#1", "bus")}


def test_what_is_not_of_the_set_costs_itself_and_is_said(desk: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("image,label\nday/a.png,sun\na.png,moon\nelsewhere.png,moon\nbad.png,moon\n")
    report = brought(desk, file)
    assert counts(report) == {"new": 1, "events": 1}
    said_ = " ".join(report.warnings)
    assert "'a.png': could be any of 2 images" in said_
    assert "'elsewhere.png': no such image in the set" in said_
    assert "'bad.png': could not be read (cut off)" in said_
    file.write_text("image,label\nelsewhere.png,moon\nbad.png,moon\n")
    with pytest.raises(LabelError, match="none of its 2 images is a readable image of the set 'set1'"):
        brought(desk, file)
    with pytest.raises(WorkspaceError, match="no set of embeddings called 'other'"):
        brought(desk, file, set="other")
    with pytest.raises(WorkspaceError, match="dinotool embed"):
        brought(places.create(tmp_path / "new"), file)
    with pytest.raises(LabelError, match="no such file"):
        brought(desk, tmp_path / "none.json")
    with pytest.raises(UsageError, match="no file was given"):
        import_labels.run(ImportSettings(), desk)
    with pytest.raises(UsageError, match="'coco'"):
        brought(desk, file, format="coko")


def test_an_older_export_changes_only_what_was_changed_in_it(desk: Path) -> None:
    older = exported(desk, "csv")
    newer = exported(desk, "coco")
    edit_coco(newer)
    brought(desk, newer)
    file = older / "labels.csv"
    lines = file.read_text("utf-8").splitlines()
    lines = [line.replace('"car"', '"bus"') if line.startswith('"p4"') else line for line in lines]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    before = events(desk)
    report = brought(desk, older)
    assert (report.relabelled, report.moved, report.removed, report.new) == (1, 0, 0, 0)
    after = events(desk)
    assert after == {
        **before,
        "p4": ("relabelled", "day/b.png", "bus"),
        "p6": ("accepted", "day/b.png", "night"),
    }


def test_which_export_is_meant(desk: Path) -> None:
    """By the name in the file, by its ids, by the format, or as somebody says."""
    first = exported(desk, "coco")
    few = exported(desk, "coco", where="label == 'car'")  # the newest
    assert brought(desk, first).why == "its name is in the file"
    assert brought(desk, first).export == "run1-coco"

    file = few / "annotations/instances_default.json"
    named = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**named, "info": {}}), "utf-8")
    report = brought(desk, few)
    assert (report.export, report.why) == (few.name, "it holds 4 of the 4 ids in the file")

    edit_coco_without_ids(first)
    (first / "image_labels.csv").unlink()  # it has ids, too
    report = brought(desk, first)
    assert report.export == few.name  # nothing in the file tells
    assert report.why == "the newest export as coco; --export names another"
    told = brought(desk, first, export="run1-coco")
    assert (told.export, told.why) == ("run1-coco", "as asked for")
    with pytest.raises(WorkspaceError, match="no record of what was exported"):
        brought(desk, first, export="run7-coco")


@pytest.mark.parametrize("proxies", [False, True])
def test_a_tool_that_keeps_neither_ids_nor_folders(desk: Path, proxies: bool) -> None:
    """The boxes tell that it is a corrected export, whatever the tool calls the pictures."""
    folder = exported(desk, "coco", proxies=proxies)
    file = folder / "annotations/instances_default.json"
    coco = json.loads(file.read_text("utf-8"))
    (image,) = [each for each in coco["images"] if each["file_name"] == "day/b.png"]
    (entry,) = [each for each in coco["annotations"] if each["image_id"] == image["id"]]
    entry = {"id": 1, "image_id": 1, "category_id": 9, "bbox": entry["bbox"], "area": 192, "iscrowd": 0}
    coco = {
        "images": [{"id": 1, "file_name": "b.png", "width": 64, "height": 48}],
        "categories": [{"id": 9, "name": "bus"}],
        "annotations": [entry],
    }
    (folder / "theirs.json").write_text(json.dumps(coco), "utf-8")
    report = brought(desk, folder / "theirs.json")
    # p6 is a label of the whole picture, which the file cannot hold: nobody has removed it.
    assert (report.relabelled, report.new, report.removed) == (1, 0, 0), report.lines()
    assert events(desk)["p4"] == ("relabelled", "day/b.png", "bus")


def test_proposals_of_another_set_are_not_taken_for_what_a_person_said(
    desk: Path, made: SimpleNamespace, tmp_path: Path
) -> None:
    """Nobody has looked at them: they would teach the next proposals."""
    folder = exported(desk, "coco")
    edit_coco(folder)
    rows = [made.image_row(name, SIZE) for name in NAMES]
    made.set(places.set_folder(desk, "set2"), tmp_path / "images", rows=rows)
    report = brought(desk, folder, set="set2")
    assert counts(report) == {"new": 1, "events": 1}  # the dog has no status
    (warning,) = [line for line in report.warnings if "of an export" in line]
    assert warning.startswith("6 labels are of an export that is not of this set or gone")
    with pytest.raises(LabelError, match=r"of the set 'set1', not of 'set2'. Add --set-name set1[.]"):
        brought(desk, folder, set="set2", export="run1-coco")
    assert counts(brought(desk, folder, set="set2", accept="all"))["new"] == 6
    assert counts(brought(desk, folder, set="set1")) == EDITED


def test_the_history_of_a_label_through_three_imports(desk: Path) -> None:
    folder = exported(desk, "csv")
    file = folder / "labels.csv"
    text = file.read_text("utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith('"p4"')]
    for who, now in (
        ("Ada", line.replace('"car"', '"bus"')),
        ("Bo", line.replace('"car"', '"bus"').replace(",10.25,", ",12.25,")),
        ("Ada", ""),
    ):
        file.write_text(text.replace(line + "\n", now + "\n" if now else ""), "utf-8")
        brought(desk, folder, who=who)
    with labels.reading(database(desk)) as db:
        table = labels.history(db, "set1", "p4")
    assert list(zip(table["action"], table["label"], table["x"], table["who"], strict=True)) == [
        ("relabelled", "bus", 10.25, "Ada"),
        ("moved", "bus", 12.25, "Bo"),
        ("rejected", table["label"].iloc[2], table["x"].iloc[2], "Ada"),
    ]
    assert set(table["origin"]) == {str(folder.resolve())}


def test_an_export_is_named_by_what_was_said_and_holds_it(desk: Path) -> None:
    folder = exported(desk, "csv")
    edit_csv(folder)
    brought(desk, folder)
    report = export.run(ExportSettings(format="csv"), desk)
    assert re.fullmatch(r"run1-csv-[0-9a-f]{6}", report.name)
    table = pd.read_csv(Path(report.folder) / "labels.csv").set_index("label_id")
    assert table["status"].value_counts().to_dict() == {"accepted": 4, "proposed": 3}
    assert table.loc["p1", "label"] == ODD
    assert "p3" not in table.index
    assert table.loc["p2", list("xy")].to_list() == [4, 23]
    assert brought(desk, Path(report.folder)).events == 0


def test_a_database_of_a_newer_version_is_refused_and_untouched(desk: Path) -> None:
    folder = exported(desk, "csv")
    edit_csv(folder)
    brought(desk, folder)
    with labels.writing(database(desk)) as db:
        db.execute(f"PRAGMA user_version = {labels.VERSION + 1}")
    before = database(desk).read_bytes()
    for command in (lambda: brought(desk, folder), lambda: export.run(ExportSettings(), desk)):
        with pytest.raises(WorkspaceError, match="Update dinotool; nothing was changed"):
            command()
    assert database(desk).read_bytes() == before


def test_who_is_the_account_unless_told(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "grace")
    folder = exported(desk, "csv")
    edit_csv(folder)
    import_labels.run(ImportSettings(file=folder), desk)
    assert set(said(desk, "set1")["who"]) == {"grace"}
