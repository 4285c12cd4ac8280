"""What a person did on the page becomes events: checked, filled in from what is known, and on the disk.

The page says which labels it means, what to do with them, and which event of each it saw last. What a label
was (its image, box, mask and class) comes from the run and from its last event, never from the page.
"""

import math
import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

from dinonat import acts, labels
from dinonat.errors import LabelError, UsageError
from dinonat.files import short_hash
from dinonat.formats import audit_sheets
from dinonat.geometry import clip_xywh
from dinonat.pipelines import workspace as places
from dinonat.pipelines.people import REVIEW, origin_of
from dinonat.pipelines.review_asked import ActAsked, Box, Change, UndoAsked
from dinonat.pipelines.review_list import Shown
from dinonat.pipelines.review_state import State, sentence_of, told
from dinonat.proposals.abstain import BACKGROUND
from dinonat.proposals.table import OBJECT
from dinonat.records import EVENT_COLUMNS, REJECTED, WITHDRAWN, as_table

MANY = 500  # labels that are asked about at once
NOT_IN_AUDIT = (
    "An audit asks whether what was proposed is right: accept it, reject it, or name the class that it is. "
    "Correct boxes after the audit."
)
Row = dict[str, Any]


def act(state: State, body: ActAsked, *, who: str) -> dict[str, Any]:
    """Write an act, and say what its labels are from then on once it is on the disk.

    Raises UsageError and LabelError for what makes no sense, ChangedError where a label is no longer what
    the page saw, WorkspaceError where the database cannot be written. Nothing is written then.
    """
    with labels.writing(state.file) as db:
        # What was written is acknowledged whatever is in hand now: its first answer may not have arrived.
        done = acts.act_named(db, body.act) or _written(db, state.shown, body, who)
    return acknowledged(state, done)


def _written(db: sqlite3.Connection, shown: Shown, body: ActAsked, who: str) -> acts.Act:
    """Write an act that is new."""
    _same_run(shown, body)
    if not body.changes and body.finished is None:
        raise UsageError("An act that says nothing. Nothing was written.")
    origin = _origin(shown, body)
    finished = "" if body.finished is None else _image(shown, body.finished)
    named = [change.id for change in body.changes if change.id]
    if len(set(named)) < len(named):
        raise UsageError("An act says one thing of a label. Nothing was written.")
    before = last_rows(db, shown.set_name, named)
    known = {*labels.class_names(db, shown.set_name), *shown.proposed_classes}
    rows = [_event(shown, body, number, before, known) for number, _ in enumerate(body.changes)]
    seen = {
        str(row["label_id"]): _seen(change, before) for row, change in zip(rows, body.changes, strict=True)
    }
    events = as_table(rows, EVENT_COLUMNS)
    standing = events.loc[events["action"] != REJECTED, "label"]
    labels.number_classes(db, shown.set_name, sorted(set(standing)))
    what = {"act": body.act, "set_name": shown.set_name, "who": who, "origin": origin}
    return acts.write_act(db, events, seen, finished=finished, **what)


def _same_run(shown: Shown, body: ActAsked | UndoAsked) -> None:
    """Raise UsageError where the page shows another run: numbers of images mean others there."""
    if body.run is not None and body.run != shown.run:
        raise UsageError(
            f"This page shows run {body.run}, but {shown.run} is in hand now. Load the page again. "
            "Nothing was written."
        )


def undo(state: State, body: UndoAsked, *, who: str) -> dict[str, Any]:
    """Take back the last act that stands.

    Raises NothingToUndoError, ChangedError, and WorkspaceError where the database cannot be written.
    """
    with labels.writing(state.file) as db:
        if acts.act_named(db, body.act) is None:
            _same_run(state.shown, body)
        done = acts.undo(db, act=body.act, set_name=state.shown.set_name, who=who)
        undone = acts.act_named(db, str(done.undoes))
        said = "" if undone is None else sentence_of(db, undone)
    return {**acknowledged(state, done), "undid": said}


def acknowledged(state: State, done: acts.Act) -> dict[str, Any]:
    """Return what an act wrote, in its order: the same however often it is asked for."""
    state.refresh()
    with labels.reading(state.file) as db:
        where = "seq BETWEEN ? AND ?"
        events = labels.each_event(db, done.set_name, where, (done.first, done.last))
        changes = [told(name, said) for name, said in state.of(events)]
    return {"seq": done.last, "changes": changes, "undo": state.undo, "classes": state.classes}


def last_rows(db: sqlite3.Connection, set_name: str, ids: list[str]) -> dict[str, Row]:
    """Return the last event of each of these labels that has one: EVENT_COLUMNS and ``seq``."""
    where = "seq IN (SELECT max(seq) FROM events WHERE set_name = ? AND label_id IN ({}) GROUP BY label_id)"
    found: dict[str, Row] = {}
    for start in range(0, len(ids), MANY):
        some = ids[start : start + MANY]
        query = where.format(", ".join("?" * len(some)))
        for event in labels.each_event(db, set_name, query, (set_name, *some)):
            sides = {
                side: math.nan if value is None else value
                for side, value in zip("xywh", event[-5:-1], strict=True)
            }
            counts = tuple(map(int, event.mask.split()))
            found[event.label_id] = {**event._asdict(), **sides, "mask_counts": counts}
    return found


def _origin(shown: Shown, body: ActAsked) -> str:
    """Return what the events carry as their origin; of an audit, its sheet."""
    if body.audit is None:
        return f"{REVIEW}{shown.run}"
    if body.audit not in places.names(shown.workspace, "selection"):
        raise LabelError(f"No audit {body.audit!r} in this workspace. Nothing was written.")
    sheet = places.selections_folder(shown.workspace, body.audit) / audit_sheets.FILE
    held = set(audit_sheets.label_ids(sheet))
    for change in body.changes:
        if change.do in ("moved", "drawn"):
            raise UsageError(f"{NOT_IN_AUDIT} Nothing was written.")
        if change.id not in held:
            raise LabelError(f"{change.id!r} is not in the sheet of audit {body.audit}. Nothing was written.")
    return origin_of(body.audit, sheet)


def _seen(change: Change, before: Mapping[str, Row]) -> int:
    """Return the number of the event that was seen, where it still says something."""
    last = before.get(change.id or "")
    gone = last is not None and last["action"] == WITHDRAWN and change.seen == last["seq"]
    return 0 if gone else change.seen


def _event(
    shown: Shown, body: ActAsked, number: int, before: Mapping[str, Row], known: Collection[str]
) -> Row:
    """Return the event (EVENT_COLUMNS) that a change of an act is; ``known`` are the classes so far."""
    change = body.changes[number]
    given = _class(change.label, known) if change.label else ""
    if change.do == "drawn":
        name = short_hash("drawn", shown.set_name, body.act, number)
        return {"label_id": name, "action": "drawn", "run": "", **_drawn(shown, change, given)}
    was = _was(shown, change.id, before)
    label = given or _claimed(shown, body, change.id) or str(was["label"])
    event = {**was, "label": label, "action": change.do}
    if change.do == "rejected":
        return {**event, "label": was["label"] or OBJECT}
    if not label:
        raise UsageError("Nobody has named the class of this label yet: choose one. Nothing was written.")
    if change.do == "accepted" and label != was["label"]:
        event["action"] = "relabelled"
    if change.do == "relabelled" and change.label is None:
        raise UsageError("relabelled: which class is missing. Nothing was written.")
    if change.do == "moved":
        if was["kind"] == "image" or change.box is None:
            raise UsageError("moved: only a box can be moved, to another box. Nothing was written.")
        event |= {**_clipped(shown, int(shown.image_at[was["image"]]), change.box), "mask_counts": ()}
    return event


def _claimed(shown: Shown, body: ActAsked, name: str | None) -> str:
    """Return the class that an audit asks about: the proposed one, whatever was said of it elsewhere."""
    row = None if body.audit is None else shown.place_of.get(name or "")
    return "" if row is None else shown.class_of(row)


def _was(shown: Shown, name: str | None, before: Mapping[str, Row]) -> Row:
    """Return what a label is now (EVENT_COLUMNS): by its last event, else as the run proposed it.

    What was withdrawn is what it was proposed as, if it was proposed.
    """
    last, row = before.get(name or ""), shown.place_of.get(name or "")
    if last is not None and (row is None or last["action"] != WITHDRAWN):
        known = {key: last[key] for key in EVENT_COLUMNS}
        if last["image"] not in shown.image_at:
            raise LabelError(f"{last['image']}: not among the images of the set any more.")
        nameless = last["action"] == REJECTED and last["label"] == OBJECT
        return {**known, "label": "" if nameless else last["label"]}
    if row is None:
        raise LabelError(f"No label {name!r} in run {shown.run}. Load the page again.")
    return {
        "label_id": name,
        "run": shown.run,
        "image": shown.images[shown.image_of[row]],
        "kind": "image" if shown.whole[row] else "region",
        "label": shown.class_of(row),
        "mask_counts": shown.mask(row),
        **dict(zip("xywh", shown.boxes[row].tolist(), strict=True)),
    }


def _drawn(shown: Shown, change: Change, label: str) -> Row:
    """Return image, kind, class, box and mask of what was drawn."""
    if change.image is None or not label:
        raise UsageError("drawn: image and class are needed. Nothing was written.")
    image = _image(shown, change.image)
    if change.kind == "image":
        box: Mapping[str, float] = dict.fromkeys("xywh", math.nan)
    elif change.box is None:
        raise UsageError("drawn: a box is needed. Nothing was written.")
    else:
        box = _clipped(shown, change.image, change.box)
    return {"image": image, "kind": change.kind or "region", "label": label, "mask_counts": (), **box}


def _image(shown: Shown, place: int) -> str:
    if not 0 <= place < len(shown.images):
        raise UsageError(f"No image {place}: the list has {len(shown.images)}. Nothing was written.")
    return shown.images[place]


def _class(text: str, known: Collection[str]) -> str:
    """Return the name of a class; UsageError for a new one that says nothing or that files cannot hold."""
    if text in known:
        return text
    name = text.strip()
    if name == BACKGROUND:
        raise UsageError(
            f"'{BACKGROUND}' is our word for what is no label: reject it instead. Nothing was written."
        )
    if not name or not name.isprintable():
        raise UsageError("The name of a class is a line of text, not an empty one. Nothing was written.")
    return name


def _clipped(shown: Shown, image: int, box: Box) -> dict[str, float]:
    """Return a box cut to its image; UsageError where less than a pixel is left."""
    if not all(math.isfinite(side) for side in box):
        raise UsageError("A box is four numbers: x, y, width, height in pixels. Nothing was written.")
    facts = shown.pictures
    size_hw = int(facts["height"].to_numpy()[image]), int(facts["width"].to_numpy()[image])
    x, y, w, h = clip_xywh(box, size_hw)[0].round(2).tolist()
    if min(w, h) < 1:
        raise UsageError(
            f"A box must cover a pixel of the image ({size_hw[1]} x {size_hw[0]}). Nothing was written."
        )
    return {"x": x, "y": y, "w": w, "h": h}
