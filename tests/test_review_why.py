"""Why a label was proposed: weights against the vote computed anew, and what rejected proposals share."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinonat import acts, labels
from dinonat.embeddings.store import open_set
from dinonat.files import short_hash
from dinonat.pipelines import workspace as places
from dinonat.pipelines.labelled import given_boxes
from dinonat.pipelines.people import database
from dinonat.pipelines.propose import ProposeSettings
from dinonat.pipelines.propose import run as propose
from dinonat.pipelines.review_list import Shown
from dinonat.pipelines.review_why import Why, vote_shares
from dinonat.proposals.votes import balanced_vote, voters_per_class
from dinonat.records import EVENT_COLUMNS, LABEL_COLUMNS, as_table

CLASSES = ("car", "cat", "cow", "cup")
LABELLED = 16  # images, four a class


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, made: SimpleNamespace) -> Path:
    """A workspace of 40 images with random vectors, of which the first 16 are labelled."""
    folder = tmp_path_factory.mktemp("why")
    root, rng = places.create(folder / "w"), np.random.default_rng(3)
    rows = [made.image_row(f"{i:02}.png", item=f"item{i}") for i in range(40)]
    centres = np.repeat(rng.normal(size=(4, 7)), 10, axis=0)[[i % 4 * 10 for i in range(40)]]
    made.set(places.set_folder(root, "set1"), folder, rows=rows, vectors=centres + rng.normal(size=(40, 7)))
    places.remember(root, "set", "set1")
    lines = [f"{i:02}.png,{CLASSES[i % 4]}" for i in range(LABELLED)]
    (folder / "labels.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    return root


def proposed(place: Path, name: str, **settings: Any) -> Shown:
    more = {"labels": place.parent / "labels.csv", "set": "set1", "abstain": 0.0, **settings}
    propose(ProposeSettings(name=name, **more), place)
    return Shown(place, name)


def search_vectors(shown: Shown) -> np.ndarray:
    """Unit vectors in float64 of the one part that the run was told to use."""
    rows = shown.known.part("hog").astype(np.float64) - shown.known.mean("hog", "image")
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def every_share(vectors: np.ndarray, image: int, k: int, temperature: float) -> dict[int, float]:
    """Share of the vote that each voter has, by the definition: mean of exp(cosine / T) of each class."""
    cosines = vectors[:LABELLED] @ vectors[image]
    voters = min(max(3, k // 4), 4)
    near = [sorted(range(c, LABELLED, 4), key=lambda i: -cosines[i])[:voters] for c in range(4)]
    scores = {i: np.exp(cosines[i] / temperature) / voters for of in near for i in of}
    total = sum(scores.values())
    return {i: score / total for i, score in scores.items()}


@pytest.mark.parametrize(("k", "stored"), [(20, 16), (8, 8)])
def test_weights_are_shares_of_the_vote(place: Path, k: int, stored: int) -> None:
    shown = proposed(place, f"vote{k}", method="vote", features="hog", k=k, temperature=0.2)
    why, vectors, exact = Why(shown), search_vectors(shown), 0
    for row in range(len(shown.table)):
        told = why.of(row)
        shares = every_share(vectors, int(shown.table["image"][row][:2]), k, 0.2)
        items = [int(each["item"].removeprefix("item")) for each in told["neighbours"]]
        weights = [each["weight"] for each in told["neighbours"]]
        assert len(items) == stored
        assert [each["label"] for each in told["neighbours"]] == [CLASSES[i % 4] for i in items]
        if "among those shown" in told["sentence"]:
            some = np.array([shares[i] for i in items])
            assert weights == pytest.approx(some / some.sum(), abs=2e-4)
            continue
        exact += 1
        assert weights == pytest.approx([shares[i] for i in items], abs=2e-3)
        cosines = [float(vectors[i] @ vectors[int(shown.table["image"][row][:2])]) for i in items]
        assert [each["similarity"] for each in told["neighbours"]] == pytest.approx(cosines, abs=2e-3)
        own = [w for i, w in zip(items, weights, strict=True) if CLASSES[i % 4] == shown.table["label"][row]]
        assert sum(own) == pytest.approx(shown.table["score"][row], abs=2e-3)
    assert exact == len(shown.table) if k == 20 else exact > len(shown.table) / 2


@given(st.data())
def test_shares_follow_from_what_is_stored(draw: st.DataObject) -> None:
    """Where a class whose share is known is stored whole, shares are those of the whole vote."""
    n_classes, k = draw.draw(st.integers(1, 6)), draw.draw(st.integers(1, 20))
    counts = {f"c{c}": draw.draw(st.integers(1, 6)) for c in range(n_classes)}
    voters = voters_per_class(np.array(list(counts.values())), k)
    near = np.full((1, n_classes, int(voters.max())), -np.inf, np.float32)
    for c in range(n_classes):
        cosines = st.floats(-1, 1, width=32)
        near[0, c, : voters[c]] = sorted((draw.draw(cosines) for _ in range(voters[c])), reverse=True)
    shares = balanced_vote(near, temperature=0.5)[0]
    flat = [(near[0, c, v], c) for c in range(n_classes) for v in range(voters[c])]
    stored = sorted(flat, key=lambda each: -each[0])[:k]
    names = [(f"c{c}",) for _, c in stored]
    winner = int(shares.argmax())
    told, sentence = vote_shares(
        np.array([cosine for cosine, _ in stored], np.float32), names, counts,
        k=k, temperature=0.5, known={f"c{winner}": float(shares[winner])},
    )  # fmt: skip
    top = max(cosine for cosine, _ in flat)
    scores = [np.exp((float(cosine) - float(top)) / 0.5) / voters[c] for cosine, c in stored]
    whole = sum(np.exp((float(cosine) - float(top)) / 0.5) / voters[c] for cosine, c in flat)
    expected = np.array(scores) / (sum(scores) if "among those shown" in sentence else whole)
    assert told == pytest.approx(expected, rel=1e-3, abs=1e-5)
    if len(stored) == len(flat):
        assert "classes weigh alike" in sentence
        assert told.sum() == pytest.approx(1)


def test_other_methods_show_likeness(place: Path) -> None:
    shown = proposed(place, "joint", method="joint", features="hog", graph_neighbours=3)
    told = Why(shown).of(0)
    assert told["method"] == "joint"
    assert set(told["methods"]) <= {"vote", "diffuse", "linear"}
    assert {each["weight"] for each in told["neighbours"]} == {None}
    assert {each["label"] for each in told["neighbours"]} == {shown.table["label"][0]}
    assert told["neighbours"][0]["similarity"] == max(each["similarity"] for each in told["neighbours"])
    assert told["sentence"].startswith("Decided by all three together.")


def say(shown: Shown, rows: list[int], action: str) -> str:
    own = shown.table.iloc[rows].rename(columns={"proposal": "label_id"})
    table = own.assign(action=action, mask_counts=[()] * len(own))[list(EVENT_COLUMNS)]
    with labels.writing(database(shown.workspace)) as db:
        name = short_hash(rows, action)
        acts.write_act(
            db, as_table(table, EVENT_COLUMNS), {}, act=name, set_name=shown.set_name, who="", origin="review"
        )
    return name


def test_what_led_to_rejected_proposals(place: Path) -> None:
    """Counted from the file of the run; an acceptance and an undo are taken in."""
    shown = proposed(place, "rejecting", method="vote", features="hog", k=8)
    why = Why(shown)
    assert why.causes() == {"rejected": 0, "items": []}
    lists = pd.read_parquet(shown.folder / "proposals.parquet").set_index("proposal")["neighbours"]

    def counted(rows: list[int]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in shown.table["proposal"][rows]:
            for item in lists[name]:
                found.setdefault(item, []).append(name)
        return found

    def told() -> dict[str, list[str]]:
        return {each["item"]: each["rejected_ids"] for each in why.causes()["items"]}

    say(shown, [1, 2, 5, 7], "rejected")
    assert told() == counted([1, 2, 5, 7])
    counts = [each["rejected"] for each in why.causes()["items"]]
    assert counts == sorted(counts, reverse=True)
    first = why.of(1)
    assert first["caused"] == {item: len(counted([1, 2, 5, 7])[item]) for item in lists.iloc[1]}
    assert [each["rejected"] for each in first["neighbours"]] == list(first["caused"].values())
    say(shown, [2], "accepted")
    assert told() == counted([1, 5, 7])
    for name in ("a", "b"):
        with labels.writing(database(place)) as db:
            acts.undo(db, act=name, set_name=shown.set_name, who="")
    assert told() == {}


def test_a_run_without_labels_names_the_typical_item(
    place: Path, tmp_path: Path, made: SimpleNamespace
) -> None:
    root = places.create(tmp_path / "w")
    rows = [made.image_row(f"{i}.png", item=f"item{i}") for i in range(12)]
    vectors = np.random.default_rng(0).normal(size=(12, 5))
    made.set(places.set_folder(root, "set1"), tmp_path, rows=rows, vectors=vectors)
    propose(ProposeSettings(set="set1", name="run1", clusters=2, graph_neighbours=3), root)
    told = Why(Shown(root, "run1")).of(0)
    assert len(told["neighbours"]) == 1
    assert told["neighbours"][0]["weight"] is None
    assert told["sentence"].startswith("Nobody had labelled anything")


def test_boxes_regions_and_background(tmp_path: Path, made: SimpleNamespace) -> None:
    """Neighbours are given boxes of the set beside, regions that meet one or none, and what is gone."""
    workspace = made.workspace(tmp_path)
    root, run = workspace, places.proposals_folder(workspace, "run1")
    box = {"kind": "region", "image": "a.png", "prepare": "percentile"}
    sides = [(0, 0, 4, 4), (1, 1, 4, 4), (6, 4, 3, 3)]
    regions = [
        made.image_row("a.png", **{**box, "item": f"r{i}", **dict(zip("xywh", map(float, at), strict=True))})
        for i, at in enumerate(sides)
    ]
    rows = [made.image_row("a.png", item="whole"), *regions]
    making = tmp_path / "images"
    made.set(places.set_folder(root, "set1"), making, rows=rows, again=True, vectors=np.eye(4)[:, :3] + 0.1)
    given = pd.DataFrame([("a.png", "cup", 0.0, 0.0, 4.0, 4.5)], columns=list(LABEL_COLUMNS))
    given.to_csv(run / "labels.csv", index=False)
    name = given_boxes(run / "labels.csv", open_set(places.set_folder(root, "set1")))
    drawn = {**box, "item": "given", "label": "cup", "x": 0.0, "y": 0.0, "w": 4.0, "h": 4.5}
    made.set(
        places.set_folder(root, name),
        making,
        rows=[made.image_row("a.png", **drawn)],
        vectors=np.ones((1, 3)),
    )
    table = pd.read_parquet(run / "proposals.parquet")
    table["item"], table["method"], table["features"] = "r1", "vote", "hog=1"
    table["neighbours"] = [["given", "r0", "r2", "lost"]] * len(table)
    table.to_parquet(run / "proposals.parquet")
    shown = Shown(workspace, "run1")
    told = Why(shown).of(0)["neighbours"]
    assert [each["label"] for each in told] == ["cup", "cup", "background", ""]
    assert told[0]["box"] == (0.0, 0.0, 4.0, 4.5)
    assert told[0]["crop"] == f"/crop-of/{shown.image_at['a.png']}?x=0&y=0&w=4&h=4.5&r=run1"
    assert told[3]["crop"] is None
    mean = np.array(shown.known.meta["means"].get("region", {}).get("hog", np.zeros(3)))
    vectors = {"given": np.ones(3), "r0": (np.eye(4)[1, :3] + 0.1), "r2": (np.eye(4)[3, :3] + 0.1)}
    own = np.eye(4)[2, :3] + 0.1 - mean
    for each in told[:3]:
        other = vectors[each["item"]] - mean
        cosine = other @ own / np.linalg.norm(other) / np.linalg.norm(own)
        assert each["similarity"] == pytest.approx(cosine, abs=2e-3)
    assert told[3]["similarity"] is None
    assert {each["weight"] for each in told} == {None}  # one item is gone: the shares cannot be known
