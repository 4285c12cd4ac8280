from math import ceil, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from dinonat.proposals.calibration import (
    Threshold,
    allowed,
    expected_error,
    fit,
    lower_bound,
    needed,
    reliability,
    threshold,
    upper_bound,
)

Float64 = NDArray[np.float64]
AUDITS, AUDITED = 2000, 100


def drawn(seed: int, curve: object = None, size: int = AUDITED) -> tuple[Float64, NDArray[np.bool_]]:
    """Draw an audit from a population of which everything is known: uniform scores, right by ``curve``."""
    rng = np.random.default_rng(seed)
    scores = rng.random(size)
    return scores, rng.random(size) < curve(scores)  # type: ignore[operator]


def precision_above(above: float, curve: object) -> float:
    grid = np.linspace(max(above, 0.0), 1.0, 4001)
    return float(np.mean(curve(grid)))  # type: ignore[operator]


@pytest.mark.parametrize("precision", [0.8, 0.9, 0.95, 0.99])
def test_without_a_wrong_one_the_number_needed_has_a_closed_form(precision: float) -> None:
    assert needed(precision) == ceil(log(0.05) / log(precision))


@given(st.integers(0, 12), st.sampled_from([0.8, 0.9, 0.95]))
@settings(max_examples=30, deadline=None)
def test_the_number_needed_is_the_least_at_which_so_few_wrong_ones_are_surprising(
    wrong: int, precision: float
) -> None:
    items = needed(precision, wrong)
    assert binom.cdf(wrong, items, 1 - precision) <= 0.05 < binom.cdf(wrong, items - 1, 1 - precision)


@given(st.integers(0, 60), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_bounds_are_those_at_which_the_binomial_tail_is_five_percent(right: int, more: int) -> None:
    items = right + more
    low, high = lower_bound(right, items), upper_bound(right, items)
    assert low <= right / items < high
    if right:
        assert binom.sf(right - 1, items, low) == pytest.approx(0.05, abs=1e-9)
    if high < 1:
        assert binom.cdf(right, items, high) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("precision", "curve"),
    [
        (0.9, lambda s: np.full_like(s, 0.8999)),  # everywhere a hair too low: the hardest case
        (0.9, lambda s: np.where(s > 0.7, 1.0, 0.5)),  # a cliff
        (0.9, lambda s: 0.3 + 0.68 * s),
        (0.95, lambda s: np.where(s > 0.38, 0.9499, 0.2)),
        (0.8, lambda s: s**0.3),
    ],
)
def test_the_precision_that_was_promised_is_missed_in_at_most_one_audit_of_twenty(
    precision: float, curve: object
) -> None:
    missed = 0
    for seed in range(AUDITS):
        found = threshold(*drawn(seed, curve), precision)
        missed += found.accepts and precision_above(found.above, curve) < precision
    assert missed <= AUDITS * 0.05 + 3 * (AUDITS * 0.05 * 0.95) ** 0.5


def test_the_promise_is_not_kept_by_accepting_nothing() -> None:
    found = [threshold(*drawn(seed, lambda s: np.where(s > 0.4, 0.999, 0.3)), 0.9) for seed in range(200)]
    taken = [each for each in found if each.accepts]
    assert len(taken) > 180
    assert np.mean([1 - each.above for each in taken]) > 0.5  # of the 0.66 that an oracle would accept


@given(st.integers(0, 10_000), st.sampled_from([0.8, 0.9]), st.integers(20, 150))
@settings(max_examples=60, deadline=None)
def test_a_threshold_keeps_its_own_promise_and_asks_for_what_it_lacks(
    seed: int, precision: float, size: int
) -> None:
    scores, right = drawn(seed, lambda s: 0.5 + 0.5 * s, size)
    scores = np.round(scores, 1)  # many are equal
    found = threshold(scores, right, precision)
    assert found.missing == max(0, needed(precision) - size)
    assert found.accepts == (found.bound >= precision and not found.missing)
    if found.accepts:
        above = scores > found.above
        assert (int(above.sum()), int((~right[above]).sum())) == (found.audited, found.wrong)
        assert lower_bound(int(right[above].sum()), int(above.sum())) == found.bound
        better = threshold(scores, np.ones(size, bool), precision)
        assert better.above == -np.inf  # all right: everything is accepted


def test_the_first_failure_ends_it_though_a_looser_one_would_pass() -> None:
    scores = np.linspace(1, 0, 200)
    right = np.ones(200, bool)
    right[10] = False  # among the first 29: none may be wrong there, of 200 many
    assert threshold(scores, right, 0.9) == Threshold(np.inf, 29, 1, lower_bound(28, 29))


@pytest.mark.parametrize("audited", [100, 200, 400, 1000])
def test_of_a_large_audit_more_is_asked_than_that_the_few_best_are_faultless(audited: int) -> None:
    scores, right = np.linspace(1, 0, audited), np.ones(audited, bool)
    right[2] = False
    found = threshold(scores, right, 0.9)
    assert found.accepts == (audited > 29 * 8)  # one wrong among an eighth of the items is no harm there
    assert allowed(0.9, 29) == 0
    assert needed(0.9, allowed(0.9, audited)) <= audited < needed(0.9, allowed(0.9, audited) + 1)


@pytest.mark.parametrize("slope", [0.7, 3.0])
def test_a_sigmoid_is_found_again(slope: float) -> None:
    def curve(scores: Float64) -> Float64:
        odds = np.log(scores / (1 - scores))
        answer: Float64 = 1 / (1 + np.exp(-(slope * odds - 0.5)))
        return answer

    scores, right = drawn(0, curve, 999)
    found = fit(scores, right, np.arange(999))
    grid = np.linspace(0.1, 0.9, 17)
    assert found.how == "logistic"
    assert np.abs(found.probability(grid) - curve(grid)).max() < 0.08


def test_many_items_are_fitted_by_steps_that_follow_what_no_sigmoid_can() -> None:
    def curve(scores: Float64) -> Float64:
        answer: Float64 = np.where(scores > 0.5, 0.7, 0.3)
        return answer

    scores, right = drawn(1, curve, 4000)
    found = fit(scores, right, np.arange(4000))
    grid = np.array([0.1, 0.3, 0.7, 0.95])
    assert found.how == "isotonic"
    assert np.abs(found.probability(grid) - curve(grid)).max() < 0.08


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_probabilities_grow_with_the_score_and_stay_within_what_few_items_can_say(seed: int) -> None:
    scores, right = drawn(seed, lambda s: 1 - s, 30)  # the score is upside down
    found = fit(scores, right, np.arange(30))
    said = found.probability(np.linspace(0, 1, 20))
    assert (np.diff(said) >= 0).all()
    assert ((said > 0) & (said < 1)).all()
    assert np.isnan(found.probability([np.nan]))[0]


def test_an_item_is_judged_by_a_model_that_has_not_seen_its_recording() -> None:
    scores, right = drawn(3, lambda s: s, 60)
    groups = np.arange(60) // 6
    before = fit(scores, right, groups).unseen
    flipped = right.copy()
    flipped[:6] = ~flipped[:6]
    assert fit(scores, flipped, groups).unseen[:6] == pytest.approx(before[:6], abs=1e-9)
    one = fit(scores, right, np.zeros(60, int))
    assert one.unseen == pytest.approx(one.probability(scores))  # one recording: there is no other


def test_the_calibration_error_is_the_mean_gap_over_bins() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(500)
    right = rng.random(500) < said**2
    gaps = 0.0
    for low in np.arange(15) / 15:
        own = (said >= low) & (said < low + 1 / 15)
        gaps += own.sum() * abs(said[own].mean() - right[own].mean()) if own.any() else 0.0
    assert expected_error(said, right) == pytest.approx(gaps / 500)
    assert expected_error(np.ones(4), np.ones(4, bool)) == 0.0
    assert np.isnan(expected_error([], []))


def test_reliability_holds_every_item_once_in_order() -> None:
    scores, right = drawn(5, lambda s: s)
    bins = reliability(scores, right, 6)
    assert sum(each.items for each in bins) == AUDITED
    assert [each.said for each in bins] == sorted(each.said for each in bins)
    assert sum(each.items * each.right for each in bins) == pytest.approx(right.sum())
    assert all(each.low <= each.right <= each.high for each in bins)
