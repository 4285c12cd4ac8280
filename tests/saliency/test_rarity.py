import numpy as np
import pytest

from dinonat.saliency.rarity import rarity_map


def tokens_of(shape=(12, 15), channels=16, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, channels)).astype(np.float32)


def test_the_map_is_its_definition_token_by_token():
    tokens = tokens_of((5, 7))
    unit = tokens.astype(np.float64) / np.linalg.norm(tokens, axis=2, keepdims=True)
    border = [(y, x) for y in range(5) for x in range(7) if y in (0, 4) or x in (0, 6)]
    for y in range(5):
        for x in range(7):
            cosines = sorted(unit[y, x] @ unit[place] for place in border if place != (y, x))
            assert rarity_map(tokens)[y, x] == pytest.approx(-np.mean(cosines[-8:]), abs=1e-6)


def test_one_token_unlike_the_border_is_the_rarest_whatever_its_length():
    rng = np.random.default_rng(1)
    tokens = np.ones((12, 15, 16), np.float32) + 0.1 * rng.standard_normal((12, 15, 16)).astype(np.float32)
    tokens[6, 9] = 0.01 * rng.standard_normal(16)
    assert rarity_map(tokens).argmax() == 6 * 15 + 9


def test_what_fills_the_border_is_not_rare():
    kinds = tokens_of((1, 2))[0]
    tokens = np.broadcast_to(kinds[0], (12, 15, 16)).copy()
    tokens[:, :8] = kinds[1]  # a half of the picture, and of its border
    assert rarity_map(tokens) == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (12, 15)])
def test_tiny_and_empty_maps_have_nothing_rare(shape):
    assert (rarity_map(np.zeros((*shape, 8), np.float32)) == -1).all()
    assert np.isfinite(rarity_map(tokens_of(shape))).all()
