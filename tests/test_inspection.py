import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dinonat.embeddings.given import recordings_of
from dinonat.errors import ImageError, UsageError, WorkspaceError
from dinonat.images.listing import list_images
from dinonat.pipelines.cli import app
from dinonat.pipelines.inspection import InspectSettings, run

Textures = Callable[..., np.ndarray]
FILES = {"files.parquet", "findings.json", "recordings.csv", "report.html", "twins.csv"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, textures: Textures) -> Path:
    """Twins in two folders, of two recordings, and a broken file; EXIF with a position."""
    folder = tmp_path_factory.mktemp("made") / "pairs"
    (folder / "ir").mkdir(parents=True)
    (folder / "rgb").mkdir()
    exif = Image.Exif()
    exif[0x0110] = "Thermo 1"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.3456)
    for number in (1, 2, 3, 500, 501):
        Image.fromarray(textures(number)).save(folder / "ir" / f"F_{number:03}.jpg", exif=exif)
        colour = np.stack([textures(number + shift) for shift in (1000, 2000, 3000)], -1)
        Image.fromarray(colour).save(folder / "rgb" / f"F_{number:03}.jpg")
    (folder / "ir" / "F_502.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def inspect(folder: Path, workspace: Path, **values: object):  # type: ignore[no-untyped-def]
    return run(InspectSettings.checked({"folder": folder, "workers": 1, **values}), workspace)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_an_inspection_leaves_what_the_other_commands_read(pairs: Path, tmp_path: Path) -> None:
    report = inspect(pairs, tmp_path)
    assert (report.images, report.failed, report.recordings, report.twins) == (11, 1, 2, 5)
    target = tmp_path / "inspections" / "pairs"
    assert {file.name for file in target.iterdir()} == FILES | {"lists"}
    known = json.loads((target / "findings.json").read_text(encoding="utf-8"))
    assert known["root"] == str(pairs.resolve())
    with (target / "twins.csv").open(encoding="utf-8") as file:
        assert next(csv.DictReader(file)) == {"thermal": "ir/F_001.jpg", "colour": "rgb/F_001.jpg"}
    warnings: list[str] = []
    refs = list_images(pairs).refs
    recordings = recordings_of(target / "recordings.csv", refs, warn=warnings.append)
    assert len(recordings) == 10
    assert recordings["ir/F_001.jpg"] == recordings["rgb/F_003.jpg"] != recordings["ir/F_501.jpg"]
    text = "\n".join(report.lines())
    assert "ir/F_502.jpg" in text
    assert str(target / "report.html") in text


def test_the_same_input_gives_the_same_bytes_and_is_done_once(pairs: Path, tmp_path: Path) -> None:
    first = inspect(pairs, tmp_path / "one")
    second = inspect(pairs, tmp_path / "two", workers=0)
    one, two = (contents(tmp_path / name / "inspections" / "pairs") for name in ("one", "two"))
    assert one == two
    assert not first.already_done
    assert first.findings == second.findings
    again = inspect(pairs, tmp_path / "one")
    assert again.already_done
    assert again.findings == first.findings
    assert not inspect(pairs, tmp_path / "one", again=True).already_done
    assert not inspect(pairs, tmp_path / "one", gap=1000).already_done
    assert contents(tmp_path / "one" / "inspections" / "pairs") != one


def test_what_was_stopped_half_way_is_not_taken_for_done(pairs: Path, tmp_path: Path) -> None:
    inspect(pairs, tmp_path)
    target = tmp_path / "inspections" / "pairs"
    whole = contents(target)
    (target / "findings.json").unlink()  # written last
    (target / "twins.csv").write_text("thermal,colour\n")
    assert not inspect(pairs, tmp_path).already_done
    assert contents(target) == whole


def test_no_position_is_written_anywhere(pairs: Path, tmp_path: Path) -> None:
    inspect(pairs, tmp_path)
    for name, data in contents(tmp_path).items():
        assert b"12.3456" not in data, name
        assert b"GPSLatitude" not in data, name


def test_colour_images_elsewhere(pairs: Path, tmp_path: Path) -> None:
    report = inspect(pairs / "ir", tmp_path, rgb=pairs / "rgb", name="apart")
    assert (report.name, report.images, report.twins) == ("apart", 6, 5)
    page = (tmp_path / "inspections" / "apart" / "report.html").read_text(encoding="utf-8")
    assert page.count("<strong>colour</strong>") == 3


def test_a_list_names_the_images(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("ir/F_001.jpg\nir/F_002.jpg\n")
    assert inspect(pairs, tmp_path, list_file=tmp_path / "some.txt").images == 2


def test_a_scale_turns_counts_into_degrees(textures: Textures, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    Image.fromarray(textures(1).astype(np.uint16) + 7000).save(tmp_path / "set" / "a.png")
    assert [kind["unit"] for kind in inspect(tmp_path / "set", tmp_path).kinds] == ["counts"]
    (kind,) = inspect(tmp_path / "set", tmp_path, scale="0.04K").kinds
    assert kind["unit"] == "celsius"
    assert kind["median"] == pytest.approx(0.04 * (7000 + np.median(textures(1))) - 273.15, abs=0.05)


def test_nothing_readable_fails_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"none of 1 images can be read.*a\.jpg: an empty file"):
        inspect(tmp_path / "set", tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        run(InspectSettings(), tmp_path)
    with pytest.raises(UsageError, match="scale=warm"):
        inspect(tmp_path / "set", tmp_path, scale="warm")


def test_strict_exits_with_one_where_a_file_failed(pairs: Path, tmp_path: Path) -> None:
    arguments = ["inspect", str(pairs), "-w", str(tmp_path), "--workers", "0"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--strict"]).exit_code == 1


def test_the_command_prints_one_json_object_and_loads_neither_torch_nor_faiss(
    pairs: Path, tmp_path: Path
) -> None:
    program = (
        "import atexit, sys\n"
        "heavy = lambda: [m for m in ('torch', 'faiss') if m in sys.modules]\n"
        "atexit.register(lambda: print(heavy(), file=sys.stderr))\n"
        "from dinonat.pipelines.cli import main\nmain()"
    )
    command = [sys.executable, "-c", program, "inspect", str(pairs), "--json", "-w", str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stderr.splitlines()[-1] == "[]"
    report = json.loads(child.stdout)
    assert (report["images"], report["twins"]) == (11, 5)
    assert {"key", "severity", "what", "means", "do"} <= set(report["findings"][0])


def test_the_page_is_written_beside_the_real_images_findings(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "radiometric", tmp_path / "radiometric")
    report = inspect(tmp_path / "radiometric", tmp_path / "w")
    assert report.failed == 0
    assert {kind["camera"] for kind in report.kinds} >= {"FLIR E40", "DJI M3T", "FLIR AX8"}
    written = contents(tmp_path / "w")
    assert not any(b"GPSLatitude" in data for data in written.values())


def test_a_file_written_anew_with_the_same_size_is_looked_at_again(
    textures: Textures, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        np.save(folder / f"{number}.npy", textures(number))
    assert not inspect(folder, tmp_path / "w").already_done
    assert inspect(folder, tmp_path / "w").already_done
    size = (folder / "1.npy").stat().st_size
    np.save(folder / "1.npy", np.zeros_like(textures(1)))
    assert (folder / "1.npy").stat().st_size == size
    os.utime(folder / "1.npy", ns=(1, 1))  # whatever the clock of this file system can tell apart
    assert not inspect(folder, tmp_path / "w").already_done


def test_two_folders_of_one_name_keep_their_inspections(textures: Textures, tmp_path: Path) -> None:
    for place in ("a", "b"):
        folder = tmp_path / place / "images"
        folder.mkdir(parents=True)
        Image.fromarray(textures(1)).save(folder / "1.png")
    first, second = (inspect(tmp_path / place / "images", tmp_path / "w") for place in ("a", "b"))
    assert first.name == "images"
    assert second.name.startswith("images-")
    assert inspect(tmp_path / "a" / "images", tmp_path / "w").already_done
    with pytest.raises(WorkspaceError, match="has that name"):
        inspect(tmp_path / "b" / "images", tmp_path / "w", name="images")
