import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dinonat.saliency.planes import labelled, measured


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_parts_of_stacked_planes_are_those_of_each_plane(seed):
    rng = np.random.default_rng(seed)
    planes = rng.random((3, *rng.integers(1, 12, 2))) < rng.choice([0.2, 0.6, 1])
    expected = []
    for number, plane in enumerate(planes):
        parts, count = ndimage.label(plane)
        for part, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            box = columns.start, rows.start, columns.stop, rows.stop
            expected.append((number, int((parts == part).sum()), *box))
        assert count == sum(row[0] == number for row in expected)
    parts, count = labelled(list(planes))
    plane, area, boxes = measured(parts, count)
    found = np.column_stack([plane, area, boxes])
    assert sorted(map(tuple, found.tolist())) == sorted(expected)
    for number in range(count):
        assert (parts == number + 1).sum() == area[number]


def test_parts_that_touch_are_measured_apart():
    parts = np.zeros((2, 4, 6), np.int32)
    parts[0, 1, 1:5] = [1, 1, 2, 2]
    parts[1, 0:3, 0] = 3
    plane, area, boxes = measured(parts, 3)
    assert (plane.tolist(), area.tolist()) == ([0, 0, 1], [2, 2, 3])
    assert boxes.tolist() == [[1, 1, 3, 2], [3, 1, 5, 2], [0, 0, 1, 3]]
