import pytest

from dinonat.pretraining.schedule import Course, cosine, linear


def official_cosine(base, final, epochs, per_epoch, warmup):
    """utils.cosine_scheduler of the official code, as its formula says, with its values by step."""
    import numpy as np

    head = np.linspace(0, base, warmup, endpoint=False)
    steps = np.arange(epochs * per_epoch - warmup)
    return np.concatenate([head, final + 0.5 * (base - final) * (1 + np.cos(np.pi * steps / len(steps)))])


@pytest.mark.parametrize("warmup", [0, 7])
def test_cosine_follows_the_official_schedule(warmup):
    expected = official_cosine(1e-3, 1e-6, 5, 8, warmup)
    found = [Course(40).learning_rate(step, 1e-3, 1e-6, warmup=warmup) for step in range(40)]
    assert found == pytest.approx(expected.tolist())
    if not warmup:
        assert found == pytest.approx([cosine(Course(40).position(step), 1e-3, 1e-6) for step in range(40)])


def test_cosine_rises_where_the_end_is_higher_and_stays_after_it():
    momentum = [cosine(Course(10).position(step), 0.985, 0.9995) for step in range(12)]
    assert momentum == sorted(momentum)
    assert momentum[10] == momentum[11] == pytest.approx(0.9995)


def test_an_open_run_rises_to_a_plateau_and_goes_down_from_it_on_request_only():
    plateau = [Course(pause, open=True).position(2500) for pause in (2500, 9000, 10**9)]
    assert plateau == [0.5] * 3  # what comes later changes nothing before
    rates = [Course(9000, open=True).learning_rate(s, 1.0, 0.1, warmup=100) for s in (50, 100, 8999)]
    assert rates == pytest.approx([0.5, 1.0, 1.0])
    cooling = Course(3000, open=True, cool_from=2000)
    positions = [cooling.position(step) for step in (0, 500, 2000, 2250, 2500, 3000, 4000)]
    assert positions == pytest.approx([0, 0.25, 0.5, 0.625, 0.75, 1, 1])
    falling = [cooling.learning_rate(step, 1.0, 0.1, warmup=100) for step in range(2000, 3001)]
    assert falling == sorted(falling, reverse=True)
    assert (falling[0], falling[-1]) == pytest.approx((1.0, 0.1))


def test_cooling_down_before_the_plateau_is_reached_still_ends_at_the_end():
    early = Course(300, open=True, cool_from=200)
    assert early.position(200) == pytest.approx(0.1)
    assert early.position(300) == 1


def test_linear_reaches_its_end_and_stays():
    assert [linear(step, 4, 0.04, 0.08) for step in (0, 2, 4, 9)] == pytest.approx([0.04, 0.06, 0.08, 0.08])
    assert linear(0, 0, 1.0, 2.0) == 2.0
