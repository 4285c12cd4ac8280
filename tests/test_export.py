import csv
import hashlib
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from dinonat.embeddings.store import open_set
from dinonat.errors import DinonatError, ImageError, UsageError, WorkspaceError
from dinonat.formats.catalog import read_labels
from dinonat.formats.tables import read_csv
from dinonat.images.prepare import parse_preparation, prepare
from dinonat.images.reader import read_thermal
from dinonat.pipelines import labelled
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export import run
from dinonat.pipelines.export_folder import LOSSES, MANIFEST
from dinonat.pipelines.export_pictures import PROXIES
from dinonat.pipelines.export_settings import ExportSettings

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
