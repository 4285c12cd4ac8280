import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.neighbors import exact
from dinonat.neighbors.graph import build, symmetric
from dinonat.neighbors.parts import joined, unit
from dinonat.proposals.bank import Bank, make_bank, of_rows
from dinonat.proposals.deciding import Decided, Net, Voting, ask, decided, narrowed
from dinonat.proposals.linear import fit
from dinonat.proposals.methods import (
    JOINT,
    METHODS,
    agreeing,
    decide,
    joint,
    judged_lines,
    needed,
    winners,
)
from dinonat.records import Float32, Int64

NAMES = ["car", "cat", "cow"]
WEIGHTS = {"mean": 1.0}


def shares_of(rows: list[list[float]]) -> Float32:
    return np.float32(rows)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 9), n_classes=st.integers(1, 5), seed=st.integers(0, 999))
def test_all_together_are_the_mean_of_those_that_say_something(n, n_classes, seed) -> None:
    generator = np.random.default_rng(seed)
    shares = {}
    for name in METHODS:
        rows = generator.dirichlet(np.ones(n_classes), n)
        rows[generator.uniform(size=n) < 0.3] = 0
        shares[name] = rows.astype(np.float32)
    found = joint(shares)
    for i in range(n):
        said = [each[i].astype(np.float64) for each in shares.values() if each[i].sum() > 0]
        np.testing.assert_allclose(found[i], np.mean(said, axis=0) if said else 0, atol=1e-6)


def test_who_agrees_is_named_and_silence_is_no_agreement() -> None:
    chosen = winners({"vote": shares_of([[1, 0], [0, 0]]), "linear": shares_of([[0.5, 0.5], [0.2, 0.8]])})
    assert chosen["vote"].tolist() == [0, -1]
    assert agreeing(chosen, np.int64([0, 0])) == ["vote linear", ""]
    assert agreeing(chosen, np.int64([1, 1])) == ["", "linear"]


def left_out(right: dict[str, np.ndarray], n: int = 60) -> tuple[dict[str, Float32], Int64]:
    """Shares of 0.8 for the right class where a method is right, else for the next one."""
    classes = np.arange(n) % 3
    rows = np.arange(n)
    shares = {}
    for name, marks in right.items():
        found = np.full((n, 3), 0.1, np.float32)
        found[rows, np.where(marks, classes, (classes + 1) % 3)] = 0.8
        shares[name] = found
    return shares, classes


def test_one_method_alone_is_taken_only_where_it_is_clearly_better() -> None:
    every, none = np.ones(60, bool), np.zeros(60, bool)
    shares, classes = left_out({"vote": every, "diffuse": none, "linear": none})
    taken, judged = decide(shares, classes, np.arange(60))
    assert taken == "vote"
    assert [one.name for one in judged if one.taken] == ["vote"]
    assert {one.name: one.balanced for one in judged} == {JOINT: 0, "vote": 100, "diffuse": 0, "linear": 0}
    some = np.arange(60) % 20 != 0
    shares, classes = left_out({"vote": every, "diffuse": some, "linear": some})
    assert decide(shares, classes, np.arange(60))[0] == JOINT  # all together are right as often


def test_two_recordings_that_differ_by_chance_decide_nothing() -> None:
    marks = np.arange(60) < 40
    shares, classes = left_out({"vote": np.ones(60, bool), "diffuse": marks, "linear": marks})
    by_item, _ = decide(shares, classes, np.arange(60))
    by_recording, _ = decide(shares, classes, np.where(marks, 0, 1))
    assert (by_item, by_recording) == ("vote", JOINT)


def test_the_table_of_methods_marks_the_one_taken() -> None:
    shares, classes = left_out(dict.fromkeys(METHODS, np.ones(60, bool)))
    lines = judged_lines(decide(shares, classes, np.arange(60))[1])
    assert len(lines) == 5
    assert [line[:7] for line in lines if line.startswith("*")] == ["* joint"]
    assert judged_lines(()) == []


def test_what_a_method_needs() -> None:
    assert needed("vote") == ("vote",)
    assert needed("auto") == needed(JOINT) == METHODS


def cones(classes: Int64, *, spread: float = 0.3, seed: int = 0) -> Float32:
    noise = np.random.default_rng(seed).normal(size=(len(classes), 12))
    return unit((np.eye(12)[classes] + spread * noise).astype(np.float32))


def settle(
    classes: Int64, vectors: Float32, method: str = "auto", recordings: int = 6
) -> tuple[Decided, Bank]:
    """Settle with the first items labelled, all of them in the graph."""
    n = len(classes)
    items = pd.DataFrame(
        {"item": [f"i{i}" for i in range(n)], "image": [f"{i}.png" for i in range(n)],
         "recording": [f"r{i % recordings}" for i in range(n)]}
    )  # fmt: skip
    bank = make_bank(items, {"mean": vectors[:n]}, [NAMES[c] for c in classes])
    graph = symmetric(build(vectors, 8, search=exact.search))
    net = Net(graph, np.arange(n))
    return decided(bank, WEIGHTS, Voting(method), search=exact.search, net=net), bank


@pytest.mark.parametrize("method", ["auto", "joint", *METHODS])
def test_each_method_finds_the_classes_and_says_which_items_decided(method: str) -> None:
    classes = np.arange(18) % 3
    truth = np.arange(30) % 3
    vectors = np.concatenate([cones(classes), cones(truth, seed=1)])
    about, bank = settle(classes, vectors, method)
    said = ask(about, joined({"mean": vectors[18:]}, WEIGHTS), np.arange(18, 48), search=exact.search)
    assert (said.winner == truth).mean() > 0.9
    assert said.method == (method if method != "auto" else about.method)
    assert about.method in ("joint", *METHODS)
    assert set(said.chosen) == set(needed(method))
    _, rows = said.near.of_class(said.winner)
    assert (bank.classes[rows[rows >= 0]] == np.repeat(said.winner, (rows >= 0).sum(axis=1))).all()
    assert 0 < about.limits.measured <= 18
    assert bool(about.judged) == (method in ("auto", "joint"))


@pytest.mark.parametrize("method", METHODS)
def test_fewer_labels_say_what_they_would_say_had_there_been_no_others(method: str) -> None:
    classes, few = np.arange(18) % 3, np.arange(0, 18, 2)
    vectors = np.concatenate([cones(classes, spread=0.6), cones(np.arange(30) % 3, spread=0.6, seed=1)])
    about, bank = settle(classes, vectors, method)
    net = Net(symmetric(build(vectors, 8, search=exact.search)), np.arange(18))
    how = Voting(method, temperature=about.temperature)
    own = narrowed(about, few, net=net, alpha=how.alpha)
    assert own.limits is about.limits
    asked = vectors[18:], np.arange(18, 48)
    said = ask(own, *asked, search=exact.search)
    if about.classifier is None:
        alone = decided(of_rows(bank, few), WEIGHTS, how, search=exact.search, net=Net(net.graph, few))
        expected = ask(alone, *asked, search=exact.search).score
    else:  # strength and axes are those of all labels
        learned = fit(vectors[few], classes[few], 3, strength=about.classifier.strength,
                      columns=about.classifier.columns)  # fmt: skip
        expected = learned.shares(vectors[18:]).max(axis=1)
    np.testing.assert_allclose(said.score, expected, atol=1e-6 if about.classifier is None else 1e-3)
    every = ask(narrowed(about, np.arange(18), net=net, alpha=how.alpha), *asked, search=exact.search)
    np.testing.assert_allclose(every.score, ask(about, *asked, search=exact.search).score, atol=1e-6)


def test_the_same_labels_settle_the_same() -> None:
    classes = np.arange(18) % 3
    vectors = np.concatenate([cones(classes), cones(np.arange(9) % 3, seed=1)])
    (one, _), (two, _) = settle(classes, vectors), settle(classes, vectors)
    assert one.judged == two.judged
    assert one.spread.tobytes() == two.spread.tobytes()  # type: ignore[union-attr]


def test_equal_vectors_tell_nothing_apart() -> None:
    classes = np.arange(12) % 3
    about, _ = settle(classes, np.tile(unit(np.ones((1, 12), np.float32)), (20, 1)))
    assert about.alike
    assert np.isinf(about.limits.margin)


def test_one_class_and_one_label_are_settled_too() -> None:
    for classes in (np.zeros(5, np.int64), np.int64([0]), np.int64([0, 1])):
        vectors = np.concatenate([cones(classes), cones(np.zeros(9, np.int64), seed=2)])
        about, _ = settle(classes, vectors)
        said = ask(about, vectors[len(classes) :], np.arange(len(classes), len(vectors)), search=exact.search)
        assert (said.winner == 0).all()
        assert about.method == JOINT
