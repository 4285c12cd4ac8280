import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.agreement.estimates import Estimate
from dinonat.agreement.retention import NEIGHBOURS, TEMPERATURE, retention_figures
from dinonat.agreement.rows import CENTRED, Figures

KINDS = ("across", "within", "retained")


def vectors(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def of(figures: Figures, name: str = "v") -> list[Estimate]:
    return [figures[f"{name}/k-NN/{kind}"] for kind in KINDS]


def rights_by_loop(
    gallery: np.ndarray, queries: np.ndarray, classes: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """In float64: the five nearest of other recordings vote by exp(cosine / 0.07)."""
    right = []
    for i, query in enumerate(queries.astype(np.float64)):
        others = [j for j in range(len(gallery)) if groups[j] != groups[i]]
        rows = gallery[others].astype(np.float64)
        cosines = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
        votes = np.zeros(classes.max() + 1)
        for place in np.argsort(-cosines)[:5]:
            votes[classes[others[place]]] += np.exp(cosines[place] / 0.07)
        right.append(len(others) > 0 and int(votes.argmax()) == classes[i])
    return np.array(right)


def drawn_by_loop(
    right: np.ndarray, classes: np.ndarray, groups: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    names = np.unique(groups)
    figures = []
    for draw in np.random.default_rng(seed).integers(0, len(names), (resamples, len(names))):
        rows = np.concatenate([np.flatnonzero(groups == names[each]) for each in draw])
        shares = []
        for c in np.unique(classes):
            own = rows[classes[rows] == c]
            shares.append(right[own].mean() if len(own) else right[classes == c].mean())
        figures.append(np.mean(shares))
    return np.array(figures)


@settings(max_examples=25, deadline=None)
@given(st.integers(6, 30), st.integers(1, 5), st.integers(0, 999))
def test_figures_are_those_of_a_loop(n: int, recordings: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    classes, groups = generator.integers(0, 3, n), 4 * generator.integers(0, recordings, n)
    colour = vectors(n, seed=seed) + np.eye(6, dtype=np.float32)[classes]
    thermal = (colour + 0.7 * vectors(n, seed=seed + 1000) + 0.3).astype(np.float32)
    found = retention_figures({"v": colour}, {"v": thermal}, classes, groups, resamples=6, seed=seed)
    for name, sides in {
        "v": (colour, thermal),
        f"v{CENTRED}": (colour - colour.mean(axis=0), thermal - thermal.mean(axis=0)),
    }.items():
        estimates = of(found, name)
        for gallery, each in zip(sides, estimates, strict=False):
            right = rights_by_loop(gallery, sides[1], classes, groups)
            present = [right[classes == c].mean() for c in np.unique(classes)]
            assert each.value == pytest.approx(np.mean(present))
            expected = drawn_by_loop(right, classes, groups, 6, seed)
            np.testing.assert_allclose(each.resampled, expected, atol=1e-12)
            assert each.groups == len(np.unique(groups))
        across, within, retained = estimates
        if within.value > 0:
            assert retained.value == pytest.approx(across.value / within.value)
        for part, one, other in zip(retained.resampled, across.resampled, within.resampled, strict=True):
            assert part == pytest.approx(one / other) if other > 0 else np.isnan(part)


def test_the_settings_are_those_that_are_told() -> None:
    assert (NEIGHBOURS, TEMPERATURE) == (5, 0.07)


def test_the_own_recording_never_votes() -> None:
    """Things that look most like those of their own recording, and next like another class: none is right."""
    groups = np.repeat(np.arange(4), 6)
    classes = np.array([0, 1, 0, 1])[groups]
    rows = np.eye(4, dtype=np.float32)[groups]
    rows += 0.3 * np.eye(4, dtype=np.float32)[[1, 0, 3, 2]][groups]  # nearest of the others: another class
    found = of(retention_figures({"v": rows}, {"v": rows}, classes, groups, resamples=10))
    assert (found[0].value, found[1].value) == (0, 0)
    assert np.isnan(found[2].value)
    each = retention_figures({"v": rows}, {"v": rows}, classes, np.arange(24), resamples=10)
    assert of(each)[0].value == 1  # were all recordings of their own


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999))
def test_identical_lights_retain_everything(seed: int) -> None:
    classes, groups = np.arange(40) % 4, np.arange(40) // 4
    rows = vectors(40, seed=seed) + 3 * np.eye(6, dtype=np.float32)[classes]
    found = retention_figures({"v": rows}, {"v": rows.copy()}, classes, groups, resamples=50)
    for name in ("v", f"v{CENTRED}"):
        across, within, retained = of(found, name)
        assert across.value == within.value > 0
        assert retained.value == 1
        assert retained.interval == (1, 1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.floats(1, 10))
def test_centring_takes_a_constant_offset_between_the_lights_off(seed: int, far: float) -> None:
    classes, groups = np.arange(40) % 4, np.arange(40) // 4
    rows = vectors(40, seed=seed) + 2 * np.eye(6, dtype=np.float32)[classes]
    offset = (far * vectors(1, seed=seed + 2000)).astype(np.float32)
    same = retention_figures({"v": rows}, {"v": rows}, classes, groups, resamples=10)
    moved = retention_figures({"v": rows}, {"v": rows + offset}, classes, groups, resamples=10)
    for one, other in zip(of(same, f"v{CENTRED}"), of(moved, f"v{CENTRED}"), strict=True):
        assert one.value == other.value
        np.testing.assert_array_equal(one.resampled, other.resampled)


def test_an_offset_that_is_not_taken_off_costs_labels() -> None:
    """All thermal things lie nearest to colour things of one class: a quarter is right across, all within."""
    classes, groups = np.arange(80) % 4, np.arange(80) // 4
    rows = 0.1 * vectors(80) + np.eye(6, dtype=np.float32)[classes]
    found = retention_figures({"v": rows}, {"v": rows + 9 * np.eye(6, dtype=np.float32)[2]}, classes, groups)
    assert [each.value for each in of(found)] == pytest.approx([0.25, 1, 0.25], abs=0.02)
    assert [each.value for each in of(found, f"v{CENTRED}")] == [1, 1, 1]


def test_permuted_labels_are_found_by_chance() -> None:
    generator = np.random.default_rng(0)
    kinds, groups = np.arange(300) % 4, np.arange(300) // 2
    colour = vectors(300) + 3 * np.eye(6, dtype=np.float32)[kinds]
    thermal = colour + 0.3 * vectors(300, seed=1)
    right = retention_figures({"v": colour}, {"v": thermal}, kinds, groups, resamples=20)
    assert min(each.value for each in of(right)) > 0.9
    sums = []
    for _ in range(8):
        classes = generator.permutation(kinds)
        found = retention_figures({"v": colour}, {"v": thermal}, classes, groups, resamples=20)
        sums.append([each.value for each in of(found)])
    assert np.mean(sums, axis=0)[:2] == pytest.approx([0.25, 0.25], abs=0.03)


def test_each_vector_has_its_figures_and_classes_count_alike() -> None:
    """One class of 18 that is right, one of 2 that is not: half, whatever their sizes."""
    classes, groups = np.repeat([0, 1], [18, 2]), np.arange(20)
    rows = np.tile(np.eye(6, dtype=np.float32)[:1], (20, 1)) + 0.01 * vectors(20)
    found = retention_figures({"a": rows, "b": rows}, {"a": rows, "b": rows}, classes, groups, resamples=10)
    assert set(found) == {f"{name}{s}/k-NN/{kind}" for name in "ab" for s in ("", CENTRED) for kind in KINDS}
    assert of(found, "a")[0].value == of(found, "b")[0].value == 0.5


def test_one_recording_has_no_interval() -> None:
    rows, classes = vectors(8), np.arange(8) % 2
    found = retention_figures({"v": rows}, {"v": rows}, classes, np.zeros(8, np.int64), resamples=10)
    for each in found.values():
        assert np.isnan(each.interval).all()
    assert np.isnan(found["v/k-NN/retained"].value)
