import numpy as np
import pytest
from scipy.linalg import eigh

from dinonat.saliency.ncut import eigenvectors, ncut_candidates, otsu


def scene(masks, shape=(20, 24), noise=0.3, channels=32, seed=0):
    """Tokens of a background and of one kind for each mask, with a component that all share."""
    rng = np.random.default_rng(seed)
    kinds = rng.standard_normal((len(masks) + 1, channels)) / np.sqrt(channels)
    shared = rng.standard_normal(channels) / np.sqrt(channels)
    tokens = np.broadcast_to(kinds[0] + 2 * shared, (*shape, channels)).copy()
    for mask, kind in zip(masks, kinds[1:], strict=True):
        tokens[mask] = kind + 2 * shared
    return (tokens + noise / np.sqrt(channels) * rng.standard_normal(tokens.shape)).astype(np.float32)


def block(y, x, h, w, shape=(20, 24)):
    mask = np.zeros(shape, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def best_iou(cuts, mask):
    return max((cut.mask & mask).sum() / (cut.mask | mask).sum() for cut in cuts)


@pytest.mark.parametrize(
    "mask", [block(5, 6, 7, 9), block(0, 0, 14, 14), block(9, 17, 3, 3)], ids=["12 %", "40 %", "2 %"]
)
def test_a_planted_object_is_among_the_candidates(mask):
    assert best_iou(ncut_candidates(scene([mask])), mask) > 0.9


def test_several_objects_of_one_scene_are_separate_candidates():
    masks = [block(2, 2, 5, 5), block(12, 3, 5, 6), block(6, 15, 6, 5)]
    cuts = ncut_candidates(scene(masks))
    assert all(best_iou(cuts, mask) > 0.8 for mask in masks)


def test_an_object_that_every_setting_finds_has_all_votes_and_votes_are_sorted():
    mask = block(5, 6, 7, 9)
    cuts = ncut_candidates(scene([mask], noise=0.1))
    assert next(cut.vote for cut in cuts if (cut.mask == mask).all()) == 1
    assert [cut.vote for cut in cuts] == sorted((cut.vote for cut in cuts), reverse=True)


def test_lanczos_gives_the_generalised_eigenvectors_of_the_definition():
    tokens = scene([block(5, 6, 7, 9), block(14, 2, 4, 5)])
    rows = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = rows @ rows.T
    affinity = np.where(cosine > np.percentile(cosine[::7, ::4], 60), 1, 1e-5)
    degree = np.diag(affinity.sum(axis=1))
    _, theirs = eigh(degree - affinity, degree, subset_by_index=[1, 3])
    ours = eigenvectors(tokens, percentile=60, count=3).reshape(3, -1)
    correlation = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(ours, theirs.T, strict=True)]
    assert min(correlation) > 0.999


def test_the_low_rank_form_gives_the_eigenvectors_of_its_dense_affinity():
    mask = block(12, 20, 20, 25, (60, 58))  # above 56 x 56 tokens
    tokens = scene([mask], (60, 58), channels=8)
    rows = tokens.reshape(-1, 8).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scale = ((1 + rows @ rows.T) / 2).sum(axis=1) ** -0.5
    # It is U U^T with U = scale * [1, rows] / sqrt(2): its eigenvectors are U's left singular ones.
    u, _, _ = np.linalg.svd(scale[:, None] * np.column_stack([np.ones(len(rows)), rows]), full_matrices=False)
    ours = eigenvectors(tokens, count=1).ravel()
    assert abs(np.corrcoef(ours, scale * u[:, 1])[0, 1]) > 0.999
    assert best_iou(ncut_candidates(tokens), mask) > 0.9


def test_the_same_tokens_give_the_same_bytes_and_their_length_does_not_matter():
    tokens = scene([block(5, 6, 7, 9)])
    once, again = eigenvectors(tokens), eigenvectors(tokens.copy())
    assert once.tobytes() == again.tobytes()
    lengths = np.random.default_rng(0).choice([0.5, 1, 2, 4], tokens.shape[:2]).astype(np.float32)
    assert (eigenvectors(tokens * lengths[..., None]) == once).all()  # powers of two are exact


def test_candidates_keep_to_the_limits_of_size_and_hang_together():
    cuts = ncut_candidates(scene([block(5, 6, 7, 9)], noise=2), min_tokens=4, max_share=0.5)
    assert cuts
    assert all(4 <= cut.mask.sum() < 0.5 * 20 * 24 for cut in cuts)


@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 4, 8), (12, 12, 8)])
def test_maps_that_are_tiny_or_all_alike_give_nothing(shape):
    assert ncut_candidates(np.ones(shape, np.float32)) == []
    assert ncut_candidates(np.zeros(shape, np.float32)) == []


def test_otsu_is_the_best_of_all_splits():
    rng = np.random.default_rng(0)
    for size in (2, 5, 40):
        values = rng.integers(0, 9, size).astype(np.float32)
        values[:2] = 0, 9
        splits = {
            t: np.var(values[values <= t]) * (values <= t).sum()
            + np.var(values[values > t]) * (values > t).sum()
            for t in values[values < 9]
        }
        assert splits[otsu(values)] == pytest.approx(min(splits.values()), abs=1e-6)
