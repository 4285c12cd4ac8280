import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinonat.embeddings.store import SetWriter
from dinonat.embeddings.warmth import UNMEASURED
from dinonat.errors import LabelError, UsageError, WorkspaceError
from dinonat.files import short_hash
from dinonat.pipelines import workspace
from dinonat.pipelines.evaluate import EvaluateBoxesSettings, EvaluateKnnSettings, run_boxes, run_knn
from dinonat.pipelines.options import plain
from dinonat.records import ITEM_COLUMNS, PARTS, as_table


def row(
    image: str, kind: str = "image", box: tuple[float, ...] = (0, 0, 40, 30), **more: object
) -> dict[str, object]:
    x, y, w, h = box
    return {
        "item": short_hash(image, kind, list(box)), "image": image, "kind": kind,
        "x": x, "y": y, "w": w, "h": h, "width": 40, "height": 30, "objectness": 0.5,
        "mask_counts": [], "source": "ncut", "label": "", "recording": "", "status": "ok", "reason": "",
        "sha256": image, "unit": "grey", "prepare": "percentile", "lo": 0.0, "hi": 255.0,
        **UNMEASURED, **more,
    }  # fmt: skip


def write_set(
    root: Path, name: str, rows: list[dict[str, object]], classes: list[int], images: str = "none"
) -> None:
    generator = np.random.default_rng(len(rows))
    looks = (2 * np.eye(8)[classes] + 0.2 * generator.normal(size=(len(rows), 8))).astype(np.float32)
    making = {"model": f"net-{name}", "settings": {"size": 96, "prepare": "percentile"}, "root": images}
    writer = SetWriter(workspace.set_folder(workspace.create(root), name), making, notes={"weights": "w"})
    writer.write(0, as_table(rows, ITEM_COLUMNS), dict.fromkeys(PARTS, looks))
    writer.finish(shards=1)
    workspace.remember(root, "set", name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sets of images in a folder per class, in four recordings."""
    for name, n in (("train", 24), ("val", 12)):
        rows = [row(f"class{i % 3}/{name}{i}.png", recording=f"drive {i // 3 % 4}") for i in range(n)]
        write_set(tmp_path, name, rows, [i % 3 for i in range(n)])
    return tmp_path


def test_folders_are_classes_and_two_sets_are_gallery_and_query(root: Path) -> None:
    report = run_knn(EvaluateKnnSettings(gallery="train", query="val"), root)
    assert report.table.classes == ("class0", "class1", "class2")
    assert (report.table.gallery, report.table.query, report.table.left_out) == (24, 12, "none")
    assert report.models == ("net-train", "net-val")
    assert {each.balanced for each in report.table.rows} == {100.0}
    assert not report.warnings
    text = "\n".join(report.lines())
    for word in ("mean", "grid", "hog", "raw", "hog+raw", "all", "auto", "majority", "chance", "T=0.07"):
        assert word in text
    assert "auto less hog+raw, balanced: k=5 +0.0 (+0.0 to +0.0); k=20 +0.0" in text
    assert "resamples of the query's 4 recordings; of fewer than 10 recordings they are rough" in text
    table = json.loads(json.dumps(plain(dataclasses.asdict(report)), allow_nan=False))["table"]
    assert (table["gallery"], table["interval_by"], table["interval_groups"]) == (24, "recording", 4)
    # All are right, in four recordings: the exact bound, not a certainty.
    assert table["rows"][0]["top1_interval"] == pytest.approx([100 * 0.025 ** (1 / 4), 100])
    assert "100.0 (39.8-100.0)" in text


def test_many_ks_stand_below_each_other_and_a_large_one_is_said(root: Path) -> None:
    report = run_knn(EvaluateKnnSettings(gallery="train", query="val", k=(1, 3, 5, 500)), root)
    assert [word for word in report.warnings if "k=500 is more than the 24 items" in word]
    lines = report.lines()
    assert sum("majority" in line for line in lines) == 2
    assert max(len(line) for line in lines if line.startswith("  ")) < 110
    assert {each.k for each in report.table.rows} == {1, 3, 5, 500}


def test_one_recording_has_no_intervals_and_it_is_said(tmp_path: Path) -> None:
    rows = [row(f"class{i % 2}/{i}.png", recording="drive") for i in range(8)]
    write_set(tmp_path, "one", rows, [i % 2 for i in range(8)])
    report = run_knn(EvaluateKnnSettings(leave_out="image", k=(3,)), tmp_path)
    assert "No intervals: all queries are from one recording" in report.lines()[-2]
    assert "(" not in next(line for line in report.lines() if line.strip().startswith("mean"))
    assert plain(dataclasses.asdict(report))["table"]["rows"][0]["top1_interval"] == [None, None]


def test_what_makes_figures_less_than_they_seem_is_said(root: Path) -> None:
    one = EvaluateKnnSettings(gallery="train", query="val", k=(3,), classes=("class0",))
    assert "one class only (class0)" in run_knn(one, root).warnings[0]
    write_set(root, "more", [row(f"class{i}/m{i}.png") for i in range(2, 5)], [2, 3, 4])
    report = run_knn(EvaluateKnnSettings(gallery="train", query="more", k=(3,)), root)
    assert "The gallery has no class3, class4" in report.warnings[0]
    assert report.table.rows[0].top1 == pytest.approx(100 / 3)
    assert (report.table.query, report.table.interval_by) == (3, "image")


def test_one_set_is_asked_leaving_recordings_out(root: Path) -> None:
    report = run_knn(EvaluateKnnSettings(k=(3,)), root)
    assert (report.gallery, report.query) == ("val", "val")
    assert (report.table.left_out, report.table.recordings) == ("recording", 4)
    assert {each.k for each in report.table.rows} == {3}


def test_label_files_name_images_of_either_set(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    lines = [
        f"class{i % 3}/{name}{i}.png,{'odd' if i % 2 else 'even'}"
        for name in ("train", "val")
        for i in range(12)
    ]
    file.write_text("image,label\n" + "\n".join([*lines, "class0/train0.png,both"]) + "\n")
    asked = EvaluateKnnSettings(gallery="train", query="val", labels=(file,), k=(5,))
    report = run_knn(asked, root)
    assert report.table.classes == ("even", "odd")
    assert (report.table.gallery, report.table.query) == (11, 12)
    assert len(report.warnings) == 1
    assert "several labels" in report.warnings[0]


def test_labelled_boxes_are_regions_and_classes_can_be_picked(tmp_path: Path) -> None:
    rows, classes = [], []
    for i in range(12):
        rows += [row(f"{i}.png"), row(f"{i}.png", "region", (1, 2, 9, 9), label=f"thing{i % 3}")]
        classes += [3, i % 3]
    write_set(tmp_path, "boxes", rows, classes)
    report = run_knn(EvaluateKnnSettings(classes=("thing0", "thing1")), tmp_path)
    assert (report.kind, report.table.classes, report.table.gallery) == ("region", ("thing0", "thing1"), 8)
    with pytest.raises(LabelError, match="labelled image"):
        run_knn(EvaluateKnnSettings(kind="image"), tmp_path)


def test_a_picture_in_both_sets_is_said(root: Path) -> None:
    rows = [row(f"class{i % 3}/train{i}.png") for i in range(6)]
    write_set(root, "again", rows, [i % 3 for i in range(6)])
    report = run_knn(EvaluateKnnSettings(gallery="train", query="again"), root)
    assert "6 pictures are in the gallery and in the query" in report.warnings[0]
    assert not run_knn(EvaluateKnnSettings(gallery="train", query="again", leave_out="image"), root).warnings


def test_wrong_settings_are_sentences(root: Path) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        EvaluateKnnSettings.checked({"k": 0})
    with pytest.raises(UsageError, match="'mean'"):
        run_knn(EvaluateKnnSettings(features=("maen",)), root)
    with pytest.raises(WorkspaceError, match="train"):
        run_knn(EvaluateKnnSettings(gallery="trian"), root)
    assert EvaluateKnnSettings.checked({"k": 20, "features": "hog"}).k == (20,)
    with pytest.raises(UsageError, match="--labels"):
        run_boxes(EvaluateBoxesSettings(), root)


def test_boxes_are_measured_beside_the_baselines(tmp_path: Path) -> None:
    images, rows = tmp_path / "images", []
    (images / "a").mkdir(parents=True)
    truth = ["image,label,x,y,w,h"]
    for i in range(3):
        picture = np.full((30, 40), 40, np.uint8)
        picture[5 + i : 15 + i, 8:20] = 220
        Image.fromarray(picture).save(images / "a" / f"{i}.png")
        rows += [row(f"a/{i}.png"), row(f"a/{i}.png", "region", (8, 5 + i, 12, 10))]
        truth.append(f"{i}.png,thing,8,{5 + i},12,10")
    file = tmp_path / "truth.csv"
    file.write_text("\n".join([*truth, "no.png,thing,1,1,1,1"]) + "\n")
    write_set(tmp_path / "w", "hot", rows, [0] * 6, images=str(images))
    report = run_boxes(EvaluateBoxesSettings(labels=file, workers=0), tmp_path / "w")
    recall = {each.boxes: each.recall for each in report.table}
    assert recall["ncut"] == 1
    assert recall["hot blobs"] == 1
    assert set(recall) == {"ncut", "regular grid", "random boxes", "hot blobs"}
    assert all(each.n_truth == 3 for each in report.table)
    assert "ncut finds most" in report.lines()[-1]
    assert len(report.warnings) == 1
    json.dumps(plain(dataclasses.asdict(report)), allow_nan=False)
