from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from dinonat.errors import LabelError, UsageError
from dinonat.evaluation.classifiers import LinearTable
from dinonat.evaluation.logistic import FEATURES, _fitted, classify
from dinonat.evaluation.samples import Sample, folds_of, groups_of
from dinonat.neighbors.parts import centred
from dinonat.proposals import linear as proposals_linear
from dinonat.proposals.linear import axes
from dinonat.records import PARTS, Int64

NAMES = np.array(["bicycle", "car", "person"], dtype=object)


def sample(
    classes: Int64,
    *,
    signal: float = 1.5,
    scenes: float = 1.0,
    recordings: int = 6,
    seed: int = 0,
    prefix: str = "",
) -> Sample:
    """Items that show their class by ``signal`` and their recording by ``scenes``."""
    generator, looks = np.random.default_rng(seed), np.random.default_rng(99)
    image = np.arange(len(classes)) // 2
    centres, places = looks.normal(size=(3, 12)), looks.normal(size=(recordings, 12))
    noise = generator.normal(size=(len(classes), 12))
    rows = (signal * centres[classes] + scenes * places[image % recordings] + noise).astype(np.float32)
    items = pd.DataFrame(
        {
            "item": [f"{prefix}{i}" for i in range(len(classes))],
            "image": [f"{prefix}{i:03}.png" for i in image],
            "recording": [f"drive {i % recordings}" for i in image],
            "prepare": "percentile",
        }
    )
    return Sample(items, centred(dict.fromkeys(PARTS, rows)), NAMES[classes])


def drawn(n: int, seed: int = 0) -> Int64:
    return np.random.default_rng(seed).integers(0, 3, n)


def top1(table: LinearTable, name: str = "mean") -> float:
    return next(row.top1 for row in table.rows if row.name == name)


@pytest.mark.parametrize("balanced", [False, True])
def test_it_is_multinomial_regression_with_a_penalty_by_the_definition(balanced: bool) -> None:
    generator = np.random.default_rng(0)
    classes = np.sort(generator.choice(3, 90, p=[0.7, 0.2, 0.1]))
    bank = generator.normal(size=(90, 5)) + 0.8 * np.eye(3, 5)[classes]
    queries = generator.normal(size=(200, 5))
    worth = 1 / (3 * np.bincount(classes)[classes]) if balanced else np.full(90, 1 / 90)

    def objective(flat: np.ndarray, strength: float) -> float:
        w, b = flat[:15].reshape(5, 3), flat[15:]
        chosen = log_softmax(bank @ w + b, axis=1)[np.arange(90), classes]
        return float(-(worth * chosen).sum() + (w**2).sum() / (2 * strength))

    strengths = (0.1, 10.0)
    ours = _fitted(bank.astype(np.float32), classes, queries.astype(np.float32), strengths, balanced)
    for winner, strength in zip(ours, strengths, strict=True):
        best = minimize(objective, np.zeros(18), (strength,), method="BFGS").x
        scores = queries @ best[:15].reshape(5, 3) + best[15:]
        close = np.abs(np.diff(np.sort(scores, axis=1)[:, 1:])).ravel() < 0.02 * scores.std()
        assert (winner == scores.argmax(axis=1))[~close].all()
        assert close.mean() < 0.1


@pytest.mark.parametrize(("n", "d", "dims"), [(20, 50, 20), (40, 50, 32), (60, 50, 32), (60, 20, 20)])
def test_axes_keep_what_a_linear_classifier_can_use(
    n: int, d: int, dims: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals_linear, "REDUCED", 32)
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(n, d)) * 0.9 ** np.arange(d)).astype(np.float32)
    columns = axes(rows)
    assert columns.shape == (d, dims)
    np.testing.assert_allclose(columns.T @ columns, np.eye(dims), atol=1e-3)
    products, kept = rows @ rows.T, (rows @ columns) @ (rows @ columns).T
    lost = np.linalg.norm(products - kept) / np.linalg.norm(products)
    assert lost < (1e-4 if dims == min(n, d) else 0.01)


def test_two_sets_and_one_set_by_recordings() -> None:
    gallery, query = sample(drawn(120)), sample(drawn(60, 1), seed=1, prefix="q")
    table = classify(gallery, query)
    assert [row.name for row in table.rows] == list(FEATURES)
    assert (table.folds, table.left_out, table.gallery, table.query) == (1, "none", 120, 60)
    assert top1(table) > 60
    assert table.rows[0].top1_interval[0] < top1(table) < table.rows[0].top1_interval[1]
    one = classify(gallery, gallery, features=["mean"], leave_out="recording")
    assert (one.folds, one.recordings, len(one.rows[0].chosen)) == (5, 6, 5)
    assert one == classify(gallery, gallery, features=["mean"], leave_out="recording")


def test_what_holds_in_a_recording_only_is_not_learned_from_it() -> None:
    """Each recording has one class and one look: by image it is known by heart, by recording it is not."""
    image = np.arange(120) // 2
    one = sample((image % 12 % 3).astype(np.int64), signal=0, scenes=3, recordings=12)
    by_image, by_recording = (
        top1(classify(one, one, features=["mean"], leave_out=leave_out))
        for leave_out in ("image", "recording")
    )
    assert by_image > 95
    assert by_recording < 60


def test_no_label_of_a_query_decides_about_its_classifier() -> None:
    gallery, query = sample(drawn(90)), sample(drawn(40, 1), seed=1, prefix="q")
    turned = Sample(query.items, query.ready, query.labels[::-1])
    tables = [classify(gallery, each, features=["mean"]) for each in (query, turned)]
    assert tables[0].rows[0].chosen == tables[1].rows[0].chosen
    # In one set: the labels of one fold are changed, and its own C stays.
    groups, _ = groups_of(gallery, gallery, "recording")
    asked, _ = next(iter(folds_of((groups, groups), "recording", most=5)))
    labels = gallery.labels.copy()
    labels[asked] = "car"
    other = Sample(gallery.items, gallery.ready, labels)
    firsts = [
        classify(each, each, features=["mean"], leave_out="recording").rows[0].chosen[0]
        for each in (gallery, other)
    ]
    assert firsts[0] == firsts[1]


def test_folds_deal_out_the_classes_of_a_folder_for_each() -> None:
    """Names in order of class: parts in that order would leave whole classes out."""
    one = sample(np.repeat([0, 1, 2], 30))
    nameless = Sample(one.items.assign(recording=""), one.ready, one.labels)
    groups = groups_of(nameless, nameless, "recording")
    folds = list(folds_of(groups, "recording", most=5))
    assert len(folds) == 5
    for asked, kept in folds:
        assert len(np.unique(one.labels[kept])) == 3
        assert not (set(groups[0][asked]) & set(groups[0][kept]))
    assert np.sum([asked for asked, _ in folds], axis=0).tolist() == [1] * 90


def test_weighed_alike_a_rare_class_is_found_more_often() -> None:
    classes = np.random.default_rng(0).choice(3, 400, p=[0.9, 0.05, 0.05])
    gallery, query = sample(classes, signal=0.6), sample(classes[::-1], signal=0.6, seed=1, prefix="q")
    plain, alike = (
        classify(gallery, query, features=["mean"], balanced=each).rows[0] for each in (False, True)
    )
    assert alike.balanced > plain.balanced + 5


def test_few_items_and_folds_of_one_class_do_not_stop_it() -> None:
    tiny = sample(np.array([0, 0, 1, 1, 1, 1]), recordings=2)
    table = classify(tiny, tiny, leave_out="recording")
    assert table.folds == 2
    assert all(0 <= row.top1 <= 100 for row in table.rows)
    alone = sample(np.array([0, 1]), recordings=1)
    assert top1(classify(alone, alone, leave_out="recording")) == 0  # nothing is left to learn from


def test_a_class_that_the_gallery_lacks_is_wrong_and_named() -> None:
    gallery, query = sample(drawn(60) % 2), sample(drawn(40, 1), seed=1, prefix="q")
    table = classify(gallery, query, features=["mean"])
    assert table.strange == ("person",)
    assert top1(table) <= 100 * np.mean(query.labels != "person")


def empty(one: Sample) -> Sample:
    return Sample(one.items[:0], {name: part[:0] for name, part in one.ready.items()}, one.labels[:0])


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda one: classify(empty(one), one), LabelError, "the gallery has no labelled item"),
        (lambda one: classify(one, empty(one)), LabelError, "the query has no labelled item"),
        (lambda one: classify(sample(drawn(9) * 0), one), LabelError, r"one class only \(bicycle\)"),
        (lambda one: classify(one, one), UsageError, "by heart"),
        (lambda one: classify(one, sample(drawn(9)), features=["men"]), UsageError, "'mean'"),
    ],
)
def test_what_cannot_be_learned_is_said(
    ask: Callable[[Sample], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ask(sample(drawn(12)))
