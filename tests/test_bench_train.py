from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dinonat.errors import UsageError
from dinonat.models.catalog import NETWORKS
from dinonat.pipelines import bench_train
from dinonat.pipelines.bench_train import BenchTrainSettings, run_train
from dinonat.pretraining import crops
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.thermal_look import thermal_like

TINY = {
    "network": "shallow",
    "batch": 2,
    "threads": 1,
    "rounds": 1,
    "global_sizes": (32, 48),
    "local_sizes": (16, 24),
    "n_local": 1,
    "picture_side": 64,
    "out_dim": 16,
    "hidden": 16,
}


@pytest.fixture(autouse=True)
def shallow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """One layer a stage: what is timed is counted and compared here, and not how fast it is."""
    shallow = NETWORKS["nat_nano"].model_copy(update={"depths": (1, 1, 1, 1)})
    monkeypatch.setitem(NETWORKS, "shallow", shallow)


def tiny(**changes: object) -> BenchTrainSettings:
    return BenchTrainSettings.checked(TINY | changes)


def test_every_path_is_a_row_for_small_and_large_crops_and_figures_agree(tmp_path: Path) -> None:
    report = run_train(tiny(backends=("dense", "tiled")), tmp_path)
    rows = [(row.backend, row.global_size, row.local_size) for row in report.rows]
    assert rows == [(name, *sizes) for name in ("dense", "tiled") for sizes in ((32, 16), (48, 24))]
    last = {row.global_size: row for row in report.rows if row.backend == "tiled"}
    for row in report.rows:
        assert row.images_per_second == pytest.approx(2000 / row.step, rel=0.01)
        assert row.ratio == pytest.approx(last[row.global_size].step / row.step, abs=0.006)
        assert row.views == last[row.global_size].views  # the same work whatever the attention
    assert "noise (seed 0)" in report.pictures
    assert any("tiled" in line and "%" in line for line in report.lines())


def test_the_compiled_kernel_is_compared_with_the_path_in_pytorch_by_default(tmp_path: Path) -> None:
    report = run_train(tiny(global_sizes=(32, 32), local_sizes=(16, 16)), tmp_path)
    assert {row.backend for row in report.rows} | {"c"} == {"c", "torch"}  # without a compiler only torch


def test_pictures_may_come_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "colour"
    folder.mkdir()
    for i in range(5):
        Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)).save(folder / f"{i}.png")
    report = run_train(tiny(backends=("tiled",), folder=folder, images=3), tmp_path)
    assert report.pictures == "3 pictures of colour"


def test_a_network_without_neighborhood_attention_is_timed_once(tmp_path: Path) -> None:
    report = run_train(tiny(network="vit_tiny", global_sizes=(32, 32), local_sizes=(16, 16)), tmp_path)
    assert [(row.backend, row.ratio) for row in report.rows] == [("auto", 1.0)]  # and one size of crops


def test_memory_is_that_of_a_run_whose_passes_are_not_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a GPU replays lies in a pool that torch does not count."""
    made: list[bool] = []  # with or without recorded passes, step by step
    measured: list[bool] = []
    train = bench_train.train

    def watched(pictures: Any, recipe: TrainSettings, *rest: Any, **named: Any) -> Iterator[Any]:
        for figures in train(pictures, recipe, *rest, **named):
            made.append(recipe.graphs)
            yield figures

    def peak(work: Callable[[], object], device: torch.device) -> float:
        work()
        measured.append(made[-1])
        return 7.0

    monkeypatch.setattr(bench_train, "train", watched)
    monkeypatch.setattr(bench_train, "peak_memory", peak)
    small = tiny(backends=("dense",), global_sizes=(32, 32), local_sizes=(16, 16))
    (row,) = run_train(small, tmp_path).rows
    assert row.memory == 7.0
    assert measured == [False]
    assert made == [True] * 3 + [False] * 2  # can it serve, a round before, a round; memory's own two


@pytest.mark.parametrize("profile", ["plain", "thermal"])
def test_views_look_thermal_where_the_recipe_says_so(
    profile: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Three groups of views a step, in the step itself and where the making of views is timed alone."""
    looked = []

    def look(*given: Any) -> torch.Tensor:
        looked.append(len(given[0]))
        return thermal_like(*given)

    monkeypatch.setattr(crops, "thermal_like", look)
    one = tiny(backends=("dense",), global_sizes=(32, 32), local_sizes=(16, 16), profile=profile)
    run_train(one, tmp_path)
    steps, alone = (5, 2) if profile == "thermal" else (0, 0)
    assert len(looked) == 3 * (steps + alone)


def test_a_path_that_cannot_serve_is_named_and_an_unknown_network_is_a_sentence(tmp_path: Path) -> None:
    report = run_train(tiny(backends=("magic", "tiled")), tmp_path)
    assert {row.backend for row in report.rows} == {"tiled"}
    assert ["magic" in warning for warning in report.warnings] == [True]
    with pytest.raises(UsageError, match="magic"):
        run_train(tiny(backends=("magic",)), tmp_path)
    with pytest.raises(UsageError, match="Network 'nat_nona' is not known"):
        run_train(tiny(network="nat_nona"), tmp_path)
