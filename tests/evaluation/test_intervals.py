import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from dinonat.evaluation import intervals
from dinonat.evaluation.intervals import accuracies, difference, measured, resampled_together
from dinonat.records import Bool, Int64


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 999))
def test_accuracies_are_those_of_scikit_learn(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, winner = generator.integers(0, 4, n), generator.integers(-1, 4, n)
    top1, balanced = accuracies(winner == truth, truth)
    assert top1 == pytest.approx(100 * accuracy_score(truth, winner))
    present = [np.mean(winner[truth == c] == c) for c in np.unique(truth)]
    assert balanced == pytest.approx(100 * np.mean(present))
    if set(winner) <= set(truth) and len(set(truth)) > 1:
        assert balanced == pytest.approx(100 * balanced_accuracy_score(truth, winner))


def by_loop(right: Bool, labels: Int64, groups: Int64, *, resamples: int, seed: int) -> list[list[float]]:
    """Draw whole groups and count the items of each resample, as the definition says."""
    whole = {c: right[labels == c].mean() for c in np.unique(labels)}
    names = np.unique(groups)
    drawn = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    figures = []
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(groups == names[each]) for each in draw])
        shares = [right[own].mean() if len(own := rows[labels[rows] == c]) else whole[c] for c in whole]
        figures.append([100 * right[rows].mean(), 100 * np.mean(shares)])
    return np.array(figures).T.tolist()


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 40), seed=st.integers(0, 999), cells=st.sampled_from([1, 50, 1 << 23]))
def test_counting_gives_what_drawing_items_gives(n: int, seed: int, cells: int) -> None:
    generator = np.random.default_rng(seed)
    right, labels = generator.random(n) < 0.6, generator.integers(0, 3, n)
    groups = 7 * generator.integers(0, 5, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "CELLS", cells)
        ours = intervals.resampled(np.stack([~right, right]), labels, groups, 20, seed)
    np.testing.assert_allclose(ours[1], by_loop(right, labels, groups, resamples=20, seed=seed))


def clustered(generator: np.random.Generator, n_groups: int, each: int, spread: float) -> tuple[Bool, Int64]:
    """Items whose chance to be right differs between groups around 0.7."""
    chance = np.clip(0.7 + spread * generator.uniform(-1, 1, n_groups), 0, 1)
    return generator.random(n_groups * each) < np.repeat(chance, each), np.repeat(np.arange(n_groups), each)


@pytest.mark.parametrize(("n_groups", "each", "spread"), [(100, 1, 0.0), (8, 25, 0.3), (30, 10, 0.3)])
def test_the_interval_holds_the_truth_in_about_95_of_100_worlds(
    n_groups: int, each: int, spread: float
) -> None:
    generator, held, worlds = np.random.default_rng(0), 0, 400
    for seed in range(worlds):
        right, groups = clustered(generator, n_groups, each, spread)
        labels = np.zeros(len(right), np.int64)
        (found,) = measured([right], labels, groups, resamples=400, seed=seed)
        held += found.top1_interval[0] <= 70 <= found.top1_interval[1]
    assert 0.92 <= held / worlds <= 0.985


def test_naive_intervals_would_miss_it() -> None:
    """The same worlds, each item counted by itself: far too narrow."""
    generator, held = np.random.default_rng(0), 0
    for seed in range(200):
        right, groups = clustered(generator, 8, 25, 0.3)
        (found,) = measured([right], groups * 0, np.arange(len(right)), resamples=400, seed=seed)
        held += found.top1_interval[0] <= 70 <= found.top1_interval[1]
    assert held / 200 < 0.85


def test_balanced_accuracy_is_held_too() -> None:
    generator, held = np.random.default_rng(1), 0
    chance = np.array([0.9, 0.5, 0.4])
    for seed in range(300):
        labels = generator.choice(3, 240, p=[0.7, 0.2, 0.1])
        right = generator.random(240) < chance[labels]
        (found,) = measured([right], labels, np.arange(240), resamples=400, seed=seed)
        held += found.balanced_interval[0] <= 60 <= found.balanced_interval[1]
    assert 0.91 <= held / 300 <= 0.985


def test_of_single_items_it_is_the_binomial_interval() -> None:
    right = np.arange(400) < 300
    (found,) = measured([right], np.zeros(400, np.int64), np.arange(400))
    reach = 100 * 1.96 * np.sqrt(0.75 * 0.25 / 400)
    np.testing.assert_allclose(found.top1_interval, (75 - reach, 75 + reach), atol=0.4)


def test_a_rare_class_that_nobody_gets_right_does_not_lift_the_interval_by_its_absence() -> None:
    labels, groups = np.append(np.arange(48) % 2, 2), np.append(np.arange(48) % 16, 0)
    right = np.append(np.ones(48, bool), False)
    (found,) = measured([right], labels, groups)
    assert found.balanced == pytest.approx(200 / 3)
    assert found.balanced_interval[1] == pytest.approx(200 / 3)


def test_one_recording_has_no_interval() -> None:
    right = np.arange(40) < 30
    for row in (right, np.ones(40, bool), np.zeros(40, bool)):
        (found,) = measured([row], np.zeros(40, np.int64), np.zeros(40, np.int64))
        assert np.isnan([*found.top1_interval, *found.balanced_interval]).all()
        assert found.top1 == 100 * row.mean()


def test_all_right_is_not_certain() -> None:
    """As the exact binomial test has it: 30 of 30 leave room down to 88.4 %."""
    labels, groups = np.arange(30) % 2, np.arange(30)
    every, none = measured([np.ones(30, bool), np.zeros(30, bool)], labels, groups)
    exact = stats.binomtest(30, 30).proportion_ci(0.95)
    assert every.top1_interval == pytest.approx((100 * exact.low, 100.0))
    assert none.top1_interval == pytest.approx((0.0, 100 - 100 * exact.low))
    fewer = stats.binomtest(15, 15).proportion_ci(0.95)
    assert every.balanced_interval == pytest.approx((100 * fewer.low, 100.0))


def test_a_paired_difference_leaves_out_what_is_hard_for_both() -> None:
    generator = np.random.default_rng(0)
    second, groups = clustered(generator, 30, 10, 0.3)
    labels = np.zeros(len(second), np.int64)
    first = second | (generator.random(len(second)) < 0.1)  # right wherever the other is, and a bit more
    gain = difference(first, second, labels, groups)
    assert gain.top1 == pytest.approx(100 * (first.mean() - second.mean()))
    assert gain.top1_interval[0] > 0
    alone = measured([first], labels, groups)[0].top1_interval
    assert gain.top1_interval[1] - gain.top1_interval[0] < (alone[1] - alone[0]) / 2
    same = difference(first, first, labels, groups)
    assert (same.top1, same.top1_interval, same.balanced_interval) == (0, (0, 0), (0, 0))


def test_the_same_seed_gives_the_same_interval() -> None:
    right, groups = clustered(np.random.default_rng(0), 12, 5, 0.3)
    labels = np.arange(60) % 4
    assert measured([right], labels, groups) == measured([right], labels, groups)
    assert measured([right], labels, groups) != measured([right], labels, groups, seed=1)


def test_recordings_stay_together_else_images() -> None:
    items = pd.DataFrame({"image": ["a", "a", "b", "c"], "recording": ["", "", "", ""]})
    groups, word = resampled_together(items)
    assert (groups.tolist(), word) == ([0, 0, 1, 2], "image")
    groups, word = resampled_together(items.assign(recording=["r", "r", "r", ""]))
    assert len(np.unique(groups)) == 2
    assert word == "recording"
    groups, word = resampled_together(items.assign(recording="r"))
    assert (len(np.unique(groups)), word) == (1, "recording")
