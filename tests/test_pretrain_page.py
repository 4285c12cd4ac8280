import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dinonat.pipelines.pretrain_page import LOCALS, SHOWN, seen_at, some_of, write_page
from dinonat.pretraining import ranks
from dinonat.pretraining.pictures import Pictures, alone
from dinonat.pretraining.recipe import TrainSettings, view_plans
from dinonat.pretraining.views import draw_views, make_views

RECIPE = TrainSettings(
    global_sizes=(32, 48), local_sizes=(16, 24), n_local=5, profile="thermal", thermal_tone=1.0, batch=4
)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """Ten pictures without partners that are colourful: smooth, strong, different channels."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((10, 3, 4, 4)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, 64, mode="bilinear")
    pixels = (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return alone(pixels, np.linspace(0.8, 1.6, 10).astype(np.float32))


def with_pairs(pictures: Pictures, pairs: int) -> Pictures:
    """The last ``pairs`` pictures are the black partners of those before them."""
    count = len(pictures.pixels)
    pixels, partners = pictures.pixels.copy(), np.full(count, -1)
    partners[count - pairs :] = np.arange(count - 2 * pairs, count - pairs)
    partners[count - 2 * pairs : count - pairs] = np.arange(count - pairs, count)
    pixels[count - pairs :] = 0
    return Pictures(pixels, pictures.aspects, pictures.items, partners)


def test_the_teacher_sees_plain_views_and_the_student_thermal_ones_late(pictures: Pictures) -> None:
    early, late = (seen_at(pictures, RECIPE, position, "") for position in (0.0, 0.999))
    assert early.teacher.shape == early.student.shape == (SHOWN, 2, 32, 32, 3)
    assert early.local.shape == (SHOWN, LOCALS, 16, 16, 3)
    assert late.teacher.shape == late.student.shape == (SHOWN, 2, 48, 48, 3)
    assert late.local.shape == (SHOWN, LOCALS, 24, 24, 3)
    assert all(views.dtype == np.uint8 for views in (early.teacher, early.student, early.local))
    assert (early.teacher == early.student).all()

    def grey(views: np.ndarray) -> np.ndarray:  # which views have three channels that are one
        return (np.ptp(views.astype(int), axis=-1) <= 1).all((2, 3))

    assert not grey(late.teacher).all()
    assert grey(late.student).all()
    assert grey(late.local).all()
    assert not grey(early.local).all()


def test_what_is_shown_is_what_a_step_draws(pictures: Pictures) -> None:
    seen, chosen = seen_at(pictures, RECIPE, 0.0, ""), some_of(pictures)
    generator = torch.Generator().manual_seed(RECIPE.seed)
    aspects = torch.from_numpy(pictures.aspects[chosen])
    (plan, count), *_ = view_plans(RECIPE, 0.0)
    first = make_views(torch.from_numpy(pictures.pixels[chosen]), draw_views(aspects, plan, generator, count))
    wanted = (first.clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(seen.teacher[:, 0].astype(float) - wanted).max() <= 0.51  # there and back, rounded once


def test_pairs_are_among_the_pictures_and_lie_last(pictures: Pictures) -> None:
    paired = with_pairs(pictures, 3)
    chosen = some_of(paired)
    assert len(set(chosen)) == SHOWN
    assert (paired.partners[chosen] >= 0).tolist() == [False] * 3 + [True] * 3
    seen = seen_at(paired, RECIPE, 0.0, "")
    assert seen.paired == 3
    assert (seen.teacher[:3] == seen.student[:3]).all()
    for row, picture in enumerate(chosen[3:], start=3):
        dark, light = (seen.teacher, seen.student) if picture >= 7 else (seen.student, seen.teacher)
        assert np.ptp(dark[row].reshape(2, -1), axis=1).max() == 0  # a black picture stays of one grey
        assert np.ptp(light[row].reshape(2, -1), axis=1).min() > 0


@pytest.mark.parametrize("count", [1, 2, 6, 7])
def test_few_pictures_and_no_small_views(pictures: Pictures, count: int) -> None:
    few = alone(pictures.pixels[:count], pictures.aspects[:count])
    seen = seen_at(few, RECIPE.model_copy(update={"n_local": 0}), 0.5, "")
    assert len(seen.teacher) == min(count, SHOWN)
    assert seen.local.size == 0
    assert some_of(Pictures(few.pixels, few.aspects, np.zeros(9, np.int64), few.partners)).tolist() == [0]


def test_the_first_of_several_processes_shows_all(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "world", lambda: 3)
    assert len(seen_at(pictures, RECIPE, 0.0, "").teacher) == SHOWN


def test_a_page_is_written_of_a_run_that_left_only_figures(pictures: Pictures, tmp_path: Path) -> None:
    lines = [{"step": step, "loss": 6.9, "teacher_entropy": 6.9} for step in (20, 40)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    (tmp_path / "length.json").write_text('{"steps": 400}')
    path = write_page(tmp_path, pictures, RECIPE, stopped="uniform collapse: all are alike.")
    page = path.read_text("utf-8")
    assert path == tmp_path / "report.html"
    assert "This run stopped: step 40 of 400." in page
    assert "uniform collapse: all are alike." in page
    assert "ln 1024" in page  # from the recipe, whose file is not there
    assert page.count("<img") == 6
    assert page.count('width="') >= 6
    assert "At step 40 of 400" in page
    assert page.count("large views: the same for both") == 2  # it never came to the thermal-like ones
    path.unlink()
    (tmp_path / "metrics.jsonl").unlink()
    assert "step 0 of 400" in write_page(tmp_path, pictures, RECIPE).read_text("utf-8")
