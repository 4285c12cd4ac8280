"""The whole chain on made scenes, through the command line, every process watched for what it loads."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from dinonat import scenes
from dinonat.embeddings.descriptors import hog, raw
from dinonat.embeddings.store import open_set
from dinonat.pipelines import run
from dinonat.pipelines.cli import app

TINY = {
    "pretrain": {
        "epochs": 1,
        "batch": 4,
        "out_dim": 64,
        "hidden": 64,
        "global_sizes": [48, 64],
        "picture_side": 64,
        "workers": 0,
    },
    "embed": {"size": 64, "region_size": 32, "shard_images": 4, "workers": 0},
}
# Runs in every Python that starts: says at the end which of the two OpenMP runtimes came with it.
SITE = """
import atexit, os, sys
def say():
    names = [m for m in ("torch", "faiss") if m in sys.modules]
    with open(os.environ["LOADED_FILE"], "a") as stream:
        stream.write(" ".join([*names, "|", *sys.argv[:2]]).replace("\\n", " ") + "\\n")
atexit.register(say)
"""


class Shell:
    """A place to run commands in, with a list of what their processes loaded."""

    def __init__(self, folder: Path, warm: Callable[[Mapping[str, str]], Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sitecustomize.py").write_text(SITE)
        self.loaded = folder / "loaded.txt"
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "LOADED_FILE": str(self.loaded),
            "OMP_NUM_THREADS": "1",
        }
        self.warm = warm(self.environment)

    def __call__(self, workspace: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a process of its own; of `run`, whose process loads little, each stage."""
        command = [*words, "--json", "-w", str(workspace)]
        if words[0] != "run":
            return self.warm(command)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(run, "subprocess", SimpleNamespace(run=self.stage, PIPE=subprocess.PIPE))
            told = CliRunner().invoke(app, command)
        return subprocess.CompletedProcess(command, told.exit_code, told.stdout, told.stderr)

    def stage(self, command: Sequence[str], **_: object) -> "subprocess.CompletedProcess[str]":
        assert command[:4] == [sys.executable, "-P", "-m", "dinonat.pipelines"]
        return self.warm(command[4:])

    def fresh(self, workspace: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as a user does: it and every stage in a Python of its own."""
        command = [sys.executable, "-m", "dinonat.pipelines", *words, "--json", "-w", str(workspace)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def ask(self, workspace: Path, *words: str, fresh: bool = False) -> Any:
        child = (self.fresh if fresh else self)(workspace, *words)
        assert child.returncode == 0, child.stderr
        return json.loads(child.stdout)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, warm: Callable[..., Any]) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"), warm)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> scenes.MadeScenes:
    folder = tmp_path_factory.mktemp("made")
    return scenes.write_scenes(folder, colour=10, thermal=10, labelled=4, size_hw=(96, 128))


def chain(shell: Shell, made: scenes.MadeScenes, workspace: Path, *, fresh: bool = False) -> Any:
    words = ["run", str(made.thermal), "--rgb", str(made.rgb), "--labels", str(made.labels)]
    more = ["--threads", "1", "--set", f"stages={json.dumps(TINY)}"]
    return shell.ask(workspace, *words, *more, fresh=fresh)


@pytest.fixture(scope="module")
def first(
    shell: Shell, made: scenes.MadeScenes, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    workspace = tmp_path_factory.mktemp("first") / "workspace"
    return workspace, chain(shell, made, workspace, fresh=True)


def results(workspace: Path) -> dict[str, bytes]:
    """Return the files that must be the same whenever input, settings and threads are."""
    patterns = ("weights/*/teacher.safetensors", "embeddings/*/shard-*", "proposals/*/proposals.parquet")
    exports = ("exports/*/annotations/*.json", "exports/*/*.csv")
    paths = [path for pattern in (*patterns, *exports) for path in workspace.glob(pattern)]
    return {str(path.relative_to(workspace)): path.read_bytes() for path in sorted(paths)}


def test_the_chain_ends_with_a_coco_file_that_a_real_reader_takes(
    first: tuple[Path, Any], made: scenes.MadeScenes
) -> None:
    _, report = first
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(report["coco"])
    assert len(coco.imgs) == 10
    assert len(coco.anns) == report["stages"]["export"]["annotations"]
    assert {category["name"] for category in coco.cats.values()} <= set(scenes.KINDS)
    for annotation in coco.anns.values():
        if annotation["segmentation"]:  # a labelled box has no mask
            assert coco.annToMask(annotation).sum() == annotation["area"]


def test_every_temperature_is_that_of_the_raw_file(first: tuple[Path, Any], made: scenes.MadeScenes) -> None:
    """Another way round: the raw pixels under the mask that a foreign reader draws from the COCO file."""
    _, report = first
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(report["coco"])
    given, masked = 0, 0
    for annotation in coco.anns.values():
        with Image.open(made.thermal / coco.imgs[annotation["image_id"]]["file_name"]) as picture:
            counts = np.asarray(picture)
        if annotation["segmentation"]:
            values = counts[coco.annToMask(annotation) == 1]
        else:  # boxes of the labels lie on whole pixels
            x, y, w, h = map(int, annotation["bbox"])
            values = counts[y : y + h, x : x + w]
        found = annotation["attributes"]
        if not annotation["segmentation"] and found["status"] == "proposed":  # its box was corrected since
            assert "t_min" not in found
            continue
        assert found["unit"] == "counts"
        assert (found["t_min"], found["t_max"]) == (values.min(), values.max())
        assert found["t_median"] == pytest.approx(np.median(values), abs=0.006)
        assert found["t_mean"] == pytest.approx(values.mean(), abs=0.006)
        given += not annotation["segmentation"]
        masked += bool(annotation["segmentation"])
    assert given
    assert masked


def test_proxies_are_the_pixels_that_were_embedded(
    first: tuple[Path, Any], shell: Shell, tmp_path: Path
) -> None:
    """The vectors of layout and gradients, made again from the proxies, are those in the set."""
    workspace, report = first
    shell.ask(workspace, "export", "--proxies", "--out", str(tmp_path))
    known = open_set(workspace / "embeddings" / report["stages"]["embed"]["set"])
    whole = (known.items["kind"] == "image").to_numpy()
    pictures = json.loads((tmp_path / "manifest.json").read_text())["pictures"]
    assert [row["image"] for row in pictures] == known.items["image"][whole].tolist()
    pixels = [np.asarray(Image.open(tmp_path / row["proxy"]).convert("RGB")) for row in pictures]
    for part, describe in (("raw", raw), ("hog", hog)):
        again = describe(np.stack(pixels)).astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(again, known.part(part, whole))


def test_the_page_and_the_pictures_lie_where_it_says(first: tuple[Path, Any]) -> None:
    _, report = first
    page = Path(report["report"]).read_text(encoding="utf-8")
    assert "made-00" in page
    assert "Made scenes" not in page  # only `run --demo` knows that they are
    assert "<script" not in page
    assert 'src="http' not in page
    assert 1 <= len(report["pictures"]) <= 4
    for picture in report["pictures"]:
        assert Path(picture).read_bytes().startswith(b"\x89PNG")


def test_the_same_input_gives_the_same_bytes(
    first: tuple[Path, Any], shell: Shell, made: scenes.MadeScenes, tmp_path: Path
) -> None:
    workspace, _ = first
    chain(shell, made, tmp_path / "second")
    before, after = results(workspace), results(tmp_path / "second")
    assert {name.split("/")[0] for name in before} == {"weights", "embeddings", "proposals", "exports"}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_a_second_call_finds_everything_done(
    first: tuple[Path, Any], shell: Shell, made: scenes.MadeScenes
) -> None:
    workspace, report = first
    times = {path: path.stat().st_mtime_ns for path in workspace.glob("*/*/*.*") if "shard" in path.name}
    again = chain(shell, made, workspace)
    assert again["stages"]["pretrain"]["already_done"]
    assert again["stages"]["embed"]["already_done"]
    assert again["coco"] == report["coco"]
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_untrained_weights_are_for_comparison_and_never_exported(
    first: tuple[Path, Any], shell: Shell, made: scenes.MadeScenes
) -> None:
    workspace, _ = first
    words = ["--weights", "untrained:0", "--name", "control", "--threads", "1"]
    changes = [f"{key}={value}" for key, value in TINY["embed"].items()]
    shell.ask(workspace, "embed", str(made.thermal), *words, *(w for c in changes for w in ("--set", c)))
    run = shell.ask(workspace, "propose-labels", "control", "--labels", str(made.labels))["run"]
    refused = shell(workspace, "export", "--proposals", run)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "untrained" in refused.stderr


HOSTILE = ("a b.png", "Straße.png", "line\nbreak.png", "<script>alert(1).png", "x/same.png", "y/same.png")


def test_hostile_names_and_broken_files_cost_only_themselves(
    first: tuple[Path, Any], shell: Shell, made: scenes.MadeScenes, tmp_path: Path
) -> None:
    _, report = first
    for index, name in enumerate(HOSTILE):
        path = tmp_path / "thermal" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((made.thermal / scenes.name_of(index)).read_bytes())
    whole = (made.thermal / scenes.name_of(0)).read_bytes()
    for name, content in {"text.png": b"hello", "cut.png": whole[:900], "none.tif": b""}.items():
        (tmp_path / "thermal" / name).write_bytes(content)
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "label", "x", "y", "w", "h"])
        rows.writerows([[name, "</script>", 10, 10, 30, 30] for name in HOSTILE[:4]])
        rows.writerow(["not there.png", "car", 1, 1, 9, 9])
    weights = report["stages"]["pretrain"]["weights"]
    words = ["run", str(tmp_path / "thermal"), "--weights", weights, "--labels", str(labels)]
    told = shell.ask(tmp_path / "other", *words, "--threads", "1", "--set", f"stages={json.dumps(TINY)}")
    assert told["stages"]["embed"]["failed"] == 3
    assert any("not there.png" in warning for warning in told["stages"]["propose-labels"]["warnings"])
    coco = json.loads(Path(told["coco"]).read_text("utf-8"))
    assert sorted(image["file_name"] for image in coco["images"]) == sorted(HOSTILE)
    page = Path(told["report"]).read_text("utf-8")
    assert "<script" not in page
    assert "</script" not in page


def test_strict_makes_a_broken_file_an_exit_code(
    shell: Shell, made: scenes.MadeScenes, tmp_path: Path
) -> None:
    (tmp_path / "thermal").mkdir()
    (tmp_path / "thermal" / "good.png").write_bytes((made.thermal / scenes.name_of(0)).read_bytes())
    (tmp_path / "thermal" / "bad.png").write_text("not a picture")
    words = ["embed", str(tmp_path / "thermal"), "--weights", "untrained:0", "--size", "64"]
    lenient = shell(tmp_path / "workspace", *words)
    strict = shell(tmp_path / "workspace", *words, "--strict")
    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert json.loads(lenient.stdout)["failed"] == json.loads(strict.stdout)["failed"] == 1


def test_a_stage_that_fails_is_named_and_what_is_done_stays(
    first: tuple[Path, Any], shell: Shell, made: scenes.MadeScenes, tmp_path: Path
) -> None:
    workspace, report = first
    broken = tmp_path / "labels.csv"
    broken.write_text("nothing\n1\n")
    before = results(workspace)
    words = ["run", str(made.thermal), "--weights", report["stages"]["pretrain"]["run"]]
    more = ["--labels", str(broken), "--threads", "1", "--set", f"stages={json.dumps(TINY)}"]
    child = shell(workspace, *words, *more)
    assert child.returncode in (1, 2)
    assert "the stage propose-labels ended with exit code" in child.stderr
    assert results(workspace) == before


def test_no_process_of_the_chain_loaded_torch_and_faiss(first: tuple[Path, Any], shell: Shell) -> None:
    lines = shell.loaded.read_text().splitlines()
    assert any(line.startswith("torch |") for line in lines)
    assert any(line.startswith("faiss |") for line in lines)
    assert [line for line in lines if line.startswith("torch faiss")] == []
