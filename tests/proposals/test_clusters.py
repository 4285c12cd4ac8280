import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dinonat.neighbors.parts import unit
from dinonat.proposals.clusters import by_size, cluster, suggested_clusters


def test_separate_groups_are_found_and_numbered_by_size() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [50, 30, 20])
    centres = np.eye(3, 10)
    rows = unit((centres[truth] + 0.05 * generator.normal(size=(100, 10))).astype(np.float32))
    order = generator.permutation(100)
    assert np.array_equal(cluster(rows[order], 3), truth[order])


def test_the_same_rows_give_the_same_clusters() -> None:
    rows = unit(np.random.default_rng(1).normal(size=(500, 20)).astype(np.float32))
    assert np.array_equal(cluster(rows, 12, seed=3), cluster(rows, 12, seed=3))


def test_few_or_equal_rows_are_no_error() -> None:
    assert cluster(np.zeros((0, 4), np.float32)).tolist() == []
    assert cluster(np.ones((1, 4), np.float32), 8).tolist() == [0]
    assert cluster(np.zeros((30, 4), np.float32), 5).tolist() == [0] * 30
    assert set(cluster(np.repeat(np.eye(2, 4, dtype=np.float32), 9, axis=0), 7)) == {0, 1}


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40))
def test_renumbering_keeps_the_groups_and_sorts_their_sizes(numbers: list[int]) -> None:
    before = np.array(numbers)
    after = by_size(before)
    assert np.array_equal(before[:, None] == before[None], after[:, None] == after[None])
    assert (np.diff(np.bincount(after)) <= 0).all()


def test_more_items_never_suggest_fewer_clusters() -> None:
    counts = [suggested_clusters(n) for n in range(1, 20_000, 37)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 50)
