import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU, with a reason, where there is none; torch loads only if such a test is asked."""
    needing = [item for item in items if item.get_closest_marker("cuda")]
    if not needing:
        return
    import torch

    if not torch.cuda.is_available():
        for item in needing:
            item.add_marker(
                pytest.mark.skip(reason="no CUDA device: run `make gpu-check` where there is one")
            )


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real images; tests that need it skip where DINOTOOL_DATA is not set."""
    folder = os.environ.get("DINOTOOL_DATA")
    if not folder:
        pytest.skip("DINOTOOL_DATA is not set: no real images here")
    return Path(folder)


@pytest.fixture(scope="session")
def textures() -> Callable[..., np.ndarray]:
    """Made grey pictures (H, W) uint8 that differ from each other all over: smooth patches and boxes."""

    def make(seed: int, height: int = 192, width: int = 256) -> np.ndarray:
        rng = np.random.default_rng(seed)
        picture = np.zeros((height, width))
        for cells in (4, 8, 16, 32):
            coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
            picture += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / np.sqrt(cells)
        for _ in range(4):
            top, left = rng.integers(0, height - 40), rng.integers(0, width - 40)
            picture[top : top + rng.integers(10, 40), left : left + rng.integers(10, 40)] += 0.8
        picture = (picture - picture.min()) / np.ptp(picture)
        return np.clip(30 + 190 * picture + rng.normal(0, 2, picture.shape), 0, 254).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of two shapes, a bright block in each."""
    folder = tmp_path_factory.mktemp("made") / "thermal"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 60, (70 + 26 * (i == 2), 100), dtype=np.uint8)
        pixels[20:50, 10 + 15 * i : 40 + 15 * i] += 150
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder
