import numpy as np

from dinonat.neighbors.parts import centred
from dinonat.proposals.carry import carried
from dinonat.records import PARTS, Float32


def world(n: int, seed: int, lost: dict[str, float]) -> dict[str, Float32]:
    """Items of some kinds of things; in the parts of ``lost`` this set shows them moved by that much."""
    generator = np.random.default_rng(seed)
    looks, moves = np.random.default_rng(9), np.random.default_rng(seed + 50)
    things = generator.integers(0, 6, n)
    parts = {}
    for part in PARTS:
        kinds = looks.normal(size=(6, 16)) + lost.get(part, 0) * moves.normal(size=(6, 16))
        parts[part] = (kinds[things] + 0.3 * generator.normal(size=(n, 16))).astype(np.float32)
    return centred(parts)


def apart(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n), n + np.arange(m)


def test_two_samples_of_one_world_carry_whatever_their_sizes() -> None:
    for n, m in ((60, 60), (40, 400), (300, 30)):
        assert set(carried(world(n, 0, {}), world(m, 1, {}), groups=apart(n, m))) == set(PARTS)


def test_a_part_that_shows_things_otherwise_does_not_carry() -> None:
    kept = carried(world(100, 0, {}), world(100, 1, {"mean": 1.0, "grid": 1.0}), groups=apart(100, 100))
    assert set(kept) == {"hog", "raw"}


def test_brightness_does_not_carry_from_colour_to_thermal() -> None:
    one, other = world(50, 0, {}), world(50, 1, {})
    assert set(carried(one, other, groups=apart(50, 50), same_light=False)) == set(PARTS) - {"raw"}


def test_a_recording_in_both_sets_is_not_compared_with_itself() -> None:
    one = world(80, 0, {"hog": 1.0})
    copy = {**world(80, 1, {}), "hog": one["hog"]}  # the same pictures: HOG would carry by memory
    groups = np.arange(80) // 10
    memory = carried(one, copy, groups=apart(80, 80))
    assert memory["hog"] > 1.01
    assert carried(one, copy, groups=(groups, groups))["hog"] < memory["hog"]


def test_too_few_items_tell_nothing() -> None:
    assert set(carried(world(6, 0, {}), world(90, 1, {"hog": 9.0}), groups=apart(6, 90))) == set(PARTS)
