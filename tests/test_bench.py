import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.errors import ImageError, UsageError
from dinonat.images.reader import read_thermal
from dinonat.pipelines import bench
from dinonat.pipelines.bench import BenchReadingSettings, run_reading
from dinonat.records import ThermalFrame


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    for i in range(4):
        Image.fromarray(np.full((20, 30), 40 * i, np.uint8)).save(root / f"{i}.png")
    tifffile.imwrite(root / "counts.tif", np.arange(600, dtype=np.uint16).reshape(20, 30) + 7000)
    (root / "bad.png").write_text("text")
    return root


def test_every_format_and_size_is_a_row_and_bad_files_are_named(folder: Path, tmp_path: Path) -> None:
    report = run_reading(BenchReadingSettings(folder=folder, rounds=3), tmp_path)
    kinds = [(row.source_format, row.unit, row.width, row.height, row.images) for row in report.rows]
    assert kinds == [("png", "grey", 30, 20, 4), ("tiff", "counts", 30, 20, 1)]
    assert all(row.decode > 0 and row.prepare > 0 for row in report.rows)
    assert "bad.png" in report.warnings[0]
    assert any("tiff" in line and "30x20" in line for line in report.lines())


def test_medians_are_of_all_rounds_and_another_library_is_timed_where_it_can_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("png.jpg", "bare-le.jpg"):
        Image.new("L", (30, 20)).save(folder / name)
    asked: list[str] = []

    def read(path: Path, *, frame: int) -> ThermalFrame:
        read = read_thermal(path, frame=frame)
        return replace(read, source_format="flir-jpeg") if path.suffix == ".jpg" else read

    def unpack(path: str) -> SimpleNamespace:
        asked.append(Path(path).name)
        if "bare" in path:
            raise KeyError(1)
        return SimpleNamespace(celsius=np.zeros((2, 2)))

    monkeypatch.setattr(bench, "read_thermal", read)
    monkeypatch.setitem(sys.modules, bench.PEER, SimpleNamespace(unpack=unpack))
    monkeypatch.setattr(bench.util, "find_spec", lambda name: object())
    monkeypatch.setattr(bench.metadata, "version", lambda name: "1.0")
    ticks = iter(range(10**6))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(ticks)))
    report = run_reading(BenchReadingSettings(folder=folder, rounds=2), tmp_path)
    assert sorted(asked) == ["bare-le.jpg", "png.jpg", "png.jpg"]  # once a round, but for what it cannot read
    assert report.peer == "flyr 1.0"
    flir = next(row for row in report.rows if row.source_format == "flir-jpeg")
    assert (flir.decode, flir.prepare, flir.peer, flir.ratio) == (1000.0, 1000.0, 1000.0, 1.0)
    assert next(row for row in report.rows if row.source_format == "png").peer is None


def test_nothing_to_time_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of images"):
        run_reading(BenchReadingSettings(), tmp_path)
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ImageError, match=r"none of 1 images can be read \(.*a\.png"):
        run_reading(BenchReadingSettings(folder=tmp_path), tmp_path)
