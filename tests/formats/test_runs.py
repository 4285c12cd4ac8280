import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.formats.runs import window_counts
from dinonat.geometry import mask_to_counts

SIDES = st.integers(1, 6)


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, st.tuples(*[st.integers(0, 3)] * 4), st.integers(0, 2**32 - 1))
def test_the_run_lengths_of_a_window_are_those_of_the_image_around_it(height, width, around, seed):
    left, top, right, low = around
    window = np.random.default_rng(seed).random((height, width)) < 0.5
    image = np.pad(window, ((top, low), (left, right)))

    expected = tuple(mask_to_counts(image)) if window.any() else ()
    assert window_counts(window, left, top, image.shape) == expected
