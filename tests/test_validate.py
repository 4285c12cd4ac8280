"""The command that checks files for the tools they are meant for, ours and those of others."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from dinonat.errors import LabelError, UsageError
from dinonat.formats.catalog import FORMATS
from dinonat.pipelines import export, validate
from dinonat.pipelines.cli import app
from dinonat.pipelines.export_settings import ExportSettings
from dinonat.pipelines.validate import ValidateReport, ValidateSettings

pytestmark = pytest.mark.usefixtures("no_sync")

RUNNER = CliRunner()
NAMES = ["day/a.png", "day/b.png", "night/c.png"]
BOXES: list[dict[str, Any]] = [
    {"image": "day/a.png", "label": "car"},
    {"image": "day/a.png", "label": "person", "x": 5.0},
    {"image": "night/c.png", "label": "car", "kind": "image", "x": float("nan")},
]
# Target -> the format that is exported for it.
TARGETS = {
    **{name: name for name in FORMATS},
    "cvat of COCO": "coco",
    "labelformat": "coco",
    "datumaro of COCO": "coco",
}
ONE_FILE = {  # what a person would point at, if not at the folder
    "coco": "annotations/instances_default.json",
    "datumaro": "annotations/default.json",
    "cvat": "annotations.xml",
    "csv": "labels.csv",
    "parquet": "labels.parquet",
    "yolo": "data.yaml",
    "yolo-segment": "data.yaml",
    "label-studio": "tasks.json",
}


@pytest.fixture
def workspace(tmp_path: Path, made: SimpleNamespace) -> Path:
    root: Path = made.workspace(tmp_path, names=NAMES, proposals=BOXES)
    return root


def exported(root: Path, format_: str) -> Path:
    """Export, with pictures where they are needed, and return a copy of the folder."""
    report = export.run(ExportSettings(format=format_, proxies=FORMATS[format_].holds_pictures), root)
    return Path(shutil.copytree(report.folder, root.parent / "desk" / format_, ignore=lambda *_: ["record"]))


def checked(*words: object) -> tuple[int, dict[str, Any]]:
    """Run the command, and return its exit code and its report."""
    result = RUNNER.invoke(app, ["validate", *map(str, words), "--json"])
    return result.exit_code, json.loads(result.stdout)


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (file,) = folder.glob(name)
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), "utf-8")

    return change


def without_label(folder: Path) -> None:
    table = pd.read_parquet(folder / "labels.parquet")
    table.loc[0, "label"] = ""
    table.to_parquet(folder / "labels.parquet")


def out_of_its_class(folder: Path) -> None:
    (picture,) = folder.rglob("*.png")
    picture.rename(folder / ("train" if (folder / "train").is_dir() else ".") / picture.name)


# Format -> what somebody did to the file, and where it is found.
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "coco": (replaced("annotations/instances*", '"image_id":1', '"image_id":999'), "annotation 1"),
    "datumaro": (replaced("annotations/*", '"label_id":0', '"label_id":99'), "item 'day/a'"),
    "cvat": (replaced("annotations.xml", '<box label="car"', '<box label="boat"'), "line 9"),
    "voc": (replaced("Annotations/day_a.xml", "<xmax>5</xmax>", "<xmax>0</xmax>"), "day_a.xml, line"),
    "yolo": (replaced("labels/train/day_a.txt", " ", " 0.1 "), "labels/train/day_a.txt, line 1"),
    "yolo-segment": (replaced("labels/train/day_a.txt", " ", " 0.1 "), "labels/train/day_a.txt, line 1"),
    "label-studio": (replaced("tasks.json", '"from_name":"box"', '"from_name":"boxes"'), "task 1"),
    "csv": (replaced("labels.csv", ",1,2,4,4,", ",1,here,4,4,"), "labels.csv, line 2"),
    "parquet": (without_label, "row 1"),
    "folders": (out_of_its_class, "night_c.png"),
    "yolo-classify": (out_of_its_class, "train/night_c.png"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_takes_a_clean_export_and_not_one_with_a_fault(workspace: Path, target: str) -> None:
    format_, name = TARGETS[target], target.partition(" ")[0]
    folder = exported(workspace, format_)
    code, report = checked(folder, "--for", name)
    assert (code, report["faults"]) == (0, [])
    assert report["target"] == name
    assert report["format"] == format_
    if format_ in ONE_FILE:
        assert checked(folder / ONE_FILE[format_], "--for", name)[0] == 0
    if format_ not in ("folders", "yolo-classify"):  # the pictures of a zip are not looked at
        packed = shutil.make_archive(str(workspace.parent / "came back"), "zip", folder.parent, folder.name)
        assert checked(packed, "--for", name) == (0, {**report, "file": packed})

    spoil, where = FAULTS[format_]
    spoil(folder)
    code, report = checked(folder, "--for", name)
    assert code == 1
    assert [found for found, _ in report["faults"] if where in found], report["faults"]
    assert checked(folder)[0] == 1  # whichever tool it is for
    result = RUNNER.invoke(app, ["validate", str(folder), "--for", name])
    assert result.exit_code == 1
    assert where in result.stdout
    assert result.stdout.splitlines()[-1].startswith(
        f"{folder}: {format_} for {name}, {len(report['faults'])} "
    )


def test_every_fault_is_listed_and_people_see_each_kind_once(workspace: Path) -> None:
    folder = exported(workspace, "yolo")
    rows = folder / "labels/train/day_a.txt"
    rows.write_text("".join(f"0 0.5 0.5 0.{n}\n" for n in range(1, 8)))
    code, report = checked(folder, "--for", "yolo")
    assert code == 1
    assert [where for where, _ in report["faults"]] == [
        f"labels/train/day_a.txt, line {n}" for n in range(1, 8)
    ]
    assert len({what for _, what in report["faults"]}) == 1
    lines = validate.run(ValidateSettings(file=folder)).lines()
    assert lines[0].startswith("labels/train/day_a.txt, line 1 and 6 more: ")
    assert lines[1] == f"{folder}: yolo, 7 faults of 1 kinds"
    many = ValidateReport("x", "coco", "", tuple((f"annotation {n}", f"fault {n}") for n in range(45)))
    assert many.lines()[-2] == "... and 5 more kinds; --json lists each"


def test_what_is_asked_for_must_be_what_it_is(workspace: Path, tmp_path: Path) -> None:
    folder = exported(workspace, "csv")
    with pytest.raises(
        LabelError, match=r"looks like csv, not voc[.] Give a file of that format, or --for csv"
    ):
        validate.run(ValidateSettings(file=folder, target="voc"))
    with pytest.raises(LabelError, match="looks like csv, not labelformat"):
        validate.run(ValidateSettings(file=folder, target="labelformat"))
    with pytest.raises(UsageError, match="'label-studio'"):
        validate.run(ValidateSettings(file=folder, target="labelstudio"))
    with pytest.raises(UsageError, match="no file was given"):
        validate.run(ValidateSettings())
    with pytest.raises(LabelError, match="no such file or folder"):
        validate.run(ValidateSettings(file=tmp_path / "none"))
    assert RUNNER.invoke(app, ["validate", str(folder), "--for", "coko"]).exit_code == 2
    assert RUNNER.invoke(app, ["validate", str(folder), "--for", "voc"]).exit_code == 1


def test_pictures_that_are_missing_are_found_in_the_folder_of_the_images(workspace: Path) -> None:
    folder, images = exported(workspace, "coco"), workspace.parent / "images"
    assert checked(folder, "--for", "coco", "--images", images) == (0, checked(folder, "--for", "coco")[1])
    (images / "day/b.png").unlink()
    code, report = checked(folder, "--for", "coco", "--images", images)
    assert code == 1
    assert ["day/b.png" in " ".join(fault) for fault in report["faults"]] == [True]


def test_classes_that_are_counted_from_0(workspace: Path) -> None:
    report = export.run(ExportSettings(category_base=0), workspace)
    assert checked(report.folder, "--for", "coco", "--category-base", 0)[0] == 0
    assert checked(report.folder, "--for", "cvat")[0] == 1


def test_json_that_is_cut(workspace: Path) -> None:
    folder = exported(workspace, "coco")
    file = folder / ONE_FILE["coco"]
    file.write_bytes(file.read_bytes()[:-40])
    code, report = checked(folder, "--for", "coco")
    assert code == 1
    assert "JSON" in report["faults"][0][1]


def test_xml_with_entities_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    head = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    for name, body in (
        ("annotations.xml", "<annotations><version>1.1</version><image id='0' name='&x;'/></annotations>"),
        ("a.xml", "<annotation><filename>&x;</filename></annotation>"),
    ):
        (tmp_path / name).write_text(head + body)
        result = RUNNER.invoke(app, ["validate", str(tmp_path / name), "--json"])
        assert result.exit_code == 1
        assert "entit" in result.stdout
        assert "SECRET" not in result.stdout


def test_a_zip_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("annotations.xml", "<annotations></annotations>")
        archive.writestr("../../outside.json", "{}")
    result = RUNNER.invoke(app, ["validate", str(tmp_path / "evil.zip")])
    assert result.exit_code == 1
    assert "leads out of the archive" in result.stderr
    assert not list(tmp_path.parent.rglob("outside.json"))


@pytest.mark.parametrize("row", ["0 0.5 0.5 0.1", "0 0.1 0.1 0.2 0.2 0.3 0.3"])
def test_yolo_rows_of_4_and_of_7_numbers_among_boxes(workspace: Path, row: str) -> None:
    folder = exported(workspace, "yolo")
    rows = folder / "labels/train/day_a.txt"
    rows.write_text(rows.read_text() + row + "\n")
    code, report = checked(folder, "--for", "yolo")
    assert code == 1
    assert [where for where, _ in report["faults"]] == ["labels/train/day_a.txt, line 3"]
