import pytest

from dinonat.pretraining.schedule import cosine, linear


def official_cosine(base, final, epochs, per_epoch, warmup):
    """utils.cosine_scheduler of the official code, as its formula says, with its values by step."""
    import numpy as np

    head = np.linspace(0, base, warmup, endpoint=False)
    steps = np.arange(epochs * per_epoch - warmup)
    return np.concatenate([head, final + 0.5 * (base - final) * (1 + np.cos(np.pi * steps / len(steps)))])


@pytest.mark.parametrize("warmup", [0, 7])
def test_cosine_follows_the_official_schedule(warmup):
    expected = official_cosine(1e-3, 1e-6, 5, 8, warmup)
    found = [cosine(step, 40, 1e-3, 1e-6, warmup=warmup) for step in range(40)]
    assert found == pytest.approx(expected.tolist())


def test_cosine_rises_where_the_end_is_higher_and_stays_after_it():
    momentum = [cosine(step, 10, 0.985, 0.9995) for step in range(12)]
    assert momentum == sorted(momentum)
    assert momentum[10] == momentum[11] == pytest.approx(0.9995)


def test_linear_reaches_its_end_and_stays():
    assert [linear(step, 4, 0.04, 0.08) for step in (0, 2, 4, 9)] == pytest.approx([0.04, 0.06, 0.08, 0.08])
    assert linear(0, 0, 1.0, 2.0) == 2.0
