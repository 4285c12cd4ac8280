import numpy as np
import pytest

from dinonat.saliency.attention import pulled_back, received_map


def windows(length, kernel_size):
    """The definition, query by query: which keys a query sees along one axis."""
    width = min(kernel_size, length)
    return [
        range(start, start + width)
        for start in (min(max(i - kernel_size // 2, 0), length - width) for i in range(length))
    ]


def uniform(shape, kernel_size=7, heads=2):
    keys = min(kernel_size, shape[0]) * min(kernel_size, shape[1])
    return np.full((heads, *shape, keys), 1 / keys, np.float32)


def random(shape, rng, kernel_size=7, heads=2):
    logits = rng.standard_normal(uniform(shape, kernel_size, heads).shape) * 3
    weights = np.exp(logits)
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


def halves(shape, stages):
    shapes = [shape]
    for _ in range(stages - 1):
        shapes.append(tuple((n + 1) // 2 for n in shapes[-1]))
    return shapes


@pytest.mark.parametrize("shape", [(56, 56), (40, 61), (9, 30), (4, 5), (1, 1)])
def test_uniform_attention_gives_one_everywhere(shape):
    shapes = halves(shape, 4)
    weights = [[uniform(s)] * 2 for s in shapes]
    assert received_map(weights, kernel_size=7, valid_hw=shapes) == pytest.approx(1, abs=1e-5)


def test_uniform_attention_gives_one_on_the_picture_where_the_map_is_padded():
    shapes = halves((24, 32), 4)
    valid = [(21, 27), (11, 14), (6, 7), (3, 4)]
    out = received_map([[uniform(s)] * 2 for s in shapes], kernel_size=7, valid_hw=valid)
    assert out.shape == (21, 27)
    assert out == pytest.approx(1, abs=1e-5)


def test_mass_stays_one():
    rng = np.random.default_rng(0)
    shapes = halves((25, 38), 4)
    weights = [[random(s, rng) for _ in range(2)] for s in shapes]
    assert pulled_back(weights, kernel_size=7, valid_hw=shapes).sum() == pytest.approx(1, abs=1e-5)


def test_one_layer_of_clamped_windows_is_as_uneven_as_counting_says():
    # A corner is seen by 4 of 7 queries along each axis, an edge by 4 of 7 along one, the inside by 7 of 7,
    # index 6 (the last that clamped windows reach) by 10.
    received = 2 * 20 * 20 * pulled_back([[uniform((20, 20))]], kernel_size=7, valid_hw=[(20, 20)]) - 1
    assert received[0, 0] == pytest.approx((4 / 7) ** 2, abs=1e-5)
    assert received[0, 10] == pytest.approx(4 / 7, abs=1e-5)
    assert received[10, 10] == pytest.approx(1, abs=1e-5)
    assert received[6, 6] == pytest.approx((10 / 7) ** 2, abs=1e-5)
    assert received.max() / received.min() == pytest.approx(6.25, abs=0.01)


def test_two_stages_equal_the_definition_written_with_loops():
    rng = np.random.default_rng(1)
    fine, coarse = (7, 9), (4, 5)
    weights = [[random(fine, rng, 5) for _ in range(2)], [random(coarse, rng, 5)]]
    mass = np.full(coarse, 1 / 20)
    mass = (mass + attended(mass, weights[1][0], 5)) / 2
    spread = np.zeros(fine)
    for (oy, ox), value in np.ndenumerate(mass):
        inputs = [
            (y, x)
            for y in range(2 * oy - 1, 2 * oy + 2)
            for x in range(2 * ox - 1, 2 * ox + 2)
            if 0 <= y < fine[0] and 0 <= x < fine[1]
        ]
        for place in inputs:
            spread[place] += value / len(inputs)
    for block in reversed(weights[0]):
        spread = (spread + attended(spread, block, 5)) / 2
    assert pulled_back(weights, kernel_size=5, valid_hw=[fine, coarse]) == pytest.approx(spread, abs=1e-7)


def attended(mass, block, kernel_size):
    out = np.zeros(mass.shape)
    rows, columns = (windows(n, kernel_size) for n in mass.shape)
    attention = block.mean(axis=0, dtype=np.float64)
    for (y, x), value in np.ndenumerate(mass):
        keys = [(ky, kx) for ky in rows[y] for kx in columns[x]]
        for key, weight in zip(keys, attention[y, x], strict=True):
            out[key] += value * weight
    return out


def test_a_token_that_everybody_attends_to_stands_out_even_in_a_corner():
    # Keys are row-major, so key 0 of every window that touches the corner is the corner itself.
    weights = uniform((20, 20), heads=1)
    weights[0, :4, :4] = 0
    weights[0, :4, :4, 0] = 1
    out = received_map([[weights]], kernel_size=7, valid_hw=[(20, 20)])
    assert np.unravel_index(out.argmax(), out.shape) == (0, 0)
    assert out[0, 0] > 3
    assert out[10, 10] == pytest.approx(1, abs=1e-5)


def test_pooling_says_where_the_mass_starts():
    """The map is linear in it: one token at a time, averaged, is all tokens alike."""
    rng = np.random.default_rng(4)
    shapes = halves((20, 12), 2)
    weights = [[random(s, rng, 5) for _ in range(2)] for s in shapes]
    total, count = np.zeros(shapes[0]), 10 * 6
    for token in range(count):
        pooling = np.zeros(count, np.float32)
        pooling[token] = 1
        one = pulled_back(weights, kernel_size=5, valid_hw=shapes, pooling=pooling.reshape(10, 6))
        assert one.sum() == pytest.approx(1)
        assert one[0, 0] > 0 or token  # what is asked of the first corner reaches it
        total += one / count
    np.testing.assert_allclose(total, pulled_back(weights, kernel_size=5, valid_hw=shapes), atol=1e-12)
    alike = np.full((10, 6), 1 / count)
    out = received_map(weights, kernel_size=5, valid_hw=shapes, pooling=alike)
    np.testing.assert_allclose(out, received_map(weights, kernel_size=5, valid_hw=shapes), atol=1e-6)
