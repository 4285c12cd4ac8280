"""labels.db: what people did to labels, as events that are only ever added, and the numbers of classes.

SQLite with a write-ahead log: one writer, many readers, and what a person did is on the disk before the
command says so (``synchronous=FULL``). A label is its proposal (or what was drawn) and its last event.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from os import W_OK, access
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple
from urllib.parse import quote

import pandas as pd

from dinonat.errors import WorkspaceError
from dinonat.label_schema import VERSION, make, renew, version_of
from dinonat.records import EVENT_COLUMNS, as_table

PATIENCE = 20.0  # seconds to wait for another writer
BLOCK = 20_000  # events that are read at once: they become columns block by block

ADVICE = {  # by SQLite's code, where there is more to say than what is wrong
    sqlite3.SQLITE_FULL: "Free some space",
    sqlite3.SQLITE_READONLY: "See that the file and its folder can be written",
    sqlite3.SQLITE_CANTOPEN: "See that the folder can be written, and that no folder has the file's name",
    sqlite3.SQLITE_NOTADB: "Move it away, or put a copy from before in its place",
    sqlite3.SQLITE_CORRUPT: "It is damaged: put a copy from before in its place",
}
LAST = """
SELECT label_id, action, run, image, kind, label, x, y, w, h, mask, who, origin, at FROM events
WHERE seq IN (SELECT max(seq) FROM events WHERE set_name = ? GROUP BY label_id) AND action <> 'withdrawn'
ORDER BY seq
"""
LAST_OF_FILE = LAST.replace("set_name = ?", "set_name = ? AND origin = ?")
NUMBERED = """
SELECT label_id, action, run, image, kind, label, x, y, w, h, mask, who, origin, at, seq FROM events
WHERE set_name = ? AND {where} ORDER BY seq
"""
HISTORY = """
SELECT label_id, action, run, image, kind, label, x, y, w, h, mask, who, origin, at FROM events
WHERE set_name = ? AND label_id = ? ORDER BY seq
"""
COLUMNS = (*EVENT_COLUMNS, "who", "origin", "at")
WRITTEN = (
    "at", "who", "origin", "set_name", "label_id", "action", "run", "image", "kind", "label", *"xywh", "mask",
)  # fmt: skip
ADD = f"INSERT INTO events ({', '.join(WRITTEN)}) VALUES ({', '.join('?' * len(WRITTEN))})"


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the database to read one state of it, whoever writes meanwhile; None where there is none yet.

    Raises WorkspaceError where the file is damaged or was made by a newer dinotool.
    """
    if not path.is_file():
        yield None
        return
    # Where nobody can write, not even the log's index can be made; it is needed only beside a log.
    log = path.with_name(f"{path.name}-wal")
    alone = not access(path.parent, W_OK) and not (log.is_file() and log.stat().st_size)
    # Open for writing, because the first who comes after a kill has to put the file in order.
    how = "immutable=1" if alone else "mode=rw"
    with _sentences(path):
        db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?{how}", uri=True, isolation_level=None)
        try:
            db.execute(f"PRAGMA busy_timeout = {int(PATIENCE * 1000)}")
            db.execute("PRAGMA query_only = ON")
            db.execute("BEGIN")  # the first look is the state that all others see
            yield db if _made(db, path) else None
        finally:
            db.close()


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database to write, and make it where there is none; all of it is written or nothing.

    Tables of an earlier version become those of today in the same transaction. Other writers are waited
    for. Raises WorkspaceError where one is not done in PATIENCE seconds, the disk is full or read-only,
    the file is damaged, or a newer dinotool made it.
    """
    with _sentences(path):
        _make_folder(path)
        db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            _made(db, path)  # refused before anything is touched
            _log_ahead(db)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            if not _made(db, path):
                make(db)
            renew(db)
            yield db
            db.execute("COMMIT")
        finally:  # closing rolls back what was not committed
            db.close()


def add_events(db: sqlite3.Connection, events: pd.DataFrame, *, set_name: str, who: str, origin: str) -> int:
    """Add events (EVENT_COLUMNS) in their order, and return how many; ``db`` is open for writing.

    ``who`` did them (a name that the person chose, or ""), ``origin`` is the file that brought them.
    """
    table = as_table(events, EVENT_COLUMNS)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    masks = (" ".join(map(str, counts)) for counts in table["mask_counts"])  # one text at a time
    boxes = [[None if side != side else side for side in table[axis].tolist()] for axis in "xywh"]
    texts = [table[name].tolist() for name in ("label_id", "action", "run", "image", "kind", "label")]
    rows = zip(*texts, *boxes, masks, strict=True)
    fixed = (at, who, origin, set_name)
    db.executemany(ADD, ((*fixed, *row) for row in rows))
    return len(table)


def last_events(db: sqlite3.Connection | None, set_name: str, origin: str | None = None) -> pd.DataFrame:
    """Return the last event of every label of a set: EVENT_COLUMNS, who, origin, at (UTC); oldest first.

    Of a label whose last event was withdrawn nobody says anything, so it is not there. With ``origin``
    the last one that this file brought: what the file said when it was last here.
    """
    if origin is None:
        return _table(db, LAST, (set_name,))
    return _table(db, LAST_OF_FILE, (set_name, origin))


class Event(NamedTuple):
    """One event as the database holds it: for whoever asks for few, often."""

    seq: int
    origin: str
    label_id: str
    action: str
    run: str
    image: str
    kind: str
    label: str
    x: float | None  # None for a whole image
    y: float | None
    w: float | None
    h: float | None
    mask: str  # run lengths with spaces between; "" where there is none


def each_event(
    db: sqlite3.Connection | None, set_name: str, where: str, values: Iterable[object]
) -> Iterator[Event]:
    """Yield what `numbered_events` returns, one by one: a table costs milliseconds, however short it is."""
    if db is not None:
        query = f"SELECT {', '.join(Event._fields)} FROM events WHERE set_name = ? AND {where} ORDER BY seq"
        yield from map(Event._make, db.execute(query, (set_name, *values)))


def last_seq(db: sqlite3.Connection | None) -> int:
    """Return the number of the last event of all; 0 where there is none."""
    found = None if db is None else db.execute("SELECT max(seq) FROM events").fetchone()[0]
    return found or 0


def history(db: sqlite3.Connection | None, set_name: str, label_id: str) -> pd.DataFrame:
    """Return every event of one label, the first one first, with the columns of `last_events`."""
    return _table(db, HISTORY, (set_name, label_id))


def numbered_events(
    db: sqlite3.Connection | None, set_name: str, where: str, values: Iterable[object]
) -> pd.DataFrame:
    """Return the events of a set for which an SQL condition holds, in their order, with their number ``seq``.

    All of them, withdrawn ones too; the columns of `last_events` and ``seq``.
    """
    return _table(db, NUMBERED.format(where=where), (set_name, *values), "seq")


def images_with_events(
    db: sqlite3.Connection | None, set_name: str, kind: str, *, not_from: Sequence[str] = ()
) -> list[str]:
    """Return the images of a set with an event of ``kind``, whatever was said since; sorted.

    Events count whose origin begins with none of ``not_from``.
    """
    if db is None:
        return []
    apart = "".join(" AND substr(origin, 1, ?) <> ?" for _ in not_from)
    query = f"SELECT DISTINCT image FROM events WHERE set_name = ? AND kind = ?{apart} ORDER BY image"
    given = [value for start in not_from for value in (len(start), start)]
    return [image for (image,) in db.execute(query, (set_name, kind, *given))]


def class_names(db: sqlite3.Connection | None, set_name: str) -> list[str]:
    """Return the classes of a set; the place of a name is its export id, for ever."""
    if db is None:
        return []
    rows = db.execute("SELECT name FROM classes WHERE set_name = ? ORDER BY export_id", (set_name,))
    return [name for (name,) in rows]


def number_classes(db: sqlite3.Connection, set_name: str, names: Sequence[str]) -> list[str]:
    """Give those of the names that have no export id yet the next ones, in this order; return all."""
    known = class_names(db, set_name)
    there = {"", *known}
    new = [name for name in dict.fromkeys(names) if name not in there]
    rows = [(set_name, number, name) for number, name in enumerate(new, start=len(known))]
    db.executemany("INSERT INTO classes (set_name, export_id, name) VALUES (?, ?, ?)", rows)
    return known + new


def _make_folder(path: Path) -> None:
    """Make the folder of the database."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(
            f"{path.parent}: cannot be made ({error.strerror or error}). Give another folder with -w."
        ) from error


def _log_ahead(db: sqlite3.Connection) -> None:
    """Switch the write-ahead log on; unlike elsewhere SQLite does not wait for others who do so too."""
    until = monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise
            sleep(0.02)


def _made(db: sqlite3.Connection, path: Path) -> bool:
    """Say whether the tables are there: a process that was killed may have left a file without any.

    Refuses tables that this dinotool does not know, and a database of something else.
    """
    found = version_of(db)
    if found > VERSION:
        raise WorkspaceError(
            f"{path}: labels of version {found}, but this dinotool reads {VERSION}. Update dinotool; nothing "
            "was changed."
        )
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    if tables and not {"classes", "events"} <= tables:
        raise WorkspaceError(
            f"{path}: a database of something else ({', '.join(sorted(tables)[:3])}), not of labels. Move it "
            "away, or give another folder with -w; nothing was changed."
        )
    return bool(tables)


def _table(db: sqlite3.Connection | None, query: str, values: Iterable[object], *more: str) -> pd.DataFrame:
    """Return the rows of a query block by block as columns; an event's mask as run lengths.

    ``more`` are whole numbers that the query gives after COLUMNS.
    """
    kinds = {**EVENT_COLUMNS, **dict.fromkeys(("who", "origin", "at"), "str"), **dict.fromkeys(more, "int64")}
    blocks = []
    if db is not None:
        cursor = db.execute(query, tuple(values))
        while rows := cursor.fetchmany(BLOCK):
            block = pd.DataFrame(rows, columns=[*COLUMNS, *more])
            block["mask_counts"] = [tuple(map(int, mask.split())) for mask in block["mask_counts"]]
            blocks.append(as_table(block, kinds))
    return pd.concat(blocks, ignore_index=True) if blocks else as_table([], kinds)


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary code of an error; 0 where Python's module itself raised it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn what SQLite says into a sentence."""
    try:
        yield
    except sqlite3.Error as error:
        if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise WorkspaceError(
                f"{path}: another dinotool has been writing for {PATIENCE:.0f} s. Wait for it, then run this "
                "command again."
            ) from error
        advice = ADVICE.get(_code(error), "See that there is space and that the folder can be written")
        raise WorkspaceError(
            f"{path}: {error}. Nothing of this command was written, and what was there before is kept. "
            f"{advice}, then run this command again."
        ) from error
