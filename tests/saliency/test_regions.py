import json
from dataclasses import astuple

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dinonat.errors import UsageError
from dinonat.evaluation.detection import hot_blobs
from dinonat.geometry import box_of_mask, counts_to_mask, iou_xywh
from dinonat.saliency.regions import SALIENCIES, propose_regions

SIZE = (384, 480)  # 24 x 30 tokens of 16 pixels
OBJECTS = [(64, 80, 96, 64), (272, 240, 80, 112), (400, 60, 14, 22)]  # the last is smaller than two tokens


@pytest.fixture(scope="module")
def scene():
    """Tokens that know the two large objects, attention on them, and a picture of all three."""
    rng = np.random.default_rng(0)
    picture = np.full(SIZE, 0.4) + 0.01 * rng.standard_normal(SIZE)
    kinds = rng.standard_normal((3, 32))
    tokens = np.broadcast_to(kinds[0], (24, 30, 32)) + 0.2 * rng.standard_normal((24, 30, 32))
    attention = np.ones((96, 120)) + 0.01 * rng.standard_normal((96, 120))
    for number, (x, y, w, h) in enumerate(OBJECTS):
        picture[y : y + h, x : x + w] += 0.3
        if number < 2:
            tokens[y // 16 : (y + h) // 16, x // 16 : (x + w) // 16] += kinds[number + 1]
            attention[y // 4 : (y + h) // 4, x // 4 : (x + w) // 4] += 1
    return tuple(np.asarray(part, dtype=np.float32) for part in (tokens, attention, picture))


def overlaps(regions, objects=OBJECTS):
    return iou_xywh(objects, [region.box_xywh for region in regions]).max(axis=1)


@pytest.mark.parametrize("method", ["ncut+attention", "ncut", "attention"])
def test_objects_that_the_tokens_know_are_found(scene, method):
    assert (overlaps(propose_regions(*scene, method=method), OBJECTS[:2]) > 0.8).all()


def test_rarity_finds_what_is_not_on_the_border(scene):
    assert overlaps(propose_regions(*scene, method="rarity"))[0] > 0.8


def test_masks_below_the_smallest_area_are_left_out(scene):
    few = propose_regions(*scene, method="contrast", min_area=300)
    assert few
    assert all(sum(region.mask_counts[1::2]) >= 300 for region in few)
    assert len(few) < len(propose_regions(*scene, method="contrast"))


@pytest.mark.parametrize("method", ["ncut+attention", "contrast"])
def test_objects_smaller_than_tokens_are_found_by_contrast(scene, method):
    assert overlaps(propose_regions(*scene, method=method))[2] > 0.6


@pytest.mark.parametrize("method", SALIENCIES)
def test_masks_lie_on_the_pixels_boxes_come_from_them_and_the_best_comes_first(scene, method):
    regions = propose_regions(*scene, method=method, max_regions=7)
    assert len(regions) <= 7
    assert (not regions) == (method == "none")
    scores = [region.objectness for region in regions]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert len({region.box_xywh for region in regions}) == len(regions)
    for region in regions:
        assert region.box_xywh == box_of_mask(counts_to_mask(region.mask_counts, SIZE))


@pytest.mark.parametrize("method", SALIENCIES)
def test_the_same_maps_give_the_same_regions(scene, method):
    once, again = (propose_regions(*scene, method=method) for _ in range(2))
    assert [astuple(region) for region in once] == [astuple(region) for region in again]


def test_a_refined_mask_follows_the_object_and_not_the_tokens(scene):
    tokens, attention, picture = scene
    shifted = np.roll(picture, 8, axis=1)  # the tokens' grid, half a token off, would give an IoU of 0.85
    regions = propose_regions(tokens, attention, shifted, method="ncut")
    assert overlaps(regions, [(72, 80, 96, 64)]) > 0.92


def test_only_the_channel_that_was_asked_for_gives_regions(scene):
    for method in ("ncut", "attention", "rarity", "contrast"):
        assert {region.source for region in propose_regions(*scene, method=method)} == {method}
    assert propose_regions(scene[0], None, scene[2], method="attention") == []


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (8, 8), (9, 200), (33, 17)])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (14, 18)])
@pytest.mark.parametrize("method", SALIENCIES)
def test_tiny_flat_and_empty_pictures_cost_nothing(size, grid, method):
    rng = np.random.default_rng(0)
    tokens = rng.random((*grid, 8), dtype=np.float32)
    attention = rng.random((4 * grid[0], 4 * grid[1]), dtype=np.float32)
    for picture in (np.zeros(size), np.full(size, np.nan), rng.random(size)):
        for region in propose_regions(tokens, attention, picture.astype(np.float32), method=method):
            assert sum(region.mask_counts) == size[0] * size[1]
            assert min(region.box_xywh[2:]) >= 1
    assert propose_regions(np.zeros_like(tokens), attention, np.zeros(size, np.float32), method=method) == []


@pytest.mark.parametrize("method", SALIENCIES)
@pytest.mark.parametrize("kind", ["noise", "uniform", "blurred", "ramp", "steps", "noisy ramp"])
def test_a_picture_with_nothing_in_it_gives_no_regions(scene, method, kind):
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:200, :300] / 300
    picture = {
        "noise": rng.normal(0.5, 0.05, x.shape),
        "uniform": rng.random(x.shape),
        "blurred": ndimage.gaussian_filter(rng.standard_normal(x.shape), 2),
        "ramp": x + y,
        "steps": np.round(255 * (x + y) / 1.7) / 255,
        "noisy ramp": x + 0.02 * rng.standard_normal(x.shape),
    }[kind]
    assert propose_regions(scene[0], scene[1], picture.astype(np.float32), method=method) == []
    if method in ("contrast", "ncut+attention"):
        picture[90:100, 140:152] += 2 * np.ptp(picture)
        regions = propose_regions(scene[0], scene[1], picture.astype(np.float32), method=method)
        assert overlaps(regions, [(140, 90, 12, 10)]) > 0.5  # one thing in it is found


def test_tight_masks_end_at_the_edge(scene):
    shown = {
        tight: propose_regions(*scene, method="contrast", tight=tight)[0].box_xywh for tight in (False, True)
    }
    (x, y, w, h), loose = shown[True], shown[False]
    assert loose[2] > w
    assert loose[3] > h
    assert min(abs(np.array([x, y, w, h]) - box).max() for box in OBJECTS) <= 1


def test_an_unknown_saliency_names_the_known_ones(scene):
    with pytest.raises(UsageError, match=r"ncut\+attention, ncut"):
        propose_regions(*scene, method="attn")


def test_contrast_finds_more_than_the_hottest_blobs_on_real_images(data):
    # 30 boxes an image; the hand-made floor on three images with 10 and more objects.
    coco = json.loads((data / "thermal_aerial/annotations_coco.json").read_text())
    ours, theirs = [], []
    for image in coco["images"][:40:8]:
        truth = [a["bbox"] for a in coco["annotations"] if a["image_id"] == image["id"]]
        raw = Image.open(data / "thermal_aerial/infrared" / image["file_name"]).convert("L")
        picture = np.asarray(raw, dtype=np.float32) / 255
        regions = propose_regions(np.zeros((1, 1, 1), np.float32), None, picture, method="contrast")
        ours += (overlaps(regions, truth) >= 0.5).tolist()
        theirs += (iou_xywh(truth, hot_blobs(picture)).max(axis=1) >= 0.5).tolist()
    assert np.mean(ours) > np.mean(theirs) + 0.1
