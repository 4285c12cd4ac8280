"""What people have said of a set so far: kept in memory, and brought up to date before each answer."""

import sqlite3
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import pairwise
from threading import Lock
from typing import Any, NamedTuple

from dinonat import acts, labels
from dinonat.pipelines.people import ORIGIN, database
from dinonat.pipelines.review_list import Shown
from dinonat.proposals.abstain import UNKNOWN
from dinonat.records import REJECTED, WITHDRAWN

PAUSE = 60.0  # seconds: whoever is silent for longer has gone for coffee
LATELY = 600.0  # seconds that the speed is measured over


Box = tuple[float | None, float | None, float | None, float | None]


class Said(NamedTuple):
    """The last event of a label."""

    seq: int
    action: str
    image: int  # its place in the list; -1 for an image that is not there
    kind: str
    label: str
    box: Box  # x, y, w, h; None for a whole image
    masked: bool
    audit: bool  # a verdict of an audit


def told(label_id: str, said: Said) -> dict[str, Any]:
    """Return a last event as the page is told it."""
    x, y, w, h = said.box
    return {
        "id": label_id, "seq": said.seq, "action": said.action, "image": said.image, "kind": said.kind,
        "label": said.label, "x": x, "y": y, "w": w, "h": h, "masked": said.masked,
        "audit": said.audit,
    }  # fmt: skip


class State:
    """The last event of every label of the set, what undo would take back, and what images are finished."""

    def __init__(self, shown: Shown) -> None:
        self.shown, self.file = shown, database(shown.workspace)
        self.said: dict[str, Said] = {}  # in the order of their numbers
        self.seq = self.acts = -1
        self.classes: list[str] = []
        self.finished: list[int] = []
        self.undo: dict[str, str] | None = None
        self._open = (shown.table["advice"] != UNKNOWN).to_numpy()
        self._done = {True: 0, False: 0}  # proposals that are to be reviewed, and that were left unknown
        self._actions = Counter[str]()
        self._lock = Lock()
        self.refresh()

    def refresh(self) -> None:
        """Read what was said since the last time, here or by other programs.

        Raises WorkspaceError where the database is damaged or of a newer dinotool.
        """
        with self._lock, labels.reading(self.file) as db:
            set_name = self.shown.set_name
            given = labels.class_names(db, set_name)  # an export numbers classes, and says nothing else
            self.classes = list(dict.fromkeys([*given, *self.shown.proposed_classes]))
            seq, number = labels.last_seq(db), acts.last_number(db)
            if (seq, number) == (self.seq, self.acts):
                return
            for name, said in self.of(labels.each_event(db, set_name, "seq > ?", (self.seq,))):
                self._count(name, self.said.pop(name, None), -1)
                self._count(name, said, 1)
                self.said[name] = said
            places = self.shown.image_at
            names = acts.finished_images(db, set_name)
            self.finished = [places[name] for name in names if name in places]
            last = acts.last_act(db, set_name)
            self.undo = {"what": sentence_of(db, last)} if db and last else None
            self.seq, self.acts = seq, number

    def of(self, events: Iterable[labels.Event]) -> Iterator[tuple[str, Said]]:
        """Yield the labels of events, and what these say."""
        places = self.shown.image_at
        for each in events:
            box = (each.x, each.y, each.w, each.h)
            place = places.get(each.image, -1)
            audit = each.origin.startswith(ORIGIN)
            yield (
                each.label_id,
                Said(each.seq, each.action, place, each.kind, each.label, box, bool(each.mask), audit),
            )

    def changes(self, since: int) -> list[dict[str, Any]]:
        """Return the labels whose last event came after number ``since``, of images in the list, in order."""
        found = []
        with self._lock:
            for name, said in reversed(self.said.items()):
                if said.seq <= since:
                    break
                if said.image >= 0:
                    found.append(told(name, said))
        return found[::-1]

    def of_labels(self, ids: Iterable[str]) -> list[dict[str, Any]]:
        """Return what stands of these labels; of those that nobody said anything about, that."""
        found = []
        for name in ids:
            row = self.shown.place_of.get(name)
            image = -1 if row is None else int(self.shown.image_of[row])
            nothing = Said(0, WITHDRAWN, image, "", "", (None, None, None, None), False, False)
            found.append(told(name, self.said.get(name, nothing)))
        return found

    def moving_part(self) -> dict[str, Any]:
        """Return the part of the list that changes while people work."""
        own = self.shown.place_of
        with self._lock:
            stand = [(name, said) for name, said in self.said.items() if said.action != WITHDRAWN]
            seq, finished = self.seq, self.finished
        return {
            "seq": seq,
            "state": {name: told(name, said) for name, said in stand if name in own},
            "drawn": [
                told(name, said)
                for name, said in stand
                if name not in own and said.image >= 0 and said.action != REJECTED
            ],
            "finished": finished,
        }

    def counts(self) -> dict[str, int]:
        """Return how many proposals are to be reviewed, and what became of those that were."""
        to_review, actions = int(self._open.sum()), self._actions
        return {
            "to_review": to_review,
            "left": to_review - self._done[True],
            "unknown_left": len(self._open) - to_review - self._done[False],
            "images": len(self.shown.images),
            "finished": len(self.finished),
            **{name: actions[name] for name in ("accepted", "relabelled", "moved", "drawn", REJECTED)},
        }

    def _count(self, name: str, said: Said | None, sign: int) -> None:
        """Count what is said of a label, or no longer."""
        if said is None or said.action == WITHDRAWN:
            return
        self._actions[said.action] += sign
        row = self.shown.place_of.get(name)
        if row is not None:
            self._done[bool(self._open[row])] += sign


def sentence_of(db: sqlite3.Connection, act: acts.Act) -> str:
    """Say in a few words what an act did."""
    events = list(labels.each_event(db, act.set_name, "seq BETWEEN ? AND ?", (act.first, act.last)))
    if not events:
        return f"nothing is missing in {act.finished}"
    images = {event.image for event in events}
    where = events[0].image if len(images) == 1 else f"{len(images)} images"
    if len(events) == 1:
        return f"{events[0].label} {events[0].action} in {where}"
    counts = Counter(event.action for event in events)
    return f"{', '.join(f'{n} {what}' for what, n in counts.items())} in {where}"


class Pace:
    """How many labels a minute go through, of the last ten minutes, pauses left out."""

    def __init__(self) -> None:
        self.done: deque[tuple[float, int]] = deque()
        self.total = 0

    def add(self, labels_: int, now: float | None = None) -> None:
        """Count labels that were acknowledged ``now`` (time.monotonic)."""
        now = time.monotonic() if now is None else now
        self.done.append((now, labels_))
        self.total += labels_
        while self.done and self.done[0][0] < now - LATELY:
            self.done.popleft()

    def per_minute(self) -> float | None:
        """Return the speed; None before there are two acts to measure between."""
        times = [at for at, _ in list(self.done)]
        gaps = [min(b - a, PAUSE) for a, b in pairwise(times)]
        worked = sum(gaps)
        return round(60 * sum(n for _, n in list(self.done)[1:]) / worked, 1) if worked > 0 else None
