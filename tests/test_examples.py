import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dinonat import scenes
from dinonat.records import PROPOSAL_COLUMNS, as_table

EXAMPLES = Path(__file__).parents[1] / "examples"


def proposals_of(things: list[tuple[str, scenes.MadeThing]]) -> pd.DataFrame:
    """Return a table in which every made thing is proposed as what it is."""
    blank = {"str": "", "float32": 0.5, "int32": 0, "object": None}
    rows = []
    for image, thing in things:
        row: dict[str, object] = {name: blank[kind] for name, kind in PROPOSAL_COLUMNS.items()}
        box = dict(zip("xywh", thing.box_xywh, strict=True))
        rows.append(row | box | {"image": image, "kind": "region", "label": thing.kind, "advice": "review"})
    return as_table(rows, PROPOSAL_COLUMNS)


def test_every_example_says_how_to_run_it() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert f"python examples/{path.name}" in path.read_text("utf-8").split('"""')[1], path


def test_hottest_things(tmp_path: Path) -> None:
    made = scenes.write_scenes(tmp_path, colour=3, thermal=3, labelled=1, size_hw=(96, 128))
    drawn = {scenes.name_of(i): scenes.make_scene(0, i, size_hw=(96, 128)) for i in range(3)}
    table = proposals_of([(name, thing) for name, scene in drawn.items() for thing in scene.things])
    table.to_parquet(tmp_path / "proposals.parquet")
    command = [sys.executable, str(EXAMPLES / "hottest_things.py")]
    child = subprocess.run(
        [*command, str(tmp_path / "proposals.parquet"), str(made.thermal)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    found = pd.read_csv(io.StringIO(child.stdout))
    assert len(found) == len(table)
    assert found["hottest"].is_monotonic_decreasing
    assert set(found["unit"]) == {"counts"}
    first = found.iloc[0]
    counts = drawn[first["image"]].counts
    x, y, w, h = (int(first[side]) for side in "xywh")
    assert first["hottest"] == pytest.approx(float(np.max(counts[y : y + h, x : x + w])))
