import numpy as np
import pytest
from scipy import ndimage

from dinonat.geometry import iou_xywh
from dinonat.saliency.contrast import LEVELS, contrast_layers, contrast_parts
from dinonat.saliency.split import split_parts


def people(gap, polarity=1):
    """Two warm (or cold) people side by side, ``gap`` pixels apart, blurred into one another; their boxes."""
    picture = np.full((160, 200), 0.5)
    boxes = [(30, 25, 12, 30), (42 + gap, 25, 12, 30)]
    for x, y, w, h in boxes:
        picture[y : y + h, x : x + w] += 0.3 * polarity
    return ndimage.gaussian_filter(picture, 2.5).astype(np.float32), boxes


def overlaps(boxes, found):
    sides = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1)
    return iou_xywh(boxes, sides).max(axis=1)


@pytest.mark.parametrize("polarity", [1, -1])
def test_two_that_are_one_part_at_every_level_are_told_apart(polarity):
    picture, boxes = people(2, polarity)
    assert (overlaps(boxes, split_parts(picture)) > 0.6).all()
    assert (overlaps(boxes, contrast_parts(picture)) < 0.6).all()


def test_one_thing_is_not_split():
    y, x = np.mgrid[:60, :60]
    picture = np.exp(-((x - 30) ** 2 + (y - 28) ** 2) / 60).astype(np.float32)
    rows = split_parts(picture).boxes
    assert not ((rows[:, 0] < 30) & (rows[:, 2] > 30) & (rows[:, 1] < 28) & (rows[:, 3] > 28)).any()


def test_things_share_no_pixel_and_lie_in_parts():
    picture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((70, 90)), 2).astype(
        np.float32
    )
    found = split_parts(picture)
    layers = contrast_layers(picture)
    filled = np.zeros((len(layers), *picture.shape), dtype=int)
    for row, (x0, y0, x1, y1) in enumerate(found.boxes):
        mask = found.mask(row)
        assert mask.sum() == found.area[row]
        assert mask.any(axis=0).all()
        assert mask.any(axis=1).all()
        filled[found.plane[row], y0:y1, x0:x1] += mask
    assert len(found.area) > 20
    assert filled.max() == 1
    assert all((layer[plane > 0] > LEVELS[0]).all() for layer, plane in zip(layers, filled, strict=True))


def test_a_flat_picture_has_nothing_to_split():
    assert split_parts(np.full((20, 30), 0.5, np.float32)).boxes.shape == (0, 4)
