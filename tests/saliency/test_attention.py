import numpy as np
import pytest

from dinonat.saliency.attention import cls_by_heads, cls_map, pulled_back, received_by_heads, received_map


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


@pytest.mark.parametrize("shape", [(28, 28), (20, 33), (9, 5), (4, 5), (1, 1)])
def test_uniform_attention_of_each_head_gives_one_exactly(shape):
    out = received_by_heads(uniform(shape, heads=3), kernel_size=7, valid_hw=shape)
    assert out.shape == (3, *shape)
    assert (out == 1).all()


def test_uniform_attention_of_each_head_gives_one_exactly_where_the_map_is_padded():
    out = received_by_heads(uniform((16, 16)), kernel_size=7, valid_hw=(13, 10))
    assert out.shape == (2, 13, 10)
    assert (out == 1).all()


def test_what_heads_receive_is_what_one_block_pulls_back():
    """The older function leaves half of the mass where it is, and averages heads before it counts."""
    weights = random((12, 17), np.random.default_rng(5), heads=3)
    shape = weights.shape[1:3]
    once, even = (
        2 * pulled_back([[each]], kernel_size=7, valid_hw=[shape]) - 1 / np.prod(shape)
        for each in (weights, uniform(shape))
    )
    heads = received_by_heads(weights, kernel_size=7, valid_hw=shape)
    np.testing.assert_allclose(heads.mean(axis=0), once / even, rtol=1e-5)
    for head, alone in zip(weights, heads, strict=True):
        mass = 2 * pulled_back([[head[None]]], kernel_size=7, valid_hw=[shape]) - 1 / np.prod(shape)
        np.testing.assert_allclose(alone, mass / even, rtol=1e-5)
        assert (alone * even).sum() == pytest.approx(1, abs=1e-5)  # no mass is lost


def test_padding_asks_for_nothing():
    rng = np.random.default_rng(6)
    weights = random((9, 8), rng, kernel_size=5, heads=1)
    before = received_by_heads(weights, kernel_size=5, valid_hw=(6, 7))
    weights[:, 6:] = random((9, 8), rng, kernel_size=5, heads=1)[:, 6:]
    weights[:, :, 7:] = random((9, 8), rng, kernel_size=5, heads=1)[:, :, 7:]
    np.testing.assert_array_equal(received_by_heads(weights, kernel_size=5, valid_hw=(6, 7)), before)
    asked = np.pad(np.full((6, 7), 1 / 42), ((0, 3), (0, 1)))
    mass, even = (attended(asked, each, 5)[:6, :7] for each in (weights, uniform((9, 8), 5, 1)))
    np.testing.assert_allclose(before[0], mass / even, rtol=1e-5)


def test_heads_of_a_cls_token_average_to_its_map():
    """Each counts by how much of its attention is on the picture, not on CLS or registers."""
    rng = np.random.default_rng(7)
    weights = rng.dirichlet(np.ones(24), size=4).reshape(4, 4, 6).astype(np.float32)
    part = weights[:, :3, :5]
    heads = cls_by_heads(weights, valid_hw=(3, 5))
    np.testing.assert_allclose(heads.mean(axis=(1, 2)), 1, rtol=1e-6)
    shares = part.sum(axis=(1, 2)) / part.sum()
    whole = cls_map(weights, valid_hw=(3, 5))
    np.testing.assert_allclose((shares[:, None, None] * heads).sum(axis=0), whole, rtol=1e-5)
    dimmer = weights * np.float32([1, 0.01, 0.5, 1])[:, None, None]
    np.testing.assert_allclose(cls_by_heads(dimmer, valid_hw=(3, 5)), heads, rtol=1e-5)
