from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinonat.errors import ImageError, UsageError
from dinonat.pipelines.bench_embed import BenchEmbedSettings, run_embed

PARTS = [
    *("load the network, once a run", "decode and prepare", "forward pass", "HOG and raw pixels"),
    *("resize, normalise, pool, rows", "write", "list, look after the set"),
]


def test_the_parts_add_up_to_the_whole(tmp_path: Path) -> None:
    report = run_embed(BenchEmbedSettings(images=3, size=32, rounds=1), tmp_path)
    assert [row.part for row in report.parts] == PARTS
    assert report.whole.cpu == pytest.approx(sum(row.cpu for row in report.parts), abs=0.01)
    assert report.whole.wall == pytest.approx(sum(row.wall for row in report.parts), abs=0.01)
    cpu = {row.part: row.cpu for row in report.parts}
    without = report.whole.cpu - cpu["forward pass"] - cpu["load the network, once a run"]
    assert report.above_forward == pytest.approx(without, abs=0.002)
    assert f"{report.above_forward:.2f} ms CPU an image" in report.lines()[-1]
    assert not list(tmp_path.iterdir())  # the workspace is not touched


def test_images_may_come_from_a_folder_and_bad_ones_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "thermal"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(np.full((40, 50 + i), 40 * i, np.uint8)).save(folder / f"{i}.png")
    (folder / "bad.png").write_text("text")
    pages = [Image.fromarray(np.full((9, 9), i, np.uint8)) for i in range(3)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])  # several frames: left out
    report = run_embed(BenchEmbedSettings(folder=folder, size=32, rounds=1), tmp_path)
    assert (report.images, report.failed, report.pictures) == (5, 1, "files of thermal")
    assert "(1 unreadable)" in report.lines()[0]


def test_nothing_to_time_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("text")
    with pytest.raises(ImageError, match=r"none of 1 images can be read \(.*bad\.png"):
        run_embed(BenchEmbedSettings(folder=tmp_path), tmp_path)
    with pytest.raises(UsageError, match="Network 'nat_nona' is not known"):
        run_embed(BenchEmbedSettings(weights="untrained:0:nat_nona"), tmp_path)
