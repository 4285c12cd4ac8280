import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.errors import UsageError
from dinonat.neighbors.parts import (
    DEFAULT_REGION,
    centred,
    features_text,
    fit_axes,
    join,
    parse_features,
    unit,
)
from dinonat.records import PARTS, Float32


def some_parts(n: int = 12, seed: int = 0) -> dict[str, Float32]:
    generator = np.random.default_rng(seed)
    sizes = dict(zip(PARTS, (5, 9, 20, 16), strict=True))
    return {part: generator.normal(3, 1, (n, d)).astype(np.float32) for part, d in sizes.items()}


@settings(max_examples=25, deadline=None)
@given(
    weights=st.dictionaries(st.sampled_from(PARTS), st.floats(0.1, 9), min_size=1), seed=st.integers(0, 99)
)
def test_a_joined_cosine_is_the_mean_of_the_parts_by_squared_weights(weights, seed) -> None:
    parts = some_parts(seed=seed)
    vectors = join(parts, weights)
    cosines = {part: rows @ rows.T for part, rows in centred(parts).items()}
    expected = sum(w * w * cosines[part] for part, w in weights.items()) / sum(
        w * w for w in weights.values()
    )
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_mean_of_the_set_is_taken_off_not_that_of_the_sample() -> None:
    parts = some_parts(40)
    means = {part: rows.mean(axis=0) for part, rows in parts.items()}
    sample = {part: rows[:3] for part, rows in parts.items()}
    np.testing.assert_allclose(
        join(sample, DEFAULT_REGION, means=means), join(parts, DEFAULT_REGION)[:3], atol=1e-6
    )
    assert not np.allclose(join(sample, DEFAULT_REGION), join(parts, DEFAULT_REGION)[:3], atol=1e-2)


def test_without_centring_a_constant_stays() -> None:
    parts = some_parts()
    plain = join(parts, {"hog": 1.0}, center=False)
    np.testing.assert_allclose(plain, unit(parts["hog"]), atol=1e-6)
    assert (plain @ plain.T).min() > 0.5
    assert (join(parts, {"hog": 1.0}) @ join(parts, {"hog": 1.0}).T).min() < 0


def test_a_vector_of_zeros_stays_zero() -> None:
    assert not join({"hog": np.ones((1, 4), np.float32)}, {"hog": 1.0}).any()
    assert join({"hog": np.zeros((0, 4), np.float32)}, {"hog": 1.0}).shape == (0, 4)


@given(st.dictionaries(st.sampled_from(PARTS), st.sampled_from([0.25, 0.7, 1.0, 3.5]), min_size=1))
def test_features_there_and_back(weights) -> None:
    assert parse_features(features_text(weights)) == weights


def test_named_features() -> None:
    assert parse_features("all") == dict(DEFAULT_REGION)
    assert parse_features("hog+raw") == {"hog": 1.0, "raw": 0.7}
    assert parse_features("mean") == {"mean": 1.0}


@pytest.mark.parametrize(
    ("text", "said"), [("hgo=1", "'hog'"), ("hog=-1", "above 0"), ("hog=x", "above 0"), ("", "Known")]
)
def test_bad_features_are_said(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_features(text)


def test_axes_keep_the_dot_products_of_what_lies_in_few_dimensions() -> None:
    generator = np.random.default_rng(4)
    rows = unit((generator.normal(size=(200, 6)) @ generator.normal(size=(6, 40))).astype(np.float32))
    axes = fit_axes(rows, dims=6)
    assert axes is not None
    np.testing.assert_allclose(axes.columns.T @ axes.columns, np.eye(6), atol=1e-5)
    np.testing.assert_allclose(axes.reduce(rows) @ axes.reduce(rows).T, rows @ rows.T, atol=1e-5)
    assert np.array_equal(axes.columns, fit_axes(rows, dims=6).columns)  # type: ignore[union-attr]


def test_axes_keep_about_as_much_as_any_can() -> None:
    generator = np.random.default_rng(5)
    falling = 1 / (1 + np.arange(90))  # no gap at which a subspace would end
    rows = unit((generator.normal(size=(400, 90)) * falling**0.5).astype(np.float32))
    axes = fit_axes(rows, dims=20)
    assert axes is not None
    best = np.linalg.svd(rows.astype(np.float64), compute_uv=False)[:20]
    kept = ((rows @ axes.columns) ** 2).sum()
    assert 0.99 * (best**2).sum() < kept < 1.0001 * (best**2).sum()


def test_axes_are_not_fitted_on_too_few_rows() -> None:
    assert fit_axes(np.eye(30, dtype=np.float32), dims=10) is None
    assert fit_axes(np.ones((100, 8), np.float32), dims=10) is None
