"""labels.db keeps what people did, whatever happens to the process, the disk or the file."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat import labels
from dinonat.errors import WorkspaceError
from dinonat.labels import (
    add_events,
    class_names,
    history,
    last_events,
    number_classes,
    reading,
    writing,
)
from dinonat.records import ACTIONS, EVENT_COLUMNS, as_table

ROUNDS = int(os.environ.get("DINOTOOL_TORTURE", "0")) or 3  # `make torture` asks for more
SET = "a set"
AWKWARD = ['it\'s "quoted"', "🙂 ñ", "line\nbreak", "nul\x00inside", "a; DROP TABLE events; --", "x" * 5000]

KILLED = """
import sys
from pathlib import Path
import pandas as pd
from dinonat import labels
from dinonat.records import EVENT_COLUMNS

path = Path(sys.argv[1])
print("ready", flush=True)
for batch in range(100_000):
    with labels.writing(path) as db:
        labels.number_classes(db, "a set", [f"{batch}-{n}" for n in range(3)])
        made = {**dict.fromkeys(EVENT_COLUMNS, "t"), "action": "drawn", "kind": "region", "mask_counts": ()}
        rows = [{**made, **dict.fromkeys("xywh", 1.0), "label_id": f"{batch}-{n}"} for n in range(40)]
        labels.add_events(db, pd.DataFrame(rows), set_name="a set", who="", origin=str(batch))
    print(batch, flush=True)
"""


def event(
    label_id: str = "1", action: str = "accepted", label: str = "car", **more: object
) -> dict[str, object]:
    box = {"x": 1.25, "y": 2.0, "w": 3.5, "h": 4.75}
    start = {"run": "r", "image": "a.png", "kind": "region", **box, "mask_counts": ()}
    return {**start, "label_id": label_id, "action": action, "label": label, **more}


def table(*events: dict[str, object]) -> pd.DataFrame:
    return as_table(list(events), EVENT_COLUMNS)


def add(
    path: Path, *events: dict[str, object], set_name: str = SET, who: str = "me", origin: str = "f"
) -> None:
    with writing(path) as db:
        assert add_events(db, table(*events), set_name=set_name, who=who, origin=origin) == len(events)


def last(path: Path, set_name: str = SET) -> pd.DataFrame:
    with reading(path) as db:
        return last_events(db, set_name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.db"


def assert_events(found: pd.DataFrame, said: list[dict[str, object]]) -> None:
    pd.testing.assert_frame_equal(found[list(EVENT_COLUMNS)], table(*said))


def test_the_last_event_of_a_label_counts_and_every_one_is_remembered(path: Path) -> None:
    add(path, event("1"), event("2", "relabelled", "bus"))
    moved = event("1", "moved", x=9.0)
    add(path, moved, who="you", origin="b.json")
    add(path, event("1", "rejected"), set_name="another set")
    assert_events(last(path), [event("2", "relabelled", "bus"), moved])
    assert last(path)["who"].tolist() == ["me", "you"]
    assert last(path)["origin"].tolist() == ["f", "b.json"]
    assert_events(last(path, "another set"), [event("1", "rejected")])
    with reading(path) as db:
        assert_events(history(db, SET, "1"), [event("1"), moved])
        assert len(history(db, SET, "no such label")) == 0
    moments = pd.to_datetime(last(path)["at"], utc=True)
    assert (abs(moments - pd.Timestamp.now("UTC")) < pd.Timedelta("1h")).all()


def test_without_a_database_nobody_said_anything_and_reading_makes_none(path: Path) -> None:
    with reading(path) as db:
        assert db is None
        assert class_names(db, SET) == []
        assert list(last_events(db, SET).columns) == [*EVENT_COLUMNS, "who", "origin", "at"]
        assert len(history(db, SET, "1")) == 0
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET label = 'bus'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events",
        "UPDATE classes SET export_id = 7 WHERE name = 'car'",
        "DELETE FROM classes",
        "REPLACE INTO classes VALUES ('a set', 0, 'tram')",
        "REPLACE INTO classes VALUES ('a set', 2, 'car')",
        "INSERT INTO classes VALUES ('a set', 3, 'tram')",
        "INSERT INTO classes VALUES ('a set', -1, 'tram')",
        "INSERT INTO events (seq, at, who, origin, set_name, label_id, action, run, image, kind, label, mask)"
        " VALUES (9, '', '', '', 's', 'i', 'loved', '', '', 'region', 'car', '')",
    ],
)
def test_the_database_itself_refuses_what_would_rewrite_it(path: Path, statement: str) -> None:
    add(path, event("1"), event("2"))
    with writing(path) as db:
        number_classes(db, SET, ["car", "bus"])
    before = "\n".join(sqlite3.connect(path).iterdump())
    with pytest.raises(sqlite3.IntegrityError), sqlite3.connect(path) as other:
        other.execute(statement)
    assert "\n".join(sqlite3.connect(path).iterdump()) == before


@settings(max_examples=10, deadline=None)
@given(
    calls=st.lists(st.lists(st.sampled_from(["", "car", "bus", "tram", *AWKWARD]), max_size=6), max_size=6)
)
def test_numbers_of_classes_stay_and_have_no_gaps(calls: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.db"
        first_named = list(dict.fromkeys(name for names in calls for name in names if name))
        before: list[str] = []
        for names in calls:
            with writing(path) as db:
                after = number_classes(db, SET, names)
                number_classes(db, "another set", names[::-1])
            assert after[: len(before)] == before
            assert set(names) - {""} <= set(after)
            with reading(path) as db:
                assert class_names(db, SET) == after
            before = after
        assert before == first_named
        if calls:
            with sqlite3.connect(path) as db:
                query = "SELECT export_id FROM classes WHERE set_name = ? ORDER BY export_id"
                assert [n for (n,) in db.execute(query, (SET,))] == list(range(len(first_named)))


def test_all_of_a_block_is_written_or_nothing(path: Path) -> None:
    add(path, event("1"))

    def write(path: Path, error: BaseException | None = None, **more: str) -> None:
        with writing(path) as db:
            number_classes(db, SET, ["car"])
            rows = table(event("2"), event("3", **more))
            add_events(db, rows, set_name=SET, who="", origin="")
            if error is not None:
                raise error

    with pytest.raises(ZeroDivisionError):
        write(path, ZeroDivisionError())
    with pytest.raises(WorkspaceError, match="Nothing of this command was written"):
        write(path, label="")  # the database takes no label without a class
    with pytest.raises(KeyboardInterrupt):
        write(path.with_name("new.db"), KeyboardInterrupt())
    assert_events(last(path), [event("1")])
    with reading(path) as db:
        assert class_names(db, SET) == []
    with reading(path.with_name("new.db")) as db:
        assert db is None


def test_what_a_person_did_is_on_the_disk_before_it_is_said(path: Path) -> None:
    with writing(path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert db.in_transaction


def test_a_reader_sees_the_state_of_when_it_began(path: Path) -> None:
    add(path, event("1"))
    with reading(path) as db:
        add(path, event("2"))
        assert len(last_events(db, SET)) == 1
        with reading(path) as second:
            assert len(last_events(second, SET)) == 2
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.execute("INSERT INTO classes VALUES ('s', 0, 'c')")
    assert len(last(path)) == 2


def test_a_writer_waits_for_another_and_gives_up_after_its_patience(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, may_end = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with writing(path) as db:
            add_events(db, table(event("first")), set_name=SET, who="", origin="")
            inside.set()
            may_end.wait(30)

    first = threading.Thread(target=write_slowly)
    first.start()
    assert inside.wait(30)
    monkeypatch.setattr(labels, "PATIENCE", 0.05)
    with pytest.raises(WorkspaceError, match="another dinotool has been writing"):
        add(path, event("third"))
    assert len(last(path)) == 0  # a reader neither waits nor sees half of it
    monkeypatch.setattr(labels, "PATIENCE", 60.0)
    second = threading.Thread(target=add, args=(path, event("second")))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    may_end.set()
    for thread in (first, second):
        thread.join(30)
    assert last(path)["label_id"].tolist() == ["first", "second"]


def test_writers_who_all_find_no_database_make_one_together(path: Path) -> None:
    begin = threading.Barrier(6)
    failed: list[Exception] = []

    def write(number: int) -> None:
        begin.wait(30)
        try:
            add(path, event(str(number)))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert set(last(path)["label_id"]) == set("012345")


def test_a_switch_to_the_log_that_another_forbids_is_tried_again(path: Path) -> None:
    class Busy:
        calls = 0

        def execute(self, statement: str) -> None:
            self.calls += 1
            if self.calls < 3:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise error

    busy = Busy()
    labels._log_ahead(busy)  # type: ignore[arg-type]
    assert busy.calls == 3


def test_kill_at_random_moments_leaves_whole_batches(path: Path) -> None:
    moments = random.Random(time.time_ns())
    for _ in range(ROUNDS):
        path.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(moments.random() * 0.4)
        process.kill()
        out, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL
        said_done = len(out.split())
        found = last(path)
        batches = found["origin"].value_counts()
        assert (batches == 40).all()
        assert said_done <= len(batches) <= said_done + 1  # what was said to be done is there
        with reading(path) as db:
            assert len(class_names(db, SET)) == 3 * len(batches)
        add(path, event("after"))
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()
        assert len(last(path)) == len(found) + 1


def test_reading_leaves_no_file_beside_the_database(path: Path) -> None:
    add(path, event("1"))
    assert len(last(path)) == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("made", ["empty", "log only"])
def test_a_file_that_a_killed_process_left_without_tables_is_filled(path: Path, made: str) -> None:
    path.touch()
    if made == "log only":
        sqlite3.connect(path).execute("PRAGMA journal_mode = WAL")
    assert len(last(path)) == 0
    add(path, event("1"))
    assert len(last(path)) == 1


def test_a_newer_version_is_refused_in_words_and_left_as_it_is(path: Path) -> None:
    add(path, event("1"))
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute(f"PRAGMA user_version = {labels.VERSION + 1}")
    db.close()
    before = path.read_bytes()
    for door in (reading, writing):
        with pytest.raises(WorkspaceError, match=r"labels of version 3.* Update dinotool"), door(path):
            pass
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("version", [0, 1])
def test_a_database_of_something_else_is_refused_and_left_as_it_is(path: Path, version: int) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE recipes (cake TEXT)")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    before = path.read_bytes()
    for door in (reading, writing):
        with pytest.raises(WorkspaceError, match="a database of something else"), door(path):
            pass
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"image,label\na.png,car\n" * 100)
    before = path.read_bytes()
    for door in (reading, writing):
        with pytest.raises(WorkspaceError, match=r"not a database.*Move it away"), door(path):
            pass
    assert path.read_bytes() == before


def test_a_damaged_file_is_named_and_nothing_is_guessed(path: Path) -> None:
    add(path, *(event(str(number)) for number in range(2000)))
    whole = path.read_bytes()
    assert len(whole) > 12 * 4096
    path.write_bytes(whole[: 3 * 4096] + bytes(range(256)) * 128 + whole[11 * 4096 :])
    with pytest.raises(WorkspaceError, match=r"labels\.db: .*malformed.*copy from before"):
        last(path)


def test_a_full_disk_costs_the_command_and_nothing_from_before(path: Path) -> None:
    add(path, event("1"))
    rows = table(*(event(str(number)) for number in range(5000)))

    def fill() -> None:
        with writing(path) as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages + 1}")
            add_events(db, rows, set_name=SET, who="", origin="")

    with pytest.raises(WorkspaceError, match=r"full.*Free some space"):
        fill()
    assert_events(last(path), [event("1")])
    add(path, event("2"))
    assert len(last(path)) == 2


def test_a_folder_that_cannot_be_written_is_read_and_nothing_is_left_in_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(path, event("1"))
    monkeypatch.setattr(labels, "access", lambda *_: False)
    with reading(path) as db:
        assert len(last_events(db, SET)) == 1
        assert [file.name for file in path.parent.iterdir()] == [path.name]
    # Where another account is writing, what it has finished is still only in its log.
    kept = sqlite3.connect(path)
    kept.execute("SELECT count(*) FROM events").fetchone()
    add(path, event("2"))
    assert path.with_name("labels.db-wal").stat().st_size
    assert len(last(path)) == 2
    kept.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_read_and_refuses_to_be_written(path: Path) -> None:
    add(path, event("1"))
    path.parent.chmod(0o555)
    try:
        assert len(last(path)) == 1
        with pytest.raises(WorkspaceError, match="can be written"):
            add(path, event("2"))
        with pytest.raises(WorkspaceError, match="cannot be made"):
            add(path.parent / "new" / "labels.db", event("2"))
    finally:
        path.parent.chmod(0o755)


def test_a_file_in_the_place_of_the_folder_is_a_sentence(path: Path) -> None:
    path.write_text("")
    with pytest.raises(WorkspaceError, match="cannot be made"):
        add(path / "labels.db", event("1"))
    folder = path.with_name("folder")
    folder.mkdir()
    with pytest.raises(WorkspaceError, match="no folder has the file's name"):
        add(folder, event("1"))


@pytest.mark.parametrize("name", AWKWARD)
def test_any_text_comes_back(path: Path, name: str) -> None:
    said = event(name, "drawn", name, run=name, image=name)
    add(path, said, set_name=name, who=name, origin=name)
    found = last(path, name)
    assert_events(found, [said])
    assert found[["who", "origin"]].iloc[0].tolist() == [name, name]
    with reading(path) as db:
        assert_events(history(db, name, name), [said])


def test_a_path_with_marks_of_an_address_is_that_path(tmp_path: Path) -> None:
    path = tmp_path / "a b?mode=rwc#c%41 é" / "labels.db"
    add(path, event("1"))
    assert len(last(path)) == 1


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 4))
def test_a_thousand_labels_come_back_as_the_last_that_was_said_of_them(seed: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    said = []
    for _ in range(blocks):
        numbers = rng.integers(0, 1000, 1000 if blocks == 1 else 500)
        said.append([any_event(rng, int(number)) for number in numbers])
    folder = tempfile.mkdtemp()
    try:
        path = Path(folder) / "labels.db"
        for events in said:
            add(path, *events)
        final: dict[object, dict[str, object]] = {}
        for one in (each for events in said for each in events):
            final.pop(one["label_id"], None)
            final[one["label_id"]] = one
        assert_events(last(path), list(final.values()))
    finally:
        shutil.rmtree(folder)


def any_event(rng: np.random.Generator, number: int) -> dict[str, object]:
    """An event with any box and mask; labels of whole images have neither."""
    names = [*AWKWARD[:-1], "car", "bus"]
    action, label = str(rng.choice(ACTIONS)), names[rng.integers(len(names))]
    if rng.random() < 0.2:
        return event(f"id {number}", action, label, kind="image", **dict.fromkeys("xywh", np.nan))
    box = dict(zip("xywh", (rng.random(4) * 10.0 ** rng.integers(-3, 5, 4)).tolist(), strict=True))
    mask = tuple(rng.integers(0, 10**6, rng.integers(0, 9)).tolist())
    return event(f"id {number}", action, label, mask_counts=mask, **box)


def test_more_events_than_are_read_at_once_come_back_in_order(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "BLOCK", 7)
    said = [event(str(number), mask_counts=(number, 1) if number > 9 else ()) for number in range(23)]
    add(path, *said)
    assert_events(last(path), said)
