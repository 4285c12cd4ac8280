import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from dinonat.errors import UsageError
from dinonat.evaluation import linear
from dinonat.evaluation.classifiers import LinearTable
from dinonat.evaluation.linear import Lesson, _batches, _Classroom, train, view_vectors
from dinonat.evaluation.pictures import Pictures
from dinonat.evaluation.samples import Sample, Task
from dinonat.models import catalog
from dinonat.models.checkpoint import fingerprint
from dinonat.models.nat import NATSettings
from dinonat.models.network import Network
from dinonat.neighbors.parts import centred
from dinonat.records import PARTS, Int64

COUNT = 24
LESSON = Lesson(epochs=3, size=32, batch=5)
TINY = NATSettings(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=3, position_bias=False)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setitem(catalog.NETWORKS, "tiny", TINY)
    return catalog.build("tiny", seed=0)


@pytest.fixture
def pictures() -> Pictures:
    """Stripes that stand or lie, by turns, at places of chance."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 60, (COUNT, 37, 37, 3), dtype=np.uint8)
    for i in range(COUNT):
        picture = pixels[i] if i % 2 else pixels[i].transpose(1, 0, 2)
        picture[generator.integers(4) :: 8] += 180
    return Pictures(pixels, np.linspace(0.5, 2, COUNT).astype(np.float32))


def sample(network: Network, pictures: Pictures, recordings: int = 6) -> tuple[Sample, dict[str, Any]]:
    """The pictures as a set holds them: vectors of the whole, centred, and the means."""
    whole = dataclasses.replace(LESSON, min_area=1.0)
    generator = torch.Generator().manual_seed(5)
    seen = view_vectors(network, pictures, np.arange(COUNT), whole.plan, generator)
    means = {name: rows.mean(axis=0) for name, rows in seen.items()}
    items = pd.DataFrame(
        {
            "item": [str(i) for i in range(COUNT)],
            "image": [f"{i}.png" for i in range(COUNT)],
            "recording": [f"drive {i // 2 % recordings}" for i in range(COUNT)],
            "prepare": "percentile",
        }
    )
    labels = np.array(["lying", "standing"], object)[np.arange(COUNT) % 2]
    return Sample(items, centred(seen, means), labels), means


def other(one: Sample) -> Sample:
    return Sample(one.items, one.ready, one.labels)


def test_only_the_classifier_learns(network: Network, pictures: Pictures) -> None:
    before = fingerprint(network)
    one, means = sample(network, pictures)
    network.train()
    table = train(one, other(one), network=network, pictures=pictures, means=means, lesson=LESSON)
    assert fingerprint(network) == before
    assert all(each.grad is None and not each.requires_grad for each in network.parameters())
    assert not network.training
    assert [row.name for row in table.rows] == ["mean", "grid"]
    assert table.folds == 1


def test_vectors_change_from_epoch_to_epoch_by_the_augmentation(
    network: Network, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[np.ndarray]] = {}
    learn = _Classroom.learn

    def noted(self: _Classroom, ready: dict[str, np.ndarray], rows: Int64) -> None:
        for row, vector in zip(rows, ready["mean"], strict=True):
            seen.setdefault(int(row), []).append(vector)
        learn(self, ready, rows)

    monkeypatch.setattr(_Classroom, "learn", noted)
    one, means = sample(network, pictures)
    train(one, other(one), network=network, pictures=pictures, means=means, lesson=LESSON)
    assert sorted(seen) == list(range(COUNT))
    assert {len(vectors) for vectors in seen.values()} == {LESSON.epochs}  # every picture in every epoch
    all_of_them = np.array([np.stack(vectors) for vectors in seen.values()])  # (n, epochs, d)
    for one_epoch, next_epoch in ((0, 1), (1, 2), (0, 2)):
        cosines = (all_of_them[:, one_epoch] * all_of_them[:, next_epoch]).sum(axis=1)
        assert np.mean(cosines < 1 - 1e-4) > 0.9  # crops of so few pixels may meet by chance


def test_what_the_network_tells_is_learned_and_the_same_seed_repeats_it(
    network: Network, pictures: Pictures
) -> None:
    one, means = sample(network, pictures)
    lesson = dataclasses.replace(LESSON, epochs=15)

    def ask(lesson: Lesson) -> LinearTable:
        return train(one, other(one), network=network, pictures=pictures, means=means, lesson=lesson)

    table = ask(lesson)
    assert max(row.top1 for row in table.rows) > 85
    assert ask(lesson) == table


def test_steps_are_sgd_by_the_definition() -> None:
    """Momentum, cosine and both losses again in float64, on given vectors."""
    generator = np.random.default_rng(0)
    classes = np.array([0, 1, 2, 0, 0, 1, 2, 0])
    rows = {"mean": generator.normal(size=(8, 6)).astype(np.float32)}
    items = pd.DataFrame(
        {"item": list("abcdefgh"), "image": list("abcdefgh"), "recording": "", "prepare": "percentile"}
    )
    one = Sample(
        items, centred({**dict.fromkeys(PARTS, rows["mean"])}), np.array(list("xyz"), object)[classes]
    )
    lesson = Lesson(epochs=2, size=32, batch=4, rates=(40.0,), balanced=True)
    room = _Classroom(Task(one, other(one), "none"), {"mean": {"mean": 1.0}}, lesson)
    head = room.heads[0]
    w, b = (
        each.detach().numpy().astype(np.float64)
        for each in (head.layer.weight.clone(), head.layer.bias.clone())
    )
    worth = 8 / (3 * np.bincount(classes)[classes])
    moving: Sequence[Any] = (0.0, 0.0)
    for step, at in enumerate(np.arange(16).reshape(4, 4) % 8):
        ready = {"mean": one.ready["mean"][at]}
        room.learn(ready, at)
        x = ready["mean"].astype(np.float64) * np.sqrt(6)
        residual = softmax(x @ w.T + b, axis=1) - np.eye(3)[classes[at]]
        residual *= (worth[at] / worth[at].sum())[:, None]
        moving = [0.9 * m + g for m, g in zip(moving, (residual.T @ x, residual.sum(axis=0)), strict=True)]
        rate = 40 * 4 / 256 * 0.5 * (1 + np.cos(np.pi * step / 4))
        w, b = w - rate * moving[0], b - rate * moving[1]
    np.testing.assert_allclose(head.layer.weight.detach(), w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(head.layer.bias.detach(), b, rtol=1e-4, atol=1e-5)


def test_batches_are_epochs_of_everything_in_new_orders() -> None:
    batches = _batches(12, Lesson(epochs=2, size=32, batch=5))
    assert [len(each) for each in batches] == [5, 5, 2] * 2
    first, second = np.concatenate(batches[:3]), np.concatenate(batches[3:])
    assert sorted(first) == sorted(second) == list(range(12))
    assert not np.array_equal(first, second)


def test_a_classifier_knows_nothing_of_the_recordings_it_is_asked_about(
    network: Network, pictures: Pictures
) -> None:
    """With their labels turned around it says the same of them."""
    one, _ = sample(network, pictures)
    task = Task(one, one, "recording")
    turned = np.where(one.items["recording"] == "drive 0", one.labels[::-1], one.labels)
    rooms = []
    for labels in (one.labels, turned):
        same = Sample(one.items, one.ready, labels)
        lesson = dataclasses.replace(LESSON, rates=(0.1,))
        room = _Classroom(Task(same, same, "recording"), {"grid": {"grid": 1.0}}, lesson)
        for rows in _batches(COUNT, lesson):
            room.learn({name: part[rows] for name, part in one.ready.items()}, rows)
        rooms.append(room)
    asked = next(asked for asked, _ in rooms[0].folds if asked[0])
    own = np.flatnonzero(one.items["recording"] == "drive 0")
    assert asked[own].all()
    answers = [room.answers("grid")[0] for room in rooms]
    assert np.array_equal(answers[0][own], answers[1][own])
    assert len(rooms[0].folds) == linear.FOLDS
    assert task.exclude[0].max() == 5


def test_the_rate_is_not_chosen_by_the_queries(network: Network, pictures: Pictures) -> None:
    one, means = sample(network, pictures)
    turned = Sample(one.items, one.ready, one.labels[::-1])
    tables = [
        train(one, query, network=network, pictures=pictures, means=means, lesson=LESSON)
        for query in (other(one), turned)
    ]
    assert [row.chosen for row in tables[0].rows] == [row.chosen for row in tables[1].rows]


def test_parts_made_by_hand_have_no_network_to_freeze() -> None:
    for name in ("hog", "all", "grid=1,raw=2"):
        with pytest.raises(UsageError, match="mean and grid"):
            linear.weights_of(name)
    assert linear.weights_of("mean,grid=0.5") == {"mean": 1.0, "grid": 0.5}
