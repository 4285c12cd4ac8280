from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.errors import LabelError, UsageError
from dinonat.formats import coco_reading
from dinonat.formats.splits import parse_shares, split
from dinonat.formats.tables import read_csv, read_recordings

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}


def tables(
    rows: list[tuple[str, str]],
    labels: list[tuple[int, str]] = (),  # type: ignore[assignment]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return images of (recording, sha256) and labels of (row of the image, class)."""
    images = pd.DataFrame(rows, columns=["recording", "sha256"], dtype="str")
    images.insert(0, "image", [f"{number:03}.png" for number in range(len(rows))])
    named = [(f"{number:03}.png", label) for number, label in labels]
    return images, pd.DataFrame(named, columns=["image", "label"], dtype="str")


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("train=0.8,val=0.1,test=0.1", {"train": 0.8, "val": 0.1, "test": 0.1}),
        (" train = 80 , val=10,test=10 ", {"train": 0.8, "val": 0.1, "test": 0.1}),
        ("train=80%,rest=20%", {"train": 0.8, "rest": 0.2}),
        ("80,10,10", {"train": 0.8, "val": 0.1, "test": 0.1}),
        ("0.75,0.25", {"train": 0.75, "val": 0.25}),
        ("all=1", {"all": 1.0}),
        ("a=0.3333333,b=0.3333333,c=0.3333333", dict.fromkeys("abc", 0.3333333)),
    ],
)
def test_shares_as_people_write_them(text: str, shares: dict[str, float]) -> None:
    assert parse_shares(text) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot name a folder"),
        ("../x=1", "cannot name a folder"),
        ("a/b=1", "cannot name a folder"),
        (".hidden=1", "cannot name a folder"),
        ("end.=1", "cannot name a folder"),
        ("NUL=0.5,b=0.5", "cannot name a folder"),
        ("a=0.5,A=0.5", "stands there twice"),
        ("a=half,b=0.5", "expected NAME=SHARE"),
        ("train,val=1", "expected NAME=SHARE"),
        ("a=1,b=0", "above 0"),
        ("a=1.5,b=-0.5", "above 0"),
        ("a=nan,b=0.5", "above 0"),
        ("a=0.8,b=0.1", "add up to 0.9"),
        ("a=0.8,b=0.3", "add up to 1.1"),
        ("a=80,b=10", "add up to 90"),
    ],
)
def test_shares_that_make_no_sense_are_a_sentence(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_shares(text)


@st.composite
def sets(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, list[list[str]]]:
    count = draw(st.integers(3, 25))
    letters = st.sampled_from(["", *"abcdefghijklmnopqrstu"])
    rows = draw(st.lists(st.tuples(letters, st.sampled_from(["", *map(str, range(40))])),
                         min_size=count, max_size=count))  # fmt: skip
    labels = draw(st.lists(st.tuples(st.integers(0, count - 1), st.sampled_from(["car", "dog", "ü"]))))
    near = draw(st.lists(st.lists(st.integers(0, count - 1), max_size=3), max_size=2))
    return *tables(rows, labels), [[f"{number:03}.png" for number in group] for group in near]


def components(images: pd.DataFrame, near: list[list[str]]) -> list[set[str]]:
    """Return the groups by merging sets until nothing changes."""
    ties = [{name} for name in images["image"]] + [set(group) for group in near if group]
    for column in ("recording", "sha256"):
        ties += [set(rows["image"]) for value, rows in images.groupby(column) if value]
    groups: list[set[str]] = []
    for tie in ties:
        touched = [group for group in groups if group & tie]
        groups = [group for group in groups if not group & tie] + [tie.union(*touched)]
    return groups


@settings(max_examples=30, deadline=None)
@given(sets(), st.integers(0, 3), st.sampled_from([SHARES, {"a": 0.5, "b": 0.5}, {"one": 1.0}]))
def test_no_group_is_ever_on_two_sides(
    given_set: tuple[pd.DataFrame, pd.DataFrame, list[list[str]]], seed: int, shares: dict[str, float]
) -> None:
    images, labels, near = given_set
    groups = components(images, near)
    if len(groups) < len(shares):
        with pytest.raises(LabelError, match=f"are {len(groups)} group"):
            split(images, labels, shares, seed=seed, near=near)
        return
    found = split(images, labels, shares, seed=seed, near=near)
    assert found.of.index.tolist() == images["image"].tolist()
    assert set(found.of) == set(shares)  # none is empty, none is new
    assert all(found.of[sorted(group)].nunique() == 1 for group in groups)
    largest = max(map(len, groups))
    over = {name: (found.of == name).sum() - share * len(images) for name, share in shares.items()}
    if min(shares.values()) * len(images) >= largest:
        assert max(map(abs, over.values())) <= largest + 1e-6
    for name, counts in found.counts.items():
        mine = found.of.index[found.of == name]
        assert counts["images"] == len(mine)
        assert counts["groups"] == sum(group <= set(mine) for group in groups)
        own = labels[labels["image"].isin(mine)]["label"].value_counts()
        assert {label: n for label, n in counts["labels"].items() if n} == own.to_dict()
    again = split(images.iloc[::-1], labels.iloc[::-1], shares, seed=seed, near=near)
    assert again.of[images["image"]].tolist() == found.of.tolist()


def cost(sizes: np.ndarray, side: Any, shares: list[float]) -> float:
    """Return the squared differences of shares, images weighing as much as all classes together."""
    shared = sizes / sizes.sum(axis=0)
    total = 0.0
    for number, share in enumerate(shares):
        off = (shared[np.array(side) == number].sum(axis=0) - share) ** 2
        total += off[0] + off[1:].mean()
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [6, 11])
def test_no_other_way_to_deal_is_nearer(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.column_stack([rng.integers(1, 9, count), rng.integers(0, 9, count), rng.integers(1, 4, count)])
    owner = np.repeat(np.arange(count), sizes[:, 0])
    first = [int(np.flatnonzero(owner == group)[0]) for group in range(count)]
    marks = [
        (at, "ab"[k]) for at, own in zip(first, sizes, strict=True) for k in (0, 1) for _ in range(own[1 + k])
    ]
    images, labels = tables([(f"r{group}", "") for group in owner], marks)
    shares = list(SHARES.values()) if count == 6 else [0.6, 0.4]
    found = split(images, labels, dict(zip("abc", shares, strict=False)), seed=seed)
    side = ["abc".index(found.of.iloc[at]) for at in first]
    asked, bound = np.array(shares) * len(owner), sizes[:, 0].max()
    ways = [
        way
        for way in product(range(len(shares)), repeat=count)
        if len(set(way)) == len(shares)
        and np.abs(np.bincount(way, sizes[:, 0], len(shares)) - asked).max() <= bound
    ]
    assert cost(sizes, side, shares) == pytest.approx(min(cost(sizes, way, shares) for way in ways))


def test_many_single_images_come_out_as_asked() -> None:
    rng = np.random.default_rng(0)
    images, _ = tables([("", str(number)) for number in range(1000)])
    labels = pd.DataFrame({
        "image": rng.choice(images["image"].to_numpy(object), 3000),
        "label": rng.choice(["often", "seldom", "rare"], 3000, p=[0.9, 0.09, 0.01]),
    })  # fmt: skip
    found = split(images, labels, SHARES, seed=1)
    assert "own group" in found.note
    for name, share in SHARES.items():
        counts = found.counts[name]
        assert counts["images"] == round(share * 1000)
        for label, total in labels["label"].value_counts().items():
            assert abs(counts["labels"][label] - share * total) <= 1, (name, label)


def test_the_seed_decides_between_equal_ways() -> None:
    images, labels = tables([("", "")] * 20)
    found = [split(images, labels, {"a": 0.5, "b": 0.5}, seed=seed).of.tolist() for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_what_is_not_known_of_recordings_is_said() -> None:
    images, labels = tables([("r1", ""), ("", ""), ("r2", "")])
    assert "1 of 3 images is not known" in split(images, labels, {"a": 1.0}, seed=0).note
    images["recording"] = ["r1", "r2", "r3"]
    assert split(images, labels, {"a": 1.0}, seed=0).note == ""
    with pytest.raises(KeyError, match="no image to split"):
        split(images, tables([], [(7, "car")])[1], {"a": 1.0}, seed=0)


@pytest.mark.parametrize("place", ["thermal_aerial", "paired_road"])
def test_real_recordings_stay_whole(data: Path, place: str) -> None:
    recordings = read_recordings(data / place / "recordings.csv")
    labels = (
        read_csv(data / place / "labels/crops.csv")
        if place == "paired_road"
        else coco_reading.read(data / place / "annotations_coco.json").labels
    )
    images = pd.DataFrame(
        {"image": sorted(recordings), "recording": [recordings[n] for n in sorted(recordings)]}
    )
    found = split(images.assign(sha256=""), labels, SHARES, seed=0)
    assert (found.of.groupby(images.set_index("image")["recording"]).nunique() == 1).all()
    for name, share in SHARES.items():
        assert abs(found.counts[name]["share"] - share) < 0.05
        assert abs(sum(found.counts[name]["labels"].values()) / len(labels) - share) < 0.1
