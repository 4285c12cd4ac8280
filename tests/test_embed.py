import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.embeddings.store import open_set
from dinonat.errors import CheckpointError, ImageError, LabelError, UsageError, WorkspaceError
from dinonat.models.catalog import STARTER_FILE
from dinonat.models.checkpoint import fingerprint, load
from dinonat.pipelines import embed as module
from dinonat.pipelines import workspace as places
from dinonat.pipelines.embed import EmbedReport, EmbedSettings, run
from dinonat.records import STARTER

ROUNDS = int(os.environ.get("DINOTOOL_TORTURE", "0")) or 2  # `make torture` asks for more
SMALL: dict[str, Any] = {
    "weights": "untrained:0",
    "size": 64,
    "region_size": 32,
    "max_regions": 3,
    "shard_images": 2,
    "workers": 0,
    "threads": 1,
}


def make_images(folder: Path, count: int = 7) -> Path:
    """Pictures with a bright block each, of three sizes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 60, (48 + 16 * (i % 3), 80), dtype=np.uint8)
        pixels[10:30, 10 + 5 * i : 30 + 5 * i] += 150
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_images(tmp_path / "thermal")


def embed(images: Path, workspace: Path, **more: Any) -> EmbedReport:
    return run(EmbedSettings.checked({**SMALL, "images": images, **more}), workspace)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_becomes_a_set(images: Path, tmp_path: Path) -> None:
    (images / "bad.png").write_text("no picture")
    report = embed(images, tmp_path / "w")
    stored = open_set(tmp_path / "w" / "embeddings" / "thermal")
    pictures = stored.items[stored.items["kind"] == "image"]
    assert pictures["image"].tolist() == [*(f"{i}.png" for i in range(7)), "bad.png"]
    assert (report.images, report.failed, report.regions) == (8, 1, len(stored.items) - 8)
    assert report.failures[0][0] == "bad.png"
    assert places.newest(tmp_path / "w", "set") == "thermal"
    text = "\n".join(report.lines())
    for said in ("8 images", "1 failed", "bad.png", "images/s", "untrained:0", "not trained", "percentile"):
        assert said in text


def test_the_same_twice_is_the_same_bytes(images: Path, tmp_path: Path) -> None:
    """In this process and in a worker, and at another time."""
    embed(images, tmp_path / "a")
    embed(images, tmp_path / "b", workers=2)
    assert contents(tmp_path / "a/embeddings/thermal") == contents(tmp_path / "b/embeddings/thermal")


def test_done_already_and_again(images: Path, tmp_path: Path) -> None:
    first = embed(images, tmp_path)
    folder = tmp_path / "embeddings" / "thermal"
    before = contents(folder)
    embed(images, tmp_path, name="other")
    second = embed(images, tmp_path)
    assert second.already_done
    assert places.newest(tmp_path, "set") == "thermal"
    assert second.images == first.images
    assert contents(folder) == before
    (folder / "shard-00001.hog.npy").write_bytes(b"rotten")
    assert not embed(images, tmp_path, again=True).already_done
    assert contents(folder) == before


def test_another_making_is_refused_and_two_ways_out_are_named(images: Path, tmp_path: Path) -> None:
    embed(images, tmp_path)
    with pytest.raises(WorkspaceError, match=r"size was 64, now 96.*--name.*--again"):
        embed(images, tmp_path, size=96)
    with pytest.raises(WorkspaceError, match=r"model was .*now"):
        embed(images, tmp_path, weights="untrained:1")
    Image.new("L", (9, 9)).save(images / "new.png")
    with pytest.raises(WorkspaceError, match=r"images was 7, now 8"):
        embed(images, tmp_path)
    assert embed(images, tmp_path, name="second", size=96).set == "second"
    assert embed(images, tmp_path, again=True).images == 8


def test_a_set_from_before_a_setting_was_there_is_the_same_set(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(module, "DECIDING", module.DECIDING - {"tiles"})
        embed(images, tmp_path)
    old = contents(tmp_path / "embeddings" / "thermal")
    assert embed(images, tmp_path).already_done
    assert contents(tmp_path / "embeddings" / "thermal") == old
    with pytest.raises(WorkspaceError, match=r"\(tiles was null, now 2\)"):
        embed(images, tmp_path, tiles=2)


def test_what_changes_nothing_may_change(images: Path, tmp_path: Path) -> None:
    embed(images, tmp_path)
    assert embed(images, tmp_path, workers=1, strict=True, threads=None).already_done


def start(images: Path, workspace: Path) -> "subprocess.Popen[bytes]":
    """Begin the command in a process group of its own."""
    overrides = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    command = [
        sys.executable,
        "-m",
        "dinonat.pipelines",
        "embed",
        str(images),
        "-w",
        str(workspace),
        *overrides,
    ]
    return subprocess.Popen(
        [*command, "--set", "workers=1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def kill_after(process: "subprocess.Popen[bytes]", folder: Path, files: int, seconds: float) -> None:
    """Send SIGKILL some time after ``folder`` has so many files of shards; wait until nothing is left."""
    deadline = time.monotonic() + 120
    while (
        process.poll() is None and time.monotonic() < deadline and len(list(folder.glob("shard-*"))) < files
    ):
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    while time.monotonic() < deadline:  # the process that reads images ends by itself
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("a process outlived the one that started it")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_kill_at_random_moments_and_resume_to_the_same_bytes(images: Path, tmp_path: Path) -> None:
    embed(images, tmp_path / "whole")
    expected = contents(tmp_path / "whole/embeddings/thermal")
    folder = tmp_path / "broken/embeddings/thermal"
    rng = random.Random(ROUNDS)
    killed = 0
    for _ in range(ROUNDS):
        process = start(images, tmp_path / "broken")
        kill_after(process, folder, len(list(folder.glob("shard-*"))) + rng.randrange(7), rng.random() * 0.03)
        killed += process.returncode == -signal.SIGKILL
        if process.returncode == 0:  # done before the signal came, as happens in a long torture
            assert contents(folder) == expected
            shutil.rmtree(folder)
    assert killed > ROUNDS // 2
    out, _ = start(images, tmp_path / "broken").communicate(timeout=300)
    assert json.loads(out)["images"] == 7
    assert contents(folder) == expected


def test_a_full_disk_is_a_sentence_and_costs_nothing_done(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(images, tmp_path / "whole")
    real, left = os.fsync, [13]  # files until the disk is full: two shards and a half

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WorkspaceError, match="No space left on device"):
            embed(images, tmp_path / "w")
    report = embed(images, tmp_path / "w")
    assert report.resumed >= 2
    assert contents(tmp_path / "w/embeddings/thermal") == contents(tmp_path / "whole/embeddings/thermal")


def test_given_boxes_take_the_place_of_saliency(images: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(
        "image,label,x,y,w,h\n1.png,car,3,4,20,10\n5.png,person,0,0,9,20\nnowhere.png,car,1,1,2,2\n"
    )
    report = embed(images, tmp_path, regions=boxes)
    regions = open_set(tmp_path / "embeddings/thermal").items.query("kind == 'region'")
    assert regions[["image", "label", "source"]].to_numpy().tolist() == [
        ["1.png", "car", "given"],
        ["5.png", "person", "given"],
    ]
    assert regions[["x", "y", "w", "h"]].to_numpy().tolist() == [[3, 4, 20, 10], [0, 0, 9, 20]]
    assert any("nowhere.png" in remark for remark in report.remarks)
    boxes.write_text("image,label,x,y,w,h\n1.png,car,3,4,20,11\n")
    with pytest.raises(WorkspaceError, match="regions was"):
        embed(images, tmp_path, regions=boxes)


def test_recordings_are_found_beside_the_folder(images: Path, tmp_path: Path) -> None:
    (tmp_path / "recordings.csv").write_text("image,recording\n0.png,a\n1.png,a\n2.png,b\n")
    report = embed(images, tmp_path, saliency="none")
    items = open_set(tmp_path / "embeddings/thermal").items
    assert items["recording"].tolist() == ["a", "a", "b", "", "", "", ""]
    assert report.recordings == 2
    assert any("no recording for 4 of 7" in remark for remark in report.remarks)


def test_what_inspect_found_out_about_this_folder_is_used(images: Path, tmp_path: Path) -> None:
    for name, root in (("other", tmp_path / "elsewhere"), ("thermal", images)):
        folder = places.inspections_folder(places.create(tmp_path / "w"), name)
        folder.mkdir(parents=True)
        (folder / "findings.json").write_text(json.dumps({"root": str(root.resolve())}))
        rows = [f"{i}.png,{name}-{i // 4}" for i in range(7)]
        (folder / "recordings.csv").write_text("image,recording\n" + "\n".join(rows) + "\n")
    assert embed(images, tmp_path / "w").recordings == 2
    items = open_set(tmp_path / "w/embeddings/thermal").items.set_index("image")
    assert set(items.loc["6.png", "recording"]) == {"thermal-1"}


def test_what_is_odd_about_images_is_said_once_each(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for i in range(4):
        tifffile.imwrite(
            folder / f"{i}.tif", np.full((40, 50), 20.5 + i, np.float32) + np.eye(40, 50, dtype="f")
        )
    Image.fromarray(np.full((40, 50), 7, np.uint8)).save(folder / "grey.png")
    report = embed(folder, tmp_path / "w")
    assert report.units == {"counts": 4, "grey": 1}
    text = "\n".join(report.lines())
    assert "Values: 4 in counts of the camera, 1 in grey levels" in text
    said = [line for line in report.remarks if "float values" in line]
    assert len(said) == 1
    assert said[0].startswith("0.tif: float values 20.5 to 21.5 without a unit; they may be degrees Celsius")
    assert said[0].endswith("--scale 1C says so, and 3 more like it.")


def test_a_recordings_file_that_is_something_else(images: Path, tmp_path: Path) -> None:
    other = tmp_path / "recordings.csv"
    other.write_text("song,length\nhymn,3\n")
    report = embed(images, tmp_path, saliency="none")  # found by itself: said, and left out
    assert any("image,recording" in remark for remark in report.remarks)
    with pytest.raises(LabelError, match="image,recording"):
        embed(images, tmp_path, saliency="none", recordings=other, name="b")


def test_bad_images_cost_themselves(tmp_path: Path) -> None:
    images = make_images(tmp_path / "ü </script>\n", 2)
    (images / "empty.tif").touch()
    (images / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    Image.new("L", (1, 1)).save(images / "tiny.png")
    counts = np.full((20, 30), 7000, dtype=np.uint16)
    counts[3, 4] = 65535
    Image.fromarray(counts).save(images / "hot.png")
    for sub in ("a", "b"):
        (images / sub).mkdir()
        Image.new("RGB", (30, 20), "red").save(images / sub / "same name.png")
    (images / "a" / "loop").symlink_to(images)
    report = embed(images, tmp_path / "w", name="set")
    rows = open_set(tmp_path / "w/embeddings/set").items.query("kind == 'image'").set_index("image")
    assert set(rows.index[rows["status"] == "failed"]) == {"empty.tif", "torn.jpg"}
    assert set(rows.index[rows["status"] == "ok"]) == {
        "0.png", "1.png", "tiny.png", "hot.png", "a/same name.png", "b/same name.png"
    }  # fmt: skip
    assert report.failed == 2
    assert rows["item"].is_unique


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.png").write_text("text")
    for _ in range(2):  # the second time the set is there, and no better
        with pytest.raises(ImageError, match=r"none of 1 images"):
            embed(folder, tmp_path / "w")
    with pytest.raises(WorkspaceError):
        places.newest(tmp_path / "w", "set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no image"):
        embed(tmp_path / "empty", tmp_path / "w")


def test_without_weights_of_its_own_a_workspace_takes_the_starter_weights(
    images: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights" / "begun").mkdir(parents=True)  # a run that was killed before its end
    report = embed(images, tmp_path, weights=None)
    assert report.weights == STARTER
    assert any("no pretraining run has ended here (begun: begun" in remark for remark in report.remarks)
    assert report.model == fingerprint(load(STARTER_FILE))
    assert embed(images, tmp_path, weights=STARTER).already_done


def test_the_card_of_the_starter_weights_tells_of_these_weights() -> None:
    card = STARTER_FILE.with_suffix(".md").read_text("utf-8")
    assert fingerprint(load(STARTER_FILE)) in card
    assert STARTER_FILE.stat().st_size < 25e6
    assert (STARTER_FILE.parent / "LICENSE").is_file()


def test_weights_are_named_or_the_sentence_says_how(images: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no pretraining run called 'other'"):
        embed(images, tmp_path, weights="other")
    with pytest.raises(CheckpointError):
        embed(images, tmp_path, weights=str(tmp_path / "none.safetensors"))
    with pytest.raises(UsageError, match="untrained:SEED"):
        embed(images, tmp_path, weights="untrained:x")
    with pytest.raises(UsageError, match="FOLDER"):
        run(EmbedSettings(), tmp_path)


def test_real_images(data: Path, tmp_path: Path) -> None:
    some = tmp_path / "some.txt"
    road = data / "paired_road"
    names = sorted(path.name for path in (road / "infrared").iterdir())[:3]
    some.write_text("\n".join(names))
    report = embed(
        road / "infrared",
        tmp_path,
        list_file=some,
        regions=road / "labels" / "annotations_coco.json",
        size=96,
    )
    assert (report.images, report.failed) == (3, 0)
    assert report.regions > 0
    assert report.recordings >= 1
