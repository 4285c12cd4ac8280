from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dinonat.embeddings.framing import cut
from dinonat.errors import ImageError
from dinonat.evaluation.pictures import frame, side_of
from dinonat.images.batches import read_prepared
from dinonat.records import ImageRef, UInt8

SETTINGS = {"size": 224, "region_size": 96, "square": False, "region_crop": "square", "region_context": 0.1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(generator.integers(0, 256, (40, 60 + 20 * i, 3), dtype=np.uint8)).save(
            tmp_path / f"{i}.png"
        )
    return tmp_path


def refs(root: Path) -> list[ImageRef]:
    return [ImageRef(root, "0.png"), ImageRef(root, "1.png")]


def items(root: Path) -> pd.DataFrame:
    """A region of the second image, then the first image, then another region of the second."""
    shas = {one.ref.name: one.sha256 for one in read_prepared(refs(root))}
    rows = [
        ("1.png", "region", 3, 4, 20, 10),
        ("0.png", "image", 0, 0, 60, 40),
        ("1.png", "region", 50, 30, 30, 10),
    ]
    table = pd.DataFrame(rows, columns=["image", "kind", "x", "y", "w", "h"])
    return table.assign(sha256=table["image"].map(shas))


def test_each_item_gets_its_picture_by_the_rule_of_embedding(root: Path) -> None:
    table = items(root)
    pixels: UInt8 = np.zeros((3, 32, 32, 3), np.uint8)
    aspects = frame(read_prepared(refs(root)), table, pixels, settings=SETTINGS)
    assert aspects.tolist() == [1, 1.5, 1]
    originals = [np.asarray(Image.open(root / f"{i}.png")) for i in range(2)]
    for row, box in ((0, (3, 4, 20, 10)), (2, (50, 30, 30, 10))):
        expected = cut(originals[1], box, side=32, crop="square", context=0.1)
        assert np.array_equal(pixels[row], expected)
    squashed = Image.fromarray(originals[0]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels[1], squashed)
    squared = frame(read_prepared(refs(root)), table, pixels, settings={**SETTINGS, "square": True})
    assert squared.tolist() == [1, 1, 1]


def test_the_side_is_that_of_the_kind() -> None:
    assert (side_of("image", SETTINGS), side_of("region", SETTINGS)) == (224, 96)


def test_images_that_are_gone_or_others_are_said(root: Path) -> None:
    table = items(root)
    pixels: UInt8 = np.zeros((3, 32, 32, 3), np.uint8)
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(root / "0.png")
    with pytest.raises(ImageError, match=r"0\.png: has changed since it was embedded"):
        frame(read_prepared(refs(root)), table, pixels, settings=SETTINGS)
    (root / "0.png").unlink()
    with pytest.raises(ImageError, match=r"0\.png: was read when it was embedded, and is not now"):
        frame(read_prepared(refs(root)), table, pixels, settings=SETTINGS)
