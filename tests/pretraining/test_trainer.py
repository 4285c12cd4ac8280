import json

import numpy as np
import pytest
import torch

from dinonat.errors import CheckpointError, DinonatError, UsageError
from dinonat.models import catalog
from dinonat.models.checkpoint import fingerprint
from dinonat.models.nat import NATSettings
from dinonat.pretraining import losses, trainer
from dinonat.pretraining.crops import draw, parts
from dinonat.pretraining.pictures import Pictures, alone
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.state import load_teacher, new_state
from dinonat.pretraining.step import make_step
from dinonat.pretraining.trainer import batch_indices, train

CPU = torch.device("cpu")
PICTURES = np.random.default_rng(0).integers(0, 256, (10, 40, 40, 3), dtype=np.uint8)
ASPECTS = np.linspace(0.7, 1.5, 10, dtype=np.float32)
ALONE = alone(PICTURES, ASPECTS)


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    settings = NATSettings(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=3, position_bias=False)
    monkeypatch.setitem(catalog.NETWORKS, "tiny", settings)
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)


def recipe(**changes) -> TrainSettings:
    values = {
        "network": "tiny", "batch": 4, "global_sizes": (32, 32), "local_sizes": (16, 16), "n_local": 2,
        "out_dim": 16, "hidden": 16, "bottleneck": 8, "freeze_prototypes": 1,
    }  # fmt: skip
    return TrainSettings.checked({**values, **changes})


def trained(folder, steps: int, settings: TrainSettings, stop: int | None = None) -> str:
    folder.mkdir(exist_ok=True)
    for figures in train(ALONE, settings, folder, course=Course(steps), device=CPU):
        if figures["step"] == stop:
            break
    return fingerprint(load_teacher(folder, settings)) if stop is None else ""


def stepped(state, settings: TrainSettings, pictures: Pictures = ALONE, **more) -> dict[str, float]:
    return make_step(state, pictures, np.arange(4), settings, course=Course(10), **more)


def test_same_seed_twice_gives_the_same_teacher_and_another_seed_another(tmp_path):
    first = trained(tmp_path / "a", 4, recipe())
    assert trained(tmp_path / "b", 4, recipe()) == first
    assert trained(tmp_path / "c", 4, recipe(seed=1)) != first


@pytest.mark.parametrize(
    "changes",
    [{}, {"drop_path": 0.3, "targets": "centre"}, {"dense": 1.0, "profile": "thermal", "thermal_from": 0.4}],
)
def test_a_killed_run_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch, changes):
    settings = recipe(**changes)
    whole = trained(tmp_path / "whole", 6, settings)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)  # save every step
    trained(tmp_path / "cut", 6, settings, stop=3)
    with (tmp_path / "cut/metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": 5}) + "\n")  # written after the last saved state
    assert trained(tmp_path / "cut", 6, settings) == whole
    lines = [json.loads(line) for line in (tmp_path / "cut/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_the_loss_falls_on_pictures_that_can_be_told_apart(tmp_path):
    flat = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, (8, 32, 32, 3)).copy()
    settings = recipe(batch=8, learning_rate=5e-3, koleo=0.0)
    losses = [
        f["loss"]
        for f in train(alone(flat, np.ones(8, np.float32)), settings, tmp_path, course=Course(40), device=CPU)
    ]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2


def test_teacher_by_epoch_moves_only_where_an_epoch_ends(tmp_path):
    start = fingerprint(new_state(recipe(), CPU).teacher)
    settings = recipe(teacher_update="epoch", momentum=(0.5, 0.5))
    assert trained(tmp_path / "a", 2, settings) == start  # 8 of 10 pictures
    assert trained(tmp_path / "b", 3, settings) != start


def test_a_state_of_other_settings_is_refused(tmp_path):
    trained(tmp_path, 1, recipe())
    with pytest.raises(CheckpointError, match="other settings"):
        trained(tmp_path, 2, recipe(batch=5))


def test_a_damaged_state_is_refused_in_words(tmp_path):
    trained(tmp_path, 1, recipe())
    state = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(state[: len(state) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        trained(tmp_path, 2, recipe())


@pytest.mark.parametrize("part", ["dino_loss", "koleo", "region_loss"])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(tmp_path, monkeypatch, part):
    monkeypatch.setattr(losses.dino, part, lambda *_, **__: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(DinonatError, match="no longer finite"):
        trained(tmp_path, 1, recipe(dense=1.0))
    assert not (tmp_path / "state.pt").exists()


def test_groups_of_one_size_are_asked_apart():
    # A recorded pass keeps one set of answers: the second group would overwrite the first's gradient.
    settings = recipe(global_sizes=(32, 32), local_sizes=(32, 32), n_local=2)
    state = new_state(settings, CPU)
    stepped(state, settings)
    asked = [value for (who, *_), value in state.passes.items() if who == "student"]
    assert len(asked) == 2
    assert asked[0] is not asked[1]


def test_what_a_network_draws_depends_on_the_step_alone(tmp_path):
    settings = recipe(drop_path=0.5)
    torch.manual_seed(1)
    first = trained(tmp_path / "a", 2, settings)
    torch.manual_seed(2)
    assert trained(tmp_path / "b", 2, settings) == first


def views_of(pictures: Pictures, settings: TrainSettings, position: float, chosen=range(4)):
    chosen = np.array(chosen)
    drawn = draw(pictures, chosen, settings, position=position, seed=1)
    [part] = parts(pictures, chosen, drawn, 1, CPU)
    return part


def test_the_teacher_never_sees_thermal_views_and_the_student_only_at_the_end():
    settings = recipe(profile="thermal", thermal_from=0.5, thermal_tone=1.0)
    early, late = views_of(ALONE, settings, 0.4), views_of(ALONE, settings, 0.6)
    for part, changed in ((early, False), (late, True)):
        assert [v.shape[-1] for v in part.plain] == [32, 32]
        assert [v.shape[-1] for v in part.seen] == [32, 32, 16]
        assert len(part.seen[2]) == 2 * len(part.seen[0])
        assert torch.equal(torch.cat(part.plain), torch.cat(part.seen[:2])) != changed
    torch.testing.assert_close(torch.cat(early.plain), torch.cat(late.plain))  # the same crops


@pytest.mark.parametrize("network", ["tiny", "vit_tiny"])
def test_the_loss_between_regions_reaches_the_network_and_its_own_head(network):
    settings = recipe(network=network, dense=1.0, koleo=0.0)
    state = new_state(settings, CPU)
    before = {name: p.clone() for name, p in state.student_regions.named_parameters()}
    for _ in range(2):
        figures = stepped(state, settings)
    assert figures["region_loss"] > 0
    assert any(not torch.equal(p, before[name]) for name, p in state.student_regions.named_parameters())
    followed = zip(state.teacher_regions.parameters(), state.student_regions.parameters(), strict=True)
    assert all(not torch.equal(teacher, student) for teacher, student in followed if student.ndim > 1)


def test_attention_pooling_is_trained_with_its_network_and_travels_with_it(tmp_path):
    settings = recipe(pooling="simpool", dense=0.5)
    start = new_state(settings, CPU).teacher.pool
    trained(tmp_path, 3, settings)
    pool = load_teacher(tmp_path, settings).pool
    moved = [not torch.equal(a, b) for a, b in zip(start.parameters(), pool.parameters(), strict=True)]
    assert any(moved)


def test_a_network_that_is_no_nat_refuses_its_pooling():
    with pytest.raises(UsageError, match="only a NAT"):
        recipe(network="vit_tiny", pooling="simpool")


def test_every_picture_comes_once_in_an_epoch():
    seen = np.concatenate([batch_indices(10, 4, step, seed=3) for step in range(5)])  # two epochs
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_prototypes_stay_frozen_at_the_start(tmp_path):
    settings = recipe(freeze_prototypes=3)
    state = new_state(settings, CPU)
    before = state.student_head.prototypes.weight.clone()
    for _ in range(3):
        stepped(state, settings)
    assert torch.equal(state.student_head.prototypes.weight, before)
    stepped(state, settings)
    assert not torch.equal(state.student_head.prototypes.weight, before)


@pytest.mark.parametrize(("steps", "alone"), [(100, 3), (20, 2)])  # as asked, and a tenth of a short run
def test_a_new_head_learns_alone_at_first(steps, alone):
    settings = recipe(head_first=3, freeze_prototypes=0)
    state = new_state(settings, CPU)
    network, head = fingerprint(state.student), fingerprint(state.student_head)
    for step in range(alone):
        make_step(state, ALONE, np.arange(4), settings, course=Course(steps))
        assert fingerprint(state.student) == network, step
    assert fingerprint(state.student_head) != head
    make_step(state, ALONE, np.arange(4), settings, course=Course(steps))
    assert fingerprint(state.student) != network
