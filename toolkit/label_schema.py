"""The tables of labels.db, what the database itself refuses to do to them, and how earlier ones become these.

Version 1 had no acts and no event ``withdrawn``: nothing could be taken back.
"""

import sqlite3

VERSION = 2  # of the tables, kept as SQLite's user_version

CLASSES = """
CREATE TABLE classes (
    set_name TEXT NOT NULL,
    export_id INTEGER NOT NULL CHECK (export_id >= 0),
    name TEXT NOT NULL,
    PRIMARY KEY (set_name, export_id),
    UNIQUE (set_name, name)
);
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
EVENTS = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    origin TEXT NOT NULL,
    set_name TEXT NOT NULL,
    label_id TEXT NOT NULL CHECK (label_id <> ''),
    action TEXT NOT NULL
        CHECK (action IN ('accepted', 'relabelled', 'moved', 'drawn', 'rejected', 'withdrawn')),
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
"""
# One act is what a person did with one key: its events are first to last, none where last < first. With
# `undoes` it took that act back. `finished` names an image in which nothing is missing any more.
ACTS = """
CREATE TABLE acts (
    number INTEGER PRIMARY KEY,
    act TEXT NOT NULL UNIQUE CHECK (act <> ''),
    set_name TEXT NOT NULL,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    origin TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL CHECK (last >= first - 1),
    undoes TEXT REFERENCES acts (act) UNIQUE,
    finished TEXT NOT NULL
);
CREATE INDEX acts_of_set ON acts (set_name, number);
CREATE INDEX acts_of_events ON acts (last);
CREATE TRIGGER acts_stay BEFORE UPDATE ON acts BEGIN
    SELECT RAISE(ABORT, 'acts are only added');
END;
CREATE TRIGGER acts_remain BEFORE DELETE ON acts BEGIN
    SELECT RAISE(ABORT, 'acts are only added');
END;
CREATE TRIGGER acts_follow BEFORE INSERT ON acts
WHEN EXISTS (SELECT 1 FROM acts WHERE number = NEW.number OR act = NEW.act) BEGIN
    SELECT RAISE(ABORT, 'acts are only added');
END;
"""


def version_of(db: sqlite3.Connection) -> int:
    """Return the version of the tables; 0 where there are none."""
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    return found


def make(db: sqlite3.Connection) -> None:
    """Make the tables of today in an empty database, all in the transaction that is open."""
    _execute(db, CLASSES + EVENTS + ACTS)
    db.execute(f"PRAGMA user_version = {VERSION}")


def renew(db: sqlite3.Connection) -> None:
    """Turn the tables of an earlier version into those of today, in the transaction that is open.

    SQLite cannot change what a column allows, so events are copied; every one keeps its number.
    """
    if version_of(db) == VERSION:
        return
    events, rules = EVENTS.split("CREATE INDEX", 1)
    _execute(db, events.replace("TABLE events", "TABLE renewed"))
    db.execute("INSERT INTO renewed SELECT * FROM events ORDER BY seq")
    db.execute("DROP TABLE events")  # its index and rules go with it
    db.execute("ALTER TABLE renewed RENAME TO events")
    _execute(db, f"CREATE INDEX{rules}{ACTS}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def _execute(db: sqlite3.Connection, statements: str) -> None:
    """Run statements one by one: SQLite's own way to run many would end the transaction first."""
    statement = ""
    for line in statements.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
