import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dinonat.geometry import iou_xywh
from dinonat.saliency.contrast import box_scores, contrast_parts


def scene(objects, shape=(120, 160), noise=0.01, seed=0):
    """A smooth background with rectangles (x, y, w, h) that are warmer or colder by the given step."""
    rng = np.random.default_rng(seed)
    picture = 0.4 + 0.2 * np.linspace(0, 1, shape[1])[None, :] * np.ones(shape)
    for (x, y, w, h), step in objects:
        picture[y : y + h, x : x + w] += step
    return (picture + noise * rng.standard_normal(shape)).astype(np.float32)


def as_xywh(parts):
    return np.concatenate([parts.boxes[:, :2], parts.boxes[:, 2:] - parts.boxes[:, :2]], axis=1)


@pytest.mark.parametrize("step", [0.3, -0.3], ids=["warm", "cold"])
@pytest.mark.parametrize("box", [(30, 40, 6, 9), (70, 20, 16, 12), (90, 50, 40, 30)])
def test_warm_and_cold_objects_of_several_sizes_are_found_and_score_best(box, step):
    picture = scene([(box, step)])
    parts = contrast_parts(picture)
    overlap = iou_xywh([box], as_xywh(parts))[0]
    assert overlap.max() > 0.6
    # loose by a pixel or two, which the last step on the pixels takes back
    assert overlap[box_scores(picture, parts.boxes, parts.area).argmax()] > 0.4


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_mask_of_a_part_is_the_component_that_was_counted(seed):
    picture = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((40, 50)), 2)
    parts = contrast_parts(picture.astype(np.float32))
    for row in range(0, len(parts.area), 17):
        whole, _ = ndimage.label(parts.layers[parts.layer[row]] > parts.level[row])
        x0, y0, x1, y1 = parts.boxes[row]
        inside = whole[y0:y1, x0:x1][parts.mask(row)]
        component = whole == inside[0]
        assert component.sum() == parts.area[row]
        assert component[y0:y1, x0:x1].sum() == parts.area[row]
        assert (parts.mask(row) == component[y0:y1, x0:x1]).all()


def test_every_box_comes_once_and_lies_inside():
    parts = contrast_parts(scene([((30, 40, 20, 20), 0.3)], noise=0.1))
    assert len(np.unique(parts.boxes, axis=0)) == len(parts.boxes) > 50
    assert (parts.boxes[:, :2] >= 0).all()
    assert (parts.boxes[:, 2:] <= [160, 120]).all()
    assert (parts.boxes[:, 2:] > parts.boxes[:, :2]).all()


def test_a_flat_picture_has_no_parts():
    parts = contrast_parts(np.full((50, 60), 0.5, np.float32))
    assert parts.boxes.shape == (0, 4)
    assert box_scores(np.full((50, 60), 0.5, np.float32), parts.boxes, parts.area).shape == (0,)


def test_offset_and_gain_of_the_camera_change_neither_parts_nor_scores():
    picture = scene([((30, 40, 20, 20), 0.3)], noise=0.05)
    once, other = contrast_parts(picture), contrast_parts(0.5 * picture + 0.25)
    exact = iou_xywh(as_xywh(once), as_xywh(other)).max(axis=1)
    assert (exact == 1).mean() > 0.98  # rounding moves a pixel across a threshold now and then
    boxes, area = once.boxes, once.area
    scores, scaled = box_scores(picture, boxes, area), box_scores(0.5 * picture + 0.25, boxes, area)
    assert scaled == pytest.approx(scores, rel=1e-3)


def test_the_objects_box_scores_above_shifted_halved_and_doubled_ones():
    picture = scene([((60, 50, 20, 16), 0.3)])
    # with a pixel or two around it: smoothing carries half of the edge out of the object
    boxes = np.array([[58, 48, 82, 68], [68, 48, 92, 68], [58, 48, 70, 68], [46, 38, 94, 78]])
    scores = box_scores(picture, boxes, (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    assert scores.argmax() == 0
