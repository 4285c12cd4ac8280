import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.agreement.spaces import linear_cka, modality_gap

Rows = np.ndarray


def rows(n: int, d: int, seed: int = 0, centre: float = 3.0) -> Rows:
    return np.random.default_rng(seed).normal(centre, 1, (n, d)).astype(np.float32)


def cka(x: Rows, y: Rows) -> float:
    """By the covariances, in float64."""
    first, second = (each - each.mean(axis=0) for each in (x.astype(np.float64), y.astype(np.float64)))
    size = [np.linalg.norm(each.T @ each) for each in (first, second)]
    return float(np.linalg.norm(first.T @ second) ** 2 / size[0] / size[1])


def gap(x: Rows, y: Rows) -> float:
    first, second = x.astype(np.float64), y.astype(np.float64)
    apart = np.linalg.norm(first - second, axis=1).mean()
    return float(np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)) / apart)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_both_are_what_their_definitions_say(n: int, d: int, e: int, seed: int) -> None:
    x, y = rows(n, d, seed), rows(n, e, seed + 1000)
    assert float(linear_cka(x, y)) == pytest.approx(cka(x, y), abs=1e-9)
    other = rows(n, d, seed + 2000, centre=1.0)
    assert float(modality_gap(x, other)) == pytest.approx(gap(x, other), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), min_size=1, max_size=5), st.integers(0, 99)
)
def test_weights_repeat_rows(times: list[list[int]], seed: int) -> None:
    """Where a resample holds two different items at least; of one item nothing varies."""
    x, y, z = rows(7, 5, seed), rows(7, 3, seed + 1000), rows(7, 5, seed + 2000)
    times = [each for each in times if any(each)] or [[1] * 7]
    weights = np.array(times, np.float64).T  # (n, R)
    many, gaps = linear_cka(x, y, weights), modality_gap(x, z, weights)
    assert many.shape == gaps.shape == (len(times),)
    for at, each in enumerate(times):
        a, b, c = (np.repeat(part, each, axis=0) for part in (x, y, z))
        expected = cka(a, b) if np.count_nonzero(each) > 1 else 0.0
        assert many[at] == pytest.approx(expected, abs=1e-6)
        assert float(linear_cka(x, y, weights[:, at])) == pytest.approx(many[at], abs=1e-9)
        assert gaps[at] == pytest.approx(gap(a, c), abs=1e-9)
        assert float(modality_gap(x, z, weights[:, at])) == pytest.approx(gaps[at], abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-4, 1e4), st.floats(-50, 50), st.permutations(range(12)), st.integers(0, 99))
def test_turning_and_scaling_a_space_does_not_matter(
    scale: float, offset: float, order: list[int], seed: int
) -> None:
    """CKA of X and X R is 1 for an orthogonal R, whatever scale, origin and order of the items."""
    x, y = rows(12, 6, seed).astype(np.float64), rows(12, 6, seed + 1000).astype(np.float64)
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))
    assert float(linear_cka(x, scale * (x @ turned + offset))) == pytest.approx(1, abs=1e-6)
    assert float(linear_cka(x @ turned, y)) == pytest.approx(float(linear_cka(x, y)), abs=1e-9)
    assert float(linear_cka(x[order], y[order])) == pytest.approx(float(linear_cka(x, y)), abs=1e-9)
    assert float(modality_gap(scale * x, scale * y)) == pytest.approx(float(modality_gap(x, y)), abs=1e-9)
    assert float(modality_gap(x @ turned + offset, y @ turned + offset)) == pytest.approx(
        float(modality_gap(x, y)), abs=1e-9
    )


def test_a_noisy_space_is_half_alike_and_a_shuffled_one_hardly() -> None:
    """Of d independent unit columns against as many others, E |X'Y|^2 is n d^2, and |X'X|^2 n^2 d + n d^2."""
    n, d = 1500, 20
    x, noise = rows(n, d), rows(n, d, 1)
    expected = (n * d**2) / (n**2 * d + n * d**2)
    assert float(linear_cka(x, noise)) == pytest.approx(expected, rel=0.15)
    assert float(linear_cka(x, np.roll(x, 1, axis=0))) == pytest.approx(expected, rel=0.15)
    assert float(linear_cka(x, x + noise)) == pytest.approx(1 / 2, abs=0.02)  # cov 1, var 2: d / sqrt(d 4 d)


def test_the_gap_is_one_where_a_mean_is_all_that_differs() -> None:
    x = rows(50, 8)
    step = np.arange(8, dtype=np.float32)
    assert float(modality_gap(x, x + step)) == pytest.approx(1, abs=1e-6)
    assert float(modality_gap(x, x)) == 0.0
    signs = np.where(np.arange(50) % 2, 1, -1)[:, None].astype(np.float32)
    assert float(modality_gap(x, x + signs * step)) == pytest.approx(0, abs=1e-6)
    centred = x + rows(50, 8, 1) - rows(50, 8, 1).mean(axis=0)
    assert float(modality_gap(x, centred)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, 1e-20])
def test_a_side_that_does_not_vary_is_like_nothing(value: float) -> None:
    flat, x = np.full((9, 4), value, np.float32), rows(9, 6)
    assert float(linear_cka(flat, x)) == float(linear_cka(x, flat)) == float(linear_cka(flat, flat)) == 0.0
    half = np.concatenate([flat[:5], x[5:, :4]])  # varies, but not among the first five
    weights = np.array([[1.0] * 5 + [0] * 4, [1.0] * 9]).T
    found = linear_cka(half, half, weights)
    assert found.tolist() == [0.0, pytest.approx(1.0)]
    assert linear_cka(x[:1], x[:1]) == 0.0


def test_what_does_not_match_is_a_defect() -> None:
    x = rows(6, 3)
    for measure in (linear_cka, modality_gap):
        with pytest.raises(ValueError, match="expected"):
            measure(x, x[:5])
        with pytest.raises(ValueError, match="not finite"):
            measure(x, np.where(x == x[2, 1], np.nan, x))
        for weights in (np.ones(5), -np.ones(6), np.zeros((6, 2)), np.full(6, np.nan)):
            with pytest.raises(ValueError, match="weights"):
                measure(x, x, weights)
    with pytest.raises(ValueError, match="one length"):
        modality_gap(x, rows(6, 4))
