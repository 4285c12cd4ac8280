"""An act is written once, taken back whole, and loses nothing that others said meanwhile."""

import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat import acts, labels
from dinonat.acts import ChangedError, NothingToUndoError
from dinonat.label_schema import VERSION
from dinonat.records import EVENT_COLUMNS, as_table

SET = "a set"
LABELS = ("one", "two", "three")
VERSION_1 = """
CREATE TABLE classes (
    set_name TEXT NOT NULL,
    export_id INTEGER NOT NULL CHECK (export_id >= 0),
    name TEXT NOT NULL,
    PRIMARY KEY (set_name, export_id),
    UNIQUE (set_name, name)
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    origin TEXT NOT NULL,
    set_name TEXT NOT NULL,
    label_id TEXT NOT NULL CHECK (label_id <> ''),
    action TEXT NOT NULL CHECK (action IN ('accepted', 'relabelled', 'moved', 'drawn', 'rejected')),
    run TEXT NOT NULL,
    image TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('region', 'image')),
    label TEXT NOT NULL CHECK (label <> ''),
    x REAL, y REAL, w REAL, h REAL,
    mask TEXT NOT NULL
);
CREATE INDEX last_of_label ON events (set_name, label_id, seq);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN
    SELECT RAISE(ABORT, 'events are only added');
END;
CREATE TRIGGER events_remain BEFORE DELETE ON events BEGIN
    SELECT RAISE(ABORT, 'events are only added');
END;
CREATE TRIGGER events_follow BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE seq = NEW.seq) BEGIN -- REPLACE deletes without asking
    SELECT RAISE(ABORT, 'events are only added');
END;
CREATE TRIGGER classes_stay BEFORE UPDATE ON classes BEGIN
    SELECT RAISE(ABORT, 'numbers of classes stay');
END;
CREATE TRIGGER classes_remain BEFORE DELETE ON classes BEGIN
    SELECT RAISE(ABORT, 'numbers of classes stay');
END;
CREATE TRIGGER classes_follow BEFORE INSERT ON classes WHEN
    NEW.export_id <> (SELECT coalesce(max(export_id) + 1, 0) FROM classes WHERE set_name = NEW.set_name)
    OR EXISTS (SELECT 1 FROM classes WHERE set_name = NEW.set_name AND name = NEW.name)
BEGIN
    SELECT RAISE(ABORT, 'numbers of classes have no gaps');
END;
"""


def event(label_id: str, action: str = "accepted", label: str = "car", x: float = 1.0) -> dict[str, Any]:
    made = {"run": "r", "image": "a.png", "kind": "region", "mask_counts": (3, 4)}
    return {
        **made,
        "label_id": label_id,
        "action": action,
        "label": label,
        "x": x,
        "y": 2.0,
        "w": 3.0,
        "h": 4.0,
    }


def table(*events: dict[str, Any]) -> pd.DataFrame:
    return as_table(list(events), EVENT_COLUMNS)


def write(
    path: Path, act: str, *events: dict[str, Any], seen: dict[str, int] | None = None, **more: str
) -> acts.Act:
    with labels.writing(path) as db:
        known = acts.last_numbers(db, SET, [each["label_id"] for each in events]) if seen is None else seen
        known = {each["label_id"]: known.get(each["label_id"], 0) for each in events}
        facts = {"set_name": SET, "who": "me", "origin": "review:r", **more}
        return acts.write_act(db, table(*events), known, act=act, **facts)


def bring_in(path: Path, *events: dict[str, Any], origin: str = "file") -> None:
    with labels.writing(path) as db:
        labels.add_events(db, table(*events), set_name=SET, who="file", origin=origin)


def undo(path: Path, act: str = "back") -> acts.Act:
    with labels.writing(path) as db:
        return acts.undo(db, act=act, set_name=SET, who="me")


def state(path: Path) -> dict[str, tuple[Any, ...]]:
    """What stands: label -> action, label, x, origin."""
    with labels.reading(path) as db:
        rows = labels.last_events(db, SET)
    return {row.label_id: (row.action, row.label, row.x, row.origin) for row in rows.itertuples()}


def count(path: Path) -> int:
    with labels.reading(path) as db:
        return labels.last_seq(db)


Step = tuple[str, tuple[str, ...], int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["act", "act", "undo", "undo", "import"]),
        st.lists(st.sampled_from(LABELS), min_size=1, unique=True).map(tuple),
        st.integers(0, 99),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_undo_brings_back_every_state_in_turn(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    """Against a model: a stack of states; what a file said on top of an act keeps that from being undone."""
    path = tmp_path_factory.mktemp("acts") / "labels.db"
    now: dict[str, tuple[Any, ...]] = {}
    stack: list[tuple[dict[str, tuple[Any, ...] | None], dict[str, tuple[Any, ...]]]] = []
    for number, (what, names, x) in enumerate(steps):
        if what == "undo":
            if not stack:
                with pytest.raises((NothingToUndoError, labels.WorkspaceError)):
                    undo(path, f"{number}")
                continue
            before, after = stack[-1]
            held = {name for name, said in after.items() if now.get(name) != said}
            if held:
                with pytest.raises(ChangedError) as error:
                    undo(path, f"{number}")
                assert set(error.value.label_ids) == held
                continue
            stack.pop()
            undo(path, f"{number}")
            now.update({name: said for name, said in before.items() if said is not None})
            for name in [name for name, said in before.items() if said is None]:
                del now[name]
        else:
            origin = f"file {number}" if what == "import" else "review:r"
            said = {name: ("moved", f"class {number}", float(x), origin) for name in names}
            events = [event(name, "moved", f"class {number}", float(x)) for name in names]
            if what == "import":
                bring_in(path, *events, origin=origin)
            else:
                stack.append(({name: now.get(name) for name in names}, said))
                write(path, f"{number}", *events)
            now.update(said)
        assert state(path) == now


def test_an_act_that_is_sent_again_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    first = write(path, "a", event("one"), event("two"))
    assert (first.first, first.last) == (1, 2)
    assert write(path, "a", event("one"), event("two"), seen={"one": 0, "two": 0}) == first
    assert count(path) == 2
    back = undo(path)
    assert undo(path) == back
    assert count(path) == 4
    assert state(path) == {}


def test_who_has_not_seen_the_last_word_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    write(path, "a", event("one"))
    with pytest.raises(ChangedError, match="1 labels were changed meanwhile") as error:
        write(path, "b", event("one", "rejected"), event("two"), seen={"one": 0, "two": 0})
    assert error.value.label_ids == ("one",)
    assert count(path) == 1
    write(path, "b", event("one", "rejected"), event("two"), seen={"one": 1, "two": 0})
    assert {name: said[0] for name, said in state(path).items()} == {"one": "rejected", "two": "accepted"}


def test_what_was_withdrawn_is_as_if_nobody_had_said_anything(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    write(path, "a", event("one"))
    undo(path)
    with labels.reading(path) as db:
        assert labels.last_events(db, SET).empty
        assert acts.last_numbers(db, SET, ["one", "never"]) == {"one": 0}
        assert acts.changes_since(db, SET, 1)["action"].tolist() == ["withdrawn"]
        assert labels.history(db, SET, "one")["action"].tolist() == ["accepted", "withdrawn"]
    write(path, "b", event("one"), seen={"one": 0})
    assert state(path)["one"][0] == "accepted"


def test_a_label_that_an_act_names_twice_is_taken_back_to_what_it_was_before(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    bring_in(path, event("one", "moved", x=5.0))
    before = state(path)
    write(path, "a", event("one", "accepted"), event("one", "rejected"))
    undo(path)
    assert state(path) == before


def test_finished_images_are_those_that_nobody_took_back(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    write(path, "a", event("one"), finished="a.png")
    write(path, "b", finished="b.png")
    write(path, "c", finished="b.png")

    def finished() -> list[str]:
        with labels.reading(path) as db:
            return acts.finished_images(db, SET)

    assert finished() == ["a.png", "b.png"]
    undo(path, "1")
    assert finished() == ["a.png", "b.png"]  # said twice, taken back once
    undo(path, "2")
    assert finished() == ["a.png"]
    undo(path, "3")
    assert finished() == []
    with pytest.raises(NothingToUndoError, match="Nothing is left"):
        undo(path, "4")


def test_sets_have_acts_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    write(path, "a", event("one"))
    with labels.writing(path) as db:
        acts.write_act(
            db, table(event("one")), {"one": 0}, act="b", set_name="other", who="", origin="review:q"
        )
        with pytest.raises(NothingToUndoError):
            acts.undo(db, act="c", set_name="third", who="")
    undo(path)
    assert state(path) == {}
    with labels.reading(path) as db:
        assert len(labels.last_events(db, "other")) == 1
        last = acts.last_act(db, "other")
        assert last is not None
        assert last.act == "b"


def test_acts_are_only_added(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    write(path, "a", event("one"))
    for order in ("UPDATE acts SET who = 'x'", "DELETE FROM acts", "REPLACE INTO acts SELECT * FROM acts"):
        with pytest.raises(labels.WorkspaceError, match="acts are only added"), labels.writing(path) as db:
            db.execute(order)


def old(path: Path) -> None:
    """Make a database of version 1 with two events and a class."""
    db = sqlite3.connect(path)
    db.executescript(VERSION_1)
    db.execute("INSERT INTO classes VALUES (?, 0, 'car')", (SET,))
    for seq in (3, 7):
        db.execute(
            "INSERT INTO events VALUES (?, 'then', 'me', 'file', ?, ?, 'moved', 'r', 'a.png', 'region', "
            "'car', 1, 2, 3, 4, '3 4')",
            (seq, SET, f"label {seq}"),
        )
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()


def test_a_database_of_version_1_is_read_as_it_is_and_renewed_by_the_first_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    old(path)
    with labels.reading(path) as db:
        before = labels.last_events(db, SET)
        assert len(before) == 2
        assert acts.last_act(db, SET) is None
        assert acts.finished_images(db, SET) == []
        assert acts.last_number(db) == 0
        assert db is not None
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    write(path, "a", event("label 3", "rejected"))
    with labels.reading(path) as db:
        assert db is not None
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert labels.numbered_events(db, SET, "1", ())["seq"].tolist() == [3, 7, 8]
        assert labels.class_names(db, SET) == ["car"]
    undo(path)
    pd.testing.assert_frame_equal(
        before.sort_values("label_id", ignore_index=True).drop(columns="at"),
        pd.DataFrame(last_of(path))
        .sort_values("label_id", ignore_index=True)
        .drop(columns="at")
        .assign(who="me"),
    )
    rules = rules_of(path)
    fresh = tmp_path / "fresh.db"
    write(fresh, "a", event("one"))
    assert rules == rules_of(fresh)  # the renewed tables and rules are those that are made today


def last_of(path: Path) -> pd.DataFrame:
    with labels.reading(path) as db:
        return labels.last_events(db, SET)


def rules_of(path: Path) -> set[tuple[str, str]]:
    """What the database holds and refuses, word by word."""
    with labels.reading(path) as db:
        assert db is not None
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(name, " ".join(sql.replace('"events"', "events").split())) for name, sql in rows}


def test_a_renewal_that_is_broken_off_leaves_version_1(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    old(path)
    with pytest.raises(KeyError), labels.writing(path):
        raise KeyError
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT count(*) FROM events").fetchone() == (2,)
    db.close()
