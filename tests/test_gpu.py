"""What can only be seen on a GPU: `make gpu-check` runs these, elsewhere they skip."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dinonat.embeddings.store import EmbeddingSet
from dinonat.models.catalog import build
from dinonat.pipelines import workspace as places
from dinonat.pipelines.embed import EmbedSettings, run
from dinonat.pretraining import trainer
from dinonat.pretraining.pictures import alone
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.state import load_teacher
from dinonat.pretraining.trainer import train
from dinonat.scenes import write_scenes

pytestmark = pytest.mark.cuda
GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Products of float32 in float32: convolutions on CUDA round to TF32 otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("name", ["nat_nano", "nat_mini", "vit_tiny"])
@pytest.mark.parametrize("size", [96, 224])
def test_a_network_computes_on_a_gpu_what_it_does_on_a_cpu(name, size):
    model = build(name, seed=0).eval()
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = model(x)
        found = model.to(GPU)(x.to(GPU)).cpu()
    assert ((found - exact).norm() / exact.norm()).item() < 1e-4


@pytest.mark.parametrize("name", ["nat_nano", "nat_mini"])
def test_gradients_of_a_network_are_those_of_a_cpu(name):
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    gradients = []
    for device in ("cpu", "cuda"):
        model = build(name, seed=0).to(device)
        model(x.to(device)).sigmoid().sum().backward()
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in model.parameters()]))
    assert ((gradients[1] - gradients[0]).norm() / gradients[0].norm()).item() < 1e-3


def pictures(count: int = 48) -> np.ndarray:
    """Pictures of eight colours with noise on them: easy to tell apart."""
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 215, (8, 1, 1, 3))
    return np.clip(colours[np.arange(count) % 8] + rng.normal(0, 25, (count, 72, 72, 3)), 0, 255).astype(
        np.uint8
    )


def trained(folder: Path, *, steps: int, stop: int | None = None, **changes) -> list[dict[str, float]]:
    values = {"batch": 16, "global_sizes": (48, 64), "local_sizes": (32, 32), "n_local": 2, "drop_path": 0.1}
    recipe = TrainSettings.checked(values | changes)
    folder.mkdir(exist_ok=True)
    taken = []
    known = alone(pictures(), np.ones(48, np.float32))
    for figures in train(known, recipe, folder, course=Course(steps), device=GPU):
        taken.append(figures)
        if figures["step"] == stop:
            break
    return taken


@pytest.mark.parametrize(
    "changes", [{}, {"network": "vit_tiny"}, {"dense": 1.0, "profile": "thermal", "thermal_from": 0.0}]
)
def test_training_in_bfloat16_learns_on_a_gpu(tmp_path, changes):
    figures = trained(tmp_path, steps=200, out_dim=128, koleo=0.0, learning_rate=2e-3, **changes)
    losses = [each["loss"] for each in figures]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.2


@pytest.mark.parametrize(
    "changes",
    [{}, {"dense": 1.0}, {"pooling": "simpool"}, {"global_sizes": (32, 32), "local_sizes": (32, 32)}],
)
def test_replayed_passes_learn_what_plain_ones_do(tmp_path, changes):
    same = {"precision": "float32", "drop_path": 0.0, "steps": 6, "switch_at": 0.5, **changes}
    plain = trained(tmp_path / "plain", graphs=False, **same)
    replayed = trained(tmp_path / "replayed", graphs=True, **same)
    np.testing.assert_allclose([f["loss"] for f in replayed], [f["loss"] for f in plain], rtol=1e-3)


def test_a_run_goes_on_from_its_state_on_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    whole = trained(tmp_path / "whole", steps=8)
    cut = trained(tmp_path / "cut", steps=8, stop=4) + trained(tmp_path / "cut", steps=8)
    # Sums of gradients on a GPU have no fixed order, so equal only up to rounding.
    np.testing.assert_allclose([f["loss"] for f in cut], [f["loss"] for f in whole], rtol=2e-2)
    settings = TrainSettings.model_validate_json(
        torch.load(tmp_path / "cut/state.pt", weights_only=True)["settings"]
    )
    assert all(p.device.type == "cpu" for p in load_teacher(tmp_path / "cut", settings).parameters())


def test_embed_gives_the_vectors_of_a_cpu(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", colour=4, thermal=4, labelled=1)
    stored = {}
    for device in ("cpu", "cuda"):
        named = {"images": scenes.thermal, "weights": "untrained:0", "device": device, "workers": 0}
        report = run(EmbedSettings.checked({**named, "name": device}), tmp_path / "workspace")
        assert report.failed == 0
        stored[device] = EmbeddingSet(places.set_folder(tmp_path / "workspace", device))
    for part in ("mean", "grid"):
        ours, theirs = (each.part(part, (each.items.kind == "image").to_numpy()) for each in stored.values())
        assert len(ours) == len(theirs) == 4
        cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        assert cosines.min() > 0.999
