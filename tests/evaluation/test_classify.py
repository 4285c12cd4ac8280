import numpy as np
import pandas as pd
import pytest

from dinonat.errors import LabelError, UsageError
from dinonat.evaluation.classify import FEATURES, Comparison, compare
from dinonat.evaluation.samples import Sample, Task, groups_of
from dinonat.neighbors import exact, index
from dinonat.neighbors.parts import centred
from dinonat.records import PARTS

NAMES = np.array(["bicycle", "car", "person"], dtype=object)


def sample(
    n: int,
    *,
    signal: dict[str, float],
    seed: int = 0,
    images: int = 20,
    prefix: str = "",
    recordings: int = 5,
    prepare: str = "percentile",
) -> Sample:
    """Items whose parts show their class by ``signal`` and their recording always."""
    generator = np.random.default_rng(seed)
    looks = np.random.default_rng(99)
    classes, image = generator.integers(0, 3, n), np.sort(generator.integers(0, images, n))
    recording = image % recordings
    parts = {}
    for part in PARTS:
        centres, scenes = looks.normal(size=(3, 10)), looks.normal(size=(recordings, 10))
        noise = generator.normal(size=(n, 10))
        parts[part] = (signal.get(part, 0) * centres[classes] + scenes[recording] + noise).astype(np.float32)
    items = pd.DataFrame(
        {
            "item": [f"{prefix}{i}" for i in range(n)],
            "image": [f"{i}.png" for i in image],
            "recording": [f"drive {i}" if recordings > 1 else "" for i in recording],
            "prepare": prepare,
        }
    )
    return Sample(items, centred(parts), NAMES[classes])


def row(table: Comparison, name: str, k: int = 5) -> tuple[float, float]:
    return next((each.top1, each.balanced) for each in table.rows if (each.name, each.k) == (name, k))


def test_a_class_that_the_gallery_lacks_is_always_wrong() -> None:
    gallery, query = sample(9, signal={}), sample(8, signal={}, prefix="q")
    strange = Sample(query.items, query.ready, np.array(["car", "dog"] * 4, dtype=object))
    task = Task(gallery, strange, "none")
    answers = np.where(task.truth >= 0, task.truth, 0)
    assert [(each.top1, each.balanced) for each in task.measured([answers, np.full(8, -1)])] == [
        (50.0, 50.0),
        (0.0, 0.0),
    ]
    assert task.basis().strange == ("dog",)


@pytest.mark.parametrize("search", [exact.search, index.search])
def test_the_table_has_every_row_and_informative_parts_win(search) -> None:
    gallery = sample(150, signal={"grid": 2.0, "hog": 1.0})
    query = sample(80, signal={"grid": 2.0, "hog": 1.0}, seed=1, prefix="q")
    table = compare(gallery, query, search=search)
    assert [(each.name, each.k) for each in table.rows] == [(name, k) for name in FEATURES for k in (5, 20)]
    assert row(table, "grid")[1] > row(table, "hog")[1] > row(table, "mean")[1]
    assert row(table, "auto")[1] >= row(table, "hog+raw")[1]
    assert (table.gallery, table.query, table.left_out, table.recordings) == (150, 80, "none", 0)
    assert table.chance == pytest.approx(100 / 3)
    frequent = pd.Series(gallery.labels).value_counts().idxmax()
    assert table.majority == pytest.approx(100 * np.mean(query.labels == frequent))
    assert (table.interval_by, table.interval_groups, table.strange) == ("recording", 5, ())
    for each in table.rows:
        for value, (low, high) in (
            (each.top1, each.top1_interval),
            (each.balanced, each.balanced_interval),
        ):
            assert 0 <= low <= value <= high <= 100
            assert low < high


def test_the_vote_is_dinos_by_the_definition() -> None:
    gallery, query = sample(60, signal={"raw": 1.0}), sample(30, signal={"raw": 1.0}, seed=1, prefix="q")
    table = compare(gallery, query, search=exact.search, features=["raw"], ks=[7], temperature=0.2)
    cosines = query.ready["raw"].astype(np.float64) @ gallery.ready["raw"].T.astype(np.float64)
    right = 0
    for i in range(30):
        nearest = np.argsort(-cosines[i])[:7]
        votes = {
            name: np.exp(cosines[i][nearest][gallery.labels[nearest] == name] / 0.2).sum() for name in NAMES
        }
        right += max(votes, key=lambda name: votes[name]) == query.labels[i]
    assert row(table, "raw", 7)[0] == pytest.approx(100 * right / 30)


def test_nothing_is_its_own_neighbour_nor_that_of_its_recording() -> None:
    # Only the recording shows: within it classes repeat by image, so looking there is cheating.
    generator = np.random.default_rng(0)
    recording = np.repeat(np.arange(10), 6)
    scenes = generator.normal(size=(10, 12))
    looks = (scenes[recording] + 0.01 * generator.normal(size=(60, 12))).astype(np.float32)
    items = pd.DataFrame(
        {
            "item": [str(i) for i in range(60)],
            "image": [f"{i // 3}.png" for i in range(60)],
            "recording": [f"drive {r}" for r in recording],
            "prepare": "percentile",
        }
    )
    one = Sample(items, centred(dict.fromkeys(PARTS, looks)), NAMES[recording % 3])
    figures = {
        leave_out: row(
            compare(one, one, search=exact.search, features=["hog"], ks=[5], leave_out=leave_out), "hog"
        )
        for leave_out in ("none", "image", "recording")
    }
    assert figures["none"][0] == 100
    assert figures["image"][0] == 100
    assert figures["recording"][0] < 60
    alone = Sample(items[:1], {name: part[:1] for name, part in one.ready.items()}, one.labels[:1])
    table = compare(alone, alone, search=exact.search, features=["hog"], ks=[1])
    assert row(table, "hog", 1) == (0, 0)  # without itself there is nobody to ask


def test_what_is_left_out_goes_by_name_across_sets() -> None:
    a, b = sample(6, signal={}, images=3), sample(6, signal={}, images=3, prefix="q", seed=4)
    for leave_out, column in (("image", "image"), ("recording", "recording"), ("none", "item")):
        one, other = groups_of(a, b, leave_out)
        same = a.items[column].to_numpy()[:, None] == b.items[column].to_numpy()[None]
        assert np.array_equal(one[:, None] == other[None], same)
    nameless = a.items.assign(recording="")
    groups, _ = groups_of(Sample(nameless, a.ready, a.labels), b, "recording")
    assert len(np.unique(groups)) == nameless["image"].nunique()


def test_auto_is_chosen_without_what_it_is_asked_about() -> None:
    """Labels that hold in one recording only: choosing on it as well would pick what works there."""
    one = sample(200, signal={"hog": 1.0, "raw": 1.0}, recordings=8, images=40)
    table = compare(one, one, search=exact.search, leave_out="recording")
    assert row(table, "auto")[1] >= row(table, "hog+raw")[1] - 5
    again = compare(one, one, search=exact.search, leave_out="recording")
    assert table == again
    assert table.recordings == 8
    assert table.auto_reason


def test_few_labels_get_the_default_and_no_crash() -> None:
    tiny = sample(4, signal={"grid": 1.0})
    table = compare(tiny, tiny, search=exact.search, leave_out="image")
    assert len(table.rows) == 2 * len(FEATURES)


def test_what_cannot_be_compared_is_said() -> None:
    one = sample(9, signal={})
    empty = Sample(one.items[:0], {name: part[:0] for name, part in one.ready.items()}, one.labels[:0])
    with pytest.raises(LabelError, match="gallery"):
        compare(empty, one, search=exact.search)
    with pytest.raises(LabelError, match="query"):
        compare(one, empty, search=exact.search)
    with pytest.raises(UsageError, match="'hog'"):
        compare(one, one, search=exact.search, features=["hgo"])


def test_between_colour_and_thermal_auto_does_not_trust_brightness() -> None:
    """Raw pixels are perfect within each set, and in the other set bright means another class."""
    signal = {"hog": 1.0, "raw": 5.0}
    colour, thermal = (
        sample(150, signal=signal, prepare="colour"),
        sample(150, signal=signal, seed=1, prefix="q"),
    )
    turned = {**thermal.ready, "raw": -thermal.ready["raw"]}
    thermal = Sample(thermal.items, turned, thermal.labels)
    table = compare(colour, thermal, search=exact.search, leave_out="recording")
    assert "raw" not in next(each.features for each in table.rows if each.name == "auto")
    assert row(table, "auto")[1] > row(table, "all")[1]


def test_auto_is_set_against_the_floor_in_pairs() -> None:
    gallery = sample(150, signal={"grid": 2.0, "hog": 0.5})
    query = sample(80, signal={"grid": 2.0, "hog": 0.5}, seed=1, prefix="q")
    table = compare(gallery, query, search=exact.search)
    for k in (5, 20):
        auto, floor = row(table, "auto", k), row(table, "hog+raw", k)
        (over,) = next(each.over for each in table.rows if (each.name, each.k) == ("auto", k))
        assert (over.top1, over.balanced) == pytest.approx((auto[0] - floor[0], auto[1] - floor[1]))
        assert 0 < over.balanced_interval[0] <= over.balanced <= over.balanced_interval[1]
        assert over.than == "hog+raw"
    alone = compare(gallery, query, search=exact.search, features=["auto", "hog"])
    assert not any(each.over for each in alone.rows)
