import numpy as np
import pytest
import torch

from dinonat.models import catalog
from dinonat.models.vit import ViT, ViTSettings
from dinonat.pretraining import losses
from dinonat.pretraining.overfit import Overfit, overfit_one_batch
from dinonat.pretraining.pictures import alone
from dinonat.pretraining.recipe import TrainSettings

GREYS = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None] * 50, (6, 16, 16, 3)).copy()
PICTURES = alone(GREYS, np.ones(6, np.float32))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(catalog.NETWORKS, "tiny", ViTSettings(dim=16, depth=1, heads=2, patch=8))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is so small that threads only wait for each other
    yield
    torch.set_num_threads(threads)


def recipe(**changes) -> TrainSettings:
    values = {
        "network": "tiny", "batch": 8, "global_sizes": (16, 16), "local_sizes": (16, 16), "n_local": 1,
        "out_dim": 64, "hidden": 32, "bottleneck": 16, "learning_rate": 1e-2,
    }  # fmt: skip
    return TrainSettings.checked({**values, **changes})


def test_a_recipe_that_learns_learns_one_batch_the_same_way_each_time():
    found = overfit_one_batch(PICTURES, recipe(), CPU)
    assert found.works
    assert found.kl_last < 0.5 * found.kl_first
    assert found.known > 0.5 * found.told
    assert str(found).endswith("this recipe learns.")
    again = [overfit_one_batch(PICTURES, recipe(), CPU, steps=10) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targets": "centre", "teacher_temperature": (1.0, 1.0), "centre_momentum": 1.0}, "the same answer"),
        ({"learning_rate": 1e-8, "final_learning_rate": 1e-8}, "does not learn even one batch"),
    ],
)
def test_a_recipe_that_cannot_learn_is_seen(changes, said):
    found = overfit_one_batch(PICTURES, recipe(**changes), CPU, steps=80)
    assert not found.works
    assert said in str(found)


def test_a_loss_that_is_not_finite_ends_it(monkeypatch):
    loss = losses.dino.dino_loss
    monkeypatch.setattr(losses.dino, "dino_loss", lambda *a, **k: loss(*a, **k) * float("nan"))
    found = overfit_one_batch(PICTURES, recipe(), CPU)
    assert found.steps == 1
    assert not found.works
    assert "not finite" in str(found)


def test_every_step_sees_the_same_views_at_the_full_rate(monkeypatch):
    seen, rates = [], []
    forward, step = ViT.forward, torch.optim.AdamW.step
    monkeypatch.setattr(ViT, "forward", lambda self, x: (seen.append(x), forward(self, x))[1])
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self))[1]
    )
    overfit_one_batch(PICTURES, recipe(drop_path=0.5), CPU, steps=3)
    assert len(seen) == 3 * 3  # a step asks the teacher once, the student once for each of two groups
    assert all(torch.equal(x, seen[n % 3]) for n, x in enumerate(seen))
    assert rates == [0.01] * 3


def test_a_collapse_is_no_success_though_kl_vanishes():
    assert not Overfit(60, kl_first=0.7, kl_last=0.001, told=0.001, known=0.0).works
    assert Overfit(60, kl_first=3.3, kl_last=0.3, told=3.3, known=3.0).works
