import math

import numpy as np
import pytest
import torch

from dinonat.models import catalog
from dinonat.models.nat import NATSettings
from dinonat.models.vit import ViTSettings
from dinonat.pretraining import health
from dinonat.pretraining.health import Collapsed, Finding, Health, feature_rank, feature_std
from dinonat.pretraining.pictures import alone
from dinonat.pretraining.recipe import TrainSettings, warmup_steps
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.state import new_state
from dinonat.pretraining.step import make_step
from dinonat.pretraining.trainer import batch_indices, train

STEPS = 200
# Sixteen greys: all that can be learned of them is how bright they are, and that within 200 steps.
GREYS = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None, None, None] * 17, (16, 16, 16, 3)).copy()
ASPECTS = np.ones(len(GREYS), np.float32)


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    nat = NATSettings(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=3, position_bias=False)
    monkeypatch.setitem(catalog.NETWORKS, "tiny", nat)
    monkeypatch.setitem(catalog.NETWORKS, "tiny_vit", ViTSettings(dim=16, depth=1, heads=2, patch=8))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these networks are so small that threads only wait for each other
    yield
    torch.set_num_threads(threads)


def recipe(**changes) -> TrainSettings:
    values = {
        "network": "tiny_vit", "batch": 8, "global_sizes": (16, 16), "local_sizes": (16, 16), "n_local": 1,
        "out_dim": 64, "hidden": 32, "bottleneck": 16, "freeze_prototypes": 10, "learning_rate": 3e-3,
    }  # fmt: skip
    return TrainSettings.checked({**values, **changes})


def watched(settings: TrainSettings, *, until: str | None = None) -> tuple[list[Finding | None], Health]:
    """Train for 200 steps, or until something of that name is found; return what is found at each step."""
    course, state, pictures = Course(STEPS), new_state(settings, torch.device("cpu")), alone(GREYS, ASPECTS)
    warmup = max(warmup_steps(settings, course)[0], settings.freeze_prototypes)
    watch, found = Health(settings.out_dim, warmup=warmup, patience=10), []
    for step in range(STEPS):
        chosen = batch_indices(len(GREYS), settings.batch, step, settings.seed)
        detail = step % 20 == 19
        found.append(
            watch.observe(make_step(state, pictures, chosen, settings, course=course, detail=detail))
        )
        if found[-1] and found[-1].name == until and found[-1].stop:
            break
    return found, watch


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"teacher_temperature": (1.0, 1.0)}, "uniform collapse"),
        ({"teacher_temperature": (1.0, 1.0), "network": "tiny", "seed": 1}, "uniform collapse"),
        ({"teacher_temperature": (0.02, 0.02), "seed": 2}, "constant collapse"),
    ],
)
def test_a_forced_collapse_is_named_within_200_steps_and_then_stops(changes, name):
    settings = recipe(targets="centre", centre_momentum=1.0, **changes)
    found, _ = watched(settings, until=name)
    named = [each for each in found if each]
    assert {each.name for each in named} <= {name, "few prototypes"}  # which comes before a constant one
    fatal = [each for each in named if each.name == name]
    assert [each.stop for each in fatal] == [False] * 9 + [True]  # after a patience of ten steps
    assert all(each.fatal == (each.name == name) for each in named)


def test_a_collapsed_run_stops_and_keeps_its_state(tmp_path):
    settings = recipe(
        targets="centre", centre_momentum=1.0, teacher_temperature=(1.0, 1.0), patience=5, learning_rate=1e-2
    )
    said = []
    run = train(
        alone(GREYS, ASPECTS),
        settings,
        tmp_path,
        course=Course(STEPS),
        device=torch.device("cpu"),
        remark=said.append,
    )
    with pytest.raises(Collapsed, match=f"{tmp_path}: uniform collapse.*step .* is kept"):
        list(run)
    assert len(said) == 1  # when it was first seen, and not at each step
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] < STEPS


@pytest.mark.parametrize(
    "changes",
    [
        {},
        # At first it gives one answer to all, as collapsed runs do, and leaves it at about step 50.
        {"targets": "centre", "teacher_temperature": (0.04, 0.04), "seed": 1},
        {"dense": 0.5, "seed": 2},
        {"profile": "thermal", "thermal_from": 0.3, "seed": 3},
        {"network": "tiny", "batch": 2},
    ],
)
def test_nothing_is_found_in_a_healthy_run(changes):
    found, watch = watched(recipe(**changes))
    assert not [each for each in found if each]
    assert watch.known > 0.02  # it is healthy: the student tells some of the pictures apart


# What real runs had at some of their steps: nat_nano on 300 photographs, 24 a step, views of 32 and 16 px,
# prototypes frozen for 100 steps. Columns: step, loss, H(p_t), H(mean p_t).
DEFAULT = """
1 7.3931 4.2786 6.9136; 2 7.3226 4.2611 6.9152; 6 7.2525 4.2280 6.9060; 11 7.2789 4.2837 6.9203
21 6.9010 4.7653 6.9008; 31 6.8190 4.8262 6.9193; 61 6.9920 4.8766 6.9217; 101 6.8290 4.7987 6.9227
121 6.6030 4.7174 6.9237; 151 6.8248 4.7171 6.9206; 176 6.6441 4.8503 6.9075; 200 6.5545 4.9361 6.9156
"""
SHARP_UNCENTRED_4096 = """
40 1.790 0.031 0.715; 80 1.744 0.042 0.678; 120 0.559 0.058 0.607
160 0.555 0.071 0.607; 200 0.250 0.056 0.250; 240 0.271 0.078 0.319
"""
CENTRED_007 = """
1 7.1178 5.5311 6.4995; 2 7.0881 5.5873 6.5426; 6 6.9079 5.6987 6.6047; 11 6.9611 5.7929 6.6271
21 6.9781 6.1920 6.7405; 31 6.9886 6.2736 6.7854; 61 6.9634 6.0847 6.6943; 101 6.9861 6.0292 6.6450
"""
TEMPERATURE_1 = """
1 7.6406 6.9239 6.9300; 6 7.4087 6.9242 6.9296; 21 7.3136 6.9260 6.9294; 41 7.2800 6.9265 6.9284
81 7.2590 6.9268 6.9275; 101 7.2538 6.9268 6.9274; 121 6.9438 6.9275 6.9280; 151 6.9300 6.9287 6.9290
176 6.9299 6.9291 6.9293; 200 6.9300 6.9294 6.9296
"""
SHARP_UNCENTRED = """
1 6.6708 1.4016 4.1573; 6 5.6529 1.1139 3.9207; 11 4.7366 0.9260 3.0995; 21 1.9615 0.2461 1.3153
41 0.9471 0.0477 0.4482; 61 0.5321 0.0463 0.2852; 81 0.1056 0.0027 0.0049; 101 0.0945 0.0000 0.0000
121 0.0259 0.0000 0.0000; 151 0.0105 0.0000 0.0000; 200 0.0067 0.0000 0.0000
"""


def replayed(table: str, steps: int = 200) -> list[dict[str, float]]:
    rows = np.array([row.split() for row in table.strip().replace("\n", ";").split(";")], dtype=float)
    at = np.arange(1, steps + 1)
    loss, entropy, spread = (np.interp(at, rows[:, 0], column) for column in rows[:, 1:].T)
    return [figures(*each) for each in zip(at, loss, entropy, spread, strict=True)]


def figures(step: int, loss: float, entropy: float, spread: float, **more: float) -> dict[str, float]:
    return {"step": step, "loss": loss, "teacher_entropy": entropy, "spread_entropy": spread, **more}


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (DEFAULT, []),
        (CENTRED_007, []),
        (TEMPERATURE_1, ["uniform collapse"]),
        (SHARP_UNCENTRED, ["constant collapse", "few prototypes"]),
    ],
)
def test_real_runs_replayed(table, names):
    watch = Health(1024, warmup=100)
    found = [watch.observe(each) for each in replayed(table)]
    assert sorted({each.name for each in found if each}) == names
    assert all(each is None for each in found[:100])  # prototypes are frozen: nothing is judged


def test_a_slow_constant_collapse_is_named_on_its_way():
    # Of this run a few pictures kept a prototype of their own until step 360.
    watch = Health(4096, warmup=100)
    found = [watch.observe(each) for each in replayed(SHARP_UNCENTRED_4096)]
    assert {each.name for each in found[150:]} == {"few prototypes"}
    assert not any(each.stop for each in found[150:])
    assert "share 1.8 of 4096 prototypes" in found[150].seen


def test_the_fingerprint_is_said_with_its_numbers_and_what_to_change():
    watch = Health(1024, warmup=100, temperature=0.1)
    said = str([watch.observe(each) for each in replayed(TEMPERATURE_1)][-1])
    for part in ("loss 6.9300", "ln(1024) = 6.9315", "teacher entropy 6.929", "KL 0.0007"):
        assert part in said
    assert "teacher_temperature=[0.02,0.02] (sharper answers; it must stay below the student's 0.1)" in said


def test_a_loss_on_the_logarithm_is_no_collapse_while_answers_differ():
    # Sinkhorn keeps the spread at ln K whatever happens, and the loss is near it where learning begins.
    full = math.log(64)
    watch = Health(64, warmup=0)
    assert not any(watch.observe(figures(step, full, 3.8, full)) for step in range(1, 400))


def test_a_loss_that_falls_and_rises_is_no_finding():
    steps = np.arange(1, 3000)
    losses = 6.0 - 1.5 * np.sin(steps / 3000 * np.pi * 2)  # to 4.5, up to 7.5
    watch = Health(1024, warmup=0)
    assert not any(
        watch.observe(figures(step, loss, loss - 2, 6.9)) for step, loss in zip(steps, losses, strict=True)
    )


def test_one_answer_to_all_is_no_finding_while_it_moves():
    watch = Health(64, warmup=0)
    entropies = np.linspace(1.3, 4.0, 100)  # as while the centre is being found
    found = [watch.observe(figures(n, h + 0.005, h, h + 0.004)) for n, h in enumerate(entropies)]
    assert not any(found)


def test_a_collapse_that_passes_does_not_stop_the_run():
    watch = Health(64, warmup=0, patience=100)
    full = math.log(64)
    found = []
    for step in range(1, 600):
        told = 0.0 if step % 100 < 70 else 1.0  # never for the patience without a break
        found.append(watch.observe(figures(step, full, full - told, full)))
    assert any(each and each.fatal for each in found)
    assert not any(each.stop for each in found if each)


def test_a_student_that_knows_nothing_after_long_is_said_to_be_not_learning():
    watch = Health(1024, warmup=50)
    found = [watch.observe(figures(step, 6.95, 4.8, 6.92)) for step in range(1, 1200)]
    assert all(each is None for each in found[: 50 + health.SLOW - 1])
    assert found[-1].name == "not learning"
    assert not found[-1].fatal
    assert "loss 6.9500, no better than the 6.9200" in found[-1].seen


@pytest.mark.parametrize(
    ("std", "rank", "name", "fatal"),
    [(0.01, 1.1, "feature collapse", True), (0.6, 5.0, "dimensional collapse", False)],
)
def test_features_are_judged_below_the_heads(std, rank, name, fatal):
    watch = Health(1024, warmup=0, patience=50)
    found = []
    for step in range(1, 400):
        if step % 20:
            more = {}
        else:
            values = (0.9, 40.0) if step < 200 else (std, rank)
            more = dict(zip(("feature_std", "feature_rank"), values, strict=True))
        found.append(watch.observe(figures(step, 6.5, 4.9, 6.9, **more)))
    assert not any(found[:239])  # two odd figures of five are not believed
    assert {each.name for each in found[300:]} == {name}
    assert found[-1].stop == fatal


def test_a_network_that_begins_with_one_feature_for_all_is_not_blamed():
    watch = Health(1024, warmup=0)
    values = np.linspace(0.01, 0.4, 200)
    assert not any(
        watch.observe(figures(step, 6.5, 4.9, 6.9, feature_std=std, feature_rank=1 + 20 * std))
        for step, std in enumerate(values)
    )


def test_a_loss_that_is_not_finite_stops_at_once():
    finding = Health(64, warmup=10).observe(figures(3, math.nan, 1.0, 4.0))
    assert finding.stop
    assert "no longer finite at step 3" in str(finding)


def test_rank_counts_equal_directions():
    # r orthogonal directions of equal strength have r equal singular values, whose entropy is ln r.
    directions, _ = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(0)))
    for rank in (1, 3, 12):
        features = directions[:, :rank] @ directions[:rank]
        assert feature_rank(7 * features) == pytest.approx(rank, rel=1e-4)


def test_rank_is_that_of_the_paper_in_float64():
    features = np.random.default_rng(0).normal(size=(40, 9)) * np.arange(1, 10) + 2  # not centred
    values = np.sqrt(np.linalg.eigvalsh(features.T @ features))
    shares = values / values.sum()
    wanted = np.exp(-(shares * np.log(shares)).sum())
    assert feature_rank(torch.from_numpy(features).float()) == pytest.approx(wanted, rel=1e-5)


def test_deviation_is_one_for_all_directions_and_zero_for_one():
    everywhere = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert feature_std(everywhere) == pytest.approx(1, abs=0.01)
    assert feature_std(torch.ones(5, 16) * torch.arange(1, 6)[:, None]) == pytest.approx(0, abs=1e-6)
    assert feature_std(torch.cat([torch.eye(2), -torch.eye(2)])) == pytest.approx(1)  # std 1/sqrt(2) each
