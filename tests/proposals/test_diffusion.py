import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import block_diag, csr_array

from dinonat.proposals.diffusion import diffuse, seeds, spread
from dinonat.records import Int64


def graph(n: int, *, degree: int = 4, seed: int = 0) -> csr_array:
    """A symmetric graph of n nodes with weights in (0, 1)."""
    generator = np.random.default_rng(seed)
    rows, columns = np.repeat(np.arange(n), degree), generator.integers(0, n, n * degree)
    some = csr_array((generator.uniform(0.1, 1, n * degree), (rows, columns)), shape=(n, n))
    some.sum_duplicates()
    some.setdiag(0)
    return csr_array(some.maximum(some.T))


def dense(weights: csr_array, classes: Int64, n_classes: int, alpha: float) -> np.ndarray:
    """The definition, in float64, by Gaussian elimination."""
    w = weights.toarray().astype(np.float64)
    degree = w.sum(axis=1)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    labels = (classes[:, None] == np.arange(n_classes)).astype(np.float64)
    labels /= np.maximum(labels.sum(axis=0), 1)
    solved = np.linalg.solve(np.eye(len(w)) - alpha * scale[:, None] * w * scale, labels)
    total = solved.sum(axis=1, keepdims=True)
    return np.divide(solved, total, out=np.zeros_like(solved), where=total > 1e-12)


def some_labels(n: int, n_classes: int, share: float, seed: int) -> Int64:
    generator = np.random.default_rng(seed)
    return np.where(generator.uniform(size=n) < share, generator.integers(0, n_classes, n), -1)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 60),
    n_classes=st.integers(1, 5),
    share=st.floats(0, 1),
    alpha=st.sampled_from([0.5, 0.9, 0.99]),
    seed=st.integers(0, 999),
)
def test_it_is_the_solution_of_the_equation(n, n_classes, share, alpha, seed) -> None:
    weights, classes = graph(n, seed=seed), some_labels(n, n_classes, share, seed)
    found = diffuse(weights, classes, n_classes, alpha=alpha, iterations=500, tolerance=1e-10)
    np.testing.assert_allclose(found, dense(weights, classes, n_classes, alpha), atol=1e-5)


def test_the_default_steps_are_enough() -> None:
    weights, classes = graph(2000, degree=8), some_labels(2000, 6, 0.02, 1)
    exact = diffuse(weights, classes, 6, iterations=2000, tolerance=1e-12)
    found = diffuse(weights, classes, 6)
    assert np.abs(found - exact).max() < 1e-3
    sure = np.sort(exact, axis=1)[:, -1] - np.sort(exact, axis=1)[:, -2] > 1e-3
    assert (found.argmax(axis=1) == exact.argmax(axis=1))[sure].all()


def test_a_component_without_labels_stays_unknown() -> None:
    """Never the first class: its row is 0, not merely small."""
    weights = csr_array(block_diag([graph(30), graph(20, seed=1), csr_array((3, 3))], format="csr"))
    classes = np.full(53, -1)
    classes[[2, 5, 9, 51]] = [1, 0, 1, 1]
    shares = diffuse(weights, classes, 3)
    assert (shares[30:50] == 0).all()
    assert (shares[[50, 52]] == 0).all()
    assert shares[51].tolist() == [0, 1, 0]  # a labelled item without neighbours knows itself
    np.testing.assert_allclose(shares[:30].sum(axis=1), 1, atol=1e-6)
    assert (shares[:, 2] == 0).all()  # nobody has that class


def test_one_label_reaches_its_component_and_no_label_nobody() -> None:
    weights = graph(40)
    classes = np.full(40, -1)
    assert (diffuse(weights, classes, 2) == 0).all()
    classes[7] = 1
    np.testing.assert_array_equal(diffuse(weights, classes, 2), np.tile(np.float32([0, 1]), (40, 1)))
    assert diffuse(csr_array((0, 0)), np.zeros(0, np.int64), 2).shape == (0, 2)
    assert diffuse(weights, np.full(40, -1), 0).shape == (40, 0)


def test_a_class_with_many_labels_does_not_flood_the_others() -> None:
    """Two equal cliques with a bridge: 20 labels against 1 leave each clique to its own."""
    clique = np.ones((25, 25)) - np.eye(25)
    joined = np.zeros((50, 50))
    joined[:25, :25] = joined[25:, 25:] = clique
    joined[0, 25] = joined[25, 0] = 0.5
    classes = np.full(50, -1)
    classes[5:25], classes[49] = 0, 1
    winner = diffuse(csr_array(joined), classes, 2).argmax(axis=1)
    assert winner.tolist() == [0] * 25 + [1] * 25


def test_the_same_graph_gives_the_same_bytes_and_the_order_of_nodes_says_nothing() -> None:
    weights, classes = graph(300, degree=6), some_labels(300, 4, 0.1, 3)
    first = diffuse(weights, classes, 4)
    assert first.tobytes() == diffuse(weights, classes, 4).tobytes()
    order = np.random.default_rng(0).permutation(300)
    shuffled = diffuse(csr_array(weights[order][:, order]), classes[order], 4)
    np.testing.assert_allclose(shuffled, first[order], atol=2e-4)


def test_many_classes_are_solved_in_blocks_as_one_by_one() -> None:
    weights, classes = graph(400, degree=6), some_labels(400, 150, 0.8, 4)
    found = diffuse(weights, classes, 150, iterations=400, tolerance=1e-10)
    np.testing.assert_allclose(found, dense(weights, classes, 150, 0.99), atol=1e-5)


def test_an_item_with_two_labels_is_half_of_each() -> None:
    once = seeds(np.int64([0, 1, 1]), np.int64([0, 0, 1]), 3, 2).toarray()
    assert once.tolist() == [[1, 0], [0.5, 0.5], [0, 0]]
    pair = csr_array(np.float64([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    shares = spread(pair, seeds(np.int64([0, 0]), np.int64([0, 1]), 3, 2)).shares
    np.testing.assert_allclose(shares, [[0.5, 0.5], [0.5, 0.5], [0, 0]], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 0.99])
def test_an_item_outside_the_graph_gets_what_it_would_get_inside(alpha: float) -> None:
    """The step for new items is the equation of a node without label: its own edges give its own row."""
    weights, classes = graph(120, degree=6), some_labels(120, 3, 0.2, 5)
    nodes = np.flatnonzero(classes >= 0)
    done = spread(weights, seeds(nodes, classes[nodes], 120, 3), alpha=alpha, iterations=900, tolerance=1e-11)
    asked = np.flatnonzero(classes < 0)
    widest = int(np.diff(weights.indptr).max())
    cosine, index = np.zeros((len(asked), widest), np.float32), np.full((len(asked), widest), -1)
    for row, node in enumerate(asked):
        own = slice(weights.indptr[node], weights.indptr[node + 1])
        count = own.stop - own.start
        index[row, :count] = weights.indices[own]
        cosine[row, :count] = np.cbrt(weights.data[own])
    np.testing.assert_allclose(done.inductive(cosine, index), done.shares[asked], atol=1e-4)


def test_an_item_like_nothing_in_the_graph_is_unknown() -> None:
    done = spread(graph(20), seeds(np.int64([3]), np.int64([0]), 20, 2))
    shares = done.inductive(np.float32([[-0.5, 0.0], [0.4, -np.inf]]), np.int64([[1, 2], [-1, -1]]))
    assert (shares == 0).all()
