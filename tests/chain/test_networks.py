"""Networks that others publish, and ViTs of our own, through the commands."""

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from dinonat import scenes
from dinonat.embeddings.store import open_set
from dinonat.errors import CheckpointError, UsageError
from dinonat.models.catalog import NETWORKS, build, load_network
from dinonat.models.vit import ViT
from dinonat.pipelines import embed, pretrain
from dinonat.pipelines import workspace as places
from dinonat.pipelines.cli import app
from dinonat.records import PARTS
from dinonat.saliency.regions import SALIENCIES

CELLS = {"vit_small": 16, "dinov2_vits14": 14, "dinov2_vits14_reg": 14, "nat_mini": 16}


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


@pytest.fixture(scope="module")
def command(warm: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Run a command in another process: this one has torch, and proposals need FAISS."""
    shell = warm()

    def run(workspace: Path, *words: str) -> dict[str, Any]:
        child = shell([*words, "--json", "-w", str(workspace)])
        assert child.returncode == 0, child.stderr
        found: dict[str, Any] = json.loads(child.stdout)
        return found

    return run


def labelled_and_exported(
    command: Callable[..., dict[str, Any]], images: Path, labels: Path, workspace: Path, pictures: int
) -> COCO:
    """Propose labels from a few, write COCO, and read it with the reader that everybody uses."""
    command(workspace, "propose-labels", images.name, "--labels", str(labels), "--k", "5")
    folder = Path(command(workspace, "export")["folder"])
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "annotations" / "instances_default.json"))
    assert len(coco.imgs) == pictures
    with labels.open(newline="") as stream:
        given = list(csv.DictReader(stream))
    assert len(coco.anns) >= len(given)
    assert {category["name"] for category in coco.cats.values()} <= {row["label"] for row in given}
    for annotation in coco.anns.values():
        x, y, w, h = annotation["bbox"]
        picture = coco.imgs[annotation["image_id"]]
        assert min(x, y) >= 0
        assert x + w <= picture["width"] + 0.01
        assert y + h <= picture["height"] + 0.01
        if annotation["segmentation"]:
            assert coco.annToMask(annotation).sum() == annotation["area"]
    return coco


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> scenes.MadeScenes:
    folder = tmp_path_factory.mktemp("scenes")
    return scenes.write_scenes(folder, colour=8, thermal=8, labelled=4, size_hw=(96, 128))


@pytest.mark.parametrize("name", ["vit_small", "dinov2_vits14"])
def test_vectors_of_a_vit_go_through_proposals_and_export(
    name: str,
    made: scenes.MadeScenes,
    files: dict[str, Path],
    command: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    assert embedded(made.thermal, tmp_path, weights=str(files[name]), max_regions=6).regions > 8
    labelled_and_exported(command, made.thermal, made.labels, tmp_path, 8)


@pytest.mark.parametrize("name", ["vit_small", "dinov2_vits14"])
def test_real_pictures_go_through_the_chain_with_a_vit(
    name: str, data: Path, files: dict[str, Path], command: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    road = data / "paired_road"
    with (road / "labels" / "crops.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted({row["image"] for row in rows})[::20]
    (tmp_path / "some.txt").write_text("\n".join(names))
    with (tmp_path / "few.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "x", "y", "w", "h"])
        given = [[row[key] for key in ("image", "class", "x", "y", "w", "h")] for row in rows]
        writer.writerows(row for row in given if row[0] in names[:2])
    more = {"list_file": tmp_path / "some.txt", "size": 112, "max_regions": 8}
    report = embedded(road / "infrared", tmp_path / "w", weights=str(files[name]), **more)
    assert (report.images, report.failed) == (len(names), 0)
    labelled_and_exported(command, road / "infrared", tmp_path / "few.csv", tmp_path / "w", len(names))


@pytest.mark.parametrize("positions", [16, 37])
def test_positions_for_another_size_and_pictures_below_a_patch(
    positions: int, files: dict[str, Path], tmp_path: Path
) -> None:
    """DINOv2 publishes positions for 518 px; others who train on with it have those for 224."""
    state = torch.load(files["dinov2_vits14"], weights_only=True)
    generator = torch.Generator().manual_seed(0)
    state["pos_embed"] = torch.randn(1, 1 + positions**2, 384, generator=generator) * 0.02
    torch.save(state, tmp_path / "other.pth")
    folder = tmp_path / "odd"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for size in ((1, 1), (5, 7), (3, 200), (200, 3), (40, 60)):
        pixels = rng.integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{size[0]}x{size[1]}.png")
    report = embedded(folder, tmp_path, weights=str(tmp_path / "other.pth"))
    assert (report.images, report.failed) == (5, 0)
    stored = open_set(places.set_folder(tmp_path, "odd"))
    assert all(np.isfinite(stored.part(part)).all() for part in PARTS)


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
    words = ["embed", str(images), "-w", str(tmp_path / "w"), "--weights", str(tmp_path / "short.pth")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 1
    assert "not the published vit_tiny: 1 missing (norm.bias)." in told.stderr
    assert "Traceback" not in told.stderr
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


def test_a_nat_that_pools_with_attention_pretrains_and_embeds(images: Path, tmp_path: Path) -> None:
    changes = {"network": "nat_nano", "pooling": "simpool", "epochs": 8, "momentum": (0.5, 0.5)}
    settings = pretrain.PretrainSettings.checked({**TRAINED, **changes, "folders": (images,)})
    network, _ = load_network(pretrain.run(settings, tmp_path).weights)
    assert network.settings == NETWORKS["nat_nano"].model_copy(update={"pooling": "simpool"})
    before = build("nat_nano", seed=0, pooling="simpool").state_dict()
    for name in ("pool.query.weight", "pool.key.weight", "pool.norm.weight"):
        assert not torch.equal(network.state_dict()[name], before[name])
    assert embedded(images, tmp_path, saliency="attention").regions > 0


def test_crops_that_are_no_multiple_of_the_patch_are_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match=r"dinov2_vits14 .* multiples of 14: global_sizes=\(64, 96\)"):
        pretrain.PretrainSettings.checked({"folders": (Path("nowhere"),), "network": "dinov2_vits14"})
    fitting = {"global_sizes": (56, 98), "local_sizes": (28, 42)}
    pretrain.PretrainSettings.checked({"folders": (Path("nowhere"),), "network": "dinov2_vits14", **fitting})
