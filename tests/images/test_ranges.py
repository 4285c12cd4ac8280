from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.images.listing import list_images
from dinonat.images.prepare import parse_preparation
from dinonat.images.ranges import POINTS, pooled_limits
from dinonat.records import ImageRef

SIDE = 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings of 16-bit counts, one grey picture, one colour picture, one that is none."""
    rng = np.random.default_rng(0)
    for number in range(6):
        base = 7000 if number < 3 else 20_000
        counts = rng.integers(base, base + 1000, (SIDE, SIDE), dtype=np.uint16)
        tifffile.imwrite(tmp_path / f"{number}.tif", counts)
    Image.fromarray(rng.integers(30, 60, (SIDE, SIDE), dtype=np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "colour.png")
    (tmp_path / "none.png").write_text("text")
    return tmp_path


def refs_of(folder: Path) -> tuple[ImageRef, ...]:
    return list_images(folder).refs


RECORDINGS = {f"{number}.tif": "day" if number < 3 else "night" for number in range(6)}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_shares_limits_by_unit(folder: Path, workers: int) -> None:
    limits = pooled_limits(refs_of(folder), parse_preparation("dataset"), recordings={}, workers=workers)
    assert set(limits) == {*RECORDINGS, "grey.png"}
    assert len({limits[name] for name in RECORDINGS}) == 1
    whole = np.concatenate([tifffile.imread(folder / name).ravel() for name in RECORDINGS])
    np.testing.assert_allclose(limits["0.tif"], np.percentile(whole, [0.5, 99.5]), atol=1000 * 2 / POINTS)
    assert 30 <= limits["grey.png"][0] < limits["grey.png"][1] < 60


def test_a_recording_shares_limits_and_an_image_of_none_has_its_own(folder: Path) -> None:
    known = {name: recording for name, recording in RECORDINGS.items() if name != "5.tif"}
    limits = pooled_limits(refs_of(folder), parse_preparation("recording"), recordings=known, workers=0)
    assert limits["0.tif"] == limits["1.tif"] == limits["2.tif"]
    assert limits["3.tif"] == limits["4.tif"] != limits["5.tif"]
    for name, members in {"0.tif": range(3), "3.tif": range(3, 5), "5.tif": [5]}.items():
        values = np.concatenate([tifffile.imread(folder / f"{number}.tif").ravel() for number in members])
        np.testing.assert_allclose(limits[name], np.percentile(values, [1, 99]), atol=1000 * 2 / POINTS)


def test_one_hot_pixel_in_every_image_moves_nothing(folder: Path) -> None:
    before = pooled_limits(refs_of(folder), parse_preparation("dataset"), recordings={}, workers=0)["0.tif"]
    for name in RECORDINGS:
        counts = tifffile.imread(folder / name)
        counts[3, 4] = 65535
        tifffile.imwrite(folder / name, counts)
    after = pooled_limits(refs_of(folder), parse_preparation("dataset"), recordings={}, workers=0)["0.tif"]
    np.testing.assert_allclose(after, before, atol=1000 * 2 / POINTS)
