from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.neighbors.parts import unit
from dinonat.proposals import selecting
from dinonat.proposals.selecting import (
    SAME,
    Pick,
    Room,
    audited,
    by_doubt,
    by_lot,
    covering,
    fair_share,
    kernel_of,
    sampled,
    typical,
)
from dinonat.records import Bool, Float32, Int64


def blobs(sizes: list[int], *, seed: int = 0, spread: float = 0.25) -> tuple[Float32, Int64]:
    """Groups of alike vectors around the axes, and which group each belongs to."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    vectors = np.eye(16)[groups] + spread * rng.normal(size=(len(groups), 16))
    return unit(vectors.astype(np.float32)), groups


def nothing(n: int) -> Bool:
    return np.zeros(n, bool)


def room_of(vectors: Float32, wanted: int, **more: object) -> Room:
    own: dict[str, object] = {
        "recordings": np.arange(len(vectors)),
        "labelled": nothing(len(vectors)),
        **more,
    }
    return Room(vectors, wanted=wanted, **own)  # type: ignore[arg-type]


WAYS: dict[str, Callable[[Room, Bool, int], list[Pick]]] = {
    "typical": lambda room, labelled, n: typical(room, labelled, n, seed=3),
    "coverage": lambda room, labelled, n: covering(room, labelled, n, seed=3),
    "random": lambda room, _, n: by_lot(room, n, seed=3),
    "uncertain": lambda room, _, n: by_doubt(room, np.linspace(1, 0, len(room.free)), n, seed=3),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_spreads_over_recordings_and_takes_no_two_that_look_the_same(way: str) -> None:
    vectors, _ = blobs([30, 20, 10])
    vectors[1::6] = vectors[0::6]  # twins
    recordings = np.repeat([0, 1, 2, 3], [40, 12, 6, 2])
    labelled = nothing(60)
    labelled[[5, 44]] = True
    picks = WAYS[way](Room(vectors, recordings, labelled, 12), labelled, 12)
    rows = np.array([pick.row for pick in picks])
    assert len(set(rows.tolist())) == 12
    assert not labelled[rows].any()
    own = np.concatenate([rows, np.flatnonzero(labelled)])
    cosines = vectors[own] @ vectors[own].T - 2 * np.eye(len(own))
    assert cosines.max() <= SAME
    counts = np.bincount(np.concatenate([recordings[rows], recordings[labelled]]), minlength=4)
    assert counts.max() <= 5  # 14 of 4 recordings, of which one holds 2 and one 6
    assert WAYS[way](Room(vectors, recordings, labelled, 12), labelled, 12) == picks
    assert all(pick.reason for pick in picks)


def test_where_recordings_are_used_up_more_of_each_is_taken_and_never_more_than_there_is() -> None:
    vectors, _ = blobs([8, 8])
    vectors[1:8] = vectors[0]  # one recording shows one thing only
    recordings = np.repeat([0, 1], 8)
    picks = by_lot(Room(vectors, recordings, nothing(16), 7), 7, seed=0)
    assert Counter(recordings[[pick.row for pick in picks]].tolist()) == {0: 1, 1: 6}
    alike = np.tile(vectors[:1], (5, 1))
    for way in WAYS.values():
        assert len(way(room_of(alike, 4), nothing(5), 4)) == 1


def test_an_image_is_taken_once_though_it_holds_several_items() -> None:
    vectors, _ = blobs([20])
    images = np.arange(20) // 4
    picks = by_lot(room_of(vectors, 20, images=images), 20, seed=0)
    assert sorted(images[[pick.row for pick in picks]].tolist()) == [0, 1, 2, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), min_size=1, max_size=8), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_the_fair_share_is_the_least_that_is_enough(counts: list[tuple[int, int]], wanted: int) -> None:
    there, taken = np.array(counts).T

    def had(share: int) -> int:
        return int(np.minimum(there, np.maximum(share - taken, 0)).sum())

    share = fair_share(there, taken, wanted)
    most = int((there + taken).max())
    assert share <= most
    assert had(share) >= min(wanted, had(most))
    assert share <= 1 or had(share - 1) < wanted


def test_the_typical_ones_are_of_the_largest_groups_that_have_no_label() -> None:
    vectors, groups = blobs([60, 40, 20, 3], spread=0.1)
    labelled = nothing(len(groups))
    labelled[0] = True  # of the largest
    picks = typical(room_of(vectors, 2, labelled=labelled), labelled, 2, seed=0)
    assert [groups[pick.row] for pick in picks] == [1, 2]  # not the three, which are few
    own = np.flatnonzero(groups == 1)
    cosines = np.sort(vectors[own] @ vectors[own].T, axis=1)[:, -21:-1].mean(axis=1)
    assert picks[0].row == own[cosines.argmax()]


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=15, deadline=None)
def test_coverage_takes_what_a_plain_greedy_search_takes(seed: int, some: bool) -> None:
    vectors, _ = blobs([25, 10, 5], seed=seed)
    labelled = nothing(40)
    labelled[[3, 30]] = some
    rows = [pick.row for pick in covering(room_of(vectors, 8, labelled=labelled), labelled, 8, seed=0)]
    kernel = kernel_of(vectors, np.arange(40)).astype(np.float64)
    assert kernel.max() == pytest.approx(1, abs=1e-5)
    near, free = kernel[labelled].max(axis=0, initial=0.0), ~labelled
    if some:
        free &= (vectors @ vectors[labelled].T).max(axis=1) <= SAME
    for row in rows:
        gains = np.where(free, np.maximum(kernel - near, 0).sum(axis=1), -1)
        assert gains[row] == pytest.approx(gains.max(), rel=1e-4)
        near = np.maximum(near, kernel[row])
        free &= vectors @ vectors[row] <= SAME
        free[row] = False


def test_doubt_and_lot_take_turns_and_what_has_no_proposal_comes_last() -> None:
    vectors, _ = blobs([40])
    margins = np.linspace(0.5, 0.1, 40)
    margins[:5] = np.nan
    picks = by_doubt(room_of(vectors, 8), margins, 8, seed=0, between=["a and b"] * 40)
    doubtful = [pick.row for pick in picks[::2]]
    assert doubtful[0] == 39
    assert margins[doubtful].tolist() == sorted(margins[doubtful])
    assert [pick.reason for pick in picks[1::2]] == ["drawn by lot"] * 4
    assert picks[0].reason == "undecided between a and b: lead 0.100"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 50), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_an_audit_takes_of_each_recording_its_share_rounded_up_or_down(
    sizes: list[int], wanted: int, seed: int
) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = audited(groups, wanted, seed=seed)
    n = len(groups)
    assert len(set(rows.tolist())) == len(rows) == min(wanted, n)
    share = np.array(sizes) * min(1.0, wanted / n)
    counts = np.bincount(groups[rows], minlength=len(sizes))
    assert ((counts >= np.floor(share - 1e-9)) & (counts <= np.ceil(share + 1e-9))).all()
    assert (audited(groups, wanted, seed=seed) == rows).all()


def test_every_proposal_has_the_same_chance_to_be_audited() -> None:
    groups = np.repeat([0, 1, 2, 3, 4], [30, 12, 5, 2, 1])
    draws, wanted = 4000, 10
    counts = np.zeros(50)
    for seed in range(draws):
        counts[audited(groups, wanted, seed=seed)] += 1
    chance = wanted / 50
    error = (draws * chance * (1 - chance)) ** 0.5
    assert np.abs(counts - draws * chance).max() < 4 * error


def test_of_very_many_an_even_sample_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "CANDIDATES", 100)
    rows = sampled(1000, seed=1)
    assert len(set(rows.tolist())) == 100
    assert (np.diff(rows) > 0).all()
    assert sampled(100, seed=1).tolist() == list(range(100))
