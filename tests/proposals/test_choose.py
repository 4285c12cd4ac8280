import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.neighbors import exact
from dinonat.neighbors.parts import DEFAULT_IMAGE, DEFAULT_REGION, centred, joined, parse_features, unit
from dinonat.proposals.choose import CANDIDATES, FLOOR_NAME, JOINED, choose, compared_lines, restricted
from dinonat.proposals.leave_out import (
    balanced_weights,
    combined,
    hits,
    recordings_of,
    standard_error,
    thinned,
)
from dinonat.proposals.votes import balanced_vote, knn, nearest_per_class
from dinonat.records import PARTS, Float32, Int64


def labelled(
    signal: dict[str, float], *, n: int = 120, n_classes: int = 3, groups: int = 12, seed: int = 0
) -> tuple[dict[str, Float32], Int64, Int64]:
    """Parts in which classes differ by ``signal``, and every group looks alike whatever the class."""
    generator = np.random.default_rng(seed)
    classes = generator.integers(0, n_classes, n)
    own = generator.integers(0, groups, n)
    parts = {}
    for part in PARTS:
        centres, scenes = generator.normal(size=(n_classes, 12)), generator.normal(size=(groups, 12))
        noise = generator.normal(size=(n, 12)) * 1.5
        parts[part] = (signal.get(part, 0) * centres[classes] + 0.5 * scenes[own] + noise).astype(np.float32)
    return centred(parts), classes, own


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999), signal=st.dictionaries(st.sampled_from(PARTS), st.floats(0, 3)))
def test_what_is_chosen_never_scored_below_the_hand_made_floor(seed, signal) -> None:
    ready, classes, groups = labelled(signal, n=50, seed=seed)
    for kind in JOINED:
        choice = choose(ready, classes, groups, kind=kind)
        score = {one.name: one.score for one in choice.compared}
        taken = next(one for one in choice.compared if one.taken)
        assert taken.score >= score[FLOOR_NAME]
        assert parse_features(choice.features) == dict(choice.weights)
        assert [one.score for one in choice.compared] == sorted(score.values(), reverse=True)


def test_a_network_that_knows_nothing_is_left_out() -> None:
    ready, classes, groups = labelled({"hog": 1.0, "raw": 1.0})
    choice = choose(ready, classes, groups, kind="region")
    assert set(choice.weights) <= {"hog", "raw"}
    assert "hand-made floor" in choice.reason


def test_a_network_that_knows_all_is_taken_alone() -> None:
    ready, classes, groups = labelled({"mean": 4.0})
    assert set(choose(ready, classes, groups, kind="region").weights) == {"mean"}


def test_parts_are_taken_as_they_are_where_centring_hides_a_class() -> None:
    generator = np.random.default_rng(0)
    classes, groups = np.repeat(np.arange(3), 40), np.arange(120) % 20
    middle, way = 3 * np.eye(12)[0], 2 * np.eye(12)[1]
    rows = middle + np.outer(classes - 1, way) + 0.4 * generator.normal(size=(120, 12))  # class 1 is the mean
    parts = dict.fromkeys(PARTS, rows.astype(np.float32))
    bare = {name: unit(part) for name, part in parts.items()}
    choice = choose(centred(parts), classes, groups, kind="image", bare=bare)
    assert not choice.centred
    assert choice.features.endswith(" uncentred")
    both = [one for one in choice.compared if one.features == choice.features.removesuffix(" uncentred")]
    assert sorted(one.centred for one in both) == [False, True]
    assert [line[0] for line in compared_lines(choice.compared) if "uncentred" in line] == ["*"]
    assert choose(centred(parts), classes, groups, kind="image").centred  # who is not asked does not say


def test_a_component_that_all_share_is_taken_off() -> None:
    ready, classes, groups = labelled({"grid": 1.0, "hog": 1.0}, n=60)
    bare = {name: unit(part + 5 * np.eye(12, dtype=np.float32)[0]) for name, part in ready.items()}
    choice = choose(ready, classes, groups, kind="region", bare=bare)
    assert choice.centred
    assert dict(choice.weights) == parse_features(choice.features)
    assert sum(not one.centred for one in choice.compared) == 1


def test_without_a_clear_difference_the_floor_or_the_default_stays() -> None:
    ready, classes, groups = labelled({"grid": 1.0, "hog": 1.0, "raw": 1.0}, n=60)
    choice = choose(ready, classes, groups, kind="region")
    best = choice.compared[0]
    taken = next(one for one in choice.compared if one.taken)
    assert taken.name in (FLOOR_NAME, "all") or taken is best
    if taken is not best:
        assert "not clearly more" in choice.reason


def test_a_network_that_helps_a_little_is_joined_once_labels_show_it() -> None:
    signal = {"grid": 1.2, "hog": 0.7, "raw": 0.7}
    ready, classes, groups = labelled(signal, n=600, groups=60)
    assert "grid" in choose(ready, classes, groups, kind="region").weights
    one = next(
        one for one in choose(ready, classes, groups, kind="region").compared if one.name == FLOOR_NAME
    )
    assert one.error == 0  # differences are from the floor


def test_parts_that_are_missing_are_left_out_of_every_weighting() -> None:
    ready, classes, groups = labelled({"hog": 1.0})
    choice = choose({"hog": ready["hog"]}, classes, groups, kind="region")
    assert choice.weights == {"hog": 1.0}
    assert len(choice.compared) == 1
    assert [list(weights) for weights in restricted(["grid"]).values()] == [["grid"]]
    table = restricted(PARTS)
    assert table == CANDIDATES
    few = restricted(["grid", "hog"])
    assert few["all"] == {"grid": 0.7, "hog": 1.0}
    assert "grid+hog" not in few  # the same as "all" by then
    network = choose({part: ready[part] for part in ("mean", "grid")}, classes, groups, kind="region")
    assert set(network.weights) <= {"mean", "grid"}


def test_the_fast_way_equals_searching_in_the_joined_vectors() -> None:
    ready, classes, groups = labelled({"grid": 1.0, "hog": 0.7}, seed=3)
    own = groups[:, None] == groups[None]
    cosines = {name: part @ part.T for name, part in ready.items()}
    for weights in CANDIDATES.values():
        right = hits(combined(cosines, weights, own), classes, k=20, temperature=0.07)
        vectors, exclude = joined(ready, weights), (groups, groups)
        vote = knn(vectors, classes, vectors, n_classes=3, k=20, search=exact.search, exclude=exclude)
        near = nearest_per_class(
            vectors, classes, vectors, n_classes=3, k=20, search=exact.search, exclude=exclude
        )
        votes = [vote(5), vote(20), balanced_vote(near.similarity)]
        slow = np.stack([each.argmax(axis=1) == classes for each in votes], axis=1)
        assert (right == slow).mean() > 0.995  # the last bit of a cosine may differ


def test_leaving_the_recording_out_unmasks_a_part_that_only_knows_the_recording() -> None:
    ready, classes, groups = labelled({"hog": 1.0})
    generator = np.random.default_rng(1)
    classes = groups % 3  # each recording shows one class: its look gives the class away
    scenes = generator.normal(size=(12, 12)).astype(np.float32)
    ready = {**ready, "raw": centred({"raw": scenes[groups] + 0.1 * ready["raw"]})["raw"]}

    def raw(exclude: Int64) -> float:
        compared = choose(ready, classes, exclude, kind="region").compared
        return next(one.score for one in compared if one.name == "raw")

    assert raw(np.arange(len(groups))) > 95
    assert raw(groups) < 60


def test_the_same_labels_give_the_same_choice() -> None:
    ready, classes, groups = labelled({"grid": 0.5, "hog": 0.5})
    assert choose(ready, classes, groups, kind="region") == choose(ready, classes, groups, kind="region")


@pytest.mark.parametrize(
    ("classes", "groups"),
    [
        ([0, 0, 0], [0, 1, 2]),
        ([0, 1, 0, 1], [0, 0, 0, 0]),
        ([0, 1, 2], [0, 1, 2]),
        ([0, 0, 1], [0, 1, 2]),
        ([], []),
    ],
)
def test_too_few_labels_keep_the_default_and_say_so(classes, groups) -> None:
    ready = {part: np.eye(len(classes), dtype=np.float32) for part in PARTS}
    for kind, weights in (("image", DEFAULT_IMAGE), ("region", DEFAULT_REGION)):
        choice = choose(ready, np.int64(classes), np.int64(groups), kind=kind, left_out="image")
        assert choice.weights == weights
        assert "in two images each" in choice.reason
        assert compared_lines(choice.compared) == []


def test_the_table_names_each_weighting_and_marks_the_one_taken() -> None:
    ready, classes, groups = labelled({"hog": 1.0})
    lines = compared_lines(choose(ready, classes, groups, kind="region").compared)
    assert len(lines) == len(CANDIDATES) + 1
    assert sum(line.startswith("*") for line in lines) == 1


def items(images: list[str], recordings: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"image": images, "recording": recordings})


def test_what_is_left_out_together() -> None:
    groups, word = recordings_of(items(["a", "a", "b", "c"], ["x", "x", "x", ""]))
    assert (word, len(set(groups)), groups[0] == groups[2]) == ("recording", 2, True)
    groups, word = recordings_of(items(["a", "a", "b"], ["x", "x", "x"]))  # one recording leaves nothing
    assert (word, groups.tolist()) == ("image", [0, 0, 1])
    groups, word = recordings_of(items(["a", "b"], ["", ""]))
    assert word == "image"
    groups, word = recordings_of(items(["a", "a"], ["", ""]))
    assert (word, groups.tolist()) == ("item", [0, 1])


def test_the_standard_error_is_that_of_the_textbook() -> None:
    generator = np.random.default_rng(2)
    difference = generator.normal(size=50)
    alone = standard_error(difference, np.arange(50))
    assert alone == pytest.approx(np.sqrt(50) * difference.std(ddof=1))
    pairs = standard_error(np.repeat(difference, 2), np.repeat(np.arange(50), 2))
    assert pairs == pytest.approx(2 * alone)  # twice the same item is no second witness
    assert standard_error(difference, np.zeros(50, np.int64)) == float("inf")


def test_balanced_weights_give_every_class_the_same_say() -> None:
    classes = np.int64([0, 0, 0, 2])
    assert balanced_weights(classes).tolist() == [1 / 6] * 3 + [1 / 2]


def test_thinning_keeps_small_classes_whole() -> None:
    classes = np.repeat([0, 1, 2], [5000, 900, 4])
    kept = thinned(classes, 600)
    counts = np.bincount(classes[kept])
    assert counts[2] == 4
    assert counts[0] > counts[1] > 50
    assert counts.sum() <= 620
    assert np.array_equal(thinned(classes, 10_000), np.arange(5904))
