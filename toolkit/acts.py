"""Acts: what a person did to labels with one key, written once however often it is sent, and taken back.

An act is a row of the table ``acts`` and its events, which follow each other without a gap. To take it
back is an act too: its events say of each label what was said before, or that it is withdrawn where
nothing was.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from dinonat.errors import DinonatError
from dinonat.label_schema import VERSION, version_of
from dinonat.labels import add_events, last_seq, numbered_events
from dinonat.records import EVENT_COLUMNS, WITHDRAWN, as_table

ADD = (
    "INSERT INTO acts (act, set_name, at, who, origin, first, last, undoes, finished) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
FACTS = "SELECT number, act, set_name, at, who, origin, first, last, undoes, finished FROM acts"
STANDING = "NOT EXISTS (SELECT 1 FROM acts AS later WHERE later.undoes = acts.act) AND undoes IS NULL"
MANY = 500  # labels asked about in one query


class ChangedError(DinonatError):
    """Somebody else has said something about these labels meanwhile."""

    def __init__(self, label_ids: Sequence[str]) -> None:
        super().__init__(
            f"{len(label_ids)} labels were changed meanwhile, in another window or by an import. Look at "
            "them as they are now, and decide again."
        )
        self.label_ids = tuple(label_ids)


class NothingToUndoError(DinonatError):
    """Every act of the set is taken back already."""


@dataclass(frozen=True)
class Act:
    """One act as it was written."""

    number: int
    act: str  # its name, made by whoever asked for it
    set_name: str
    at: str  # UTC
    who: str
    origin: str
    first: int  # its events are those from first to last; none where last < first
    last: int
    undoes: str | None  # the act that it took back
    finished: str  # the image in which nothing is missing since; "" for none


def write_act(
    db: sqlite3.Connection,
    events: pd.DataFrame,
    seen: Mapping[str, int],
    *,
    act: str,
    set_name: str,
    who: str,
    origin: str,
    finished: str = "",
) -> Act:
    """Write the events (EVENT_COLUMNS) of one act; ``db`` is open for writing (`labels.writing`).

    ``seen`` is the number of the last event that the person knew of each label, 0 for none. An act that
    was written before is returned as it is: whoever got no answer may ask again. Raises ChangedError
    where a label's last event is another than the one that was seen; then nothing is written.
    """
    before = act_named(db, act)
    if before is not None:
        return before
    now = last_numbers(db, set_name, list(seen))
    changed = [name for name, number in seen.items() if now.get(name, 0) != number]
    if changed:
        raise ChangedError(changed)
    first = last_seq(db) + 1
    add_events(db, events, set_name=set_name, who=who, origin=origin)
    return _write(db, act, set_name, who, origin, first, finished=finished)


def undo(db: sqlite3.Connection, *, act: str, set_name: str, who: str) -> Act:
    """Take back the last act of a set that still stands; return the act that did so.

    Raises NothingToUndoError where none stands, ChangedError where a label of it was changed since by
    something else than an act, so that taking it back would lose that.
    """
    before = act_named(db, act)
    if before is not None:
        return before
    last = last_act(db, set_name)
    if last is None:
        raise NothingToUndoError("Nothing is left to take back.")
    own = numbered_events(db, set_name, "seq BETWEEN ? AND ?", (last.first, last.last))
    own = own.drop_duplicates("label_id", keep="last")
    _refuse_changed(db, last, own["label_id"].tolist())
    first = last_seq(db) + 1
    for origin, events in _before(db, last, own):
        add_events(db, events, set_name=set_name, who=who, origin=origin)
    return _write(db, act, set_name, who, last.origin, first, undoes=last.act)


def last_act(db: sqlite3.Connection | None, set_name: str) -> Act | None:
    """Return the act that `undo` would take back; None where none stands."""
    if not _has_acts(db):
        return None
    return _one(db, f"{FACTS} WHERE set_name = ? AND {STANDING} ORDER BY number DESC LIMIT 1", (set_name,))


def last_number(db: sqlite3.Connection | None) -> int:
    """Return the number of the last act of all; 0 where there is none."""
    if db is None or not _has_acts(db):
        return 0
    found = db.execute("SELECT max(number) FROM acts").fetchone()[0]
    return found or 0


def finished_images(db: sqlite3.Connection | None, set_name: str) -> list[str]:
    """Return the images of which a person said that nothing is missing in them, sorted."""
    if db is None or not _has_acts(db):
        return []
    query = (
        f"SELECT DISTINCT finished FROM acts WHERE set_name = ? AND finished <> '' AND {STANDING} ORDER BY 1"
    )
    return [name for (name,) in db.execute(query, (set_name,))]


def changes_since(db: sqlite3.Connection | None, set_name: str, seq: int) -> pd.DataFrame:
    """Return the last event of each label that has one after number ``seq``, withdrawn ones too.

    The columns of `labels.last_events` and ``seq``, in its order.
    """
    events = numbered_events(db, set_name, "seq > ?", (seq,))
    return events.drop_duplicates("label_id", keep="last").reset_index(drop=True)


def last_numbers(db: sqlite3.Connection | None, set_name: str, label_ids: Sequence[str]) -> dict[str, int]:
    """Return the number of the last event of each of the labels, 0 where it was withdrawn.

    Labels of which nobody ever said anything are left out.
    """
    query = (
        "SELECT label_id, max(seq), action FROM events WHERE set_name = ? AND label_id IN ({}) "
        "GROUP BY label_id"
    )
    found: dict[str, int] = {}
    if db is None:
        return found
    for start in range(0, len(label_ids), MANY):
        some = label_ids[start : start + MANY]
        rows = db.execute(query.format(", ".join("?" * len(some))), (set_name, *some))
        found.update({name: 0 if action == WITHDRAWN else number for name, number, action in rows})
    return found


def _refuse_changed(db: sqlite3.Connection, last: Act, label_ids: Sequence[str]) -> None:
    """Raise ChangedError for the labels whose last event neither is of the act nor says the same again."""
    query = "SELECT max(seq) FROM events WHERE set_name = ? AND label_id = ?"
    numbers = ((name, db.execute(query, (last.set_name, name)).fetchone()[0]) for name in label_ids)
    stands = ((name, _stands_for(db, last.set_name, name, number)) for name, number in numbers)
    changed = [name for name, number in stands if not last.first <= number <= last.last]
    if changed:
        raise ChangedError(changed)


def _stands_for(db: sqlite3.Connection, set_name: str, label_id: str, seq: int) -> int:
    """Return the number of the event that event ``seq`` says again: undoing wrote it anew, perhaps often."""
    taken_back = (
        "SELECT undone.first FROM acts JOIN acts AS undone ON undone.act = acts.undoes "
        "WHERE acts.first <= ? AND acts.last >= ?"
    )
    earlier = "SELECT max(seq) FROM events WHERE set_name = ? AND label_id = ? AND seq < ?"
    while (found := db.execute(taken_back, (seq, seq)).fetchone()) is not None:
        seq = db.execute(earlier, (set_name, label_id, found[0])).fetchone()[0] or 0
    return seq


def _before(db: sqlite3.Connection, last: Act, own: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what was said of the labels of an act before it, by where it came from."""
    query = "SELECT max(seq) FROM events WHERE set_name = ? AND label_id = ? AND seq < ?"
    numbers = [
        db.execute(query, (last.set_name, name, last.first)).fetchone()[0] or 0 for name in own["label_id"]
    ]
    there = pd.Series(numbers, index=own.index)
    nothing = own[there == 0].assign(action=WITHDRAWN)
    parts = [nothing.assign(origin=last.origin)]
    for start in range(0, len(numbers), MANY):
        some = [number for number in numbers[start : start + MANY] if number]
        where = f"seq IN ({', '.join('?' * len(some))})"
        parts.append(numbered_events(db, last.set_name, where, some))
    for origin, events in pd.concat([part for part in parts if len(part)] or parts[:1]).groupby("origin"):
        yield str(origin), as_table(events[list(EVENT_COLUMNS)], EVENT_COLUMNS)


def _write(
    db: sqlite3.Connection,
    act: str,
    set_name: str,
    who: str,
    origin: str,
    first: int,
    *,
    undoes: str | None = None,
    finished: str = "",
) -> Act:
    """Add the row of an act whose events are those from ``first`` on."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    db.execute(ADD, (act, set_name, at, who, origin, first, last_seq(db), undoes, finished))
    written = act_named(db, act)
    assert written is not None
    return written


def act_named(db: sqlite3.Connection, act: str) -> Act | None:
    """Return the act of this name; None where none was written."""
    return _one(db, f"{FACTS} WHERE act = ?", (act,))


def _one(db: sqlite3.Connection | None, query: str, values: tuple[str, ...]) -> Act | None:
    found = None if db is None else db.execute(query, values).fetchone()
    return None if found is None else Act(*found)


def _has_acts(db: sqlite3.Connection | None) -> bool:
    """Say whether there are acts to read: databases of version 1 have none."""
    return db is not None and version_of(db) >= VERSION
