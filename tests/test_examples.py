import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from dinonat import labels
from dinonat.records import EVENT_COLUMNS, PROPOSAL_COLUMNS, as_table

EXAMPLES = Path(__file__).parents[1] / "examples"


def output(example: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / example), *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    return child.stdout


def test_every_example_says_how_to_run_it() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert f"python examples/{path.name}" in path.read_text("utf-8").split('"""')[1], path


def test_hottest_things(tmp_path: Path) -> None:
    blank = {"str": "", "float32": 0.5, "int32": 0, "object": None}
    row = {name: blank[kind] for name, kind in PROPOSAL_COLUMNS.items()} | {"t_median": 20}
    given = [
        {"label": "cup", "t_max": 25.5, "unit": "celsius"},
        {"label": "engine", "t_max": 82.92, "unit": "celsius"},
        {"label": "hill", "t_max": 19112, "unit": "counts"},
        {"label": "sky", "t_max": np.nan, "unit": "celsius"},
        {"label": "", "t_max": 99, "unit": "celsius", "advice": "unknown"},
    ]
    table = as_table([{**row, "advice": "review", **one} for one in given], PROPOSAL_COLUMNS)
    table.to_parquet(tmp_path / "proposals.parquet")
    found = pd.read_csv(io.StringIO(output("hottest_things.py", tmp_path / "proposals.parquet")))
    assert found["label"].tolist() == ["engine", "cup", "hill"]
    assert found["above"].tolist() == pytest.approx([62.92, 5.5, 19092])
    assert found["unit"].tolist() == ["celsius", "celsius", "counts"]


def test_read_temperatures(tmp_path: Path) -> None:
    values = np.float32([[[np.nan, 20], [30, 50]], [[-5, -5], [-5, 0]]])
    tifffile.imwrite(tmp_path / "two.tif", values, photometric="minisblack")
    Image.fromarray(np.uint8([[0, 10, 200]])).save(tmp_path / "a, b.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.txt").write_text("no image")
    rows = list(csv.DictReader(io.StringIO(output("read_temperatures.py", tmp_path))))
    assert [(row["file"], row["frame"]) for row in rows] == [
        ("a, b.png", "0"), ("broken.png", "0"), ("two.tif", "0"), ("two.tif", "1")
    ]  # fmt: skip
    grey, broken, first, second = rows
    assert (grey["unit"], grey["min"], grey["median"], grey["max"]) == ("grey", "0.000", "10.000", "200.000")
    assert broken["unit"] == broken["max"] == ""
    assert "broken.png" in broken["remarks"]
    assert [float(first[name]) for name in ("min", "median", "max")] == [20, 30, 50]
    assert [float(second[name]) for name in ("min", "median", "max")] == [-5, -5, 0]


def test_read_temperatures_of_real_files(data: Path) -> None:
    rows = csv.DictReader(io.StringIO(output("read_temperatures.py", data / "radiometric/thermal_parser")))
    found = {row["file"]: row for row in rows}
    warm = found["FLIR_E40.jpg"]
    assert [float(warm[name]) for name in ("min", "median", "max")] == pytest.approx(
        [17.8759, 21.0128, 24.7004], abs=0.001
    )
    assert warm["unit"] == "celsius"
    assert found["M3T/DJI_0001_R.JPG"]["unit"] == "counts"


def test_the_history_of_a_label(tmp_path: Path) -> None:
    event = {"label_id": "p1", "run": "r", "image": "a.png", "kind": "region", "mask_counts": ()}
    event |= {"label": "bus", "x": 1.0, "y": 2.0, "w": 3.0, "h": 4.5}
    with labels.writing(tmp_path / "labels.db") as db:
        for action in ("accepted", "relabelled"):
            table = as_table([{**event, "action": action}], EVENT_COLUMNS)
            labels.add_events(db, table, set_name="thermal", who="Ada", origin="f.json")
    first, second = output("history_of_a_label.py", tmp_path, "thermal", "p1").splitlines()
    assert "accepted as bus at 1, 2, 3 x 4.5 in a.png  (Ada, f.json)" in first
    assert "relabelled" in second
    assert "nobody has said" in output("history_of_a_label.py", tmp_path, "thermal", "p2")
