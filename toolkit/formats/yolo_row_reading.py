"""The rows of YOLO's text files, read: boxes and polygons, with what predictions.jsonl says of them."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dinonat.formats.handover import LABEL_ID
from dinonat.formats.runs import window_counts
from dinonat.polygons import is_tangled, polygon_mask
from dinonat.records import INCOMING_COLUMNS, as_table

OUTSIDE = 0.01  # what a rounded share may lie outside 0 to 1; the rest is cut
COLUMNS = ("image", "label", "x", "y", "w", "h", "mask_counts", LABEL_ID, "score", "where")

Size = tuple[int, int]  # height, width
Box = tuple[int, int, int, int]  # x, y, width, height in hundredths of a pixel
Ring = NDArray[np.float64]  # corners (n, 2) in pixels


class Entry(NamedTuple):
    """What a line of predictions.jsonl says of a row."""

    label: str
    label_id: str
    score: float
    shape: str  # "box", "mask", or "part" of a mask


class Text(NamedTuple):
    """What the rows of one text are about."""

    file: str
    image: str
    size: Size | None
    known: dict[Box, list[Entry]]  # what predictions.jsonl says of them


class _Shape(NamedTuple):
    """Where a row is: its box, and its corners where it is a polygon."""

    box: Box
    ring: Ring | None


class _NotALabelError(ValueError):
    """A row that cannot be a label: why, as "rows ..." goes on."""


@dataclass(eq=False)
class Rows:
    """What has been read so far, and what could not be."""

    classes: dict[int, str]
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    # Of masks in several rows, by image and label id: the place of the label, and the rings so far.
    parts: dict[tuple[str, str], tuple[int, list[Ring]]] = field(default_factory=dict)
    triangles: list[int] = field(default_factory=list)  # places of rows of seven numbers
    boxes: int = 0
    polygons: int = 0  # of more than three corners
    lost: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)  # images of the rows that are left out

    def read(self, lines: list[bytes], text: Text) -> None:
        """Read the rows of one text."""
        for number, line in enumerate(lines, start=1):
            cells, where = line.split(), f"{text.file}, line {number}"
            if not cells:
                continue
            try:
                values = _values(cells)
                _check(values, self.classes, text.size)
                self._add(values, text, where)
            except _NotALabelError as error:
                self._lose(str(error), where, text.image)

    def drop_triangles(self) -> None:
        """Leave out rows of seven numbers among boxes: more likely a box and two columns than a triangle."""
        if not self.boxes or self.polygons:
            return
        for place in reversed(self.triangles):
            where, image = (self.columns[name][place] for name in ("where", "image"))
            self._lose("of 7 numbers among boxes", where, image)
            for column in self.columns.values():
                del column[place]

    def table(self) -> pd.DataFrame:
        """Return the regions as INCOMING_COLUMNS; boxes in hundredths of a pixel, in which we write them."""
        if not self.columns["image"]:
            return as_table([], INCOMING_COLUMNS)
        table = as_table(pd.DataFrame(self.columns).assign(kind="region", status=""), INCOMING_COLUMNS)
        table[list("xywh")] = table[list("xywh")].round(2)
        return table

    def _lose(self, why: str, where: str, image: str) -> None:
        """Count a row that is left out."""
        self.lost[why] += 1
        self.first.setdefault(why, where)
        self.unread.append(image)

    def _add(self, values: list[float], text: Text, where: str) -> None:
        """Add a good row, with what is known of it beside."""
        assert text.size is not None
        label, shape = self.classes[int(values[0])], _shape(values, text.size)
        entry = _taken(text.known, shape.box, label)
        if self._joined(shape.ring, entry, label, text):
            return
        self._count(shape.ring)
        plain = shape.ring is None or _is_plain(shape.ring, entry)
        counts = () if plain or shape.ring is None else _counts([shape.ring], text.size)
        known = entry.score if entry and entry.label == label else math.nan
        score = values[5] if len(values) == 6 else known
        pixels = [side / 100 for side in shape.box]
        row = (text.image, label, *pixels, counts, entry.label_id if entry else "", score, where)
        for column, value in zip(self.columns.values(), row, strict=True):
            column.append(value)

    def _count(self, ring: Ring | None) -> None:
        """Count a row by its kind: what a triangle is depends on the others."""
        if ring is None:
            self.boxes += 1
        elif len(ring) == 3:
            self.triangles.append(len(self.columns["image"]))
        else:
            self.polygons += 1

    def _joined(self, ring: Ring | None, entry: Entry | None, label: str, text: Text) -> bool:
        """Join a part of a mask with those before it; say whether there were any, of the same class."""
        if ring is None or entry is None or entry.shape != "part" or text.size is None:
            return False
        key = (text.image, entry.label_id)
        place, rings = self.parts.setdefault(key, (len(self.columns["image"]), []))
        if rings and self.columns["label"][place] != label:
            return False
        rings.append(ring)
        if len(rings) == 1:
            return False
        box = _box(_around(np.concatenate(rings)), text.size)
        for name, side in zip("xywh", box, strict=True):
            self.columns[name][place] = side / 100
        self.columns["mask_counts"][place] = _counts(rings, text.size)
        return True


def _values(cells: list[bytes]) -> list[float]:
    """Return the numbers of a row. Raises _NotALabelError where they are none."""
    count = len(cells)
    if count < 5 or (count > 6 and count % 2 == 0):
        raise _NotALabelError(
            "of a number of fields that is neither 5 (box), 6 (box, score) nor 7, 9, ... (polygon)"
        )
    try:
        return list(map(float, cells))
    except ValueError as error:
        raise _NotALabelError("that hold something else than numbers") from error


def _check(values: list[float], classes: dict[int, str], size: Size | None) -> None:
    """Raise _NotALabelError where a row of numbers is no label."""
    if size is None:
        raise _NotALabelError(
            "of pictures whose size is not known (neither are they beside, nor was it told)"
        )
    if values[0] not in classes:
        raise _NotALabelError("of a class that has no name")
    shares = values[1:5] if len(values) == 6 else values[1:]
    if not (min(shares) >= -OUTSIDE and max(shares) <= 1 + OUTSIDE and math.isfinite(sum(shares))):
        raise _NotALabelError("with numbers outside 0 to 1")
    if len(values) < 7 and min(values[3:5]) <= 0:
        raise _NotALabelError("of no width or height")


def _shape(values: list[float], size: Size) -> _Shape:
    """Return where a row is. Raises _NotALabelError where that is nowhere."""
    ring = None if len(values) < 7 else np.round(np.reshape(values[1:], (-1, 2)) * size[::-1], 2)
    box = _box(_edges_of_box(values[1:5], size) if ring is None else _around(ring), size)
    if min(box[2:]) <= 0:
        raise _NotALabelError("of no width or height")
    if ring is not None and is_tangled(ring, size):
        raise _NotALabelError("of polygons that go up and down more often than their picture has pixels")
    return _Shape(box, ring)


def _around(points: Ring) -> list[float]:
    """Return left, top, right, bottom of points."""
    edges: list[float] = [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
    return edges


def _edges_of_box(values: list[float], size: Size) -> list[float]:
    """Return left, top, right, bottom in pixels of centre and sides; right is left plus a whole width."""
    xc, yc, w, h = values
    left, top = round((xc - w / 2) * size[1], 2), round((yc - h / 2) * size[0], 2)
    return [left, top, left + round(w * size[1], 2), top + round(h * size[0], 2)]


def _box(edges: list[float], size: Size) -> Box:
    """Return edges as a box in hundredths of a pixel, cut to the image."""
    left, top, right, bottom = (
        round(100 * min(max(edge, 0), limit))
        for edge, limit in zip(edges, (*size[::-1], *size[::-1]), strict=True)
    )
    return left, top, right - left, bottom - top


def _taken(known: dict[Box, list[Entry]], box: Box, label: str) -> Entry | None:
    """Take the line that describes a row with this box, first one of its class; None where none does."""
    entries = known.get(box)
    if not entries:
        return None
    return entries.pop(next((place for place, entry in enumerate(entries) if entry.label == label), 0))


def _is_plain(ring: Ring, entry: Entry | None) -> bool:
    """Say whether a polygon is a box without a mask: written as one, and still with four right angles."""
    if entry is None or entry.shape != "box" or len(ring) != 4:
        return False
    low, high = ring.min(axis=0), ring.max(axis=0)
    return len({tuple(corner) for corner in ring.tolist()}) == 4 and bool(
        ((ring == low) | (ring == high)).all()
    )


def _counts(rings: list[Ring], size: Size) -> tuple[int, ...]:
    """Return the run lengths of polygons in an image; () where no pixel has its centre inside."""
    points = np.concatenate(rings)
    low = np.clip(np.floor(points.min(axis=0)), 0, size[::-1]).astype(np.int64)
    high = np.clip(np.ceil(points.max(axis=0)), 0, size[::-1]).astype(np.int64)
    if (high <= low).any():
        return ()
    (left, top), (width, height) = low.tolist(), (high - low).tolist()
    window = polygon_mask([(ring - low).ravel().tolist() for ring in rings], (height, width))
    return window_counts(window, left, top, size)
