import numpy as np
import pytest

from dinonat.images.prepare import to_grey
from dinonat.images.ranks import MANY, as_bytes, counted, finite, in_order, percentile


@pytest.mark.parametrize("top", [0, 1, 255, 7000, 65535])
@pytest.mark.parametrize("count", [MANY, MANY + 77])
def test_counting_sorts_and_percentiles_are_numpys(top: int, count: int) -> None:
    values = np.random.default_rng(top).integers(0, top, count, endpoint=True).astype(np.float32)
    values[5] = top
    ranked = counted(values)
    assert ranked is not None
    assert ranked.levels.dtype == np.float32
    np.testing.assert_array_equal(np.repeat(ranked.levels, np.diff(ranked.ends, prepend=0)), np.sort(values))
    for q in (0.0, 0.5, 1.0, 33.3, 50.0, 95.0, 99.5, 100.0):
        assert percentile(ranked, q) == pytest.approx(np.percentile(values, q), rel=1e-12, abs=1e-9)


def test_sorting_and_counting_put_values_in_the_same_order() -> None:
    values = np.random.default_rng(0).integers(0, 9, MANY).astype(np.float32)
    ranked, few = in_order(values), in_order(values[:50] / 4)
    assert [ranked.at(place) for place in range(0, MANY, 97)] == np.sort(values)[::97].tolist()
    assert [few.at(place) for place in range(50)] == np.sort(values[:50] / 4).tolist()


def test_what_is_finite_is_kept_and_not_copied_without_need() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.shares_memory(finite(values), values)
    values[0, 1], values[1, 2] = np.nan, np.inf
    assert finite(values).tolist() == [0, 2, 3, 4]


@pytest.mark.parametrize("odd", [-1.0, 0.5, 65536.0, 1e30])
def test_what_cannot_be_counted_is_not(odd: float) -> None:
    values = np.full(MANY, 7, np.float32)
    assert counted(values) is not None
    assert counted(values[1:]) is None
    values[9] = odd
    assert counted(values) is None
    assert counted(values[:0]) is None


@pytest.mark.parametrize("limits", [(3.0, 200.0), (200.0, 3.0), (7.0, 7.0), (-5.5, 300.25)])
def test_looked_up_grey_levels_are_the_computed_ones(limits: tuple[float, float]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (50, 60)).astype(np.float32)
    assert as_bytes(values) is not None
    rows = [to_grey(row, *limits) for row in values]  # too few to be looked up
    np.testing.assert_array_equal(to_grey(values, *limits), np.stack(rows))
    values[4, 5] = np.nan
    assert as_bytes(values) is None
    assert to_grey(values, *limits)[4, 5] == 0
