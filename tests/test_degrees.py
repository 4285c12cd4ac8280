"""A degree must reach the vectors where it should, and must not where the settings say so."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from dinonat.embeddings.descriptors import raw
from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import UsageError
from dinonat.images.batches import read_prepared
from dinonat.pipelines import workspace as places
from dinonat.pipelines.embed import EmbedSettings, run
from dinonat.records import PARTS, Float32, ImageRef

DEGREE = 25  # counts of 0.04 K
WHOLE = {"weights": "untrained:0", "size": 64, "saliency": "none", "workers": 0, "threads": 1}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A scene, the same with one patch a degree warmer, and the whole a degree warmer."""
    folder = tmp_path / "thermal"
    folder.mkdir()
    y, x = np.mgrid[:64, :80]
    scene = 7300 + 3 * y + 2 * x + 60 * ((x // 16 + y // 16) % 2)  # about 19 to 31 degrees Celsius
    patch = scene.copy()
    patch[20:30, 30:44] += DEGREE
    for name, counts in {"scene": scene, "patch": patch, "warmer": scene + DEGREE}.items():
        tifffile.imwrite(folder / f"{name}.tif", counts.astype(np.uint16))
    return folder


def embed(images: Path, workspace: Path, name: str, **more: Any) -> EmbeddingSet:
    run(EmbedSettings.checked({**WHOLE, "images": images, "name": name, **more}), workspace)
    return open_set(places.set_folder(workspace, name))


def of_images(known: EmbeddingSet) -> tuple[pd.DataFrame, dict[str, Float32]]:
    """Rows of the whole images by their stem, and the vectors of all parts side by side."""
    rows = known.items[known.items["kind"] == "image"].assign(stem=lambda t: t["image"].str[:-4])
    joined = np.concatenate([known.part(part) for part in PARTS], axis=1)
    return rows.set_index("stem"), {row.image[:-4]: joined[row.Index] for row in rows.itertuples()}


def cosine(a: Float32, b: Float32) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_degree_in_a_patch_shows_and_a_degree_everywhere_as_the_settings_say(
    images: Path, tmp_path: Path
) -> None:
    _, stretched = of_images(embed(images, tmp_path, "percentile"))
    assert cosine(stretched["scene"], stretched["patch"]) < 0.9999
    assert cosine(stretched["scene"], stretched["warmer"]) > 0.9999
    rows, windowed = of_images(embed(images, tmp_path, "window", prepare="window=15:40", scale="0.04K"))
    assert set(rows["prepare"]) == {"window"}
    assert set(rows["unit"]) == {"celsius"}
    assert set(rows["lo"]) == {15.0}
    assert cosine(windowed["scene"], windowed["patch"]) < 0.9999
    assert cosine(windowed["scene"], windowed["warmer"]) < 0.9999
    _, pooled = of_images(embed(images, tmp_path, "dataset", prepare="dataset"))
    assert cosine(pooled["scene"], pooled["warmer"]) < 0.9999


def test_nothing_is_clipped_and_the_scale_is_exact(images: Path, tmp_path: Path) -> None:
    """16-bit counts far above 255 keep their differences, in degrees as the user's scale says."""
    rows, _ = of_images(embed(images, tmp_path, "scaled", scale="0.04K"))
    counts = tifffile.imread(images / "scene.tif").astype(np.float64)
    assert rows.loc["scene", "t_max"] == pytest.approx(counts.max() * 0.04 - 273.15, abs=1e-3)
    assert rows.loc["warmer", "t_median"] - rows.loc["scene", "t_median"] == pytest.approx(1.0, abs=1e-4)
    assert rows.loc["patch", "t_max"] <= rows.loc["warmer", "t_max"]
    plain, _ = of_images(embed(images, tmp_path, "plain"))
    assert set(plain["unit"]) == {"counts"}
    assert plain.loc["scene", "t_max"] == counts.max()


@pytest.mark.parametrize(
    ("more", "mode"),
    [
        ({"prepare": "dataset"}, "dataset"),
        ({"prepare": "recording"}, "recording"),
        ({"prepare": "clahe", "invert": "yes"}, "clahe"),
        ({"prepare": "window=20:30", "scale": "0.04K"}, "window"),
        ({"scale": "0.04K"}, "percentile"),
    ],
)
def test_whoever_shows_a_set_shows_what_the_network_saw(
    images: Path, tmp_path: Path, more: dict[str, Any], mode: str
) -> None:
    """The stored limits bring back the pixels, though no pass over the set is made again."""
    (images / "recordings.csv").write_text("image,recording\nscene.tif,a\npatch.tif,a\nwarmer.tif,b\n")
    known = embed(images, tmp_path, "set", **more)
    shown = next(read_prepared([ImageRef(images, "scene.tif")], shown=known.shown))
    assert shown.prepared
    row = known.items.set_index("image").loc["scene.tif"]
    assert (row["prepare"], row["lo"], row["hi"]) == (mode, shown.prepared.lo, shown.prepared.hi)
    stored = known.part("raw", (known.items["image"] == "scene.tif").to_numpy())[0]
    np.testing.assert_allclose(raw(shown.prepared.pixels[None])[0], stored, atol=2e-3)


def test_another_set_can_lend_its_limits(images: Path, tmp_path: Path) -> None:
    """As labelled boxes need them: few images of a set, with the limits of all of it."""
    whole = embed(images, tmp_path, "whole", prepare="dataset")
    listed = tmp_path / "few.txt"
    listed.write_text("warmer.tif\n")
    few = embed(images, tmp_path, "few", prepare="dataset", list_file=listed)
    lent = embed(images, tmp_path, "lent", prepare="dataset", list_file=listed, limits_of="whole")
    row = whole.items.set_index("image").loc["warmer.tif"]
    assert few.items["lo"].iloc[0] > row["lo"]
    assert (lent.items["lo"].iloc[0], lent.items["hi"].iloc[0]) == (row["lo"], row["hi"])
    with pytest.raises(UsageError, match=r"does not hold patch\.tif"):
        embed(images, tmp_path, "other", prepare="dataset", limits_of="few")


@pytest.mark.parametrize(
    ("more", "says"),
    [({"scale": "0.04"}, "0.04K or 0.1C"), ({"object": "emisivity=1"}, "Known: emissivity"),
     ({"object": "emissivity=2"}, "from 0.01 to 1"), ({"prepare": "windows=1:2"}, "window=LO:HI")],
)  # fmt: skip
def test_a_slip_in_a_setting_is_said_before_anything_is_read(
    images: Path, tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        embed(images, tmp_path, "slip", **more)


def test_yes_is_a_word_though_yaml_thinks_otherwise() -> None:
    assert EmbedSettings.resolve(overrides=["invert=yes"]).preparation.invert == "yes"
    assert EmbedSettings.resolve(overrides=["invert=no"]).preparation.invert == "no"
    assert EmbedSettings.resolve().preparation.invert == "auto"


def test_a_window_that_shows_nothing_names_the_image_once(images: Path, tmp_path: Path) -> None:
    tifffile.imwrite(images / "hot.tif", np.full((64, 80), 60000, np.uint16))
    settings = EmbedSettings.checked({**WHOLE, "images": images, "prepare": "window=7000:8000"})
    (line,) = [line for line in run(settings, tmp_path / "w").lines() if "window" in line and "hot" in line]
    assert line.count("hot.tif") == 1
    assert "60000 to 60000 (counts) all lie outside the window 7000:8000" in line


def test_a_cold_scene_is_black_in_a_window_of_degrees_and_it_is_said(images: Path, tmp_path: Path) -> None:
    tifffile.imwrite(images / "cold.tif", np.full((64, 80), 6000, np.uint16))  # -33 degrees Celsius
    settings = {**WHOLE, "images": images, "prepare": "window=15:40", "scale": "0.04K"}
    report = run(EmbedSettings.checked(settings), tmp_path / "w")
    assert report.failed == 0
    assert any("cold.tif: one grey level only" in remark for remark in report.remarks)
