import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.neighbors import exact, index
from dinonat.neighbors.graph import Graph, build, extend, most_of_own, symmetric
from dinonat.neighbors.parts import unit
from dinonat.records import Float32, Int64


def made(n: int, levels: int, seed: int) -> Float32:
    """Few integer levels: many rows are equal, so nearly everything is a tie."""
    return unit(np.random.default_rng(seed).integers(-levels, levels + 1, (n, 3)).astype(np.float32))


def definition(vectors: Float32, k: int, groups: Int64, own: int) -> list[list[int]]:
    """One row at a time: go down the list of all others, and pass over a recording that has had its share."""
    cosines = np.stack([(vectors * row).sum(axis=1) for row in vectors]) if len(vectors) else vectors
    lists = []
    for i, row in enumerate(cosines):
        taken: list[int] = []
        for j in sorted((j for j in range(len(row)) if j != i), key=lambda j: (-row[j], j)):
            mine = [t for t in taken if groups[t] == groups[i] >= 0]
            if len(taken) < k and not (groups[j] == groups[i] >= 0 and len(mine) >= own):
                taken.append(j)
        lists.append(taken)
    return lists


def lists_of(graph: Graph) -> list[list[int]]:
    return [[int(j) for j in row if j >= 0] for row in graph.index]


def same(one: Graph, other: Graph) -> bool:
    return np.array_equal(one.index, other.index) and np.array_equal(one.similarity, other.similarity)


SETS = {
    "n": st.integers(0, 24),
    "k": st.integers(1, 9),
    "own": st.integers(0, 3),
    "levels": st.integers(1, 3),
    "seed": st.integers(0, 999),
}


@settings(max_examples=25, deadline=None)
@given(**SETS)
def test_the_graph_is_what_going_down_the_list_gives(n, k, own, levels, seed) -> None:
    vectors = made(n, levels, seed)
    groups = np.random.default_rng(seed).integers(-1, 4, n)
    graph = build(vectors, k, search=exact.search, groups=groups, own=own)
    assert graph.index.shape == graph.similarity.shape == (n, k)
    assert (graph.similarity.dtype, graph.index.dtype) == (np.float32, np.int64)
    assert lists_of(graph) == definition(vectors, k, groups, own)
    assert np.array_equal(np.isfinite(graph.similarity), graph.index >= 0)
    assert same(graph, build(vectors, k, search=index.search, groups=groups, own=own))
    free = build(vectors, k, search=exact.search)
    assert lists_of(free) == definition(vectors, k, np.full(n, -1), 0)


@settings(max_examples=25, deadline=None)
@given(**SETS, share=st.floats(0, 1), first=st.booleans())
def test_extending_gives_what_building_from_nothing_gives(n, k, own, levels, seed, share, first) -> None:
    vectors = made(n, levels, seed)
    generator = np.random.default_rng(seed)
    groups = generator.integers(-1, 4, n)
    old = np.sort(np.argsort(generator.random(n))[: round(share * n)])
    if first:
        old = np.arange(len(old))
    how = {"search": exact.search, "own": own}
    before = build(vectors[old], k, groups=groups[old], **how)
    after = extend(before, vectors, groups=groups, at=None if first else old, **how)
    assert same(after, build(vectors, k, groups=groups, **how))


def test_a_recording_has_a_third_of_the_voices_however_many_frames_it_has() -> None:
    generator = np.random.default_rng(0)
    frames = np.repeat(generator.normal(size=(2, 20)), 200, axis=0) + 0.01 * generator.normal(size=(400, 20))
    vectors, groups = unit(frames.astype(np.float32)), np.repeat([0, 1], 200)
    graph = build(vectors, 15, search=index.search, groups=groups)
    assert most_of_own(15) == 5
    assert ((groups[graph.index] == groups[:, None]).sum(axis=1) == 5).all()
    assert (graph.index >= 0).all()
    alone = build(vectors[:200], 15, search=index.search, groups=groups[:200])
    assert ((alone.index >= 0).sum(axis=1) == 5).all()  # there is nobody else to ask
    unknown = build(vectors, 15, search=index.search, groups=np.full(400, -1))
    assert same(unknown, build(vectors, 15, search=index.search))


@settings(max_examples=20, deadline=None)
@given(**SETS)
def test_the_weights_are_symmetric_and_those_of_the_definition(n, k, own, levels, seed) -> None:
    vectors = made(n, levels, seed)
    graph = build(vectors, k, search=exact.search)
    weights = symmetric(graph)
    expected = np.zeros((n, n), np.float32)
    for i, found in enumerate(lists_of(graph)):
        for place, j in enumerate(found):
            weight = max(float(graph.similarity[i, place]), 0.0) ** 3
            expected[i, j] = max(expected[i, j], weight)
            expected[j, i] = max(expected[j, i], weight)
    assert weights.dtype == np.float32
    assert (weights.data > 0).all()
    np.testing.assert_allclose(weights.toarray(), expected, rtol=1e-5)
    assert (weights != weights.T).nnz == 0
    assert not weights.diagonal().any()


def test_the_power_is_that_asked_for() -> None:
    graph = Graph(np.float32([[0.5], [0.25], [-0.5]]), np.int64([[1], [0], [0]]))
    assert symmetric(graph, power=2).toarray().tolist() == [[0, 0.25, 0], [0.25, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("search", [exact.search, index.search])
def test_odd_sets_are_no_error(search) -> None:
    nobody = build(np.zeros((0, 4), np.float32), 15, search=search)
    assert nobody.index.shape == (0, 15)
    assert symmetric(nobody).shape == (0, 0)
    one = build(np.ones((1, 4), np.float32), 15, search=search, groups=np.int64([0]))
    assert (one.index == -1).all()
    zeros = build(np.zeros((5, 4), np.float32), 15, search=search)
    assert ((zeros.index >= 0).sum(axis=1) == 4).all()
    assert symmetric(zeros).nnz == 0
    equal = build(unit(np.ones((40, 4), np.float32)), 3, search=search)
    assert equal.index[[0, 1, 2, 3, 39]].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2]]
