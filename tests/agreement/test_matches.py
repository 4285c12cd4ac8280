import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.agreement.matches import dense_matches

Shift = tuple[int, int]


def scenes(n: int, height: int, width: int, *, channels: int = 48, seed: int = 0) -> np.ndarray:
    """Tokens that no other place has."""
    return np.random.default_rng(seed).normal(size=(n, height, width, channels)).astype(np.float32)


def seen(scene: np.ndarray, shift: Shift, side: int = 8, margin: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Cut colour and thermal tokens out of one scene, so that thermal (r, k) is colour (r + dy, k + dx)."""
    near, far = slice(margin, margin + side), [slice(margin + by, margin + by + side) for by in shift]
    return scene[:, near, near], scene[:, far[0], far[1]]


def by_loop(colour: np.ndarray, thermal: np.ndarray, shift: Shift, reach: int) -> tuple[float, float, float]:
    """One pair without ties, place by place as the definition says: hit, mutual, chance."""
    height, width, _ = colour.shape
    places = [(r, k) for r in range(height) for k in range(width)]

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a.astype(np.float64) @ b / np.linalg.norm(a) / np.linalg.norm(b))

    def away(one: Shift, other: Shift) -> int:
        return max(abs(one[0] - other[0]), abs(one[1] - other[1]))

    hits, mutual, chances = [], [], []
    for place in places:
        true = (place[0] + shift[0], place[1] + shift[1])
        if true not in places:
            continue
        found = max(places, key=lambda p: cosine(colour[p], thermal[place]))
        back = max(places, key=lambda p: cosine(thermal[p], colour[found]))
        hits.append(away(found, true) <= reach)
        mutual.append(hits[-1] and back == place)
        chances.append(np.mean([away(p, true) <= reach for p in places]))
    return float(np.mean(hits)), float(np.mean(mutual)), float(np.mean(chances))


@settings(max_examples=25, deadline=None)
@given(st.integers(-2, 2), st.integers(-3, 3), st.integers(0, 2), st.floats(0.1, 3), st.integers(0, 99))
def test_matches_are_those_of_the_definition(dy: int, dx: int, reach: int, noise: float, seed: int) -> None:
    colour = scenes(2, 4, 5, channels=6, seed=seed)
    thermal = np.roll(colour, (-dy, -dx), (1, 2)) + noise * scenes(2, 4, 5, channels=6, seed=seed + 1000)
    found = dense_matches(colour, thermal.astype(np.float32), shift=(dy, dx), reach=reach)
    for place in range(2):
        hit, mutual, chance = by_loop(colour[place], thermal[place].astype(np.float32), (dy, dx), reach)
        assert (found.hit[place], found.mutual[place]) == pytest.approx((hit, mutual))
        assert found.chance == pytest.approx(chance)


@pytest.mark.parametrize("shift", [(0, 0), (2, 2), (-2, 3), (4, -4), (0, 2)])
def test_a_known_shift_is_found_and_missed_without_it(shift: Shift) -> None:
    """With it all are hits; without, tokens find their true places, which lie beyond reach.

    Only tokens that are not on the colour map find a hit, by chance.
    """
    colour, thermal = seen(scenes(3, 16, 16), shift)
    right = dense_matches(colour, thermal, shift=shift)
    np.testing.assert_array_equal((right.hit, right.mutual), np.ones((2, 3)))
    if shift == (0, 0):
        return
    wrong = dense_matches(colour, thermal)
    on_the_map = (8 - abs(shift[0])) * (8 - abs(shift[1])) / 64
    assert wrong.hit.max() < 1 - on_the_map
    assert wrong.hit.mean() < 3 * wrong.chance


def test_a_shift_within_reach_is_a_hit_all_the_same() -> None:
    colour, thermal = seen(scenes(2, 16, 16), (1, -1))
    found = dense_matches(colour, thermal)
    seen_by_both = 7 * 7 / 64
    assert found.hit.min() >= seen_by_both
    assert dense_matches(colour, thermal, reach=0).hit.max() < 0.1


def test_position_alone_finds_every_place_until_one_side_is_moved() -> None:
    """Tokens that tell only where they lie: a shift larger than the reach takes all hits away."""
    where = np.tile(np.eye(64, dtype=np.float32).reshape(1, 8, 8, 64), (2, 1, 1, 1))
    assert dense_matches(where, where).mutual.tolist() == [1, 1]
    assert dense_matches(where, where, shift=(2, 0)).hit.tolist() == [0, 0]


def test_strangers_hit_by_chance() -> None:
    found = dense_matches(
        scenes(60, 14, 14, channels=8), scenes(60, 14, 14, channels=8, seed=1), shift=(2, 2)
    )
    expected = (3 / 14) ** 2 * (
        1 - 1 / 36
    ) ** 2  # true places fill 2 .. 13: one border of 12 rows lacks a third
    assert found.chance == pytest.approx(expected)
    assert found.hit.mean() == pytest.approx(expected, abs=0.005)
    assert found.mutual.mean() < found.hit.mean()
    unmoved = dense_matches(scenes(1, 14, 14), scenes(1, 14, 14))
    assert unmoved.chance == pytest.approx(
        (40 / 14**2) ** 2
    )  # of 14 rows 12 have three within reach, 2 have two


def test_ties_count_against_the_model() -> None:
    same = np.ones((2, 6, 6, 4), np.float32)
    tokens = scenes(2, 6, 6)
    for colour, thermal in ((same, same), (0 * same, tokens[..., :4]), (tokens[..., :4], 0 * same)):
        found = dense_matches(colour, thermal)
        assert not found.hit.any()
        assert not found.mutual.any()
    assert dense_matches(same, same, reach=5).hit.tolist() == [1, 1]  # nothing is out of reach
    assert dense_matches(same, same, reach=5).mutual.tolist() == [0, 0]


def test_a_token_that_stands_twice_counts_by_where() -> None:
    """Twins beside each other are both hits, but no token of two is chosen back; far twins are none."""
    tokens = scenes(1, 6, 6)
    beside, far = tokens.copy(), tokens.copy()
    beside[0, 2, 3] = beside[0, 2, 2]
    far[0, 5, 5] = far[0, 0, 0]
    found = dense_matches(beside, beside)
    assert (found.hit[0], found.mutual[0]) == pytest.approx((1, 34 / 36))
    found = dense_matches(far, far)
    assert (found.hit[0], found.mutual[0]) == pytest.approx((34 / 36, 34 / 36))


@given(st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_pairs_are_answered_one_by_one(order: list[int]) -> None:
    colour, thermal = scenes(4, 5, 5, channels=4), scenes(4, 5, 5, channels=4, seed=2)
    thermal = (2 * colour + thermal).astype(np.float32)
    whole, turned = dense_matches(colour, thermal), dense_matches(colour[order], 7 * thermal[order])
    np.testing.assert_allclose(turned.hit, whole.hit[order])
    np.testing.assert_allclose(turned.mutual, whole.mutual[order])


def test_what_cannot_be_asked_is_a_defect() -> None:
    tokens = scenes(1, 4, 4)
    with pytest.raises(ValueError, match="expected two equal"):
        dense_matches(tokens, tokens[:, :3])
    with pytest.raises(ValueError, match="leaves no token"):
        dense_matches(tokens, tokens, shift=(4, 0))
    broken = tokens.copy()
    broken[0, 1, 1, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        dense_matches(tokens, broken)
