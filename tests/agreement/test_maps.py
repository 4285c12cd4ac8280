import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dinonat.agreement.maps import MEASURES, pearson, spearman, top_overlap

Pair = tuple[np.ndarray, np.ndarray]


def some(n: int, m: int, *, levels: int = 0, seed: int = 0) -> Pair:
    """Maps (n, 5, 6) and (m, 5, 6) of noise, or of so few levels that cells tie."""
    rng = np.random.default_rng(seed)
    draw = (
        (lambda k: rng.integers(0, levels, (k, 5, 6))) if levels else (lambda k: rng.normal(size=(k, 5, 6)))
    )
    return draw(n).astype(np.float32), draw(m).astype(np.float32)


@pytest.mark.parametrize("levels", [0, 3])
def test_correlations_are_those_of_scipy(levels: int) -> None:
    one, other = some(4, 3, levels=levels)
    first, second = one.astype(np.float64), other.astype(np.float64)
    for measure, reference in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        expected = [[reference(a.ravel(), b.ravel()).statistic for b in second] for a in first]
        np.testing.assert_allclose(measure(one, other), expected, atol=1e-12)


@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_overlaps_are_those_of_sets(levels: int, share: float) -> None:
    """Cells by falling value, of equals the first."""
    one, other = some(4, 3, levels=levels)

    def highest(values: np.ndarray) -> set[int]:
        flat = values.ravel().tolist()
        return set(sorted(range(30), key=lambda cell: (-flat[cell], cell))[: round(share * 30)])

    expected = [[len(highest(a) & highest(b)) / len(highest(a) | highest(b)) for b in other] for a in one]
    np.testing.assert_allclose(top_overlap(one, other, share), expected, atol=1e-15)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(MEASURES)), st.permutations(range(5)), st.sampled_from([0, 4]), st.integers(0, 99)
)
def test_a_permuted_pairing_permutes_the_answers(name: str, order: list[int], levels: int, seed: int) -> None:
    """So what partners have in common goes where the partners go, and the sum over all pairs stays."""
    one, other = some(3, 5, levels=levels, seed=seed)
    whole = MEASURES[name](one, other)
    np.testing.assert_allclose(MEASURES[name](one, other[order]), whole[:, order], atol=1e-12)
    np.testing.assert_allclose(MEASURES[name](other, one), whole.T, atol=1e-12)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_identical_sets_score_one_and_shuffled_ones_as_strangers(name: str) -> None:
    maps = np.random.default_rng(0).normal(size=(60, 14, 14)).astype(np.float32)
    same = MEASURES[name](maps, maps)
    np.testing.assert_allclose(np.diagonal(same), 1, atol=1e-12)
    strangers = same[~np.eye(60, dtype=bool)]
    shuffled = np.diagonal(MEASURES[name](maps, np.roll(maps, 1, axis=0)))
    assert shuffled.mean() == pytest.approx(strangers.mean(), abs=4 * strangers.std() / np.sqrt(60))
    by_chance = {"overlap": 0.25 / 1.75}.get(name, 0.0)  # a quarter of a quarter of the cells is shared
    assert strangers.mean() == pytest.approx(by_chance, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(-100, 100), st.integers(0, 99))
def test_scale_and_offset_do_not_matter(scale: float, offset: float, seed: int) -> None:
    one, other = some(2, 2, seed=seed)
    moved = (one.astype(np.float64) + offset) * scale
    for measure in (pearson, spearman):
        np.testing.assert_allclose(measure(moved, other), measure(one, other), atol=1e-6)
        np.testing.assert_allclose(measure(-one, other), -measure(one, other), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([np.cbrt, np.arctan, lambda maps: maps**3, np.exp]), st.integers(0, 99))
def test_ranks_and_highest_cells_survive_what_is_monotone(bent: np.ufunc, seed: int) -> None:
    one, other = (each.astype(np.float64) for each in some(3, 3, levels=5, seed=seed))
    np.testing.assert_allclose(spearman(bent(one), other), spearman(one, other), atol=1e-12)
    np.testing.assert_array_equal(top_overlap(bent(one), other), top_overlap(one, other))


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_noise_of_a_known_level_costs_what_arithmetic_says(noise: float) -> None:
    """Unit maps with noise of that deviation: cov = 1, var = 1 + s^2, so r = 1 / sqrt(1 + s^2).

    For Spearman of normal values 6 / pi arcsin(r / 2) (Pearson 1907).
    """
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(200, 14, 14))
    other = maps + noise * rng.normal(size=maps.shape)
    expected = 1 / np.sqrt(1 + noise**2)
    for measure, value in ((pearson, expected), (spearman, 6 / np.pi * np.arcsin(expected / 2))):
        found = np.diagonal(measure(maps, other))
        assert found.mean() == pytest.approx(value, abs=0.004 + 4 * found.std() / np.sqrt(200))


def test_a_constant_map_agrees_with_nothing() -> None:
    """Not even with itself, whatever rounding leaves; only the overlap cannot see it, as it says."""
    one, other = some(3, 3)
    for flat in (np.zeros((1, 5, 6), np.float32), np.full((1, 5, 6), 0.1), np.full((1, 5, 6), 1e30)):
        rounded = flat * (1 + 1e-15 * np.random.default_rng(0).normal(size=flat.shape))
        assert not pearson(flat, other).any()
        assert not spearman(flat, other).any()
        assert not pearson(flat, flat).any()
        assert not pearson(rounded, other).any()
        np.testing.assert_array_equal(top_overlap(flat, flat), [[1.0]])
    assert np.isfinite(pearson(one * 1e-30, other * np.float32(1e30))).all()
    np.testing.assert_allclose(pearson(one * np.float32(1e-30), other), pearson(one, other), atol=1e-6)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_what_cannot_be_compared_is_a_defect(name: str) -> None:
    one, other = some(2, 2)
    with pytest.raises(ValueError, match="expected"):
        MEASURES[name](one, other[:, :4])
    with pytest.raises(ValueError, match="expected"):
        MEASURES[name](one[0], other[0])
    for value in (np.nan, np.inf):
        broken = other.copy()
        broken[1, 2, 3] = value
        with pytest.raises(ValueError, match="not finite"):
            MEASURES[name](one, broken)
    for share in (0.0, 0.01, 1.1):
        with pytest.raises(ValueError, match="one cell at least"):
            top_overlap(one, other, share)
