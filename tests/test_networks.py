"""Networks that others publish, and ViTs of our own, through the commands."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinonat.embeddings.store import open_set
from dinonat.errors import CheckpointError, UsageError
from dinonat.models.catalog import NETWORKS, build, load_network
from dinonat.models.vit import ViT
from dinonat.pipelines import embed, pretrain
from dinonat.pipelines import workspace as places
from dinonat.saliency.regions import SALIENCIES

CELLS = {"vit_small": 16, "dinov2_vits14": 14, "dinov2_vits14_reg": 14, "nat_mini": 16}


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """State dicts with the published keys and shapes and random numbers, as torch.save writes them."""
    folder = tmp_path_factory.mktemp("published")
    for name in CELLS:
        torch.save(build(name, seed=0).state_dict(), folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in CELLS}


def embedded(images: Path, workspace: Path, **more: object) -> embed.EmbedReport:
    small = {"size": 64, "region_size": 32, "max_regions": 3, "workers": 0, "threads": 1}
    return embed.run(embed.EmbedSettings.checked({**small, "images": images, **more}), workspace)


@pytest.mark.parametrize("name", CELLS)
def test_published_weights_embed_a_folder(
    name: str, images: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    report = embedded(images, tmp_path, weights=str(files[name]))
    assert (report.images, report.failed) == (3, 0)
    assert report.regions > 0
    assert any(f"{name}.pth: the published {name}, " in line for line in report.remarks)
    stored = open_set(places.set_folder(tmp_path, "thermal"))
    dims = build(name, seed=0).dims
    assert stored.part("mean").shape == (3 + report.regions, sum(dims[-2:]))
    assert stored.part("grid").shape == (3 + report.regions, 9 * dims[-2])
    lengths = np.linalg.norm(stored.part("mean").astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, np.sqrt(2), atol=1e-2)


def test_a_picture_of_a_vit_is_its_cls_token_and_the_mean_of_its_patches(
    images: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    """A picture that fits its patches, against the network called by hand."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    folder = tmp_path / "one"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "a.png")
    embedded(folder, tmp_path, weights=str(files["vit_small"]), saliency="none")
    network, _ = load_network(str(files["vit_small"]))
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    with torch.inference_mode():
        patches, cls = network.tokens(x)
    expected = [each.flatten(1, 2).mean(1)[0] for each in (patches, cls)]
    stored = open_set(places.set_folder(tmp_path, "one")).part("mean")[0]
    np.testing.assert_allclose(stored, torch.cat([e / e.norm() for e in expected]).numpy(), atol=2e-3)


@pytest.mark.parametrize("saliency", SALIENCIES)
def test_every_saliency_takes_a_vit(
    saliency: str, images: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    report = embedded(images, tmp_path, weights=str(files["dinov2_vits14_reg"]), saliency=saliency)
    assert report.failed == 0
    items = open_set(places.set_folder(tmp_path, "thermal")).items
    regions = items[items["kind"] == "region"]
    assert len(regions) == report.regions
    assert (regions["x"] + regions["w"] <= 100).all()


def test_the_same_file_again_is_already_done(images: Path, files: dict[str, Path], tmp_path: Path) -> None:
    first = embedded(images, tmp_path, weights=str(files["dinov2_vits14"]))
    again = embedded(images, tmp_path, weights=str(files["dinov2_vits14"]))
    assert again.already_done
    assert again.model == first.model


def test_a_bad_file_of_weights_costs_one_sentence(images: Path, tmp_path: Path) -> None:
    state = build("vit_tiny", seed=0).state_dict()
    del state["norm.bias"]
    torch.save(state, tmp_path / "short.pth")
    command = [sys.executable, "-m", "dinonat.pipelines", "embed", str(images), "-w", str(tmp_path / "w")]
    child = subprocess.run(
        [*command, "--weights", str(tmp_path / "short.pth")], capture_output=True, text=True, check=False
    )
    assert child.returncode == 1
    assert "not the published vit_tiny: 1 missing (norm.bias)." in child.stderr
    assert "Traceback" not in child.stderr
    with pytest.raises(CheckpointError, match="1 missing"):
        embedded(images, tmp_path / "w", weights=str(tmp_path / "short.pth"))


TRAINED = {
    "network": "vit_tiny", "batch": 2, "global_sizes": (32, 48), "local_sizes": (16, 32), "n_local": 1,
    "out_dim": 16, "hidden": 16, "bottleneck": 8, "picture_side": 48, "workers": 0, "threads": 1, "epochs": 1,
}  # fmt: skip


def test_a_vit_pretrains_and_embeds(images: Path, tmp_path: Path) -> None:
    settings = pretrain.PretrainSettings.checked({**TRAINED, "folders": (images,)})
    report = pretrain.run(settings, tmp_path)
    network, name = load_network(report.weights)
    assert isinstance(network, ViT)
    assert name == report.fingerprint
    assert network.settings == NETWORKS["vit_tiny"]
    assert places.newest(tmp_path, "weights") == report.run
    assert embedded(images, tmp_path).model == report.fingerprint


def test_crops_that_are_no_multiple_of_the_patch_are_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match=r"dinov2_vits14 .* multiples of 14: global_sizes=\(64, 96\)"):
        pretrain.PretrainSettings.checked({"folders": (Path("nowhere"),), "network": "dinov2_vits14"})
    fitting = {"global_sizes": (56, 98), "local_sizes": (28, 42)}
    pretrain.PretrainSettings.checked({"folders": (Path("nowhere"),), "network": "dinov2_vits14", **fitting})
