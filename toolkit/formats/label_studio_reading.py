"""What people hand back from Label Studio: its JSON and JSON-MIN, and tasks as we wrote them."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dinonat.errors import LabelError
from dinonat.formats.coco_masks import mask_counts
from dinonat.formats.collecting import no_collecting
from dinonat.formats.handover import LABEL_ID, Incoming, Sizes, Warn, incoming
from dinonat.formats.label_studio_brush import brush_mask
from dinonat.formats.label_studio_shapes import around, drawn, is_labelled, rectangle, ring_of
from dinonat.formats.label_studio_tasks import (
    Row,
    data_of,
    finite,
    image_name,
    labels_in,
    listed,
    load_tasks,
    results_of,
    size_hw,
    task_files,
)
from dinonat.formats.runs import LARGEST_IMAGE, box_of_counts
from dinonat.geometry import mask_area, mask_to_counts
from dinonat.records import ACCEPTED

# Types of results that say something about a region or a picture, and are no labels themselves.
ANSWERS = ("textarea", "number", "rating", "choices", "datetime", "taxonomy", "pairwise", "ranker")


@no_collecting()
def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read tasks of Label Studio: a file, or every ``tasks*.json`` of a folder (else every ``*.json``).

    A task's labels are those of its last annotation that was not skipped, with the status "accepted",
    since a person has submitted them; of a task nobody worked on, our prediction, with the status in
    ``meta``. Skipped tasks, tasks without any result, and those of which only the numbers of predictions
    or the predictions of another model are left, list nothing. JSON-MIN has no ids, so there the parts
    of a mask are labels of their own. Percent become pixels by ``original_width`` and
    ``original_height``, or by ``sizes``. Rectangles that were turned give the box around them, parts of
    a mask are joined, brush strokes decoded; ellipses, key points and the like are left out. ``warn``
    gets one sentence for each kind of what was left out or changed; images of labels that were left out
    are ``unread``. Raises LabelError where this is no file of tasks.
    """
    rows: list[Row] = []
    images: list[str] = []
    unread: list[str] = []
    told: dict[str, tuple[int, int]] = {}
    export = ""
    noted: Counter[str] = Counter()
    for file in task_files(path):
        tasks = load_tasks(file)
        if not tasks:
            warn(f"{file}: no task in it, so it says nothing.")
        for place, task in enumerate(tasks, start=1):
            if not isinstance(task, dict) or not (name := image_name(task)):
                noted["tasks without a picture are left out"] += 1
                unread.append("")
                continue
            export = export or str(data_of(task).get("export") or "")
            found = results_of(task, noted)
            if found is None:
                continue
            images.append(name)
            results, accepted = found
            where = f"task {task.get('id', place)}"
            one = _Task(name, where, accepted, (sizes or {}).get(name), noted)
            rows.extend(one.rows(results))
            unread += [name] if one.lost else []
            told.update({name: one.told} if one.told else {})
    for sentence, count in sorted(noted.items()):
        warn(f"{path}: {count} {sentence}.")
    return incoming(rows, images, export=export, unread=unread, sizes=told)


class _Task:
    """The labels of one task: parts of masks wait until all of them are known."""

    def __init__(
        self, image: str, where: str, accepted: bool, size_hw: tuple[int, int] | None, noted: Counter[str]
    ) -> None:
        self.image, self.where, self.accepted = image, where, accepted
        self.size_hw, self.noted = size_hw, noted
        self.lost = False  # whether a label could not be read
        self.told: tuple[int, int] | None = None  # size of the picture by the file
        self.labelled: set[object] = set()  # ids of regions of which some result has a label
        self.parts: dict[tuple[str, str], tuple[Row, list[list[float]], tuple[int, int]]] = {}

    def leave_out(self, why: str) -> None:
        """Count a label that cannot be read."""
        self.noted[why] += 1
        self.lost = True

    def rows(self, results: list[Any]) -> Iterator[Row]:
        """Yield a row for each label in the order of the results."""
        self.labelled = {str(one["id"]) for one in results if is_labelled(one)}
        for place, result in enumerate(results):
            value = result.get("value") if isinstance(result, dict) else None
            if not isinstance(value, dict):
                self.noted["relations and results without a value are left out"] += 1
                self.lost |= not (isinstance(result, dict) and result.get("type") == "relation")
                continue
            self.told = self.told or size_hw(result)
            if "choices" in value:
                yield from self._choices(result, value)
                continue
            row = self._region(place, result, value)
            if row is not None:
                yield row
        for row, rings, known in self.parts.values():
            yield from self._polygon(row, rings, known)

    def _row(self, label: str, label_id: object, meta: Row, score: object) -> Row:
        """Return what every row has."""
        status = meta.get("status")
        known = str(label_id) if isinstance(label_id, str | int) else ""
        return {
            "image": self.image,
            "label": label,
            LABEL_ID: known,
            "status": ACCEPTED if self.accepted else (status if isinstance(status, str) else ""),
            "score": float(score) if finite(score) else math.nan,
            "where": f"{self.where}, region {known}" if known else self.where,
        }

    def _choices(self, result: Row, value: Row) -> Iterator[Row]:
        """Yield the labels of the whole image that one answer holds."""
        if "x" in value or "points" in value or "rle" in value:
            self.noted["answers about single regions are left out"] += 1
            return
        meta = _dict(result.get("meta"))
        several = [entry for entry in listed(meta.get("labels")) if isinstance(entry, dict)]
        names = [
            choice[-1] if isinstance(choice, list) and choice else choice
            for choice in listed(value["choices"])
        ]
        if not all(isinstance(name, str) and name for name in names):
            self.leave_out("answers that are no texts are left out")
        for place, name in enumerate(name for name in names if isinstance(name, str) and name):
            own = [entry for entry in several if entry.get("label") == name]
            for entry in own:
                yield {**self._row(name, entry.get(LABEL_ID), entry, entry.get("score")), "kind": "image"}
            if not own:
                label_id = "" if several or place else result.get("id")
                yield {**self._row(name, label_id, meta, result.get("score")), "kind": "image"}

    def _region(self, place: int, result: Row, value: Row) -> Row | None:
        """Return the row of a box or a brush stroke; polygons are put among the parts."""
        kind = drawn(value)
        if kind is None:
            self.noted[f"regions of type {result.get('type')} are left out: they are no boxes"] += 1
            self.lost |= result.get("type") not in ANSWERS
            return None
        labels = labels_in(value, str(result.get("type")))
        labels = labels or next((found for name in value if (found := labels_in(value, name))), [])
        if not labels:
            if str(result.get("id")) not in self.labelled:  # another result says the label of this region
                self.noted["regions without a label are left out"] += 1
                self.lost |= result.get("type") not in ANSWERS
            return None
        if len(labels) > 1:
            self.noted["regions have several labels: the first one counts"] += 1
        known = size_hw(result) or self.size_hw
        if known is None or known[0] * known[1] > LARGEST_IMAGE:
            self.leave_out("regions without the size of their picture are left out")
            return None
        if result.get("image_rotation"):
            self.leave_out("regions were drawn on a turned picture and are left out")
            return None
        row = self._row(labels[0], result.get("id"), _dict(result.get("meta")), result.get("score"))
        return SHAPES[kind](self, row, place, result, known)

    def box(self, row: Row, _: int, result: Row, size_hw: tuple[int, int]) -> Row | None:
        """Return a row with the box of a rectangle, or None where it has none inside its image."""
        value = result["value"]
        given = rectangle(value)
        if given is None or min(given[2:]) <= 0:
            self.leave_out("rectangles without a size are left out")
            return None
        height, width = size_hw
        x, w = given[0] * width / 100, given[2] * width / 100
        y, h = given[1] * height / 100, given[3] * height / 100
        if round(min(w, h), 2) <= 0:
            self.leave_out("rectangles without a size are left out")
            return None
        if finite(value.get("rotation")) and value["rotation"] % 360:
            self.noted["rectangles are turned: the box around them counts"] += 1
            x, y, w, h = around(x, y, w, h, math.radians(value["rotation"]))
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            self.leave_out("rectangles outside of their picture are left out")
            return None
        return {**row, "x": x, "y": y, "w": w, "h": h}

    def polygon(self, row: Row, place: int, result: Row, size_hw: tuple[int, int]) -> Row | None:
        """Put a polygon among the parts of its mask."""
        ring = ring_of(result["value"]["points"], size_hw)
        if ring is None:
            self.leave_out("polygons of fewer than three points are left out")
            return None
        part = _dict(result.get("meta")).get("part")
        # A part says that it is one, so that no id of anybody else's is taken for a part.
        if isinstance(part, int) and row[LABEL_ID].endswith(f":{part}"):
            row[LABEL_ID] = row[LABEL_ID].removesuffix(f":{part}")
        key = (row[LABEL_ID] or f"at {place}", row["label"])
        self.parts.setdefault(key, (row, [], size_hw))[1].append(ring)
        return None

    def brush(self, row: Row, _: int, result: Row, size_hw: tuple[int, int]) -> Row | None:
        """Return a row with the mask of a brush stroke."""
        try:
            counts = mask_to_counts(brush_mask(result["value"]["rle"], size_hw))
        except LabelError:
            self.leave_out("brush strokes cannot be decoded and are left out")
            return None
        if not mask_area(counts):
            self.leave_out("brush strokes are empty and are left out")
            return None
        return _with_mask(row, tuple(counts), size_hw)

    def _polygon(self, row: Row, rings: list[list[float]], size_hw: tuple[int, int]) -> Iterator[Row]:
        """Yield the row of joined polygons; the box is that of the pixels inside."""
        try:
            counts = mask_counts(rings, size_hw)
        except LabelError:
            self.leave_out("polygons cannot be drawn and are left out")
            return
        if counts:
            yield _with_mask(row, counts, size_hw)
        else:
            self.leave_out("polygons hold no pixel of their picture and are left out")


SHAPES: dict[str, Callable[[_Task, Row, int, Row, tuple[int, int]], Row | None]] = {
    "box": _Task.box,
    "polygon": _Task.polygon,
    "brush": _Task.brush,
}


def _with_mask(row: Row, counts: tuple[int, ...], size_hw: tuple[int, int]) -> Row:
    """Return a row with a mask and the box of its pixels."""
    x, y, w, h = box_of_counts(counts, size_hw[0])
    return {**row, "x": x, "y": y, "w": w, "h": h, "mask_counts": counts}


def _dict(value: object) -> Row:
    """Return an object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}
