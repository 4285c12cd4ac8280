import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.geometry import box_of_mask, counts_to_mask
from dinonat.saliency.masks import Patch, refined


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_run_lengths_and_box_of_a_patch_are_those_of_its_whole_picture(seed):
    rng = np.random.default_rng(seed)
    whole = np.zeros(rng.integers(1, 9, 2), dtype=bool)
    y, x = (int(start) for start in rng.integers(whole.shape))
    height, width = (int(side) for side in rng.integers(1, np.subtract(whole.shape, (y, x)) + 1))
    mask = rng.random((height, width)) < rng.choice([0.3, 1])
    whole[y : y + height, x : x + width] = mask
    patch = Patch(mask, x, y)
    assert (counts_to_mask(patch.counts(whole.shape), whole.shape) == whole).all()
    assert not mask.any() or patch.box == box_of_mask(whole)


@pytest.mark.parametrize("corner", [(0, 0), (41, 30), (82, 107)])  # (y, x); the last ends with the picture
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_loose_mask_shrinks_to_the_object_also_at_the_borders(corner, factor):
    picture = np.full((101, 125), 0.4, np.float32)
    y, x = corner
    picture[y : y + 19, x : x + 18] = 0.8
    first, last = (y // factor, x // factor), (-(-(y + 19) // factor), -(-(x + 18) // factor))
    loose = np.ones((last[0] - first[0], last[1] - first[1]), dtype=bool)  # whole working pixels
    found = refined(Patch(loose, first[1], first[0]), picture, factor, tight=True)
    assert found.box == (x, y, 18, 19)
    assert found.mask.all()
