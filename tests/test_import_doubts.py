"""Where a file leaves room for doubt, nothing is taken for what a person said."""

import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dinonat import labels
from dinonat.errors import LabelError, UsageError, WorkspaceError
from dinonat.pipelines import differences, export, import_labels
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export_settings import ExportSettings
from dinonat.pipelines.import_labels import ImportReport, ImportSettings
from dinonat.pipelines.people import database, said, standing

pytestmark = pytest.mark.usefixtures("no_sync")

NAMES = ["a.png", "b.png", "c.png"]
SIZE = (48, 64)
BOXES: list[dict[str, Any]] = [
    {"image": image, "label": "car", "x": x, "y": 4, "w": 12, "h": 10, "score": 0.3 + x / 100}
    for image in NAMES
    for x in (2, 20, 40)
]
COCO = "annotations/instances_default.json"


@pytest.fixture
def desk(tmp_path: Path, made: SimpleNamespace) -> Path:
    """Return a workspace of three images with three proposals each, p0 to p8."""
    root: Path = made.workspace(tmp_path, names=NAMES, size_hw=SIZE, proposals=BOXES)
    return root


def exported(root: Path, format_: str = "coco", **more: Any) -> Path:
    """Export, and return a copy of what the person who corrects it is given."""
    folder = Path(export.run(ExportSettings(format=format_, **more), root).folder)
    given = root.parent / f"given-{folder.name}"
    return Path(shutil.copytree(folder, given, ignore=shutil.ignore_patterns("record", "manifest.json")))


def brought(root: Path, file: Path, **more: Any) -> ImportReport:
    return import_labels.run(ImportSettings(file=file, **{"who": "Ada", **more}), root)


def done(root: Path) -> dict[str, int]:
    return dict(Counter(said(root, "set1")["action"]))


def coco(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / COCO).read_text("utf-8"))
    return loaded


def put(folder: Path, content: dict[str, Any]) -> Path:
    (folder / COCO).write_text(json.dumps(content), "utf-8")
    return folder


def test_a_part_whose_record_is_gone_removes_nothing_of_a_larger_export(desk: Path) -> None:
    part = exported(desk, where="score > 0.6")
    exported(desk, "csv")
    for record in (desk / "exports").glob("run1-coco-*"):
        shutil.rmtree(record)
    report = brought(desk, part)
    assert (report.export, report.removed, report.events) == ("", 0, 0)
    assert "which is not of this set or gone" in report.why
    content = coco(part)
    content["annotations"][0]["category_id"] = 2
    content["categories"].append({"id": 2, "name": "bus", "supercategory": ""})
    report = brought(desk, put(part, content))  # the proposals are still there to compare with
    assert (report.relabelled, report.removed, report.new) == (1, 0, 0)


def test_of_exports_that_hold_as_many_ids_the_one_of_the_same_format_is_meant(desk: Path) -> None:
    given = exported(desk, "csv")
    exported(desk, "datumaro")
    table = pd.read_csv(given / "images.csv").drop(columns="export")
    table.to_csv(given / "images.csv", index=False)
    assert brought(desk, given).export == "run1-csv"


def test_a_table_of_ones_own_read_again_does_not_undo_what_others_corrected(
    desk: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.csv"
    rows = ["image,label,x,y,w,h", "a.png,dog,2,30,8,8", "a.png,dog,20,30,8,8", "b.png,dog,40,30,8,8"]
    mine.write_text("\n".join(rows))
    assert brought(desk, mine).new == 3
    given = exported(desk)
    content = coco(given)
    dogs = [each for each in content["annotations"] if each["attributes"]["source"] == "given"]
    dogs.sort(key=lambda each: each["bbox"][0])
    dogs[0]["bbox"][0] += 5
    dogs[1]["category_id"] = next(each["id"] for each in content["categories"] if each["name"] == "car")
    content["annotations"].remove(dogs[2])
    assert brought(desk, put(given, content), accept="all").events == 3 + 9
    before = standing(said(desk, "set1"))
    again = brought(desk, mine)
    assert (again.events, again.removed, again.new) == (0, 0, 0)
    assert standing(said(desk, "set1")).equals(before)
    mine.write_text("\n".join([*rows[:2], "a.png,cat,20,30,8,8", rows[3]]))  # what is changed in it counts
    assert (brought(desk, mine).events, set(standing(said(desk, "set1"))["label"])) == (
        1,
        {"dog", "car", "cat"},
    )


def test_what_cannot_be_read_was_not_removed(desk: Path) -> None:
    given = exported(desk)
    content = coco(given)
    content["annotations"][0]["category_id"] = 99
    del content["annotations"][4]
    report = brought(desk, put(given, content))
    assert (report.removed, done(desk)) == (1, {"rejected": 1, "accepted": 2})
    assert set(said(desk, "set1")["image"]) == {"b.png"}


def test_boxes_on_resized_pictures_are_scaled_and_those_on_turned_ones_left_out(desk: Path) -> None:
    given = exported(desk)
    content = coco(given)
    for image in content["images"][:2]:
        image["width"], image["height"] = 128, 96
    content["images"][2]["width"], content["images"][2]["height"] = 48, 64
    for entry in content["annotations"]:
        entry["bbox"] = [2 * side for side in entry["bbox"]]
    report = brought(desk, put(given, content))
    assert (report.kept, report.moved, report.removed, report.events) == (6, 0, 0, 0), report.lines()
    assert any("2 images have another size" in line for line in report.warnings)
    assert any("1 images have another shape" in line for line in report.warnings)


def test_a_class_that_nobody_gave_is_not_accepted(desk: Path) -> None:
    path = places.proposals_folder(desk, "run1") / "proposals.parquet"
    pd.read_parquet(path).assign(cluster=np.int32(3), label="object").to_parquet(path)
    (path.parent / "meta.json").write_text(json.dumps({"set": "set1", "clusters": 4}))
    given = exported(desk)
    content = coco(given)
    content["categories"].append({"id": 2, "name": "car", "supercategory": ""})
    content["annotations"][0]["category_id"] = 2
    del content["annotations"][8]
    brought(desk, put(given, content), accept="all")
    assert done(desk) == {"relabelled": 1, "rejected": 1}
    with labels.reading(database(desk)) as db:
        assert labels.class_names(db, "set1") == ["car"]


def test_yolo_without_ids_and_without_its_export_says_nothing(desk: Path) -> None:
    given = exported(desk, "yolo", proxies=True)
    shutil.rmtree(desk / "exports")
    (given / "predictions.jsonl").unlink()
    report = brought(desk, given)
    assert (report.new, report.events) == (0, 0)
    assert any(line.startswith("9 labels are of an export") for line in report.warnings)
    assert brought(desk, given, accept="all").new == 9
    assert brought(desk, given).events == 0  # and does not remove them again


def test_two_names_for_one_image_are_not_one(desk: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text(
        "image,label,x,y,w,h\nday/a.png,dog,2,30,8,8\na.png,cat,20,30,8,8\nnight/b.png,dog,1,1,8,8\n"
        "day/b.png,cow,30,30,8,8\n"
    )
    report = brought(desk, mine)
    assert set(standing(said(desk, "set1"))["label"]) == {"cat", "dog"}
    assert sum("and so does" in line for line in report.warnings) == 2


def test_boxes_come_in_inside_their_image(desk: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text(
        "image,label,x,y,w,h\na.png,dog,-5,-5,20,20\na.png,dog,1000,3,8,8\na.png,background,1,1,5,5\n"
    )
    report = brought(desk, mine)
    (dog,) = standing(said(desk, "set1"))[list("xywh")].to_numpy().tolist()
    assert dog == [0, 0, 15, 15]
    assert {"1 boxes lie outside their image: left out."} < set(report.warnings)
    assert any("'background', which is our word" in line for line in report.warnings)


def test_who_says_something_meanwhile_is_heard(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = exported(desk)
    content = coco(given)
    del content["annotations"][0]
    put(given, content)
    compare, seen = differences.compare, []

    def slowly(*tables: Any, **more: Any) -> pd.DataFrame:
        if not seen:  # the same file, by another process, while the first one is comparing
            seen.append(True)
            brought(desk, given)
        return compare(*tables, **more)

    monkeypatch.setattr(differences, "compare", slowly)
    assert brought(desk, given).events == 0
    assert done(desk) == {"rejected": 1, "accepted": 2}


def test_a_damaged_record_costs_itself(desk: Path) -> None:
    given = exported(desk)
    exported(desk, "csv")
    (desk / "exports/run1-csv/record/labels.parquet").write_bytes(b"PAR1 no")
    report = brought(desk, given)
    assert (report.export, report.kept) == ("run1-coco", 9)
    assert any("no record of what was exported" in line for line in report.warnings)


def test_an_export_that_was_saved_again_unchanged_can_be_replaced(desk: Path) -> None:
    folder = Path(export.run(ExportSettings(), desk).folder)
    put(folder, coco(folder))
    assert brought(desk, folder).events == 0
    with pytest.raises(WorkspaceError, match="--set again=true"):
        export.run(ExportSettings(), desk)
    export.run(ExportSettings(again=True), desk)
    export.run(ExportSettings(), desk)


@pytest.mark.parametrize("manifest", ["{}", "[]", '{"files": 3}', "no"])
def test_a_folder_with_a_manifest_of_somebody_else_is_refused(
    desk: Path, tmp_path: Path, manifest: str
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/manifest.json").write_text(manifest)
    (tmp_path / "theirs/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="which no export wrote there"):
        export.run(ExportSettings(out=tmp_path / "theirs"), desk)
    assert (tmp_path / "theirs/notes.txt").read_text() == "mine"


def test_out_may_be_here_or_a_link(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real[1]").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real[1]")
    export.run(ExportSettings(out=tmp_path / "link"), desk)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real[1]" / COCO).is_file()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export.run(ExportSettings(out=Path()), desk)
    assert (tmp_path / "here" / COCO).is_file()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_file_without_images_is_words(desk: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(LabelError, match="names no image"):
        brought(desk, tmp_path / "empty.json")


def test_an_older_file_read_again_unchanged_does_not_undo_a_newer_one(desk: Path) -> None:
    first, second = exported(desk), exported(desk, "datumaro")
    content = coco(first)
    content["annotations"][0]["bbox"][0] += 1
    del content["annotations"][1]
    content["annotations"].append({**content["annotations"][3], "bbox": [30, 30, 9, 9], "attributes": {}})
    brought(desk, put(first, content))
    moved = said(desk, "set1").set_index("action").loc["moved", "label_id"]
    theirs = second / "annotations/default.json"
    text = json.loads(theirs.read_text("utf-8"))
    for item in text["items"]:
        for each in item["annotations"]:
            if each["attributes"].get("label_id") == moved:
                each["bbox"][1] += 3
    theirs.write_text(json.dumps(text), "utf-8")
    brought(desk, second)
    before = said(desk, "set1")
    assert brought(desk, first).events == 0
    assert said(desk, "set1").equals(before)


def test_a_deletion_that_is_taken_back_in_the_file_is_taken_back(desk: Path) -> None:
    given = exported(desk)
    whole, content = coco(given), coco(given)
    del content["annotations"][1]
    brought(desk, put(given, content))
    assert done(desk) == {"rejected": 1, "accepted": 2}
    assert brought(desk, given).events == 0
    report = brought(desk, put(given, whole))
    assert (report.events, report.new, done(desk)) == (1, 0, {"accepted": 3})
