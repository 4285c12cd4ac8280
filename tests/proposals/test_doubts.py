import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.neighbors import exact
from dinonat.neighbors.graph import build
from dinonat.neighbors.parts import unit
from dinonat.proposals import doubts as module
from dinonat.proposals.doubts import (
    DOUBT_COLUMNS,
    label_errors,
    near_duplicates,
    outliers,
    together,
    vote_shares,
)
from dinonat.records import Float32


def items(n: int) -> pd.DataFrame:
    names = [f"{i:04}" for i in range(n)]
    return pd.DataFrame({"item": names, "image": [f"{name}.png" for name in names], "kind": "image"}).assign(
        x=0.0, y=0.0, w=8.0, h=8.0
    )


def rows_of(table: pd.DataFrame) -> list[int]:
    return [int(item) for item in table["item"]]


def blobs(sizes: list[int], noise: float, seed: int = 0) -> tuple[Float32, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rows = generator.normal(size=(len(sizes), 16))[truth] + noise * generator.normal(size=(len(truth), 16))
    return unit(rows.astype(np.float32)), truth


def test_what_is_like_nothing_else_is_listed_farthest_first() -> None:
    vectors, _ = blobs([60, 60], 0.3)
    vectors[[7, 90]] = unit(np.random.default_rng(5).normal(size=(2, 16)).astype(np.float32))
    graph = build(vectors, 15, search=exact.search)
    found, sentence = outliers(items(120), graph)
    assert set(rows_of(found)) >= {7, 90}
    assert len(found) < 10
    assert rows_of(found)[:2] == sorted([7, 90], key=lambda row: graph.similarity[row, 4])
    np.testing.assert_allclose(found["value"], graph.similarity[rows_of(found), 4])
    assert sentence.startswith(f"{len(found)} of 120 images are like nothing else")


def test_a_recording_of_its_own_kind_is_no_outlier() -> None:
    vectors, truth = blobs([60, 60, 12], 0.2)
    graph = build(vectors, 15, search=exact.search, groups=np.where(truth == 2, 0, 1 + np.arange(132)))
    assert not set(rows_of(outliers(items(132), graph)[0])) & set(range(120, 132))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(1, 4), st.floats(0.5, 0.999), st.integers(0, 99))
def test_every_repeat_is_that_like_what_it_repeats_and_all_are_found(n, d, same, seed) -> None:
    vectors = unit(np.random.default_rng(seed).normal(size=(n, d + 1)).astype(np.float32))
    graph = build(vectors, max(1, n), search=exact.search)  # of all: then nothing can be missed
    found, _ = near_duplicates(items(n), graph, vectors, same=same)
    cosines = vectors.astype(np.float64) @ vectors.T
    kept: list[int] = []
    for row in range(n):  # the definition: repeat the first kept one that is alike, else be kept
        if not any(cosines[row, first] >= same for first in kept):
            kept.append(row)
    assert set(rows_of(found)) == set(range(n)) - set(kept)
    for row, other, value, group in zip(
        rows_of(found), found["other"], found["value"], found["group"], strict=True
    ):
        first = int(other.removesuffix(".png"))
        assert first == next(one for one in kept if cosines[row, one] >= same)
        assert value == pytest.approx(cosines[row, first], abs=1e-5)
        assert set(found.loc[found["group"] == group, "other"]) == {other}
    sizes = found["group"].value_counts().sort_index().tolist()
    assert sizes == sorted(sizes, reverse=True)


def test_a_still_recording_is_one_group_though_rows_have_few_neighbours() -> None:
    vectors, _ = blobs([300, 30], 0.001)
    graph = build(vectors, 6, search=exact.search, groups=np.repeat([0, 1], [300, 30]))
    found, sentence = near_duplicates(items(330), graph, vectors)
    assert set(found["other"]) == {"0000.png", "0300.png"}
    assert len(found) == 328
    assert "328 of 330 images repeat another one (cosine of at least 0.98), in 2 groups" in sentence


def test_turned_labels_are_found_where_classes_are_clear() -> None:
    vectors, truth = blobs([50, 50, 50], 0.4)
    given = truth.copy()
    given[[3, 60, 140]] = [1, 2, 0]
    shares = vote_shares(vectors, given, np.arange(150), n_classes=3, search=exact.search)
    found, sentence = label_errors(items(150), given, ["a", "b", "c"], shares)
    assert set(rows_of(found)[:3]) == {3, 60, 140}
    first = found.set_index("item")
    assert (first.loc["0003", "label"], first.loc["0003", "other"]) == ("b", "a")
    assert sentence.startswith(f"{len(found)} of 150 labels are in doubt")


def test_the_rule_is_that_of_the_paper() -> None:
    shares = np.float32([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])
    labels = np.int64([0, 0, 0, 1, 1])  # thresholds: 0.6 of class 0, 0.65 of class 1
    found, _ = label_errors(items(5), labels, ["a", "b"], shares)
    assert rows_of(found) == [2, 3]
    values = [(0.2 / 0.6) / (0.8 / 0.65), (0.4 / 0.65) / (0.6 / 0.6)]
    np.testing.assert_allclose(found["value"], values, rtol=1e-5)


def test_only_labels_of_people_are_counted_and_listed() -> None:
    shares = np.float32([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])
    people = np.array([True, True, False, True, False])
    found, sentence = label_errors(items(5), [0, 0, 0, 1, 1], ["a", "b"], shares, given_by_people=people)
    assert rows_of(found) == [3]  # row 2 is as doubtful, see above
    assert sentence.startswith("1 of 3 labels is in doubt")


def test_a_vote_that_is_mostly_wrong_doubts_nobody() -> None:
    shares = np.float32([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]])
    found, sentence = label_errors(items(4), [0, 0, 0, 1], ["a", "b"], shares)  # one of four found again
    assert found.empty
    assert sentence.startswith("No label is doubted: alike items find 25%")
    assert len(label_errors(items(4), [0, 0, 1, 1], ["a", "b"], shares)[0])  # two of four


def test_an_item_has_no_say_about_its_own_recording() -> None:
    vectors, truth = blobs([30, 30], 0.1)
    groups = truth.copy()  # each class is one recording: nothing else says what it is
    shares = vote_shares(vectors, truth, groups, n_classes=2, search=exact.search)
    assert (shares[np.arange(60), truth] == 0).all()


def test_odd_sets_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for vectors in (
        np.zeros((0, 4), np.float32),
        np.ones((1, 4), np.float32) / 2,
        np.zeros((9, 4), np.float32),
    ):
        n = len(vectors)
        graph = build(vectors, 15, search=exact.search)
        lists = [outliers(items(n), graph), near_duplicates(items(n), graph, vectors)]
        assert together(lists).empty
        assert list(together(lists)) == list(DOUBT_COLUMNS)
    equal = unit(np.ones((40, 4), np.float32))
    graph = build(equal, 5, search=exact.search)
    assert outliers(items(40), graph).table.empty
    assert rows_of(near_duplicates(items(40), graph, equal).table) == list(range(1, 40))
    none = label_errors(items(4), np.zeros(4, np.int64), ["a", "b"], np.float32([[1, 0]] * 4)).table
    assert none.empty  # one class only, the other without labels
    assert label_errors(items(3), np.int64([0, 1, 1]), ["a", "b"], np.zeros((3, 2), np.float32)).table.empty
    monkeypatch.setattr(module, "MOST", 2)
    shares = np.float32([[0.9, 0.1]] * 6 + [[0.1, 0.9]] * 6)
    some, sentence = label_errors(items(12), np.tile([0, 1], 6), ["a", "b"], shares)
    assert len(some) == 2
    assert "The first 2 are listed." in sentence
