import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinonat.errors import ImageError, LabelError, UsageError, WorkspaceError
from dinonat.evaluation import linear
from dinonat.evaluation.pictures import Pictures
from dinonat.models import catalog
from dinonat.models.nat import NATSettings
from dinonat.pipelines import workspace as places
from dinonat.pipelines.embed import EmbedSettings
from dinonat.pipelines.embed import run as embed
from dinonat.pipelines.evaluate_linear import EvaluateLinearSettings, LinearReport, run
from dinonat.pipelines.options import plain

WEIGHTS = "untrained:0:tiny"
TINY = NATSettings(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=3, position_bias=False)
FAST: dict[str, Any] = {"augmented": True, "epochs": 2, "workers": 0, "batch": 8, "device": "cpu"}


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.NETWORKS, "tiny", TINY)


def made(folder: Path, count: int, seed: int) -> None:
    """Pictures in a folder for each class: stripes that stand or lie."""
    generator = np.random.default_rng(seed)
    for i in range(count):
        picture = generator.integers(0, 60, (40, 56), dtype=np.uint8)
        picture[:, generator.integers(4) :: 8] += 180
        place = folder / ("standing" if i % 2 else "lying")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture if i % 2 else picture.T).save(place / f"{i}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with sets train, val and boxes, whose images lie beside it."""
    for name, count, seed in (("train", 16, 0), ("val", 10, 1)):
        made(tmp_path / name, count, seed)
        recordings = tmp_path / f"{name}.csv"
        paths = sorted((tmp_path / name).glob("*/*.png"))
        lines = [f"{path.parent.name}/{path.name},{name} {int(path.stem) // 4}" for path in paths]
        recordings.write_text("image,recording\n" + "\n".join(lines) + "\n")
        making = {"images": tmp_path / name, "recordings": recordings, "name": name, "saliency": "none"}
        settings = {"weights": WEIGHTS, "size": 64, "workers": 0, "device": "cpu", "region_size": 32}
        embed(EmbedSettings.checked({**settings, **making}), tmp_path / "w")
    boxes = tmp_path / "boxes.csv"
    rows = [f"{(i % 2 and 'standing') or 'lying'}/{i}.png,{'ab'[i % 2]},{i},2,20,12" for i in range(16)]
    boxes.write_text("image,label,x,y,w,h\n" + "\n".join(rows) + "\n")
    making = {"images": tmp_path / "train", "regions": boxes, "name": "boxes"}
    embed(EmbedSettings.checked({**settings, **making}), tmp_path / "w")
    return tmp_path / "w"


def ask(root: Path, **more: Any) -> LinearReport:
    return run(EvaluateLinearSettings.checked({"gallery": "train", "query": "val", **more}), root)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_stored_vectors_in_one_table_with_intervals(root: Path) -> None:
    report = ask(root)
    assert [row.name for row in report.table.rows] == ["mean", "grid", "hog", "raw", "hog+raw", "all"]
    assert {row.name: row.top1 for row in report.table.rows}["hog"] == 100
    text = "\n".join(report.lines())
    for word in (
        "logistic regression",
        "majority",
        "chance",
        "3 recordings",
        "C by parts of the gallery",
        " s\n",
    ):
        assert word in text + "\n"
    table = json.loads(json.dumps(plain(dataclasses.asdict(report)), allow_nan=False))["table"]
    assert (table["gallery"], table["query"], table["folds"]) == (16, 10, 1)


def test_augmented_images_leave_the_workspace_as_it_was(root: Path) -> None:
    before = contents(root)
    report = ask(root, **FAST)
    assert contents(root) == before
    assert [row.name for row in report.table.rows] == ["mean", "grid"]
    assert report.epochs == 2
    text = "\n".join(report.lines())
    assert "SGD on the classifier alone, 2 epochs of crops (area 0.35 to 1, 64 px) and flips" in text
    assert "Learning rate by parts of the gallery" in text
    again = ask(root, **FAST)
    assert again.table == report.table


def test_nothing_is_there_while_it_runs_that_a_kill_could_leave(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(root)

    def killed(*samples: object, pictures: Pictures, **more: object) -> None:
        assert pictures.pixels.shape == (16, 73, 73, 3)  # 8 / 7 of 64
        assert pictures.pixels.reshape(16, -1).any(axis=1).all()
        assert contents(root) == before
        raise KeyboardInterrupt

    monkeypatch.setattr(linear, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        ask(root, **FAST)
    assert contents(root) == before


def test_minutes_become_epochs(root: Path) -> None:
    fast = {key: value for key, value in FAST.items() if key != "epochs"}
    assert ask(root, **fast, minutes=1e-6, rates=0.1).epochs == 1
    assert ask(root, **fast, minutes=1e6, rates=(0.1,), features=("mean",)).epochs == 100


@pytest.mark.parametrize("more", [{}, FAST])
def test_regions_by_recordings_left_out(root: Path, more: dict[str, Any]) -> None:
    report = ask(root, gallery="boxes", query=None, **more)
    assert (report.kind, report.table.classes, report.table.gallery) == ("region", ("a", "b"), 16)
    assert report.table.left_out == "recording"
    assert report.table.folds > 1
    assert all(len(row.chosen) == report.table.folds for row in report.table.rows)


def test_weights_of_another_network_are_refused(root: Path) -> None:
    with pytest.raises(WorkspaceError, match="set 'train' was made with untrained-0-"):
        ask(root, **FAST, weights="untrained:1:tiny")
    with pytest.raises(WorkspaceError, match="no-such-run"):
        ask(root, **FAST, weights="no-such-run")


def test_sets_of_two_networks_have_no_augmented_form(root: Path) -> None:
    images = root.parent / "val"
    making = {
        "images": images,
        "name": "other",
        "saliency": "none",
        "weights": "untrained:1:tiny",
        "workers": 0,
    }
    embed(EmbedSettings.checked({**making, "size": 64}), root)
    with pytest.raises(WorkspaceError, match="set 'other' was made with untrained-1-"):
        ask(root, **FAST, query="other")


def test_images_that_are_gone_cost_the_augmented_form_only(root: Path) -> None:
    (root.parent / "train" / "lying" / "4.png").unlink()
    with pytest.raises(ImageError, match=r"4\.png: was read when it was embedded"):
        ask(root, **FAST)
    assert ask(root).table.gallery == 16


@pytest.mark.parametrize("more", [{}, FAST])
def test_what_cannot_be_learned_is_a_sentence(root: Path, more: dict[str, Any]) -> None:
    with pytest.raises(LabelError, match="one class only"):
        ask(root, **more, classes=("lying",))
    with pytest.raises(LabelError, match="no labelled image"):
        ask(root, **more, classes=("nothing",))
    with pytest.raises(UsageError, match="by heart"):
        ask(root, **more, query="train", leave_out="none")
    with pytest.raises(WorkspaceError, match="train"):
        ask(root, **more, gallery="trian")
    with pytest.raises(UsageError, match="evaluate knn"):
        ask(root, **more, features=("auto",))
    with pytest.raises(UsageError, match="above 0"):
        ask(root, **more, rates=(0.1, -1))
    with pytest.raises(UsageError, match="'grid'"):
        ask(root, **more, features=("gird",))


def test_a_class_that_the_gallery_lacks_is_said(root: Path) -> None:
    images = root.parent / "more"
    made(images, 6, 2)
    (images / "lying").rename(images / "leaning")
    making = {
        "images": images,
        "name": "more",
        "saliency": "none",
        "weights": WEIGHTS,
        "workers": 0,
        "size": 64,
    }
    embed(EmbedSettings.checked(making), root)
    report = ask(root, query="more", features=("hog",))
    assert "The gallery has no leaning" in report.warnings[0]
    assert report.table.rows[0].top1 <= 50


def test_the_command_prints_one_object_and_its_own_library_only(root: Path) -> None:
    """Stored vectors need no torch, augmented images no scikit-learn, and neither faiss."""
    code = (
        "import sys\nfrom dinonat.pipelines.cli import app\n"
        f"sys.argv = 'dinotool evaluate linear --gallery train --query val --json -w {root}'.split()\n"
        "try:\n    app()\nfinally:\n    print([m for m in ('torch', 'faiss', 'sklearn') if m in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, loaded = child.stdout.splitlines()
    assert json.loads(said)["table"]["gallery"] == 16
    assert loaded == "['sklearn']"
    code = (
        "import sys, dinonat.evaluation.linear\nprint([m for m in ('faiss', 'sklearn') if m in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_real_modules_are_told_apart(data: Path, tmp_path: Path) -> None:
    """The starter network's vectors of 240 solar modules, above chance by its interval."""
    known = json.loads((data / "thermal_modules" / "module_metadata.json").read_text())
    few = [each for each in known.values() if each["anomaly_class"] in ("Diode", "Vegetation", "No-Anomaly")][
        :240
    ]
    listed, labels = tmp_path / "list.txt", tmp_path / "labels.csv"
    names = [Path(each["image_filepath"]).name for each in few]
    listed.write_text("\n".join(names) + "\n")
    rows = [f"{name},{each['anomaly_class']}" for name, each in zip(names, few, strict=True)]
    labels.write_text("image,label\n" + "\n".join(rows) + "\n")
    making = {"images": data / "thermal_modules" / "images", "list_file": listed, "name": "m", "workers": 0}
    embed(EmbedSettings.resolve(config="crops", named={**making, "weights": "starter"}), tmp_path / "w")
    report = run(
        EvaluateLinearSettings(labels=(labels,), features=("mean",), leave_out="image"), tmp_path / "w"
    )
    assert report.table.rows[0].balanced_interval[0] > report.table.chance + 20
    assert places.newest(tmp_path / "w", "set") == "m"
