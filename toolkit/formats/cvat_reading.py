"""CVAT for images 1.1, read: what CVAT gives back, and what people and other tools write."""

import math
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dinonat.errors import LabelError
from dinonat.formats.cvat_shapes import (
    NotALabelError,
    image_size,
    mask_window,
    number,
    polygon_points,
)
from dinonat.formats.handover import LABEL_ID, Incoming, Sizes, Warn, incoming
from dinonat.formats.runs import LARGEST_IMAGE, window_counts
from dinonat.formats.xml_files import Element, parts
from dinonat.polygons import is_tangled, polygon_mask
from dinonat.records import Bool

BLOCK = 20_000  # rows that are held as objects at a time
VIDEO = (
    "holds tracks of a video ('CVAT for video'), whose boxes are only at key frames. "
    "Export the task from CVAT as 'CVAT for images 1.1'."
)


@dataclass
class _Piece:
    """One element: a row of what it says, and its mask as a window of the image, if it has one."""

    row: dict[str, Any]
    group: str
    window: Bool | None = None
    corner: tuple[int, int] = (0, 0)  # left, top of the window


@dataclass
class _Said:
    """What a file says beside its labels, and what is to tell: sentence -> its first line, how often."""

    images: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # images of which something was left out
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    export: str = ""
    head: bool = False
    first: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, line: int) -> None:
        self.first.setdefault(what, line)
        self.counts[what] += 1

    def lose(self, image: str, what: str, line: int) -> None:
        self.add(f"{what}: left out", line)
        self.unread.append(image)


def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read an ``annotations.xml``, or the one in a folder.

    Boxes, polygons, masks and tags become labels; a rotated box becomes the box around it; shapes that
    are no regions are left out, and ``warn`` gets one sentence for each kind of what was not taken as
    it stands. Polygons and masks of one image with one group, class and ``label_id`` are one label.

    Raises LabelError where it is no such file, or holds tracks of a video.
    """
    file, said = xml_file(path), _Said()
    rows = _rows(file, sizes or {}, said)
    tables = []
    while block := list(islice(rows, BLOCK)):
        tables.append(incoming(block, ()).labels)
    if not (said.images or said.head):
        raise LabelError(f"{file}: neither <meta> nor <image> in it. Export 'CVAT for images 1.1'.")
    for what, count in said.counts.items():
        warn(f"{file}, line {said.first[what]}: {count} {what}.")
    found = incoming((), said.images, export=said.export, unread=said.unread, sizes=said.sizes)
    return replace(found, labels=pd.concat(tables, ignore_index=True)) if tables else found


def xml_file(path: Path) -> Path:
    """Return the annotations file that ``path`` is or holds. Raises LabelError where a folder has none."""
    if not path.is_dir():
        return path
    files = [path / "annotations.xml", *sorted(path.glob("*.xml"))]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise LabelError(f"{path}: no annotations.xml in it. Give the XML file that CVAT exported.")
    return file


def _rows(file: Path, sizes: Sizes, said: _Said) -> Iterator[dict[str, Any]]:
    """Yield the row of each label of a file; put the rest of what the file says into ``said``."""
    found = parts(file, facts=(LABEL_ID, "status", "score"))
    root = next(found)
    if root.name != "annotations":
        raise LabelError(f"{file}: <{root.name}> is not CVAT's <annotations>. Export 'CVAT for images 1.1'.")
    for part in found:
        if part.name == "track":
            raise LabelError(f"{file}, line {part.line}: {VIDEO}")
        if part.name == "meta":
            said.head = True
            said.export = part.said("task", "name") or part.said("project", "name") or ""
        elif part.name == "image" and part.attributes.get("name"):
            said.images.append(part.attributes["name"])
            yield from _labels(part, file.name, sizes, said)
        elif part.name == "image":
            said.lose("", "images without a name, whose labels belong to nothing", part.line)


def _labels(image: Element, file: str, sizes: Sizes, said: _Said) -> list[dict[str, Any]]:
    """Return the rows of one image."""
    name = image.attributes["name"]
    stated = image_size(image)
    size_hw = stated or sizes.get(name)
    said.sizes |= {name: stated} if stated else {}
    pieces: list[_Piece] = []
    for element in image.children:
        reads = _READERS.get(element.name)
        if reads is None:
            said.lose(name, f"elements <{element.name}>, which are no boxes, masks or tags", element.line)
            continue
        piece = _Piece(_row(element, name, file), element.attributes.get("group_id", "").strip())
        try:
            if not piece.row["label"]:
                raise NotALabelError(f"elements <{element.name}> without a label")
            what = reads(element, size_hw, piece)
        except NotALabelError as error:
            said.lose(name, str(error), element.line)
            continue
        if what:
            said.add(what, element.line)
        pieces.append(piece)
    return [_finished(own, size_hw) for own in _joined(pieces)]


def _row(element: Element, image: str, file: str) -> dict[str, Any]:
    """Return what every element says."""
    facts = dict(element.facts)
    try:
        score = float(facts.get("score") or math.nan)
    except ValueError:
        score = math.nan
    return {
        "image": image,
        "label": element.attributes.get("label", ""),
        LABEL_ID: facts.get(LABEL_ID, "").strip(),
        "status": facts.get("status", "").strip(),
        "score": score if math.isfinite(score) else math.nan,
        "where": f"{file}, line {element.line}",
    }


def _read_box(element: Element, size_hw: tuple[int, int] | None, piece: _Piece) -> str:
    """Put the box of a ``<box>`` into ``piece``; a rotated one becomes the box around it."""
    left, top, right, bottom = (number(element, name) for name in ("xtl", "ytl", "xbr", "ybr"))
    if right <= left or bottom <= top:
        raise NotALabelError("boxes without area or with their corners exchanged")
    turn = number(element, "rotation") % 360 if element.attributes.get("rotation") else 0.0
    if turn:
        cos, sin = abs(math.cos(math.radians(turn))), abs(math.sin(math.radians(turn)))
        x, y, w, h = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        w, h = w * cos + h * sin, w * sin + h * cos
        left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    piece.row.update(_box(left, top, right, bottom))
    return "rotated boxes: the upright boxes around them were taken" if turn else ""


def _read_polygon(element: Element, size_hw: tuple[int, int] | None, piece: _Piece) -> str:
    """Put box and mask of a ``<polygon>`` into ``piece``."""
    points = polygon_points(element)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    if right <= left or bottom <= top:
        raise NotALabelError("polygons without area")
    piece.row.update(_box(left, top, right, bottom))
    if size_hw is None or size_hw[0] * size_hw[1] > LARGEST_IMAGE:
        return "polygons in images of unknown size or more than 2**28 pixels: their boxes were taken"
    x0, y0 = max(math.floor(left), 0), max(math.floor(top), 0)
    x1, y1 = min(math.ceil(right), size_hw[1]), min(math.ceil(bottom), size_hw[0])
    if is_tangled(points, size_hw):
        raise NotALabelError("polygons that go up and down more often than their image has pixels")
    if x1 > x0 and y1 > y0:
        piece.window = polygon_mask([(points - (x0, y0)).ravel().tolist()], (y1 - y0, x1 - x0))
        piece.corner = (x0, y0)
    return ""


def _read_mask(element: Element, size_hw: tuple[int, int] | None, piece: _Piece) -> str:
    """Put box and mask of a ``<mask>`` into ``piece``; the box is tight, whatever the file says."""
    window, left, top = mask_window(element, size_hw)
    rows, columns = np.flatnonzero(window.any(axis=1)), np.flatnonzero(window.any(axis=0))
    piece.window, piece.corner = window, (left, top)
    piece.row.update(_box(left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1))
    return ""


def _read_tag(element: Element, size_hw: tuple[int, int] | None, piece: _Piece) -> str:
    """Say in ``piece`` that it is the label of a whole image."""
    piece.row["kind"] = "image"
    return ""


_READERS = {"box": _read_box, "polygon": _read_polygon, "mask": _read_mask, "tag": _read_tag}


def _box(left: float, top: float, right: float, bottom: float) -> dict[str, float]:
    """Return x, y, w, h."""
    return {"x": float(left), "y": float(top), "w": float(right - left), "h": float(bottom - top)}


def _joined(pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Yield the pieces of each label: those with masks and one group, class and label id are one."""
    labels: dict[Any, list[_Piece]] = {}
    for place, piece in enumerate(pieces):
        own = piece.row[LABEL_ID]
        grouped = piece.window is not None and own and piece.group not in ("", "0")
        labels.setdefault((piece.group, piece.row["label"], own) if grouped else place, []).append(piece)
    yield from labels.values()


def _finished(pieces: list[_Piece], size_hw: tuple[int, int] | None) -> dict[str, Any]:
    """Return the row of a label with the box and the mask of all its pieces."""
    row = pieces[0].row
    if len(pieces) > 1:
        boxes = pd.DataFrame([piece.row for piece in pieces])
        left, top = boxes["x"].min(), boxes["y"].min()
        right, bottom = (boxes["x"] + boxes["w"]).max(), (boxes["y"] + boxes["h"]).max()
        row = {**row, **_box(left, top, right, bottom)}
    drawn = [piece for piece in pieces if piece.window is not None]
    if not drawn or size_hw is None:
        return row
    corners = np.array([piece.corner for piece in drawn])
    sizes = np.array([piece.window.shape[::-1] for piece in drawn if piece.window is not None])
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), (corners + sizes).max(axis=0).tolist()
    window = np.zeros((bottom - top, right - left), bool)
    for piece, (x, y), (w, h) in zip(drawn, (corners - (left, top)).tolist(), sizes.tolist(), strict=True):
        window[y : y + h, x : x + w] |= piece.window
    return {**row, "mask_counts": window_counts(window, left, top, size_hw)} if window.any() else row
