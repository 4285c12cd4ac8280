from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinonat.neighbors.pairs import partner_ranks, retrieval, split_recordings, units


@given(st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=60), st.integers(0, 5))
def test_whole_recordings_are_held_out_and_some_are_left(recordings: list[str], seed: int) -> None:
    held = split_recordings(recordings, 0.2, seed)
    np.testing.assert_array_equal(held, split_recordings(recordings, 0.2, seed))
    marks: dict[str, set[bool]] = {}
    for name, mark in zip(recordings, held.tolist(), strict=True):
        marks.setdefault(name, set()).add(mark)
    assert all(len(each) == 1 for each in marks.values())
    if len(marks) > 1:
        assert 0 < held.sum() < len(recordings)
    else:
        assert not held.any()


@given(st.lists(st.integers(1, 40), min_size=2, max_size=40), st.integers(0, 5))
def test_no_recording_is_left_that_would_bring_the_share_nearer(sizes: list[int], seed: int) -> None:
    recordings = [f"r{i}" for i, size in enumerate(sizes) for _ in range(size)]
    held, wanted = split_recordings(recordings, 0.2, seed), 0.2 * len(recordings)
    whose = {name for name, mark in zip(recordings, held.tolist(), strict=True) if mark}
    assert held.sum() <= 1.25 * wanted or (len(whose) == 1 and held.sum() == min(sizes))
    if held.sum() <= wanted and len(whose) < len(sizes) - 1:
        for name, size in Counter(recordings).items():
            more = held.sum() + size
            assert name in whose or more > 1.25 * wanted or more - wanted >= wanted - held.sum()


def test_unknown_recordings_are_never_held_out() -> None:
    names = ["a", "", "b", "", "c", "d", "e"]
    held = split_recordings(names)
    assert held.any()
    assert not held[[1, 3]].any()
    assert not split_recordings(["", "", ""]).any()
    assert not split_recordings(["a", "", ""]).any()


def test_equal_sets_find_each_other() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    found = retrieval(vectors, 3 * vectors)  # lengths do not count
    ways = ("colour_to_thermal", "thermal_to_colour")
    assert all(found[f"{way}_{k}"] == 1.0 for way in ways for k in (1, 5))
    assert (found["pairs"], found["chance_1"], found["chance_5"]) == (50, 1 / 50, 5 / 50)


def test_a_random_order_gives_chance() -> None:
    """Of n! orders one in n pairs stays: R@1 of many orders is 1 / n on average."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 16)).astype(np.float32)
    found = [retrieval(vectors, vectors[rng.permutation(20)]) for _ in range(300)]
    for k in (1, 5):
        mean = np.mean([each[f"thermal_to_colour_{k}"] for each in found])
        assert mean == pytest.approx(k / 20, abs=0.03)


def test_ties_count_against_the_model() -> None:
    same = np.ones((10, 4), np.float32)
    assert retrieval(same, same)["colour_to_thermal_5"] == 0.0
    assert retrieval(same[:5], same[:5])["colour_to_thermal_5"] == 1.0  # all five are among the five
    assert retrieval(same * 0, same)["thermal_to_colour_1"] == 0.0
    broken = np.eye(6, dtype=np.float32)
    broken[2] = np.nan
    found = retrieval(broken, np.eye(6, dtype=np.float32))
    assert found["colour_to_thermal_1"] == pytest.approx(5 / 6)
    assert found["thermal_to_colour_1"] == 0.0  # what cannot be compared may be nearer


def test_ranks_are_those_of_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 30, 5))
    monkeypatch.setattr("dinonat.neighbors.pairs.BLOCK", 7)
    expected = [int(np.where(np.argsort(-(other @ query)) == i)[0][0]) for i, query in enumerate(one)]
    assert partner_ranks(one, other).tolist() == expected


def test_vectors_that_do_not_match_are_a_defect() -> None:
    with pytest.raises(ValueError, match="expected two equal"):
        retrieval(np.ones((3, 2), np.float32), np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match="expected two equal"):
        retrieval(np.ones((0, 2), np.float32), np.ones((0, 2), np.float32))


@given(st.integers(2, 25), st.integers(0, 99))
def test_the_rest_of_a_group_is_left_out(n: int, seed: int) -> None:
    """As by a gallery for each query without the others of its group."""
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, n, 4))
    groups = rng.integers(-1, 4, n)
    expected = []
    for at, query in enumerate(one):
        allowed = [i for i in range(n) if i == at or groups[i] != groups[at] or groups[at] < 0]
        near = sorted(allowed, key=lambda i: -float(other[i] @ query))
        expected.append(near.index(at))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dinonat.neighbors.pairs.BLOCK", 7)
        assert partner_ranks(one, other, groups).tolist() == expected
    assert partner_ranks(one, other, np.full(n, -1)).tolist() == partner_ranks(one, other).tolist()
    assert not partner_ranks(one, other, np.zeros(n, np.int64)).any()  # the partner alone is left


def test_near_duplicates_of_a_recording_are_no_strangers() -> None:
    """Two frames of each place: each is as near as the partner until its group is left out."""
    places = np.eye(4).repeat(2, axis=0)
    assert partner_ranks(places, places).tolist() == [1] * 8
    assert partner_ranks(places, places, np.arange(4).repeat(2)).tolist() == [0] * 8
    same = np.ones((8, 3))
    assert partner_ranks(same, same, np.arange(4).repeat(2)).tolist() == [6] * 8  # ties still count
    broken = places.copy()
    broken[2:4] = np.nan
    assert partner_ranks(broken, places, np.arange(4).repeat(2)).tolist() == [0, 0, 6, 6, 0, 0, 0, 0]
    assert partner_ranks(places, broken, np.arange(4).repeat(2)).tolist() == [2, 2, 6, 6, 2, 2, 2, 2]


def test_units_have_length_one_or_none() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    rows[2] = 0
    found = units(rows)
    assert found.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1, 1])
    np.testing.assert_allclose(units(rows.astype(np.float64) * 1e3), found)


def test_groups_that_do_not_match_are_a_defect() -> None:
    rows = np.ones((3, 2))
    with pytest.raises(ValueError, match="expected"):
        partner_ranks(rows, rows, np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="expected"):
        partner_ranks(rows, rows[:2])
    assert partner_ranks(rows[:0], rows[:0]).tolist() == []
