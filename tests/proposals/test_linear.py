import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from dinonat.neighbors.parts import unit
from dinonat.proposals.leave_out import balanced_weights, folds, log_likelihood
from dinonat.proposals.linear import fit, left_out_shares
from dinonat.records import Float32, Int64


def made(counts: list[int], *, d: int = 8, spread: float = 0.4, seed: int = 0) -> tuple[Float32, Int64]:
    """Unit vectors around one axis a class."""
    classes = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(size=(len(classes), d))
    return unit((np.eye(d)[classes] + spread * noise).astype(np.float32)), classes


def test_the_shares_are_those_of_the_class_balanced_regression_by_its_definition() -> None:
    vectors, classes = made([30, 10, 4], d=5)
    queries, _ = made([5, 5, 5], d=5, seed=1)
    rows, asked = (each.astype(np.float64) * np.sqrt(5) for each in (vectors, queries))
    worth, strength = balanced_weights(classes), 3.0

    def loss(flat: np.ndarray) -> float:
        weights = flat.reshape(3, 6)
        logits = log_softmax(rows @ weights[:, :5].T + weights[:, 5], axis=1)
        penalty = 0.5 * (weights[:, :5] ** 2).sum() / strength
        return float(penalty - (worth * logits[np.arange(44), classes]).sum())

    best = minimize(loss, np.zeros(18), options={"gtol": 1e-9}).x.reshape(3, 6)
    expected = softmax(asked @ best[:, :5].T + best[:, 5], axis=1)
    found = fit(vectors, classes, 3, strength=strength).shares(queries)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_long_vectors_lose_nothing_where_labels_are_few() -> None:
    """In the span of 20 items there are 20 axes, however long the vectors are."""
    vectors, classes = made([10, 10], d=700, spread=0.1)
    model = fit(vectors, classes, 2, strength=1.0)
    assert model.columns.shape[1] <= 20
    np.testing.assert_allclose(
        (vectors @ model.columns) @ (vectors @ model.columns).T, vectors @ vectors.T, atol=1e-4
    )


@pytest.mark.parametrize("strength", [1.0, 10.0])
def test_the_same_items_give_the_same_bytes(strength: float) -> None:
    vectors, classes = made([20, 20, 20])
    one, two = (fit(vectors, classes, 3, strength=strength).shares(vectors) for _ in range(2))
    assert one.tobytes() == two.tobytes()


def test_one_class_is_all_it_knows_and_a_class_without_examples_gets_nothing() -> None:
    vectors, classes = made([4])
    assert fit(vectors, classes, 2).shares(vectors).tolist() == [[1, 0]] * 4
    vectors, classes = made([6, 6], spread=0.1)
    shares = fit(vectors, 2 * classes, 3).shares(vectors)
    assert (shares[:, 1] == 0).all()
    assert (shares.argmax(axis=1) == 2 * classes).all()
    assert fit(vectors, classes, 2).shares(vectors[:0]).shape == (0, 2)


def test_a_recording_that_was_left_out_taught_nothing() -> None:
    """Every recording has a look of its own, which alone gives its class away."""
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), 10)
    classes = groups % 2
    looks = generator.normal(size=(12, 40))
    vectors = unit((looks[groups] + 0.05 * generator.normal(size=(120, 40))).astype(np.float32))
    by_item, _ = left_out_shares(vectors, classes, np.arange(120), 2)
    by_recording, _ = left_out_shares(vectors, classes, groups, 2)
    assert (by_item.argmax(axis=1) == classes).mean() == 1
    assert (by_recording.argmax(axis=1) == classes).mean() < 0.8


def test_nothing_is_said_where_nothing_is_left_to_learn_from() -> None:
    vectors, classes = made([5, 5])
    shares, _ = left_out_shares(vectors, classes, np.zeros(10, np.int64), 2)
    assert (shares == 0).all()
    assert left_out_shares(vectors[:0], classes[:0], classes[:0], 2)[0].shape == (0, 2)


def test_folds_are_whole_groups_and_together_everything() -> None:
    groups = np.int64([5, 5, 7, 1, 1, 9, 9, 9])
    masks = list(folds(groups, most=3))
    assert np.sum(masks, axis=0).tolist() == [1] * 8
    assert all(
        len({bool(mask[i]) for i in np.flatnonzero(groups == g)}) == 1 for mask in masks for g in groups
    )
    assert len(list(folds(np.zeros(4, np.int64), most=5))) == 1
    assert list(folds(np.zeros(0, np.int64), most=5)) == []


def test_no_answer_counts_as_an_even_guess_and_no_single_error_as_everything() -> None:
    values = log_likelihood(np.float32([[0, 0], [1, 0], [1, 0]]), np.int64([1, 0, 1]))
    np.testing.assert_allclose(np.exp(values), [0.5, 0.99, 0.01], atol=1e-6)
