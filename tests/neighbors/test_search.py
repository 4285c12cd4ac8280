import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.neighbors import exact, index
from dinonat.neighbors.parts import unit
from dinonat.records import Float32, Int64

SEARCHES = [exact.search, index.search]


def definition(bank: Float32, queries: Float32, k: int, groups: tuple[Int64, Int64]) -> Int64:
    """In float64, one query at a time, with Python's sort."""
    rows = np.full((len(queries), k), -1, np.int64)
    for i, query in enumerate(queries):
        cosines = bank.astype(np.float64) @ query.astype(np.float64)
        allowed = [j for j in range(len(bank)) if groups[1][i] < 0 or groups[0][j] != groups[1][i]]
        best = sorted(allowed, key=lambda j: (-round(cosines[j], 5), j))[:k]
        rows[i, : len(best)] = best
    return rows


@pytest.mark.parametrize("search", SEARCHES)
@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 60),
    m=st.integers(0, 20),
    k=st.integers(1, 25),
    groups=st.integers(1, 6),
    levels=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_finds_what_the_definition_finds_ties_included(search, n, m, k, groups, levels, seed) -> None:
    generator = np.random.default_rng(seed)
    # Few integer levels: many rows are equal, so nearly everything is a tie.
    bank = unit(generator.integers(-levels, levels + 1, (n, 3)).astype(np.float32))
    queries = unit(generator.integers(-levels, levels + 1, (m, 3)).astype(np.float32))
    own = generator.integers(-1, groups, n), generator.integers(-1, groups, m)
    similarity, rows = search(bank, queries, k, exclude=own)
    expected = definition(bank, queries, k, own)
    assert rows.shape == similarity.shape == (m, k)
    assert (similarity.dtype, rows.dtype) == (np.float32, np.int64)
    assert np.array_equal(rows >= 0, expected >= 0)
    cosines = np.where(expected >= 0, np.einsum("mkd,md->mk", bank[expected], queries), -np.inf)
    np.testing.assert_allclose(similarity, cosines, atol=2e-5)
    for i in range(m):
        found = rows[i][rows[i] >= 0]
        assert len(set(found)) == len(found)
        assert not any(own[1][i] >= 0 and own[0][j] == own[1][i] for j in found)


def test_equal_rows_come_by_the_smaller_number() -> None:
    row = unit(np.random.default_rng(0).normal(size=(1, 301)).astype(np.float32))
    bank = np.repeat(row, 777, axis=0)  # the edge of a block of BLAS lies somewhere in them
    for search in SEARCHES:
        assert search(bank, row, 5)[1].tolist() == [[0, 1, 2, 3, 4]]


def test_faiss_and_numpy_give_the_same_bits() -> None:
    generator = np.random.default_rng(1)
    bank = unit(generator.normal(size=(3000, 40)).astype(np.float32))
    queries = unit(generator.normal(size=(300, 40)).astype(np.float32))
    for groups in (5, 200):  # large groups are taken out of the bank, small ones skipped afterwards
        own = generator.integers(0, groups, 3000), generator.integers(0, groups, 300)
        one, other = (search(bank, queries, 20, exclude=own) for search in SEARCHES)
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


def test_a_large_group_is_excluded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "WIDEST", 30)
    bank = unit(np.random.default_rng(2).normal(size=(200, 8)).astype(np.float32))
    own = np.repeat([0, 1], 100), np.array([0, 1, -1])
    one, other = (search(bank, bank[[3, 150, 7]], 6, exclude=own) for search in SEARCHES)
    assert np.array_equal(one[1], other[1])
    assert (one[1][0] >= 100).all()
    assert (one[1][1] < 100).all()
    assert one[1][2, 0] == 7


@pytest.mark.parametrize("search", SEARCHES)
def test_an_empty_bank_finds_nothing(search) -> None:
    similarity, rows = search(np.zeros((0, 4), np.float32), np.ones((2, 4), np.float32), 3)
    assert (rows == -1).all()
    assert np.isneginf(similarity).all()


@pytest.mark.parametrize("search", SEARCHES)
def test_blocks_change_nothing(search, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    bank = unit(generator.normal(size=(90, 16)).astype(np.float32))
    whole = search(bank, bank, 7)
    monkeypatch.setattr(exact, "CELLS", 500)
    monkeypatch.setattr(index, "BATCH", 7)
    parts = search(bank, bank, 7)
    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[1], parts[1])
