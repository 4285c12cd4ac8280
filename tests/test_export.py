import csv
import dataclasses
import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from dinonat.embeddings.store import open_set
from dinonat.errors import DinonatError, ImageError, LabelError, UsageError, WorkspaceError
from dinonat.formats.catalog import FORMATS, read_labels, sniff
from dinonat.formats.handover import Check
from dinonat.formats.tables import read_csv
from dinonat.images.prepare import parse_preparation, prepare
from dinonat.images.reader import read_thermal
from dinonat.pipelines import export_report, import_labels, labelled
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export import run
from dinonat.pipelines.export_folder import LOSSES, MANIFEST, RECORD, read_record
from dinonat.pipelines.export_labels import partly_labelled
from dinonat.pipelines.export_pictures import PROXIES
from dinonat.pipelines.export_settings import ExportSettings
from dinonat.pipelines.import_labels import ImportSettings

pytestmark = pytest.mark.usefixtures("no_sync")
ANNOTATIONS, PICTURES = "annotations/instances_default.json", "images/default"


@pytest.fixture
def workspace(tmp_path: Path, made: SimpleNamespace) -> Path:
    root: Path = made.workspace(tmp_path)
    return root


def test_without_arguments_it_writes_what_real_readers_load_whole(
    workspace: Path, made: SimpleNamespace
) -> None:
    import faster_coco_eval
    import pycocotools.coco

    report = run(ExportSettings(), workspace)
    folder = workspace / "exports" / report.name
    assert Path(report.folder) == folder
    assert places.newest(workspace, "export") == report.name == "run1-coco"
    assert (report.images, report.annotations, report.image_labels) == (5, 4, 1)
    assert report.by_class == {"car": 3, "night": 1, "person": 1}
    assert report.left_out == {"rejected": 1, "left unknown": 1}
    for reader in (pycocotools.coco.COCO, faster_coco_eval.COCO):
        with redirect_stdout(io.StringIO()):
            loaded = reader(str(folder / ANNOTATIONS))
        assert len(loaded.getAnnIds()) == 4
        assert {image["file_name"] for image in loaded.loadImgs(loaded.getImgIds())} == set(made.names)
        masked = [entry for entry in loaded.loadAnns(loaded.getAnnIds()) if entry["segmentation"]]
        assert [int(loaded.annToMask(entry).sum()) for entry in masked] == [28]
    assert sorted(read_labels(folder)["label"]) == ["car", "car", "car", "night", "person"]
    assert any("1 images could not be read or prepared" in line for line in report.lines())
    assert any("turned.jpg: turned by an EXIF" in line for line in report.lines())
    assert any("5 images hold temperatures or counts" in line for line in report.lines())


def test_the_manifest_says_what_made_the_file(workspace: Path, made: SimpleNamespace) -> None:
    report = run(ExportSettings(), workspace)
    folder = Path(report.folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["inputs"]["model"] == made.model
    assert manifest["inputs"]["propose"] == {"set": "set1", "k": 20}
    assert manifest["classes"] == [
        {"id": i, "name": n} for i, n in enumerate(["car", "night", "person", "tram"], 1)
    ]
    assert "EXIF" in manifest["pixel_grid"]
    assert manifest["preparation"] == {"percentile": 6}
    assert manifest["by_status"] == {"proposed": 4, "accepted": 1}
    text = (folder / LOSSES).read_text()
    assert "1 left unknown" in text
    assert "1 labels of whole images" in text


def test_two_exports_are_equal_to_the_byte(tmp_path: Path, made: SimpleNamespace) -> None:
    root = made.workspace(tmp_path)
    first = run(ExportSettings(), root)
    before = {file: (Path(first.folder) / file).read_bytes() for file in first.files}
    assert run(ExportSettings(), root) == first
    assert {file: (Path(first.folder) / file).read_bytes() for file in first.files} == before


def test_status_and_where_narrow_and_name_the_export(workspace: Path) -> None:
    accepted = run(ExportSettings(status="accepted"), workspace)
    assert (accepted.annotations, accepted.image_labels) == (1, 0)
    strong = run(ExportSettings(where="score > 0.65 and kind == 'region'"), workspace)
    assert strong.by_class == {"car": 1, "person": 1}
    assert strong.left_out["not within --where score > 0.65 and kind == 'region'"] == 3
    assert len({accepted.name, strong.name, run(ExportSettings(), workspace).name}) == 3
    for settings in (ExportSettings(status="corrected"), ExportSettings(where="score > 2")):
        with pytest.raises(WorkspaceError, match="Nothing to export of 7 labels"):
            run(settings, workspace)
    with pytest.raises(UsageError, match="Call is not allowed"):
        run(ExportSettings(where="__import__('os').system('true')"), workspace)


def test_images_that_nobody_finished_are_named_where_only_their_boxes_leave(workspace: Path) -> None:
    accepted = run(ExportSettings(status="accepted"), workspace)
    said = [line for line in accepted.lines() if "gone through to the end" in line]
    assert len(said) == 1
    assert said[0].startswith("Of 1 images with boxes, 1 were not")
    assert said[0] in (Path(accepted.folder) / LOSSES).read_text()
    assert not any("to the end" in line for line in run(ExportSettings(), workspace).lines())  # proposals too
    boxes = pd.DataFrame({"image": ["a", "b", "b", "c"], "kind": "region", "status": "accepted"})
    assert partly_labelled(boxes, ["a", "b", "c"]) == []
    assert "Of 3 images with boxes, 2" in partly_labelled(boxes, ["a", "d"])[0]
    assert partly_labelled(boxes.assign(kind="image"), []) == []


def test_what_a_person_labelled_leaves_too(workspace: Path) -> None:
    labels = workspace / "proposals/run1/labels.csv"
    labels.write_text(
        "image,label,x,y,w,h\nplain.png,dog,1,1,3,3\nplain.png,night,,,,\nbad.png,dog,1,1,3,3\n"
    )
    report = run(ExportSettings(), workspace)
    assert (report.annotations, report.image_labels) == (5, 2)
    assert report.by_status == {"proposed": 4, "accepted": 3}
    file = json.loads((Path(report.folder) / ANNOTATIONS).read_text(encoding="utf-8"))
    own = [entry for entry in file["annotations"] if entry["attributes"]["source"] == "given"]
    assert [entry["bbox"] for entry in own] == [[1, 1, 3, 3]]
    assert "score" not in own[0]
    assert run(ExportSettings(where="source != 'given'"), workspace).annotations == 4


def test_a_labelled_box_has_the_temperatures_that_proposing_measured(
    workspace: Path, made: SimpleNamespace
) -> None:
    labels = workspace / "proposals/run1/labels.csv"
    labels.write_text("image,label,x,y,w,h\nplain.png,dog,1.3,1,3,99\nplain.png,night,,,,\n")
    known = open_set(places.set_folder(workspace, "set1"))
    boxes = read_csv(labels).iloc[:1].reset_index(drop=True)
    box = made.image_row("plain.png", kind="region", x=1.3, y=1, w=3, h=7, t_max=36.6)
    own = places.set_folder(workspace, labelled._name_of_boxes(known, boxes))
    made.set(own, workspace, rows=[box])
    report = run(ExportSettings(where="source == 'given'"), workspace)
    (entry,) = json.loads((Path(report.folder) / ANNOTATIONS).read_text())["annotations"]
    assert entry["attributes"]["t_max"] == 36.6
    assert report.temperatures == {"counts": 1, "not measured": 1}


def test_every_label_unknown_still_gives_the_list_of_images(workspace: Path) -> None:
    path = workspace / "proposals/run1/proposals.parquet"
    pd.read_parquet(path).assign(advice="unknown").to_parquet(path)
    report = run(ExportSettings(), workspace)
    assert (report.images, report.annotations) == (5, 0)
    assert any("No label is written" in line for line in report.lines())


def test_proxies_are_upright_carry_no_tags_and_are_found(
    workspace: Path, tmp_path: Path, made: SimpleNamespace
) -> None:
    out = tmp_path / "out"
    report = run(ExportSettings(proxies=True, out=out), workspace)
    assert not [line for line in report.warnings if "--proxies" in line or "not below" in line]
    file = json.loads((out / ANNOTATIONS).read_text(encoding="utf-8"))
    assert len(file["images"]) == 5
    for entry in file["images"]:
        proxy = out / PICTURES / entry["file_name"]
        with Image.open(proxy) as picture:
            assert (picture.size, picture.mode, dict(picture.getexif())) == ((10, 8), "L", {})
        assert b"SECRET" not in proxy.read_bytes()
    assert set(read_labels(out)["image"]) == set(made.names[:3])  # under the names of the originals
    Image.new("L", (9, 9)).save(tmp_path / "images/plain.png")
    with pytest.raises(ImageError, match=r"plain[.]png: 9x9 pixels now"):
        run(ExportSettings(proxies=True, out=out), workspace)
    run(ExportSettings(out=out), workspace)
    assert not (out / PROXIES).exists()  # nothing of an earlier export stays


def test_the_way_back_from_a_proxy_to_the_frame(
    workspace: Path, tmp_path: Path, made: SimpleNamespace
) -> None:
    """There and back: the manifest alone leads to the raw frame, and from it to the same pixels."""
    root = tmp_path / "images"
    generator = np.random.default_rng(1)
    counts = generator.integers(3000, 30000, (3, 8, 10)).astype(np.uint16)
    counts[:, 0, 0] = 65535  # clipped by the percentiles
    tifffile.imwrite(root / "night/flight.tif", counts, photometric="minisblack")
    raw = (root / "night/flight.tif").read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    names = [f"night/flight.tif#{i}" for i in range(3)]
    rows = [
        made.image_row(name, sha256=digest, unit="counts", lo=4000.25 + i, hi=20000.5)
        for i, name in enumerate(names)
    ]
    made.set(places.set_folder(workspace, "set1"), root, rows=rows, again=True)
    proposals = pd.read_parquet(workspace / "proposals/run1/proposals.parquet")
    proposals["image"] = names[1]
    proposals.to_parquet(workspace / "proposals/run1/proposals.parquet")

    report = run(ExportSettings(proxies=True), workspace)
    out = Path(report.folder)
    pictures = json.loads((out / MANIFEST).read_text())["pictures"]
    with (out / PROXIES).open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["proxy"] for row in table] == [
        f"{PICTURES}/night/flight.tif.frame-000{i}.png" for i in range(3)
    ]
    assert [{key: str(value) for key, value in row.items()} for row in pictures] == table
    assert PROXIES in json.loads((out / MANIFEST).read_text())["files"]
    for i, row in enumerate(table):
        assert (row["file"], row["frame"], row["unit"], row["sha256"]) == (
            "night/flight.tif", str(i), "counts", digest
        )  # fmt: skip
        frame = read_thermal(root / row["file"], frame=int(row["frame"]))
        np.testing.assert_array_equal(frame.data, counts[i])
        limits = float(row["lo"]), float(row["hi"])
        again = prepare(frame, parse_preparation(row["prepare"]), limits=limits)
        by_hand = np.floor(np.clip((counts[i] - limits[0]) / (limits[1] - limits[0]), 0, 1) * 255 + 0.5)
        shown = np.asarray(Image.open(out / row["proxy"]))
        np.testing.assert_array_equal(shown, again.pixels[..., 0])
        np.testing.assert_array_equal(shown, by_hand)
    assert (root / "night/flight.tif").read_bytes() == raw
    file = json.loads((out / ANNOTATIONS).read_text())
    assert {entry["raw"] for entry in file["images"]} == set(names)
    tifffile.imwrite(root / "night/flight.tif", counts + 1, photometric="minisblack")
    with pytest.raises(ImageError, match=r"flight[.]tif#0: the file has changed"):
        run(ExportSettings(proxies=True), workspace)


def test_labels_are_chosen_by_temperature(workspace: Path) -> None:
    """Label p0 is 12 degrees above its surroundings, p1 8, p2 was not measured, p3 is in counts."""
    path = workspace / "proposals/run1/proposals.parquet"
    table = pd.read_parquet(path)
    table["t_median"] = np.float32([20, 20, np.nan, 3000, 20, 20, np.nan])
    table["t_max"] = np.float32([32, 28, np.nan, 3005, 90, 90, np.nan])
    table["unit"] = ["celsius", "celsius", "celsius", "counts", "celsius", "celsius", "celsius"]
    table.to_parquet(path)

    report = run(ExportSettings(), workspace)
    assert report.temperatures == {"celsius": 2, "not measured": 2, "counts": 1}
    assert "Temperatures: 2 labels in celsius, 1 in counts, 2 not measured" in report.lines()
    assert not any("same numbers" in line for line in report.lines())

    hot = run(ExportSettings(where="t_max - t_median > 10"), workspace)
    assert (hot.annotations, hot.image_labels, hot.by_class) == (1, 0, {"person": 1})
    (warning,) = [line for line in hot.warnings if "same numbers" in line]
    assert "chose from 2 labels in celsius, 1 in counts" in warning
    (entry,) = json.loads((Path(hot.folder) / ANNOTATIONS).read_text())["annotations"]
    assert entry["attributes"]["t_max"] == 32
    assert entry["attributes"]["unit"] == "celsius"

    for where, count in (("t_max >= 0", 3), ("t_max < 0 or t_median > 0", 3), ("t_max == t_max", 3)):
        report = run(ExportSettings(where=where), workspace)
        assert report.annotations + report.image_labels == count, where  # NaN fulfils nothing
    one = run(ExportSettings(where="t_max > 0 and unit == 'counts'"), workspace)
    assert (one.annotations, one.temperatures) == (1, {"counts": 1})
    assert not any("same numbers" in line for line in one.warnings)


@pytest.mark.parametrize("weights", ["untrained-0-0123456789abcdef"])
def test_untrained_weights_are_refused(tmp_path: Path, weights: str, made: SimpleNamespace) -> None:
    root = made.workspace(tmp_path, model=weights)
    with pytest.raises(WorkspaceError, match="untrained"):
        run(ExportSettings(), root)
    assert not (root / "exports").exists()


def test_what_is_wrong_is_a_sentence(workspace: Path, tmp_path: Path) -> None:
    for settings, word in (
        (ExportSettings(format="coko"), "coco"),
        (ExportSettings(proposals="none"), "run1"),
        (ExportSettings(proxies=True, out=tmp_path / "images/x"), "among the images"),
    ):
        with pytest.raises(DinonatError, match=word):
            run(settings, workspace)
    (workspace / "proposals/run1/proposals.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(WorkspaceError, match="not a table of proposals"):
        run(ExportSettings(), workspace)
    with pytest.raises(WorkspaceError, match="propose-labels"):
        run(ExportSettings(), places.create(tmp_path / "empty"))
    with pytest.raises(UsageError, match="masks"):
        ExportSettings.checked({"masks": "png"})


def test_only_some_images_with_or_without_labels(
    workspace: Path, tmp_path: Path, made: SimpleNamespace
) -> None:
    text, table = tmp_path / "names.txt", tmp_path / "names.csv"
    text.write_text("a.png\nplain.png\nelsewhere.png\n")
    table.write_text("finding,image\nodd,plain.png\nodd,elsewhere.png\nodd,a.png\n")
    for file in (text, table):
        report = run(ExportSettings(only=file), workspace)
        assert (report.images, report.annotations, report.image_labels) == (2, 2, 0)
        assert report.left_out["not of the images of --only"] == 3
        assert "'elsewhere.png': no such image in the set; left out." in report.warnings
        listed = json.loads((Path(report.folder) / ANNOTATIONS).read_text("utf-8"))["images"]
        assert [entry["file_name"] for entry in listed] == ["a.png", "plain.png"]
    text.write_text("bad.png\nelsewhere.png\n")
    with pytest.raises(LabelError, match="names no readable image of set 'set1'"):
        run(ExportSettings(only=text), workspace)
    text.write_text("plain.png\n")
    without = run(ExportSettings(only=text), workspace)
    assert (without.images, without.annotations) == (1, 0)
    text.write_text("a.png\n")
    other = run(ExportSettings(only=text), workspace)
    assert other.name != without.name  # the images count, not the name of the list


def test_no_recording_lies_on_two_sides(tmp_path: Path, made: SimpleNamespace) -> None:
    names = [f"{flight}/{n}.png" for flight in "abcde" for n in range(4)]
    root = made.workspace(tmp_path, names=names, proposals=[{"image": n, "label": "car"} for n in names])
    rows = [made.image_row(name, recording=name[0], sha256=name) for name in names]
    rows[3]["sha256"] = rows[7]["sha256"] = "copies"  # flights a and b share a picture
    made.set(places.set_folder(root, "set1"), tmp_path / "images", rows=rows, again=True)
    settings = {"split": "train=0.6,val=0.2,test=0.2", "seed": 3}
    report = run(ExportSettings(**settings), root)
    folder = Path(report.folder)
    sides: dict[str, set[str]] = {}
    for side in ("train", "val", "test"):
        coco = json.loads((folder / f"annotations/instances_{side}.json").read_text())
        sides[side] = {entry["file_name"][0] for entry in coco["images"]}
        assert len(coco["images"]) == report.by_split[side]["images"] == len(coco["annotations"])
        assert (folder / "images" / side).is_dir()
    assert [len(flights) for flights in sides.values()] == [3, 1, 1]
    assert {"a", "b"} <= sides["train"]
    assert len(set.union(*sides.values())) == 5
    assert any(line.startswith("Split: train 12 images of 2 groups, 12 labels") for line in report.lines())
    yolo = Path(run(ExportSettings(format="yolo", **settings), root).folder)
    rows_of = {side: {path.stem[0] for path in (yolo / "labels" / side).rglob("*.txt")} for side in sides}
    assert rows_of == sides
    described = (yolo / "data.yaml").read_text()
    assert [f"{side}: images/{side}" in described for side in sides] == [True] * 3
    with pytest.raises(LabelError, match="4 group"):
        run(ExportSettings(split="a=0.2,b=0.2,c=0.2,d=0.2,e=0.2"), root)


@pytest.mark.parametrize(
    ("format_", "proxies"),
    [*((name, name in ("yolo", "voc", "folders")) for name in FORMATS), ("coco", True)],
)
def test_every_format_writes_what_its_own_check_finds_no_fault_in(
    workspace: Path, tmp_path: Path, made: SimpleNamespace, format_: str, proxies: bool
) -> None:
    report = run(ExportSettings(format=format_, proxies=proxies), workspace)
    folder = Path(report.folder)
    assert list(FORMATS[format_].faults(folder, Check(target=format_))) == []
    assert sniff(folder) == {"yolo-segment": "yolo", "yolo-classify": "folders"}.get(format_, format_)
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    ours = {MANIFEST, *(name for name in there if name.startswith(f"{RECORD}/"))}
    assert set(manifest["files"]) == set(there) - ours
    pictures = {row["proxy"] for row in manifest["pictures"]}
    for name, digest in manifest["files"].items():
        assert digest == ("" if name in pictures else hashlib.sha256(there[name].read_bytes()).hexdigest())
    assert set(report.files) <= set(there)
    assert len([name for name in pictures if name.endswith(".png")]) == len(pictures)
    assert bool(pictures) == proxies
    names = read_record(workspace, report.name).images["file_name"]
    read = FORMATS[format_].read(folder, sizes=dict.fromkeys(names, (8, 10)))
    assert len(read.labels) == report.annotations + report.image_labels


def test_an_export_replaces_its_folder_as_a_whole(workspace: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(ExportSettings(out=out, format="csv"), workspace)
    assert {path.name for path in out.iterdir()} == {"labels.csv", "images.csv", MANIFEST, LOSSES}
    run(ExportSettings(out=out, format="parquet"), workspace)
    assert {path.name for path in out.iterdir()} == {"labels.parquet", "images.parquet", MANIFEST, LOSSES}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(
    workspace: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep/mine.txt").write_text("mine")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"holds deep/mine.txt, which no export wrote there"):
            run(ExportSettings(out=out), workspace)
        assert [path.name for path in out.rglob("*")] == ["deep", "mine.txt"]
    (out / "deep/mine.txt").unlink()
    run(ExportSettings(out=out), workspace)
    before = (out / MANIFEST).read_bytes()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes.txt"):
        run(ExportSettings(out=out, format="csv"), workspace)
    assert ((out / MANIFEST).read_bytes(), (out / "notes.txt").read_text()) == (before, "mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="a file"):
        run(ExportSettings(out=tmp_path / "file"), workspace)


def test_the_record_stays_in_the_workspace_beside_what_was_there(workspace: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run(ExportSettings(out=out), workspace)
    kept = workspace / "exports" / report.name
    assert [path.name for path in kept.iterdir()] == [RECORD]
    assert not (out / RECORD).exists()
    record = read_record(workspace, report.name)
    assert (record.name, record.set, record.format) == ("run1-coco", "set1", "coco")
    assert record.labels["label_id"].to_list() == ["p0", "p1", "p3", "p2", "p6"]
    inside = run(ExportSettings(), workspace)
    assert Path(inside.folder) == kept
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    again = run(ExportSettings(out=tmp_path / "other"), workspace)
    assert again.name == report.name
    # An export that lies in the workspace, on which somebody may be working, stays.
    assert {path for path in kept.rglob("*") if path.is_file()} == set(before)
    assert (kept / ANNOTATIONS).read_bytes() == before[kept / ANNOTATIONS]


def test_corrections_that_were_not_brought_in_are_not_replaced(workspace: Path) -> None:
    folder = Path(run(ExportSettings(format="csv"), workspace).folder)
    file = folder / "labels.csv"
    file.write_text(file.read_text("utf-8").replace('"person"', '"rider"'), "utf-8")
    corrected = file.read_bytes()
    with pytest.raises(WorkspaceError, match=r"labels[.]csv was changed after it was exported"):
        run(ExportSettings(format="csv"), workspace)
    assert file.read_bytes() == corrected
    assert import_labels.run(ImportSettings(file=folder), workspace).relabelled == 1
    after = run(ExportSettings(format="csv"), workspace)
    assert after.by_class["rider"] == 1
    assert (Path(after.folder) != folder, file.read_bytes()) == (True, corrected)


def test_two_images_with_one_stem_have_their_own_files(tmp_path: Path, made: SimpleNamespace) -> None:
    names = ["day/a.png", "day_a.png", "night/a.png", "day/a.tif"]
    root = made.workspace(
        tmp_path, names=names, proposals=[{"image": name, "label": f"of {name}"} for name in names]
    )
    for format_ in ("voc", "yolo", "yolo-segment"):
        folder = Path(run(ExportSettings(format=format_), root).folder)
        with (folder / "names.csv").open(newline="", encoding="utf-8") as stream:
            originals = {row["file_name"]: row["image"] for row in csv.DictReader(stream)}
        assert sorted(originals.values()) == sorted(names)
        read = FORMATS[format_].read(folder, sizes=dict.fromkeys(originals, (8, 10)))
        found = read.labels.assign(image=[originals[name] for name in read.labels["image"]])
        assert sorted(found["label"]) == sorted(f"of {name}" for name in names)
        assert (found["label"] == "of " + found["image"]).all()
        back = import_labels.run(ImportSettings(file=folder), root)
        assert (back.kept, back.events, back.export) == (4, 0, f"run1-{format_}")


def classes_of(folder: str) -> dict[str, int]:
    coco = json.loads((Path(folder) / ANNOTATIONS).read_text("utf-8"))
    return {entry["name"]: entry["id"] for entry in coco["categories"]}


def test_the_numbers_of_classes_stay_when_classes_come_and_go(
    workspace: Path, tmp_path: Path, made: SimpleNamespace
) -> None:
    first = classes_of(run(ExportSettings(), workspace).folder)
    assert first == {"car": 1, "night": 2, "person": 3, "tram": 4}
    mine = tmp_path / "mine.csv"
    mine.write_text("image,label,x,y,w,h\nplain.png,aardvark,1,1,3,3\n")
    import_labels.run(ImportSettings(file=mine), workspace)
    assert classes_of(run(ExportSettings(), workspace).folder) == {**first, "aardvark": 5}
    few = [{"image": "a.png", "label": "bus"}, {"image": "a.png", "label": "car", "x": 5.0}]
    made.proposals(places.proposals_folder(workspace, "run2"), few)
    later = run(ExportSettings(proposals="run2"), workspace)
    assert classes_of(later.folder) == {**first, "aardvark": 5, "bus": 6}
    assert later.by_class == {"aardvark": 1, "bus": 1, "car": 1}
    assert classes_of(run(ExportSettings(category_base=0, proposals="run2"), workspace).folder)["car"] == 0


def test_clusters_get_no_number_that_stays(workspace: Path, made: SimpleNamespace) -> None:
    folder = places.proposals_folder(workspace, "groups")
    made.proposals(folder, [{"image": "a.png", "label": "cluster 7", "cluster": 7}])
    (folder / "meta.json").write_text(json.dumps({"set": "set1", "clusters": 1}))
    assert classes_of(run(ExportSettings(proposals="groups"), workspace).folder) == {"cluster 7": 1}
    assert classes_of(run(ExportSettings(), workspace).folder)["car"] == 1
    assert classes_of(run(ExportSettings(proposals="groups"), workspace).folder)["cluster 7"] == 5


def test_what_people_said_since_gives_another_name(workspace: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    before = run(ExportSettings(), workspace)
    mine.write_text("image,label,x,y,w,h\nplain.png,dog,1,1,3,3\n")
    import_labels.run(ImportSettings(file=mine), workspace)
    after = run(ExportSettings(), workspace)
    assert after.name != before.name
    assert run(ExportSettings(), workspace).name == after.name
    assert (after.annotations, Path(before.folder).is_dir()) == (before.annotations + 1, True)


@pytest.mark.parametrize("where", ["labels", "manifest", "record", "rename"])
def test_a_full_disk_is_a_sentence_and_what_was_there_stays(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    folder = Path(run(ExportSettings(), workspace).folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "labels":
        monkeypatch.setitem(FORMATS, "coco", dataclasses.replace(FORMATS["coco"], write=full))
    elif where == "manifest":
        monkeypatch.setattr(export_report, "digests", full)
    elif where == "record":
        monkeypatch.setattr(export_report, "write_record", full)
    else:
        rename = Path.rename
        monkeypatch.setattr(
            Path, "rename", lambda self, to: full() if self.suffix == ".part" else rename(self, to)
        )
    with pytest.raises(WorkspaceError, match=r"cannot be written \(No space left on device\)") as caught:
        run(ExportSettings(), workspace)
    assert "what lay there before is kept" in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are those of Unix")
def test_a_disk_that_is_really_full(workspace: Path, made: SimpleNamespace) -> None:
    """A file may not grow beyond 40,000 bytes, less than the annotations need."""
    rows = [{"image": made.names[n % 5], "label": "car"} for n in range(400)]
    made.proposals(places.proposals_folder(workspace, "run2"), rows)
    code = (
        "import resource, sys; from pathlib import Path; from dinonat.pipelines.export import run;"
        "from dinonat.pipelines.export_settings import ExportSettings as S;"
        "from dinonat.errors import WorkspaceError\n"
        "\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "try: run(S(proposals='run2'), Path(sys.argv[1]))\n"
        "except WorkspaceError as error: print(error); sys.exit(7)\n"
    )
    run(ExportSettings(proposals="run2"), workspace)
    (folder,) = (workspace / "exports").iterdir()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    child = subprocess.run(
        [sys.executable, "-c", code, str(workspace), "40000"], capture_output=True, text=True, check=False
    )
    assert child.returncode == 7, child.stderr
    assert "cannot be written (File too large)" in child.stdout
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_that_cannot_be_written(workspace: Path, tmp_path: Path) -> None:
    run(ExportSettings(), workspace)  # classes have their numbers
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):
        closed.rmdir()
        closed.write_text("root may write everywhere; a file is no folder either")
    with pytest.raises(WorkspaceError, match=r"cannot be written .*--out"):
        run(ExportSettings(out=closed / "out"), workspace)


def test_leftovers_of_exports_that_were_killed_are_tidied(workspace: Path) -> None:
    folder = Path(run(ExportSettings(), workspace).folder)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (
        f".{folder.name}.{dead.pid}.part",
        f".{folder.name}.{dead.pid}.old",
        f".{folder.name}.1.part",
    ):
        (folder.with_name(name)).mkdir()
    folder.rename(old := folder.with_name(f".{folder.name}.{dead.pid}.old"))  # killed between two renames
    assert old.is_dir()
    run(ExportSettings(), workspace)
    left = {path.name for path in folder.parent.iterdir()}
    assert left == {folder.name, f".{folder.name}.1.part"}  # process 1 is alive


def test_an_old_export_that_is_half_removed_is_never_put_back(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(run(ExportSettings(), workspace).folder)
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        run(ExportSettings(), workspace)
    assert sorted(path.suffix for path in folder.parent.iterdir()) == ["", ".part"]
    run(ExportSettings(), workspace)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_everything_is_on_the_disk_before_it_has_its_name(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(
        os, "sync", lambda: seen.append(sorted(path.suffix for path in (workspace / "exports").iterdir()))
    )
    run(ExportSettings(), workspace)
    assert seen == [[".part"]]
    run(ExportSettings(), workspace)
    assert seen[1:] == [["", ".part"]] or seen[1:] == [[".part", ""]]
