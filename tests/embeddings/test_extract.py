from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dinonat.embeddings import extract
from dinonat.embeddings.encode import as_input, network_vectors
from dinonat.embeddings.extract import Recipe, embed_shard
from dinonat.embeddings.framing import valid_tokens
from dinonat.geometry import box_of_mask, counts_to_mask, mask_to_counts
from dinonat.models.catalog import build
from dinonat.models.nat import NAT, NATSettings
from dinonat.records import PARTS, TEMPERATURE_COLUMNS, ImageRef, Loaded, Prepared, Region
from dinonat.saliency.regions import SALIENCIES

SMALL = Recipe(size=64, saliency="none", region_size=32)


@pytest.fixture(scope="module")
def network() -> NAT:
    return build("nat_nano", seed=0).eval()


def image(name: str, height: int, width: int) -> Loaded:
    seed = sum(name.encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Loaded(ImageRef(Path("set"), name), Prepared(pixels, "percentile", 0.5, 9.5, "grey"), sha256=name)


def broken(name: str) -> Loaded:
    return Loaded(ImageRef(Path("set"), name), None, "torn in two")


def test_rows_follow_the_listing_whatever_the_batches(network: NAT) -> None:
    sizes = [(64, 64), (64, 96), (64, 64), (96, 64), (64, 64), (64, 96)]
    images = [image(f"{i}.png", *size) for i, size in enumerate(sizes)]
    images.insert(3, broken("x.png"))
    items, parts = embed_shard(network, images, SMALL.model_copy(update={"batch": 2}))
    assert items["image"].tolist() == ["0.png", "1.png", "2.png", "x.png", "3.png", "4.png", "5.png"]
    assert items["status"].tolist() == ["ok"] * 3 + ["failed"] + ["ok"] * 3
    assert items["reason"][3] == "torn in two"
    for name in PARTS:
        assert not parts[name][3].any()
        assert np.abs(parts[name]).sum(axis=1).astype(bool).sum() == 6
    for row, single in enumerate(images):
        _, alone = embed_shard(network, [single], SMALL)
        for name in PARTS:
            np.testing.assert_allclose(parts[name][row], alone[name][0], atol=2e-4)


def test_the_same_shard_twice_is_the_same_to_the_bit(network: NAT) -> None:
    images = [image(f"{i}.png", 40 + 7 * i, 64) for i in range(4)]
    given = {"1.png": [Region((3, 4, 20, 10))]}
    (one, first), (two, second) = (embed_shard(network, images, SMALL, given=given) for _ in range(2))
    assert one.equals(two)
    assert all(first[name].tobytes() == second[name].tobytes() for name in PARTS)


def test_a_picture_that_fits_goes_in_as_it_is(network: NAT) -> None:
    picture = image("a.png", 64, 96)
    assert picture.prepared
    _, parts = embed_shard(network, [picture], SMALL)
    with torch.inference_mode():
        tokens = network.tokens(as_input(network, [picture.prepared.pixels]))
    for name, values in network_vectors(tokens, valid_tokens((64, 96), network.strides)).items():
        np.testing.assert_allclose(parts[name], values, atol=1e-5)


def test_a_region_that_is_the_whole_picture_has_its_vectors(network: NAT) -> None:
    """Two ways to one vector: the picture through the front door, and cut out as a region of itself."""
    recipe = Recipe(size=64, region_size=64, region_crop="squash", saliency="none")
    items, parts = embed_shard(
        network, [image("a.png", 64, 64)], recipe, given={"a.png": [Region((0, 0, 64, 64))]}
    )
    assert items["kind"].tolist() == ["image", "region"]
    for name in PARTS:
        np.testing.assert_allclose(parts[name][0], parts[name][1], atol=1e-4)


def test_given_boxes_are_cut_to_the_image_and_those_outside_fail(network: NAT) -> None:
    boxes = [
        Region((-5, 10, 20, 20), label="cut"),
        Region((200, 5, 4, 4), label="outside"),
        Region((50, 50, 10, 10), label="inside"),
        Region((50, 50, 10, 10), label="again"),
    ]
    items, parts = embed_shard(network, [image("a.png", 64, 96)], SMALL, given={"a.png": boxes})
    assert items["label"].tolist() == ["", "cut", "inside", "outside"]
    assert items["status"].tolist() == ["ok", "ok", "ok", "failed"]
    assert items.loc[1, ["x", "y", "w", "h"]].tolist() == [0, 10, 15, 20]
    assert "outside the image" in items["reason"][3]
    assert not any(parts[name][3].any() for name in PARTS)
    assert items["item"].is_unique


def test_images_without_boxes_have_none(network: NAT) -> None:
    items, _ = embed_shard(network, [image("a.png", 64, 64)], SMALL, given={"b.png": [Region((0, 0, 5, 5))]})
    assert items["kind"].tolist() == ["image"]


def test_recordings_and_preparation_stand_in_the_row(network: NAT) -> None:
    items, _ = embed_shard(
        network, [image("a.png", 64, 64), broken("b.png")], SMALL, recordings={"a.png": "drive-1"}
    )
    assert items["recording"].tolist() == ["drive-1", ""]
    assert items.loc[0, ["prepare", "lo", "hi", "unit", "sha256", "width"]].tolist() == [
        "percentile", 0.5, 9.5, "grey", "a.png", 64
    ]  # fmt: skip


def test_rows_carry_what_was_measured_inside_them(network: NAT) -> None:
    """One warm thing: its box holds it and some ground, its mask nothing else."""
    measured = np.full((64, 96), 20.0, np.float32)
    measured[10:20, 30:50] = 36.5
    measured[0, 0] = np.nan
    mask = tuple(mask_to_counts(measured == np.float32(36.5)))
    regions = [
        Region((28, 8, 24, 14), mask_counts=mask),
        Region((28, 8, 24, 14.5)),
        Region((500, 0, 4, 4)),
        Region((0, 0, 1, 1)),
    ]
    picture = replace(image("a.png", 64, 96), measured=measured)
    grey = image("b.png", 64, 96)
    items, _ = embed_shard(network, [picture, grey, broken("c.png")], SMALL, given={"a.png": regions})
    whole, thing, box, nothing, outside, unmeasured, failed = items[list(TEMPERATURE_COLUMNS)].to_numpy()
    ground = 14 * 24 - 200
    np.testing.assert_allclose(thing, 36.5)
    np.testing.assert_allclose(box, [20, 36.5, 36.5 - 16.5 * ground / (14 * 24), 36.5, 36.5], rtol=1e-6)
    np.testing.assert_allclose(whole, [20, 20, 20 + 16.5 * 200 / (64 * 96 - 1), 20, 36.5], rtol=1e-6)
    for row in (nothing, outside, unmeasured, failed):
        assert np.isnan(row).all()
    assert items["status"].tolist() == ["ok"] * 4 + ["failed", "ok", "failed"]


@pytest.mark.parametrize("saliency", SALIENCIES)
@pytest.mark.parametrize("size_hw", [(64, 64), (50, 71), (1, 1), (2, 300), (300, 2)])
def test_every_saliency_takes_every_shape(network: NAT, saliency: str, size_hw: tuple[int, int]) -> None:
    recipe = Recipe(size=64, region_size=32, saliency=saliency)
    items, parts = embed_shard(network, [image("a.png", *size_hw)], recipe)
    assert (items["x"] >= 0).all()
    assert (items["x"] + items["w"] <= size_hw[1]).all()
    assert (items["y"] + items["h"] <= size_hw[0]).all()
    for counts in items["mask_counts"][1:]:
        assert sum(counts) in (0, size_hw[0] * size_hw[1])
    assert all(len(parts[name]) == len(items) for name in PARTS)
    assert items["item"].is_unique


@pytest.mark.parametrize("saliency", ["attention", "ncut+attention"])
def test_networks_that_pad_small_maps_are_asked_where_they_look(saliency: str) -> None:
    """Pictures of 64 px have maps of 4 and 2 cells in stages 3 and 4, below the window of 7."""
    padding = NAT(NATSettings(dim=16, depths=(1, 1, 2, 1), heads=(1, 1, 2, 2), small_map="pad")).eval()
    pixels = np.random.default_rng(0).integers(0, 60, (64, 110, 3), dtype=np.uint8)
    pixels[20:45, 30:60] += 150
    picture = replace(image("a.png", 64, 110), prepared=Prepared(pixels, "percentile", 0, 255, "grey"))
    items, parts = embed_shard(padding, [picture], Recipe(size=64, region_size=32, saliency=saliency))
    assert (items["status"] == "ok").all()
    assert len(items) > 1
    assert all(np.isfinite(parts[name]).all() for name in PARTS)


@pytest.mark.parametrize("size_hw", [(96, 128), (1, 2), (50, 71)])
def test_tiles_add_regions_and_leave_the_vectors_of_the_picture(
    network: NAT, size_hw: tuple[int, int]
) -> None:
    recipe = Recipe(size=64, region_size=32, saliency="rarity", max_regions=9)
    picture = image("a.png", *size_hw)
    pixels = np.full((*size_hw, 3), 90, np.uint8)
    pixels[3:9, 5:14] = 200
    picture = replace(picture, prepared=Prepared(pixels, "percentile", 0, 255, "grey"))
    (_, plain), (items, tiled) = (
        embed_shard(network, [picture], recipe.model_copy(update={"tiles": count})) for count in (0, 3)
    )
    assert all(plain[name][0].tobytes() == tiled[name][0].tobytes() for name in PARTS)
    assert len(items) <= 10
    assert (len(items) > 1) == (min(size_hw) > 9)
    for counts in items["mask_counts"][1:]:
        assert sum(counts) == size_hw[0] * size_hw[1]
    assert (items["x"] + items["w"] <= size_hw[1]).all()


def test_a_region_found_beyond_the_picture_is_cut_back() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:20, 45:58] = True  # the picture ends at column 50
    region = Region(box_of_mask(mask), 0.5, tuple(mask_to_counts(mask)))
    kept = extract._cropped(region, (40, 60), (40, 50))
    assert kept.box_xywh == (45, 10, 5, 10)
    np.testing.assert_array_equal(counts_to_mask(kept.mask_counts, (40, 50)), mask[:, :50])
    mask[:] = False
    mask[3:5, 55:57] = True
    gone = extract._cropped(Region(box_of_mask(mask), 0.5, tuple(mask_to_counts(mask))), (40, 60), (40, 50))
    assert extract._within([gone], (40, 50)) == []


def test_large_pictures_do_not_pile_up(network: NAT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "HELD", 10_000)
    pictures = [
        extract._picture(i, one, one.prepared, SMALL, network.stride)
        for i, one in enumerate(image(f"{i}.png", 64, 64 + 32 * (i % 2)) for i in range(9))
        if one.prepared
    ]
    batches = [[picture.number for picture in batch] for batch in extract._batches(iter(pictures), 16)]
    assert sorted(number for batch in batches for number in batch) == list(range(9))
    assert max(map(len, batches)) <= 2
