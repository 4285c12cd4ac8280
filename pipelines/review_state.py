"""What people have said of a set so far: kept in memory, and brought up to date before each answer."""

import time
from collections import Counter, deque
from collections.abc import Iterable
from itertools import pairwise
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dinonat import acts, labels
from dinonat.pipelines.people import database
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


def told(label_id: str, said: Said) -> dict[str, Any]:
    """Return a last event as the page is told it."""
    x, y, w, h = said.box
    return {
        "id": label_id, "seq": said.seq, "action": said.action, "image": said.image, "kind": said.kind,
        "label": said.label, "x": x, "y": y, "w": w, "h": h, "masked": said.masked,
    }  # fmt: skip


def _box(sides: list[float]) -> Box:
    x, y, w, h = (None if side != side else side for side in sides)
    return x, y, w, h


class State:
    """The last event of every label of the set, what undo would take back, and what images are finished."""

    def __init__(self, shown: Shown) -> None:
        self.shown, self.file = shown, database(shown.workspace)
        self.said: dict[str, Said] = {}
        self.seq = self.acts = 0
        self.classes: list[str] = []
        self.finished: list[int] = []
        self.undo: dict[str, str] | None = None
        self._counts: dict[str, int] = {}
        self._lock = Lock()
        self.refresh()

    def refresh(self) -> None:
        """Read what was said since the last time, here or by other programs.

        Raises WorkspaceError where the database is damaged or of a newer dinotool.
        """
        with self._lock, labels.reading(self.file) as db:
            seq, number = labels.last_seq(db), acts.last_number(db)
            if (seq, number) == (self.seq, self.acts) and self.classes:
                return
            set_name = self.shown.set_name
            self.said.update(self.of(acts.changes_since(db, set_name, self.seq)))
            given = labels.class_names(db, set_name)
            self.classes = list(dict.fromkeys([*given, *self.shown.proposed_classes]))
            places = self.shown.image_at
            names = acts.finished_images(db, set_name)
            self.finished = [places[name] for name in names if name in places]
            last = acts.last_act(db, set_name)
            self.undo = {"what": sentence_of(db, last)} if last else None
            self._counts = self._counted()
            self.seq, self.acts = seq, number

    def of(self, events: pd.DataFrame) -> dict[str, Said]:
        """Return events (columns of `acts.changes_since`) by their labels."""
        images = events["image"].map(self.shown.image_at).fillna(-1).astype(int)
        boxes = [_box(box) for box in events[list("xywh")].to_numpy(float).tolist()]
        masked = (len(counts) > 0 for counts in events["mask_counts"])
        facts = [events[name].tolist() for name in ("seq", "action")]
        texts = [events[name].tolist() for name in ("kind", "label")]
        rows = zip(*facts, images.tolist(), *texts, boxes, masked, strict=True)
        return {name: Said(*row) for name, row in zip(events["label_id"].tolist(), rows, strict=True)}

    def changes(self, since: int) -> list[dict[str, Any]]:
        """Return the labels whose last event came after number ``since``, of images in the list, in order."""
        if since >= self.seq:
            return []
        found = [(name, said) for name, said in self.said.items() if said.seq > since and said.image >= 0]
        return [told(name, said) for name, said in sorted(found, key=lambda each: each[1].seq)]

    def of_labels(self, ids: Iterable[str]) -> list[dict[str, Any]]:
        """Return what stands of these labels; of those that nobody said anything about, that."""
        found = []
        for name in ids:
            row = self.shown.place_of.get(name)
            image = -1 if row is None else int(self.shown.image_of[row])
            nothing = Said(0, WITHDRAWN, image, "", "", (None, None, None, None), False)
            found.append(told(name, self.said.get(name, nothing)))
        return found

    def moving_part(self) -> dict[str, Any]:
        """Return the part of the list that changes while people work."""
        stand = [(name, said) for name, said in self.said.items() if said.action != WITHDRAWN]
        own = self.shown.place_of
        return {
            "seq": self.seq,
            "state": {name: told(name, said) for name, said in stand if name in own},
            "drawn": [
                told(name, said)
                for name, said in stand
                if name not in own and said.image >= 0 and said.action != REJECTED
            ],
            "finished": self.finished,
        }

    def counts(self) -> dict[str, int]:
        """Return how many proposals are to be reviewed, and what became of those that were."""
        return self._counts

    def _counted(self) -> dict[str, int]:
        shown = self.shown
        open_ = (shown.table["advice"] != UNKNOWN).to_numpy()
        done = np.zeros(len(open_), bool)
        actions = Counter[str]()
        for name, said in self.said.items():
            if said.action == WITHDRAWN:
                continue
            actions[said.action] += 1
            row = shown.place_of.get(name)
            if row is not None:
                done[row] = True
        return {
            "to_review": int(open_.sum()),
            "left": int((open_ & ~done).sum()),
            "unknown_left": int((~open_ & ~done).sum()),
            "images": len(shown.images),
            "finished": len(self.finished),
            **{name: actions[name] for name in ("accepted", "relabelled", "moved", "drawn", REJECTED)},
        }


def sentence_of(db: Any, act: acts.Act) -> str:
    """Say in a few words what an act did."""
    events = labels.numbered_events(db, act.set_name, "seq BETWEEN ? AND ?", (act.first, act.last))
    if events.empty:
        return f"nothing is missing in {act.finished}"
    images = events["image"].unique()
    image = images[0] if len(images) == 1 else f"{len(images)} images"
    if len(events) == 1:
        return f"{events['label'].iloc[0]} {events['action'].iloc[0]} in {image}"
    return f"{', '.join(f'{n} {what}' for what, n in Counter(events['action']).items())} in {image}"


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
