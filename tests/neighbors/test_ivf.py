from functools import partial

import faiss
import numpy as np
import pytest

from dinonat.neighbors import exact, index, ivf
from dinonat.neighbors.graph import build
from dinonat.neighbors.parts import unit
from dinonat.records import Float32

N = 20_000
approximate = partial(index.search, exact_up_to=5000)


@pytest.fixture(scope="module")
def bank() -> Float32:
    """Clusters of many sizes that overlap."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(60, 16))
    sizes = generator.dirichlet(np.full(60, 0.5))
    rows = centres[generator.choice(60, N, p=sizes)] + 0.6 * generator.normal(size=(N, 16))
    return unit(rows.astype(np.float32))


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    shared = [len(set(one) & set(other)) for one, other in zip(found, expected, strict=True)]
    return float(np.mean(shared)) / expected.shape[1]


def test_nearly_all_neighbours_are_found_and_their_cosines_are_exact(bank) -> None:
    queries = bank[::100]
    true = exact.search(bank, queries, 15)
    cosines, rows = approximate(bank, queries, 15)
    plan = ivf.pick(N, exact_up_to=5000)
    assert plan is not None
    assert plan.probed < plan.lists / 2  # or it would be no approximation
    assert recall(rows, true[1]) > 0.98
    shared = rows == true[1]
    assert np.array_equal(cosines[shared], true[0][shared])
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_the_same_rows_give_the_same_answer_with_any_number_of_threads(bank) -> None:
    before = faiss.omp_get_max_threads()
    answers = []
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            answers.append(approximate(bank, bank[:300], 15))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert np.array_equal(answers[0][0], answers[1][0])
    assert np.array_equal(answers[0][1], answers[1][1])


@pytest.mark.parametrize("widest", [index.WIDEST, 40])
def test_groups_are_excluded_however_large(bank, widest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "WIDEST", widest)
    queries = bank[:80]
    groups = np.arange(N) // 20, np.append(np.arange(79) // 20, -1)
    true = exact.search(bank, queries, 10, exclude=groups)[1]
    found = approximate(bank, queries, 10, exclude=groups)[1]
    assert recall(found, true) > 0.98
    own = (groups[0][found] == groups[1][:, None]) & (groups[1][:, None] >= 0)
    assert not own.any()
    assert found[79, 0] == 79  # of no group: it finds itself
    assert (found >= 0).all()


def test_a_graph_can_be_built_on_it(bank) -> None:
    some = bank[:6000]
    groups = np.arange(6000) // 10
    true = build(some, 8, search=index.search, groups=groups)
    graph = build(some, 8, search=approximate, groups=groups)
    assert recall(graph.index, true.index) > 0.97
    assert not (graph.index == np.arange(6000)[:, None]).any()


def test_what_is_used_is_said() -> None:
    assert ivf.pick(ivf.EXACT_UP_TO) is None
    assert ivf.described(ivf.EXACT_UP_TO) == "exact search"
    assert "IVF4096,SQ8" in ivf.described(ivf.EXACT_UP_TO + 1)


@pytest.mark.parametrize("n", [1, 3, 100, 5000, 2_000_000])
def test_lists_are_trained_on_as_many_rows_as_they_need(n) -> None:
    plan = ivf.pick(n, exact_up_to=0)
    assert plan is not None
    assert 1 <= plan.probed <= plan.lists
    assert plan.lists == 1 or plan.trained <= n
    rows = plan.sample(n)
    assert len(np.unique(rows)) == len(rows) == min(n, ivf.A_LIST * plan.lists)
    assert rows.max() < n
    assert np.array_equal(rows, plan.sample(n))


def test_few_rows_and_equal_rows_are_no_error() -> None:
    for rows in (
        np.ones((1, 4), np.float32),
        np.zeros((30, 4), np.float32),
        unit(np.ones((200, 4), np.float32)),
    ):
        found = index.search(rows, rows, 3, exact_up_to=0)[1]
        assert ((found >= 0).sum(axis=1) == min(3, len(rows))).all()
