import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.agreement.estimates import Drawn, Estimate
from dinonat.agreement.rows import Figures
from dinonat.agreement.verdict import LEAST, POLARITY, Claim, claim, claims, sentence, turned

ROUNDS = np.linspace(-1, 1, 201)  # evenly spread, so the bounds are near the value -+ the spread


def about(value: float, spread: float = 0.0, groups: int = 30) -> Estimate:
    """A figure whose interval goes from about value - spread to value + spread."""
    return Estimate(value, value + spread * ROUNDS, groups)


def word(differences: list[Estimate]) -> str:
    figure = about(0.5, groups=differences[0].groups)
    floors = {str(i): figure - each for i, each in enumerate(differences)}
    found = claim("attention", figure, floors, figure.groups)
    for each, name in zip(differences, found.differences, strict=True):
        assert found.differences[name].value == pytest.approx(each.value)
    return found.word


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (about(0.2, 0.1), about(0.3, 0.1), "holds"),
        (about(0.2, 0.1), about(0.3, 0.4), "not settled"),  # sure against one floor only
        (about(0.05, 0.1), about(0.05, 0.1), "not settled"),
        (about(0.0), about(0.2, 0.1), "not settled"),  # equal everywhere: no better, and not worse
        (about(-0.05, 0.1), about(0.05, 0.1), "not settled"),
        (about(-0.2, 0.1), about(0.2, 0.1), "fails"),  # worse than one floor is enough
        (about(-0.2, 0.1), about(0.0, 0.9), "fails"),
        (about(-0.2, 0.1), about(-0.2, 0.1), "fails"),
    ],
)
def test_a_claim_holds_against_both_and_fails_against_one(
    first: Estimate, second: Estimate, expected: str
) -> None:
    assert word([first, second]) == word([second, first]) == expected


SOME = st.tuples(st.floats(-1, 1), st.floats(0, 0.5), st.integers(1, 40))


@settings(deadline=None)
@given(SOME, SOME)
def test_the_word_follows_from_the_bounds(
    one: tuple[float, float, int], two: tuple[float, float, int]
) -> None:
    groups = min(one[2], two[2])
    differences = [about(value, spread, groups) for value, spread, _ in (one, two)]
    floors = {name: about(0.5, 0, groups) - each for name, each in zip("ab", differences, strict=True)}
    found = claim("features", about(0.5, 0, groups), floors, groups)
    lows, highs = zip(*(each.interval for each in found.differences.values()), strict=True)
    assert (found.word == "holds") == (groups >= LEAST and min(lows) > 0)
    assert (found.word == "fails") == (groups >= LEAST and min(highs) < 0)


@pytest.mark.parametrize("value", [0.9, -0.9])
@pytest.mark.parametrize("groups", [1, 2, 5])
def test_few_recordings_settle_nothing(value: float, groups: int) -> None:
    assert word([about(value, 0.01, groups=groups)] * 2) == "not settled"


def test_from_six_recordings_on_no_difference_is_seldom_settled() -> None:
    """What LEAST is for: of differences that are none, few may seem to be some."""
    rng = np.random.default_rng(0)
    seeming = {}
    for groups in (2, LEAST):
        drawn = Drawn(np.arange(groups), resamples=400)
        found = [drawn.mean(rng.normal(size=groups)).interval for _ in range(400)]
        seeming[groups] = np.mean([low > 0 for low, _ in found])
    assert seeming[LEAST] < 0.1 < 0.18 < seeming[2]


def test_a_floor_is_compared_resample_by_resample() -> None:
    """Two that rise and fall together by more than they differ: the difference is sure nevertheless."""
    drawn = Drawn(np.arange(12), resamples=400)
    hard = np.random.default_rng(0).normal(size=12)
    network, floor = drawn.mean(hard + 0.1), drawn.mean(hard)
    assert network.interval[0] < floor.value < network.interval[1]
    assert claim("attention", network, {"a": floor, "b": floor}, 12).word == "holds"
    assert claim("attention", floor, {"a": network, "b": floor - network}, 12).word == "fails"


ATTENTION, FEATURES = "attention/pearson/gap", "grid, centred/cropped/both/1"


def by_hand(gradient: float = 0.1, large: float = 0.2, small: float = 0.3) -> dict[str, Figures]:
    """The only figures by hand that a verdict may rest on, and decoys that would turn it around."""
    return {
        "gradient energy": {"gradient/pearson/gap": about(gradient), "gradient/spearman/gap": about(0.99)},
        "HOG": {"HOG, centred/cropped/both/1": about(large), "HOG/cropped/both/1": about(0.99)},
        "hog": {"hog, centred/cropped/both/1": about(small), "hog, centred/aligned/both/1": about(0.99)},
        "thumbnail": {"thumbnail, centred/cropped/both/1": about(0.99)},
    }


def network(attention: float, features: float) -> Figures:
    return {ATTENTION: about(attention), FEATURES: about(features), "grid/cropped/both/1": about(0.5)}


def test_claims_are_of_attention_and_of_features_against_their_floors() -> None:
    found = claims(network(0.42, 0.61), network(0.05, 0.11), by_hand(), 30)
    assert [each.about for each in found] == ["attention", "features"]
    assert [each.word for each in found] == ["holds", "holds"]
    assert [each.figure.value for each in found] == [0.42, 0.61]
    for each, expected in zip(
        found,
        [
            {"gradient energy": 0.32, "the untrained network": 0.37},
            {"HOG": 0.31, "the untrained network": 0.5},
        ],
        strict=True,
    ):
        values = {name: difference.value for name, difference in each.differences.items()}
        assert values == pytest.approx(expected)


@pytest.mark.parametrize(("large", "small"), [(0.2, 0.3), (0.3, 0.2)])
def test_hog_is_the_better_of_its_two_kinds(large: float, small: float) -> None:
    (_, found) = claims(network(0.4, 0.25), network(0.1, 0.1), by_hand(large=large, small=small), 30)
    assert found.differences["HOG"].value == pytest.approx(-0.05)
    assert found.word == "fails"


def test_each_floor_can_make_a_claim_fail() -> None:
    def words(own: Figures, untrained: Figures, hand: dict[str, Figures]) -> list[str]:
        return [each.word for each in claims(own, untrained, hand, 30)]

    own = network(0.4, 0.6)
    assert words(own, network(0.1, 0.1), by_hand()) == ["holds", "holds"]
    assert words(own, network(0.1, 0.1), by_hand(gradient=0.5)) == ["fails", "holds"]
    assert words(own, network(0.5, 0.1), by_hand()) == ["fails", "holds"]
    assert words(own, network(0.1, 0.7), by_hand()) == ["holds", "fails"]
    assert words(own, network(0.1, 0.1), by_hand(large=0.7)) == ["holds", "fails"]


def test_a_network_without_attention_claims_features_alone() -> None:
    own, untrained = network(0, 0.6), network(0, 0.1)
    del own[ATTENTION], untrained[ATTENTION]
    (found,) = claims(own, untrained, by_hand(), 30)
    assert (found.about, found.word) == ("features", "holds")


def numbers(text: str) -> list[str]:
    return re.findall(r"[+-]?\d+(?:\.\d+)?", text)


def test_a_sentence_says_each_number() -> None:
    differences = {
        "gradient energy": Estimate(0.28, np.full(5, 0.28), 16),
        "the untrained network": Estimate(-0.16, np.linspace(-0.3, 0.1, 101), 16),
    }
    attention = Claim("attention", "not settled", about(0.42), differences)
    low, high = differences["the untrained network"].interval
    assert sentence(attention, 16) == (
        "Attention: partners' maps correlate 0.42 more than strangers' (gradient energy 0.14, difference "
        "+0.28 (+0.28 to +0.28); the untrained network 0.58, difference "
        f"-0.16 ({low:+.2f} to {high:+.2f})): not settled by 16 recordings."
    )
    features = Claim(
        "features", "holds", about(0.61), {"HOG": about(0.2), "the untrained network": about(0.5)}
    )
    text = sentence(features, 30)
    assert numbers(text) == ["61.0", "41.0", "+20.0", "+20.0", "+20.0", "11.0", "+50.0", "+50.0", "+50.0"]
    assert text.endswith("points): the claim holds here.")


def test_a_sentence_says_what_fails_and_that_one_recording_says_nothing() -> None:
    (attention, features) = claims(network(0.0, 0.1), network(0.1, 0.2), by_hand(), 30)
    assert sentence(attention, 30).endswith(": the claim fails here.")
    assert sentence(features, 30).endswith(": the claim fails here.")
    alone = claim("attention", about(0.4, 0, 1), {"gradient energy": about(0.1, 0, 1)}, 1)
    text = sentence(alone, 1)
    assert text.endswith("not settled by one recording, which says nothing about others.")
    assert numbers(text) == ["0.40", "0.10", "+0.30"]  # and no interval
    assert "nan" not in text


def plus(figure: Estimate, value: float, spread: float) -> Estimate:
    """What differs from a figure by about ``value``."""
    return figure - about(-value, spread, figure.groups)


def test_polarity_is_said_where_something_is_clearly_better_and_nothing_worse() -> None:
    keys = list(POLARITY.values())
    plain = {key: about(0.3, 0.1) for key in keys}

    def turn(**more: tuple[float, float]) -> str:
        changed = {POLARITY[name.replace("_", " ")]: each for name, each in more.items()}
        inverted = {key: plus(plain[key], *changed.get(key, (0.0, 0.1))) for key in keys}
        return turned(plain, inverted, 30)

    assert turn() == ""
    assert turn(attention=(0.1, 0.2)) == ""  # not clear
    said = turn(tokens_found=(0.07, 0.02), attention=(0.1, 0.01))
    assert "tokens found +7.0 (" in said
    assert "attention +0.10 (" in said
    assert "partners" not in said
    assert turn(tokens_found=(0.07, 0.02), attention=(-0.1, 0.01)) == ""
    better = {key: plus(plain[key], 0.2, 0.01) for key in keys}
    assert turned(plain, better, LEAST - 1) == ""
    del better[POLARITY["k-NN from colour"]], plain[POLARITY["k-NN from colour"]]  # without labels
    assert "k-NN" not in turned(plain, better, LEAST)
