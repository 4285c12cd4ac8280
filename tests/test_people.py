"""What people said of labels: what it makes of proposals, and what the next proposals make of it."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dinonat import labels
from dinonat.acts import undo, write_act
from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.pipelines import export, import_labels, labelled, propose
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export_labels import VOTERS, read_lean
from dinonat.pipelines.export_settings import ExportSettings
from dinonat.pipelines.import_labels import ImportSettings
from dinonat.pipelines.people import (
    complete_images,
    database,
    digest,
    not_told,
    said,
    stacked,
    standing,
    with_events,
)
from dinonat.pipelines.propose import ProposeReport, ProposeSettings
from dinonat.records import EVENT_COLUMNS, TEMPERATURE_COLUMNS, as_table, read_proposals

pytestmark = pytest.mark.usefixtures("no_sync")

CLASSES = ("car", "person", "ground")
SIZE = (80, 100)
NO = "a person has rejected this label here"


def event(label_id: str, action: str, **more: Any) -> dict[str, Any]:
    box = {"x": 1.0, "y": 2.0, "w": 4.0, "h": 4.0, "mask_counts": ()}
    fixed = {"label_id": label_id, "action": action, "run": "run1", "image": "a.png", "kind": "region"}
    return {**fixed, "label": "car", **box, **more}


def events(*rows: dict[str, Any]) -> pd.DataFrame:
    return as_table(list(rows), EVENT_COLUMNS)


@pytest.fixture
def rows(tmp_path: Path, made: SimpleNamespace) -> pd.DataFrame:
    """Four proposals of cars as an export reads them: texts are categories."""
    given = [{"image": name, "label": "car", "score": 0.5, "t_max": 30.0} for name in made.names[:4]]
    made.proposals(tmp_path / "run1", given)
    return read_lean(tmp_path / "run1/proposals.parquet")


def test_events_make_of_proposals_what_people_said(rows: pd.DataFrame) -> None:
    given = events(
        event("p3", "moved", label="bus", x=5.5, w=3.25, mask_counts=(80,)),
        event("p0", "accepted"),
        event("p1", "relabelled", label="bus"),
        event("other", "drawn", label="dog"),
    )
    found = with_events(rows, given)
    assert found["proposal"].to_list() == ["p0", "p1", "p2", "p3"]
    assert found["label"].to_list() == ["car", "bus", "car", "bus"]
    assert found["status"].to_list() == ["accepted", "accepted", "proposed", "accepted"]
    assert found["advice"].to_list() == ["given", "given", "review", "given"]
    assert found["x"].to_list() == [1, 1, 1, 5.5]
    assert found["score"].isna().to_list() == [False, True, False, True]  # of the class that was proposed
    for name in TEMPERATURE_COLUMNS:
        assert found[name].isna().to_list()[3]  # of the box that was proposed
    assert found["t_max"].to_list()[:3] == [30, 30, 30]
    assert list(found["mask_counts"].iloc[3]) == [80]
    assert found["reason"].to_list() == [
        "accepted by a person: near",
        "relabelled by a person, proposed was car: near",
        "near",
        "drawn anew by a person",
    ]
    assert list(found.columns) == list(rows.columns)
    assert with_events(rows, events()) is rows


def test_what_was_measured_in_another_box_or_mask_goes_whatever_was_said_last(rows: pd.DataFrame) -> None:
    rows.loc[3, ["x", "y", "w", "h"]] = [0, 0, 10, 8]  # of an image, its own box
    given = events(
        event("p0", "relabelled", label="bus", x=2.5),  # after it was moved
        event("p1", "accepted", mask_counts=(80,)),
        event("p2", "accepted", x=1.004),  # as a file with two digits has it
        event("p3", "accepted", kind="image", **dict.fromkeys("xywh", np.nan)),
    )
    found = with_events(rows, given)
    for name in TEMPERATURE_COLUMNS:
        assert found[name].isna().to_list()[:2] == [True, True]
    assert found["t_max"].to_list()[2:] == [30, 30]
    assert found["reason"].to_list()[1:3] == ["drawn anew by a person", "accepted by a person: near"]


def test_a_person_who_vouches_for_an_unknown_label_makes_it_known_and_one_who_rejects_ends_it(
    rows: pd.DataFrame,
) -> None:
    rows = rows.assign(advice="unknown")
    found = with_events(rows, events(event("p0", "accepted"), event("p1", "rejected")))
    assert found["advice"].to_list() == ["given", "unknown", "unknown", "unknown"]
    assert found["status"].to_list() == ["accepted", "rejected", "proposed", "proposed"]


def test_tables_under_each_other_keep_their_categories(rows: pd.DataFrame) -> None:
    other = rows.assign(label=pd.Categorical(["dog"] * len(rows)), model="plain text")
    joined = stacked([rows, rows.iloc[:0], other])
    assert joined["label"].to_list() == ["car"] * 4 + ["dog"] * 4
    assert joined["model"].astype("str").to_list()[-1] == "plain text"
    assert isinstance(joined["label"].dtype, pd.CategoricalDtype)
    assert list(joined.columns) == list(rows.columns)
    assert joined[VOTERS].sum() == 8
    assert len(stacked([rows.iloc[:0]])) == 0


def test_the_digest_names_what_is_said_and_not_in_which_order() -> None:
    assert digest(events()) == ""
    one, two = event("p0", "accepted"), event("p1", "relabelled", label="bus")
    name = digest(events(one, two))
    assert name == digest(events(two, one))
    for other in (
        events(one),
        events(one, {**two, "label": "tram"}),
        events(one, {**two, "x": 1.01}),
        events(one, {**two, "mask_counts": (80,)}),
        events(one, {**two, "action": "rejected"}),
    ):
        assert digest(other) != name
    # How a label came to be what it is changes nothing that an export holds.
    assert digest(events(one, {**two, "action": "drawn"})) == name


def test_what_stands_and_what_was_looked_through(tmp_path: Path) -> None:
    given = events(
        event("p0", "accepted"),
        event("p1", "rejected", image="b.png"),
        event("p2", "accepted", image="c.png", kind="image", x=np.nan),
    )
    assert standing(given)["label_id"].to_list() == ["p0", "p2"]

    def told(set_name: str, act: str, rows: pd.DataFrame, origin: str, finished: str = "") -> list[str]:
        with labels.writing(database(tmp_path)) as db:
            facts = {"act": act, "set_name": set_name, "who": "", "origin": origin, "finished": finished}
            write_act(db, rows, {}, **facts)
        return complete_images(tmp_path, set_name)

    assert (
        told("x", "1", given.iloc[[0]], "review:run") == []
    )  # an answer about one box is none about its image
    assert told("x", "2", given.iloc[[1]], "audit:a:sheet.csv") == []
    assert told("x", "3", events(), "review:run", "d.png") == ["d.png"]
    assert told("y", "4", given, "file") == ["a.png", "b.png"]  # of c.png nobody has gone through the boxes
    assert told("y", "5", given, "review:run") == ["a.png", "b.png"]  # and it stays so
    assert not_told(given, ["a.png", "d.png"]) == ["b.png", "d.png"]


@pytest.fixture
def street(tmp_path: Path, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Eight images with a car, a person and ground in each; labelled boxes look as their class does."""
    rng, root = np.random.default_rng(0), places.create(tmp_path / "w")
    names = [f"day/{n}.png" for n in range(8)]

    def look(number: int) -> np.ndarray:
        return np.asarray(2 * np.eye(8)[number] + 0.2 * rng.normal(size=8))

    rows, vectors = [], []
    for n, name in enumerate(names):
        rows.append(made.image_row(name, SIZE, recording=f"drive {n // 2}", lo=0.0, hi=1.0))
        vectors.append(look(3 + n % 2))
        for number in range(3):
            box = {"kind": "region", "x": 30.0 * number, "y": 10.0 + n, "w": 20.0, "h": 20.0}
            rows.append(
                made.image_row(name, SIZE, item=f"{name} {number}", recording=f"drive {n // 2}", **box)
            )
            vectors.append(look(number))
    made.set(places.set_folder(root, "set1"), tmp_path, rows=rows, vectors=np.array(vectors))
    places.remember(root, "set", "set1")

    def embed_boxes(
        known: EmbeddingSet, given: pd.DataFrame, *, workspace: Path, folder: Path
    ) -> EmbeddingSet:
        own = [
            made.image_row(each.image, SIZE, kind="region", item=f"given {n}", label=each.label, **box)
            for n, each in enumerate(given.itertuples())
            for box in [{"x": each.x, "y": each.y, "w": each.w, "h": each.h}]
        ]
        looks = np.array([look(CLASSES.index(each["label"])) for each in own])
        name = f"set1{labelled.MARK}{len(places.names(root, 'set')):06}"
        made.set(places.set_folder(root, name), tmp_path, rows=own, vectors=looks)
        return open_set(places.set_folder(root, name))

    monkeypatch.setattr(labelled, "embed_boxes", embed_boxes)
    mine = tmp_path / "mine.csv"
    lines = [f"day/{n}.png,{CLASSES[c]},{30 * c},{10 + n},20,20" for n in range(3) for c in range(2)]
    mine.write_text("\n".join(["image,label,x,y,w,h", *lines]) + "\n")
    return SimpleNamespace(root=root, mine=mine, folder=tmp_path)


def proposed(street: SimpleNamespace, **more: Any) -> tuple[ProposeReport, pd.DataFrame]:
    report = propose.run(ProposeSettings(**more), street.root)
    return report, read_proposals(report.file)


def correct(street: SimpleNamespace, change: Any) -> None:
    """Export as CSV, hand each row to ``change``, which returns it or None, and bring it back."""
    folder = Path(export.run(ExportSettings(format="csv"), street.root).folder)
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    kept = [change(dict(zip(header, row, strict=True))) for row in rows]
    with (street.folder / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, header)
        writer.writeheader()
        writer.writerows(row for row in kept if row is not None)
    (street.folder / "images.csv").write_bytes((folder / "images.csv").read_bytes())
    import_labels.run(ImportSettings(file=street.folder / "labels.csv", format="csv"), street.root)


def corrected_boxes(row: dict[str, str]) -> dict[str, str] | None:
    """In 5.png the car is a person; in 6.png there is nothing; the rest is as proposed."""
    if row["image"] == "day/5.png" and row["label"] == "car":
        return {**row, "label": "person"}
    return None if row["image"] == "day/6.png" else row


def test_corrections_are_the_labels_of_the_next_proposals(street: SimpleNamespace) -> None:
    first, table = proposed(street, labels=street.mine)
    shown = table[table["advice"] == "review"]
    assert {("day/5.png", "car"), ("day/6.png", "car")} <= set(
        zip(shown["image"], shown["label"], strict=True)
    )
    assert first.labelled == {"background": 3, "car": 3, "person": 3}
    correct(street, corrected_boxes)

    again, table = proposed(street)
    assert again.run != first.run
    given = pd.read_csv(Path(again.folder) / labelled.GIVEN)
    own = given[given["image"] == "day/5.png"]
    assert sorted(zip(own["label"], own["x"], strict=True)) == [("person", 0), ("person", 30)]
    assert "day/6.png" not in set(given["image"])
    # The ground of 5.png and everything in 6.png: somebody went through it and left it.
    assert again.labelled == {"background": 3 + 1 + 3, "car": 3, "person": 5}
    assert set(table["image"]) == {"day/3.png", "day/4.png", "day/7.png"}
    assert proposed(street)[0].already_done


def test_a_rejected_box_is_not_proposed_again(street: SimpleNamespace) -> None:
    proposed(street, labels=street.mine, background=False)
    correct(street, corrected_boxes)
    _, table = proposed(street, background=False)
    found = table.set_index("item")
    assert found.loc["day/6.png 0", ["label", "advice", "reason"]].to_list() == ["car", "unknown", NO]
    elsewhere = found[found["image"] != "day/6.png"]
    assert (elsewhere["label"] == "car").any()
    assert not (elsewhere["reason"] == NO).any()


def test_one_answer_on_the_review_page_leaves_the_rest_of_its_image_open(street: SimpleNamespace) -> None:
    proposed(street, labels=street.mine)
    _, table = proposed(street)
    found = table.set_index("item")

    def say(act: str, *said: tuple[str, str], finished: str = "") -> None:
        rows = found.loc[[item for item, _ in said]].reset_index()
        made = rows.assign(label_id=rows["proposal"], action=[action for _, action in said])
        with labels.writing(database(street.root)) as db:
            facts = {"act": act, "set_name": "set1", "who": "", "origin": "review:r", "finished": finished}
            write_act(db, made, dict.fromkeys(made["label_id"], 0), **facts)

    say("1", ("day/5.png 0", "accepted"), ("day/6.png 0", "rejected"))
    again, table = proposed(street)
    there = set(zip(table["item"], table["advice"], strict=True))
    assert "day/5.png 0" not in set(table["item"])  # it is a label now
    assert ("day/5.png 1", "review") in there  # but the person beside it is still proposed
    assert ("day/6.png 1", "review") in there
    assert again.labelled == {"background": 3 + 1, "car": 4, "person": 3}  # what was rejected is nothing

    say("2", finished="day/5.png")
    done, table = proposed(street)
    assert done.run != again.run
    assert "day/5.png" not in set(table["image"])
    assert done.labelled == {"background": 3 + 1 + 2, "car": 4, "person": 3}  # and so is the rest of 5.png
    with labels.writing(database(street.root)) as db:
        undo(db, act="3", set_name="set1", who="")
    assert proposed(street)[0].run == again.run


def test_a_label_that_was_moved_off_its_region_is_not_proposed_there_again(street: SimpleNamespace) -> None:
    proposed(street, labels=street.mine)
    _, table = proposed(street)
    row = table[table["item"] == "day/5.png 0"]
    moved = row.assign(label_id=row["proposal"], action="moved", w=55.0, h=55.0)  # an overlap of 0.13
    with labels.writing(database(street.root)) as db:
        facts = {"act": "1", "set_name": "set1", "who": "", "origin": "review:r"}
        write_act(db, moved, dict.fromkeys(moved["label_id"], 0), **facts)
    _, table = proposed(street)
    assert not {"day/5.png 0"} & set(table["item"])
    assert {"day/5.png 2", "day/6.png 0"} <= set(table["item"])


def test_a_rejected_label_of_an_image_is_not_proposed_again(street: SimpleNamespace) -> None:
    street.mine.write_text("image,label\n" + "".join(f"day/{n}.png,{'ab'[n % 2]}\n" for n in range(4)))
    _, table = proposed(street, labels=street.mine)
    found = table.set_index("image")
    assert found["label"].to_dict() == {f"day/{n}.png": "ab"[n % 2] for n in range(4, 8)}
    assert found.loc["day/6.png", "advice"] == "review"
    correct(street, lambda row: None if row["image"] == "day/6.png" else row)
    _, table = proposed(street)
    found = table.set_index("image")
    assert found.loc["day/6.png", ["label", "advice", "reason"]].to_list() == ["a", "unknown", NO]
    assert (found["reason"] == NO).sum() == 1


def test_when_everything_was_rejected_there_are_clusters(street: SimpleNamespace) -> None:
    proposed(street, clusters=2)
    with labels.writing(database(street.root)) as db:
        rows = [event("x", "rejected", run="", image="day/0.png")]
        labels.add_events(db, events(*rows), set_name="set1", who="", origin="")
    assert len(said(street.root, "set1")) == 1
    assert proposed(street, clusters=2)[0].clusters in (2, 3)  # Leiden comes near to what is asked for
