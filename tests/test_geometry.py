import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco
from scipy.ndimage import gaussian_filter
from skimage.measure import euler_number, label

from dinonat.errors import LabelError
from dinonat.geometry import (
    box_of_mask,
    clip_xywh,
    counts_to_mask,
    iou_xywh,
    mask_area,
    mask_to_counts,
    square_with_context,
)
from dinonat.polygons import is_tangled, mask_polygons, polygon_mask

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
number = st.floats(-50, 50, allow_nan=False, width=32)
length = st.floats(0, 50, allow_nan=False, width=32)
boxes = st.lists(st.tuples(number, number, length, length), max_size=5)


def encoded(mask):
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))


@given(masks)
def test_run_lengths_there_and_back_and_as_pycocotools_reads_them(mask):
    counts = mask_to_counts(mask)
    assert (counts_to_mask(counts, mask.shape) == mask).all()
    theirs = coco.frPyObjects({"size": list(mask.shape), "counts": counts}, *mask.shape)
    assert theirs["counts"] == encoded(mask)["counts"]
    assert mask_area(counts) == int(coco.area(encoded(mask))) == mask.sum()


@given(masks)
def test_box_of_mask_is_the_one_of_pycocotools(mask):
    box = box_of_mask(mask)
    assert box == (tuple(coco.toBbox(encoded(mask))) if mask.any() else (0, 0, 0, 0))


@given(boxes, boxes)
def test_iou_equals_pycocotools_bit_for_bit(a, b):
    ours = iou_xywh(a, b)
    assert ours.shape == (len(a), len(b))
    if a and b:
        theirs = coco.iou(np.array(a, np.float64), np.array(b, np.float64), [0] * len(b))
        assert (ours == theirs).all()


@given(masks, st.data())
def test_iou_of_pixel_boxes_equals_the_iou_of_the_masks_they_fill(mask, data):
    height, width = mask.shape
    corner = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    (x0, y0), (x1, y1) = data.draw(corner), data.draw(corner)
    filled = np.zeros_like(mask)
    filled[min(y0, y1) : max(y0, y1) + 1, min(x0, x1) : max(x0, x1) + 1] = True
    whole = np.ones_like(mask)
    expected = (filled & whole).sum() / (filled | whole).sum()
    assert iou_xywh([box_of_mask(filled)], [box_of_mask(whole)])[0, 0] == expected


def test_boxes_without_area_or_touching_only_meet_nothing():
    assert (iou_xywh([[0, 0, 0, 5], [0, 0, 1, 1]], [[0, 0, 0, 5], [1, 0, 1, 1]]) == 0).all()


@given(boxes, st.integers(1, 30), st.integers(1, 30))
def test_clipped_boxes_lie_inside_and_are_the_intersection_with_the_image(given_boxes, height, width):
    clipped = clip_xywh(given_boxes, (height, width))
    assert (clipped >= 0).all()
    assert (clipped[:, 0] + clipped[:, 2] <= width + 1e-9).all()
    assert (clipped[:, 1] + clipped[:, 3] <= height + 1e-9).all()
    for box, (_, _, w, h) in zip(given_boxes, clipped, strict=True):
        shared_x = max(0, min(box[0] + box[2], width) - max(box[0], 0))
        shared_y = max(0, min(box[1] + box[3], height) - max(box[1], 0))
        assert w * h == pytest.approx(shared_x * shared_y)


@given(masks)
def test_polygons_are_drawn_back_to_the_same_mask_by_pycocotools(mask):
    polygons = mask_polygons(mask)
    if polygons:
        drawn = coco.decode(coco.merge(coco.frPyObjects(polygons, *mask.shape)))
        assert (drawn.astype(bool) == mask).all()
        assert len(polygons) == label(mask, connectivity=1).max()
        assert sum(shoelace(p) for p in polygons) == mask.sum()


def test_polygons_of_large_smooth_masks_are_exact_too():
    rng = np.random.default_rng(0)
    for _ in range(20):
        field = gaussian_filter(rng.standard_normal((150, 200)), 9)
        mask = label(field > np.quantile(field, 0.8), connectivity=1) == 1
        polygons = mask_polygons(mask)
        if polygons is not None:
            drawn = coco.decode(coco.merge(coco.frPyObjects(polygons, *mask.shape)))
            assert (drawn.astype(bool) == mask).all()


def shoelace(polygon):
    x, y = np.array(polygon).reshape(-1, 2).T
    return 0.5 * (x * np.roll(y, -1) - np.roll(x, -1) * y).sum()  # positive: clockwise with y down


@given(masks)
def test_polygons_are_refused_exactly_where_a_part_has_a_hole_or_touches_itself(mask):
    parts = label(mask, connectivity=1)
    simple = all(euler_number(parts == n, connectivity=1) == 1 for n in range(1, parts.max() + 1))
    touching = any(touches_itself(parts == n) for n in range(1, parts.max() + 1))
    assert (mask_polygons(mask) is not None) == (simple and not touching)


def touches_itself(part):
    a, b, c, d = part[:-1, :-1], part[:-1, 1:], part[1:, :-1], part[1:, 1:]
    return bool(((a & d & ~b & ~c) | (b & c & ~a & ~d)).any())


def test_a_hole_has_no_polygon_and_an_empty_mask_has_none_to_draw():
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    assert mask_polygons(ring) is None
    assert mask_polygons(np.zeros((3, 3), bool)) == []


def test_the_worked_example_of_annotations_md_is_written_as_there():
    mask = np.zeros((8, 10), bool)
    mask[1:6, 3:9] = True
    mask[3, 5:7] = False  # "a 2x1 hole"
    counts = mask_to_counts(mask)
    assert counts == [25, 5, 3, 5, 3, 2, 1, 2, 3, 2, 1, 2, 3, 5, 3, 5, 10]
    assert mask_area(counts) == 28


@pytest.mark.parametrize("counts", [[3], [5, -1], [2, 3], []])
def test_run_lengths_that_do_not_fit_are_refused_in_words(counts):
    with pytest.raises(LabelError, match="2x2"):
        counts_to_mask(counts, (2, 2))


@given(st.tuples(number, number, length, length), st.floats(0, 1), st.integers(1, 99), st.integers(1, 99))
def test_the_square_holds_the_box_and_lies_in_the_image_where_it_fits(box, context, height, width):
    (clipped,) = clip_xywh([box], (height, width))
    x, y, w, h = square_with_context(clipped, context=context, size_hw=(height, width))
    assert w == h == max(clipped[2], clipped[3], 1) * (1 + 2 * context)
    for start, side, low, size, limit in (
        (x, w, clipped[0], clipped[2], width),
        (y, h, clipped[1], clipped[3], height),
    ):
        assert start <= low + 1e-6
        assert low + size <= start + side + 1e-6
        if side <= limit:
            assert start >= 0
            assert start + side <= limit + 1e-6
        else:
            assert start == pytest.approx((limit - side) / 2)


@given(masks)
def test_polygons_come_back_as_the_very_mask(mask: np.ndarray) -> None:
    polygons = mask_polygons(mask)
    if polygons is not None:
        np.testing.assert_array_equal(polygon_mask(polygons, mask.shape), mask)


@given(st.lists(st.tuples(st.floats(-3, 12), st.floats(-3, 12)), min_size=3, max_size=7))
def test_a_pixel_is_inside_where_a_ray_from_its_centre_crosses_the_ring_oddly(corners: list) -> None:
    mask = polygon_mask([np.ravel(corners).tolist()], (8, 9))
    for row, column in np.ndindex(8, 9):
        x, y, crossings, near = column + 0.5, row + 0.5, 0, False
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            near |= min(abs(y0 - y), abs(y1 - y)) < 1e-6
            if (y0 > y) != (y1 > y):
                meets = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                near |= abs(meets - x) < 1e-6
                crossings += meets < x
        assert near or mask[row, column] == crossings % 2


@pytest.mark.parametrize("ring", [[0, 0, 1, 1], [0, 0, 1, 1, 2], [0, 0, 1, 1, np.nan, 2]])
def test_what_is_no_ring_is_refused(ring: list[float]) -> None:
    with pytest.raises(LabelError, match="three points"):
        polygon_mask([ring], (4, 4))


def zigzag(corners: int, height: float) -> list[float]:
    """A ring that goes from the first to the last row and back, a column further each time."""
    return [number for i in range(corners) for number in (float(i % 20), height * (i % 2))]


def test_a_polygon_of_many_crossings_takes_little_memory_and_is_drawn_exactly() -> None:
    height, edges = 1 << 16, 40
    tracemalloc.start()
    mask = polygon_mask([zigzag(edges, height)], (height, 20))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert held < 4 * mask.size + (64 << 18)  # all crossings at once, as five columns, are 105 MB
    row = 2 * height // 3
    x, y = np.reshape(zigzag(edges, height), (-1, 2)).T
    share = (row + 0.5 - y) / (np.roll(y, -1) - y)
    crossings = x + share * (np.roll(x, -1) - x)
    expected = [(crossings <= column + 0.5).sum() % 2 == 1 for column in range(20)]
    assert mask[row].tolist() == expected


def test_a_tangled_polygon_is_refused_before_it_is_drawn() -> None:
    for ring in (zigzag(1 << 12, 1 << 20), [0, 0, 1e200, 0, 0, -1e200]):
        assert is_tangled(ring, (1 << 20, 200))
        with pytest.raises(LabelError, match="up and down"):
            polygon_mask([ring], (1 << 20, 200))
    assert not is_tangled(zigzag(40, 1 << 20), (1 << 20, 200))
