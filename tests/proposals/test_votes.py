import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.neighbors import exact, index
from dinonat.neighbors.parts import unit
from dinonat.proposals.votes import (
    balanced_vote,
    knn,
    nearest_per_class,
    plain_vote,
    voters_per_class,
)


@settings(max_examples=30, deadline=None)
@given(m=st.integers(1, 5), k=st.integers(1, 9), n_classes=st.integers(1, 4), seed=st.integers(0, 999))
def test_the_plain_vote_is_the_sum_over_neighbours(m, k, n_classes, seed) -> None:
    generator = np.random.default_rng(seed)
    cosines = np.sort(generator.uniform(-1, 1, (m, k)).astype(np.float32), axis=1)[:, ::-1]
    classes = generator.integers(-1, n_classes, (m, k))
    shares = plain_vote(cosines, classes, n_classes=n_classes)
    for i in range(m):
        scores = np.zeros(n_classes)
        for cosine, c in zip(cosines[i].astype(np.float64), classes[i], strict=True):
            if c >= 0:
                scores[c] += np.exp(cosine / 0.07)
        expected = scores / scores.sum() if scores.sum() else scores
        np.testing.assert_allclose(shares[i], expected, rtol=2e-4, atol=1e-6)


def test_equal_votes_go_to_the_smaller_class_and_nobody_votes_for_nothing() -> None:
    shares = plain_vote(
        np.float32([[0.3, 0.3], [-np.inf, -np.inf]]), np.int64([[1, 0], [-1, -1]]), n_classes=2
    )
    assert shares.tolist() == [[0.5, 0.5], [0, 0]]
    assert shares.argmax(axis=1)[0] == 0


@pytest.mark.parametrize("search", [exact.search, index.search])
def test_the_balanced_vote_is_the_mean_over_each_classs_own_nearest(search) -> None:
    generator = np.random.default_rng(5)
    classes = np.sort(np.repeat([0, 1, 2], [1, 4, 25]))
    bank = unit(generator.normal(size=(30, 6)).astype(np.float32))
    queries = unit(generator.normal(size=(11, 6)).astype(np.float32))
    near = nearest_per_class(bank, classes, queries, n_classes=3, k=20, search=search)
    shares = balanced_vote(near.similarity)
    cosines = queries.astype(np.float64) @ bank.T.astype(np.float64)
    for i in range(11):
        scores = [
            np.mean(np.sort(np.exp(cosines[i][classes == c] / 0.07))[::-1][:m_c])
            for c, m_c in enumerate([1, 4, 6])
        ]
        np.testing.assert_allclose(shares[i], scores / np.sum(scores), rtol=1e-3, atol=1e-7)
        likeness = [np.mean(np.sort(cosines[i][classes == c])[::-1][:m]) for c, m in enumerate([1, 4, 6])]
        np.testing.assert_allclose(near.likeness(np.int64([1, 4, 6]))[i], likeness, atol=1e-5)
        found, rows = near.nearest(8)
        assert (np.diff(found[i]) <= 0).all()
        assert (classes[rows[i]] == [classes[row] for row in rows[i]]).all()


def test_m_c_is_at_least_three_and_never_more_than_the_class_has() -> None:
    assert voters_per_class(np.int64([9, 2, 9]), 20).tolist() == [6, 2, 6]
    assert voters_per_class(np.full(12, 50), 20).tolist() == [3] * 12
    assert voters_per_class(np.int64([50]), 20).tolist() == [20]


def test_many_labels_of_one_class_do_not_outvote_another() -> None:
    """The reason for the balanced form: 5 cars stand nearer than 40 people, who stand near too."""
    cosines = np.float32([[0.9] * 5 + [0.85] * 15])
    classes = np.int64([[0] * 5 + [1] * 15])
    assert plain_vote(cosines, classes, n_classes=2).argmax() == 1
    per_class = np.full((1, 2, 10), -np.inf, np.float32)
    per_class[0, 0, :5], per_class[0, 1] = 0.9, 0.85
    assert balanced_vote(per_class).argmax() == 0


def test_a_class_whose_items_are_all_excluded_gets_nothing() -> None:
    bank = unit(np.random.default_rng(6).normal(size=(6, 4)).astype(np.float32))
    groups = np.int64([0, 0, 1, 1, 2, 2])
    near = nearest_per_class(
        bank,
        np.int64([0, 0, 1, 1, 1, 1]),
        bank,
        n_classes=2,
        k=4,
        search=exact.search,
        exclude=(groups, groups),
    )
    shares = balanced_vote(near.similarity)
    assert shares[:2].tolist() == [[0, 1], [0, 1]]
    assert (near.index[0, 0] == -1).all()
    assert near.likeness(np.int64([3, 3]))[0, 0] == -1


def test_one_search_serves_every_smaller_k() -> None:
    generator = np.random.default_rng(7)
    bank = unit(generator.normal(size=(40, 5)).astype(np.float32))
    classes = generator.integers(0, 3, 40)
    vote = knn(bank, classes, bank[:9], n_classes=3, k=20, search=exact.search)
    for k in (1, 5, 20):
        alone = knn(bank, classes, bank[:9], n_classes=3, k=k, search=exact.search)
        assert np.array_equal(vote(k), alone(k))
