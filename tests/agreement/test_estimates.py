from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.agreement.estimates import Drawn, Estimate, mean_of

RECORDINGS = st.lists(st.integers(0, 4), min_size=2, max_size=14).map(lambda found: 3 * np.array(found))


def rows_of(groups: np.ndarray, *, resamples: int, seed: int) -> list[np.ndarray]:
    """Draw whole recordings with replacement and write down the pairs of each resample, repeated."""
    names = np.unique(groups)
    drawn = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    return [np.concatenate([np.flatnonzero(groups == names[each]) for each in draw]) for draw in drawn]


def among_others(values: np.ndarray, rows: np.ndarray, groups: np.ndarray) -> float:
    """The mean over couples of drawn ``rows``: of two recordings all, of one those of the same copy.

    The latter count 1 - 1/G times, as couples of two recordings do on average.
    """
    count = len(np.unique(groups))
    found = asked = 0.0
    for i, j in product(range(len(groups)), repeat=2):
        of_i, of_j = int((rows == i).sum()), int((rows == j).sum())
        weight = of_i * of_j if groups[i] != groups[j] else of_i * (1 - 1 / count)
        if i != j:
            found, asked = found + weight * values[i, j], asked + weight
    return found / asked if asked else np.nan


@settings(max_examples=40, deadline=None)
@given(RECORDINGS, st.integers(0, 99))
def test_means_are_those_of_the_pairs_written_down(groups: np.ndarray, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=len(groups))
    found = Drawn(groups, resamples=8, seed=seed).mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found.groups == len(np.unique(groups))
    expected = [values[rows].mean() for rows in rows_of(groups, resamples=8, seed=seed)]
    np.testing.assert_allclose(found.resampled, expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(RECORDINGS, st.integers(0, 99))
def test_strangers_are_all_couples_of_different_pairs(groups: np.ndarray, seed: int) -> None:
    """Other pictures of a recording count, but of a recording drawn twice not those of the other copy."""
    values = np.random.default_rng(seed).normal(size=(len(groups), len(groups)))
    values[np.diag_indices(len(groups))] = 1e6  # would be seen, whatever it were multiplied by
    found = Drawn(groups, resamples=8, seed=seed).among_strangers(values)
    whole = (values.sum() - np.trace(values)) / (len(groups) * (len(groups) - 1))
    assert found.value == pytest.approx(whole)
    expected = [among_others(values, rows, groups) for rows in rows_of(groups, resamples=8, seed=seed)]
    # A resample of one pair alone has no strangers: there the mean of all stands.
    np.testing.assert_allclose(found.resampled, np.where(np.isnan(expected), whole, expected), atol=1e-9)
    assert values[0, 0] == 1e6  # what was given is left as it is


@settings(max_examples=20, deadline=None)
@given(RECORDINGS, st.integers(0, 99))
def test_any_figure_is_asked_with_the_same_draws(groups: np.ndarray, seed: int) -> None:
    values, drawn = np.random.default_rng(seed).normal(size=len(groups)), Drawn(groups, 8, seed)
    found = drawn.of(lambda weights: (values @ weights) / weights.sum(axis=0))
    assert found.value == pytest.approx(drawn.mean(values).value)
    np.testing.assert_allclose(found.resampled, drawn.mean(values).resampled, atol=1e-12)


def test_recordings_are_drawn_whole_and_not_pairs() -> None:
    """Values that differ between recordings only: no resample holds what is not a mean of whole ones."""
    groups = np.array([0, 0, 0, 0, 1])
    found = Drawn(groups, resamples=500).mean(np.where(groups == 0, 0.0, 1.0))
    assert set(np.round(found.resampled, 6)) == {0.0, 0.2, 1.0}  # both 0; one of each; both 1


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    groups, values = np.arange(20), np.random.default_rng(0).normal(size=20)
    one, again, other = (Drawn(groups, 50, seed).mean(values).resampled for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


def test_a_difference_is_taken_resample_by_resample() -> None:
    """What is hard for both does not widen it: of two that differ by 0.1 everywhere it is 0.1."""
    drawn = Drawn(np.repeat(np.arange(10), 3), resamples=200)
    values = np.random.default_rng(0).normal(size=30)
    one, other = drawn.mean(values + 0.1), drawn.mean(values)
    assert (one - one).value == 0
    assert (one - one).interval == (0, 0)
    assert (one - other).interval == pytest.approx((0.1, 0.1))
    assert (one - other).groups == 10
    assert np.ptp(one.interval) > 0.2  # which each alone does not know to 0.2
    swapped = (other - one).interval
    assert swapped == pytest.approx((-0.1, -0.1))


def test_the_gap_of_partners_and_strangers_is_drawn_together() -> None:
    """Pictures that agree with everything lift both; partners that add 0.3 to it differ by 0.3."""
    likes = np.random.default_rng(0).normal(size=12)
    values = np.add.outer(likes, likes) / 2 + 0.3 * np.eye(12)
    drawn = Drawn(np.arange(12), resamples=400)
    paired, strangers = drawn.mean(values.diagonal()), drawn.among_strangers(values)
    gap = paired - strangers
    assert gap.value == pytest.approx(0.3)
    assert gap.interval[0] < 0.3 < gap.interval[1]
    assert np.ptp(gap.interval) < np.ptp(paired.interval) / 2


def test_one_recording_has_no_interval() -> None:
    drawn = Drawn(np.full(5, 7), resamples=20)
    values = np.random.default_rng(0).normal(size=(5, 5))
    for found in (drawn.mean(values[0]), drawn.among_strangers(values)):
        assert found.groups == 1
        assert np.isfinite(found.value)
        assert np.isnan(found.interval).all()
    assert np.isnan((drawn.mean(values[0]) - drawn.mean(values[1])).interval).all()


def test_what_drawing_says_nothing_of_has_no_interval() -> None:
    found = Drawn(np.arange(5), resamples=20).without_interval(0.7)
    assert found.value == 0.7
    assert np.isnan(found.interval).all()


def test_the_mean_of_several_is_drawn_together() -> None:
    drawn = Drawn(np.repeat(np.arange(6), 2), resamples=40)
    values = np.random.default_rng(0).normal(size=(3, 12))
    found, expected = mean_of([drawn.mean(each) for each in values]), drawn.mean(values.mean(axis=0))
    assert found.value == pytest.approx(expected.value)
    np.testing.assert_allclose(found.resampled, expected.resampled)
    assert found.groups == 6


def pairs_of_recordings(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fifteen recordings of two to six pairs that share most of what they say, around 0.5."""
    groups = np.repeat(np.arange(15), generator.integers(2, 7, 15))
    return groups, 0.5 + generator.normal(0, 0.2, 15)[groups] + generator.normal(0, 0.1, len(groups))


def of_pairs(groups: np.ndarray, values: np.ndarray, seed: int) -> Estimate:
    return Drawn(groups, resamples=300, seed=seed).mean(values)


def of_strangers(groups: np.ndarray, values: np.ndarray, seed: int) -> Estimate:
    return Drawn(groups, resamples=300, seed=seed).among_strangers(np.add.outer(values, values) / 2)


def of_videos(groups: np.ndarray, values: np.ndarray, seed: int) -> Estimate:
    """Strangers of one recording look alike, those of two do not: truth is 0.5 again, on average of both."""
    alike = groups[:, None] == groups[None, :]
    likes = np.add.outer(values, values) / 2 + np.where(alike, 2.0, 0.0)
    within = (alike.sum() - len(groups)) / (len(groups) * (len(groups) - 1))
    return Drawn(groups, resamples=300, seed=seed).among_strangers(likes - 2.0 * within)


@pytest.mark.parametrize("figure", [of_pairs, of_strangers, of_videos])
def test_the_interval_holds_the_truth_in_about_95_of_100_worlds(figure: Callable[..., Estimate]) -> None:
    generator, held, worlds = np.random.default_rng(0), 0, 300
    for seed in range(worlds):
        low, high = figure(*pairs_of_recordings(generator), seed).interval
        held += low <= 0.5 <= high
    assert 0.91 <= held / worlds <= 0.985


def test_counting_each_pair_by_itself_would_miss_it() -> None:
    generator, held = np.random.default_rng(0), 0
    for seed in range(150):
        groups, values = pairs_of_recordings(generator)
        low, high = of_pairs(np.arange(len(groups)), values, seed).interval
        held += low <= 0.5 <= high
    assert held / 150 < 0.85
