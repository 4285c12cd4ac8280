import dataclasses

import numpy as np
import pytest

from dinonat.neighbors import exact
from dinonat.neighbors.parts import unit
from dinonat.proposals.abstain import BACKGROUND, Verdict, advise, comparable, thresholds, verdict
from dinonat.proposals.votes import nearest_per_class
from dinonat.records import Float32, Int64

NAMES = ["bicycle", "car", "person"]


def cones(n: int, classes: Int64, *, spread: float = 0.35, seed: int = 0) -> Float32:
    """Unit vectors around one axis a class."""
    noise = np.random.default_rng(seed).normal(size=(n, 12))
    return unit((np.eye(12)[classes] + spread * noise).astype(np.float32))


def votes(bank: Float32, classes: Int64, queries: Float32, *, left_out: bool = False) -> Verdict:
    groups = (np.arange(len(bank)), np.arange(len(bank))) if left_out else None
    near = nearest_per_class(bank, classes, queries, n_classes=3, k=20, search=exact.search, exclude=groups)
    return verdict(near, compared=comparable(classes, np.arange(len(bank)), n_classes=3, k=20))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_about_the_asked_share_of_known_items_abstains(share: float) -> None:
    truth = np.repeat([0, 1, 2], 100)
    bank, queries = cones(300, truth), cones(300, truth, seed=1)
    limits = thresholds(votes(bank, truth, bank, left_out=True), 3, share=share)
    advice, _ = advise(votes(bank, truth, queries), limits, NAMES)
    unknown = np.mean([word == "unknown" for word in advice])
    assert share * 0.6 < unknown < 2 * share + 0.03
    assert limits.measured == 300


def test_a_class_without_labels_abstains_more_than_the_known_ones() -> None:
    truth = np.repeat([0, 1, 2], 60)
    bank = cones(180, truth, spread=0.2)
    limits = thresholds(votes(bank, truth, bank, left_out=True), 3)
    known, _ = advise(votes(bank, truth, cones(180, truth, spread=0.2, seed=1)), limits, NAMES)
    strangers, reasons = advise(
        votes(bank, truth, cones(60, np.full(60, 7), spread=0.2, seed=2)), limits, NAMES
    )
    assert strangers.count("unknown") == 60
    assert known.count("unknown") < 50
    assert all(reason.startswith(("only ", "too close")) for reason in reasons)


def test_each_item_has_a_sentence_that_gives_the_figures() -> None:
    bank = unit(np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    said = votes(bank, np.int64([0, 1, 2]), unit(np.float32([[1, 0.1, 0], [1, 1, 0]])))
    limits = thresholds(said, 3, share=0.5)
    advice, reasons = advise(said, limits, NAMES)
    assert advice == ["review", "unknown"]
    assert reasons[0].startswith(
        "1.00 alike to the nearest 'bicycle' example; 'bicycle' has 1.00 of the vote"
    )
    assert "0.71 alike" in reasons[1]


def test_the_background_wins_and_is_never_proposed() -> None:
    names = [BACKGROUND, "car", "person"]
    bank = unit(np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    said = votes(bank, np.int64([0, 1, 2]), bank)
    advice, reasons = advise(said, thresholds(said, 3, share=0), names, background=BACKGROUND)
    assert advice == ["unknown", "review", "review"]
    assert reasons[0].startswith("looks like the background of the labelled images (1.00 alike")


def test_small_classes_share_a_threshold_and_no_votes_set_none() -> None:
    truth = np.repeat([0, 1, 2], [40, 40, 3])
    bank = cones(83, truth)
    said = votes(bank, truth, bank, left_out=True)
    limits = thresholds(said, 3)
    assert limits.likeness[2] == pytest.approx(np.quantile(said.likeness, 0.1))
    assert limits.likeness[0] == pytest.approx(np.quantile(said.likeness[said.winner == 0], 0.1))
    alone = votes(bank[:1], np.int64([1]), bank[:1], left_out=True)
    nothing = thresholds(alone, 3)
    assert nothing.measured == 0
    assert np.isneginf(nothing.likeness).all()
    assert advise(votes(bank[:1], np.int64([1]), bank), nothing, NAMES)[0] == ["review"] * 83


def test_likeness_is_compared_with_as_many_items_as_are_left_when_a_recording_is_out() -> None:
    classes, groups = (
        np.int64([0] * 10 + [1] * 4 + [2] * 2),
        np.int64([0] * 5 + [1] * 5 + [0, 1, 2, 2] + [0, 0]),
    )
    assert comparable(classes, groups, n_classes=4, k=12).tolist() == [3, 2, 1, 1]
    assert comparable(classes, np.arange(16), n_classes=3, k=30).tolist() == [9, 3, 1]


@pytest.mark.parametrize("each", [3, 5, 20])
def test_few_labels_do_not_make_the_threshold_stricter(each: int) -> None:
    unknown = []
    for seed in range(8):
        truth = np.repeat([0, 1, 2], each)
        bank = cones(3 * each, truth, seed=seed)
        said = votes(bank, truth, bank, left_out=True)
        limits = thresholds(said, 3)
        limits = dataclasses.replace(limits, margin=-np.inf)
        queries = cones(300, np.repeat([0, 1, 2], 100), seed=100 + seed)
        unknown.append(
            np.mean([word == "unknown" for word in advise(votes(bank, truth, queries), limits, NAMES)[0]])
        )
    assert np.mean(unknown) < 0.16


def test_one_class_alone_abstains_by_likeness_only() -> None:
    bank = cones(40, np.zeros(40, np.int64))

    def near(queries: Float32, groups: tuple[Int64, Int64] | None = None) -> Verdict:
        found = nearest_per_class(
            bank, np.zeros(40, np.int64), queries, n_classes=1, k=5, search=exact.search, exclude=groups
        )
        return verdict(found, compared=np.int64([5]))

    limits = thresholds(near(bank, (np.arange(40), np.arange(40))), 1)
    axis = np.eye(12, dtype=np.float32)
    said = near(np.concatenate([axis[:1], axis[:1], -axis[:1], axis[5:6]]))
    assert (said.score == 1).all()
    assert (said.second == -1).all()
    advice, reasons = advise(said, limits, ["car"])
    assert advice == ["review", "review", "unknown", "unknown"]
    assert "of the vote" not in reasons[0]


def test_the_verdict_names_the_nearest_item_of_any_class() -> None:
    bank = cones(30, np.repeat([0, 1, 2], 10))
    said = votes(bank, np.repeat([0, 1, 2], 10), bank[:5])
    np.testing.assert_allclose(said.similarity, 1, atol=1e-6)
    np.testing.assert_allclose(said.score - said.margin, np.sort(_shares(said), axis=1)[:, -2], atol=1e-6)


def _shares(said: Verdict) -> Float32:
    from dinonat.proposals.votes import balanced_vote

    return balanced_vote(said.near.similarity)
