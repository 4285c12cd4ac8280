"""YOLO labels read back: ours, and those that Ultralytics, CVAT, Roboflow, labelImg and Darknet lay out."""

import math
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dinonat.errors import LabelError
from dinonat.formats.handover import LABEL_ID, Incoming, Sizes, Warn, incoming
from dinonat.formats.image_labels import IMAGE_LABELS, read_image_labels
from dinonat.formats.tables import LARGEST_FILE
from dinonat.formats.yolo import PREDICTIONS, stem
from dinonat.formats.yolo_files import Layout, counterpart, image_name, layout, splits_of
from dinonat.polygons import polygon_mask
from dinonat.records import INCOMING_COLUMNS, as_table

LARGEST_IMAGE = 1 << 28  # pixels
LARGEST_TEXT = 1 << 26  # bytes of the rows of one picture
OUTSIDE = 0.01  # what a rounded share may lie outside 0 to 1; the rest is cut
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height

COLUMNS = ("image", "label", "x", "y", "w", "h", "mask_counts", LABEL_ID, "score", "where")

Size = tuple[int, int]  # height, width
Box = tuple[int, int, int, int]  # x, y, width, height in hundredths of a pixel
Ring = NDArray[np.float64]  # corners (n, 2) in pixels


class _Entry(NamedTuple):
    """What a line of predictions.jsonl says of a row."""

    label: str
    label_id: str
    score: float
    shape: str  # "box", "mask", or "part" of a mask


class _Beside(NamedTuple):
    """predictions.jsonl by the name of the picture without its ending."""

    names: dict[str, str]  # -> its name
    entries: dict[str, dict[Box, list[_Entry]]]


class _Picture(NamedTuple):
    """What the rows of one text are about."""

    file: str
    name: str
    size: Size | None


@dataclass(eq=False)
class _Rows:
    """What has been read so far, and what could not be."""

    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    parts: dict[tuple[str, str], tuple[int, list[Ring]]] = field(
        default_factory=dict
    )  # of masks in several rows
    triangles: list[int] = field(default_factory=list)  # places of rows of seven numbers
    boxes: int = 0
    polygons: int = 0  # of more than three corners
    lost: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def lose(self, why: str, where: str) -> None:
        """Count a row that is left out."""
        self.lost[why] += 1
        self.first.setdefault(why, where)

    def add(self, *values: Any) -> None:
        """Add a value to each column."""
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)


def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read a folder of YOLO labels, or the one that a data.yaml, obj.data or classes.txt lies in.

    Rows of 5 numbers are boxes, of 6 boxes with a score, of 7 and any greater odd number polygons: masks
    of the pixels whose centre is inside. Sizes of pictures are those of ``sizes``, else of the picture
    itself. ``predictions.jsonl`` gives a row its id where its box has not been moved, and says which
    polygons were boxes without a mask. An empty text says that nothing is in its picture, a missing
    one says nothing.

    Rows that cannot be labels cost themselves; ``warn`` gets one sentence for each kind. Raises
    LabelError where nothing names the classes or no text holds rows.
    """
    found = layout(path)
    whole = read_image_labels(found.root / IMAGE_LABELS, warn=warn)
    if not found.label_files and not whole:
        raise LabelError(f"{found.root}: no text with rows in it. Expected labels/train/NAME.txt.")
    known = _predictions(found.root / PREDICTIONS, warn)
    names = _image_names(found, [*(sizes or {}), *known.names.values()])
    by_stem = {stem(name): size for name, size in (sizes or {}).items()}
    rows = _Rows()
    for file, name in names.items():
        lines = text_lines(found.root / file)
        if any(map(bytes.split, lines)):
            picture = found.pictures.get(counterpart(file))
            size = (sizes or {}).get(name) or by_stem.get(stem(name)) or _picture_size(found.root, picture)
            _read_rows(
                lines, _Picture(file, name, size), found.names, known.entries.get(stem(name), {}), rows
            )
    _drop_triangles(rows)
    for why, count in sorted(rows.lost.items()):
        warn(f"{found.root}: {count} row(s) {why} are left out; the first is {rows.first[why]}.")
    labels = [table for table in (_table(rows.columns), incoming(whole, ()).labels) if len(table)]
    images = (*names.values(), *(row["image"] for row in whole))
    table = pd.concat(labels, ignore_index=True) if len(labels) > 1 else (labels or [_table({})])[0]
    return Incoming(table, tuple(dict.fromkeys(images)), export=str(found.data.get("export", "")))


def _table(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """Return the regions; boxes in hundredths of a pixel, in which we write them."""
    table = pd.DataFrame(dict(zip(COLUMNS, columns.values(), strict=True))) if columns else pd.DataFrame()
    if table.empty:
        return as_table([], INCOMING_COLUMNS)
    table = as_table(table.assign(kind="region", status=""), INCOMING_COLUMNS)
    table[list("xywh")] = table[list("xywh")].round(2)
    return table


def _read_rows(
    lines: list[bytes],
    picture: _Picture,
    classes: dict[int, str],
    known: dict[Box, list[_Entry]],
    rows: _Rows,
) -> None:
    """Read the rows of one text into ``rows``."""
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        where = f"{picture.file}, line {number}"
        values = _values(cells)
        if isinstance(values, str):
            rows.lose(values, where)
        elif why := _refusal(values, classes, picture.size):
            rows.lose(why, where)
        else:
            _add(values, picture, classes[int(values[0])], known, where, rows)


def _values(cells: list[bytes]) -> list[float] | str:
    """Return the numbers of a row, or why they are none."""
    count = len(cells)
    if count < 5 or (count > 6 and count % 2 == 0):
        return "of a number of fields that is neither 5 (box), 6 (box, score) nor 7, 9, ... (polygon)"
    try:
        return list(map(float, cells))
    except ValueError:
        return "that hold something else than numbers"


def _refusal(values: list[float], classes: dict[int, str], size: Size | None) -> str:
    """Return why a row of numbers is no label, or nothing."""
    if size is None:
        return "of pictures whose size is not known (neither are they beside, nor was it told)"
    if values[0] not in classes:
        return "of a class that has no name"
    shares = values[1:5] if len(values) == 6 else values[1:]
    if not (min(shares) >= -OUTSIDE and max(shares) <= 1 + OUTSIDE and math.isfinite(sum(shares))):
        return "with numbers outside 0 to 1"
    if len(values) < 7 and min(values[3:5]) <= 0:
        return "of no width or height"
    return ""


def _add(
    values: list[float],
    picture: _Picture,
    label: str,
    known: dict[Box, list[_Entry]],
    where: str,
    rows: _Rows,
) -> None:
    """Add a good row, with what is known of it beside."""
    assert picture.size is not None
    ring = None
    if len(values) < 7:
        edges = _edges_of_box(values[1:5], picture.size)
        rows.boxes += 1
    else:
        ring = np.round(np.reshape(values[1:], (-1, 2)) * picture.size[::-1], 2)
        edges = [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()]
    box = _box(edges, picture.size)
    if min(box[2:]) <= 0:
        rows.lose("of no width or height", where)
        return
    entry = _taken(known, box, label)
    if (
        entry is not None
        and entry.shape == "part"
        and ring is not None
        and _joined(rows, picture, entry, label, ring)
    ):
        return
    if ring is not None:
        rows.polygons += len(ring) > 3
        if len(ring) == 3:
            rows.triangles.append(len(rows.columns["image"]))
    counts = _counts([ring], picture.size) if ring is not None and not _is_plain(ring, entry) else ()
    score = values[5] if len(values) == 6 else entry.score if entry and entry.label == label else math.nan
    pixels = (side / 100 for side in box)
    rows.add(picture.name, label, *pixels, counts, entry.label_id if entry else "", score, where)


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


def _taken(known: dict[Box, list[_Entry]], box: Box, label: str) -> _Entry | None:
    """Take the line that describes a row with this box, first one of its class; None where none does."""
    entries = known.get(box)
    if not entries:
        return None
    return entries.pop(next((place for place, entry in enumerate(entries) if entry.label == label), 0))


def _joined(rows: _Rows, picture: _Picture, entry: _Entry, label: str, ring: Ring) -> bool:
    """Join a part of a mask with those before it; say whether there were any, of the same class."""
    assert picture.size is not None
    key = (picture.name, entry.label_id)
    place, rings = rows.parts.setdefault(key, (len(rows.columns["image"]), []))
    if rings and rows.columns["label"][place] != label:
        return False
    rings.append(ring)
    if len(rings) == 1:
        return False
    points = np.concatenate(rings)
    box = _box([*points.min(axis=0).tolist(), *points.max(axis=0).tolist()], picture.size)
    for name, side in zip("xywh", box, strict=True):
        rows.columns[name][place] = side / 100
    rows.columns["mask_counts"][place] = _counts(rings, picture.size)
    return True


def _is_plain(ring: Ring, entry: _Entry | None) -> bool:
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
    window = polygon_mask(
        [(ring - low).ravel().tolist() for ring in rings], (int(high[1] - low[1]), int(high[0] - low[0]))
    )
    columns, lines = np.nonzero(window.T)
    inside = (columns + low[0]) * size[0] + lines + low[1]
    if not inside.size:
        return ()
    gaps = np.flatnonzero(np.diff(inside) != 1)
    starts, ends = inside[np.r_[0, gaps + 1]], inside[np.r_[gaps, len(inside) - 1]] + 1
    turns = np.column_stack([starts, ends]).ravel()
    runs: list[int] = np.diff(np.r_[0, turns, size[0] * size[1]]).tolist()
    return tuple(runs if runs[-1] else runs[:-1])


def _drop_triangles(rows: _Rows) -> None:
    """Leave out rows of seven numbers among boxes: more likely a box and two columns than a triangle."""
    if not rows.boxes or rows.polygons:
        return
    for place in reversed(rows.triangles):
        rows.lose("of 7 numbers among boxes", rows.columns["where"][place])
        for column in rows.columns.values():
            del column[place]


def text_lines(path: Path) -> list[bytes]:
    """Return the lines of one text. Raises LabelError where it cannot be read or is too large."""
    try:
        with path.open("rb", buffering=0) as stream:
            data = stream.read(LARGEST_TEXT + 1)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(data) > LARGEST_TEXT:
        raise LabelError(
            f"{path}: larger than {LARGEST_TEXT >> 20} MiB, which the rows of one picture are not."
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", errors="replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf").splitlines()


def _image_names(found: Layout, told: list[str]) -> dict[str, str]:
    """Return label file -> name of its picture: as it lies beside, is listed or was told; else its stem."""
    splits = splits_of(found.data)
    by_stem = {stem(name): name for name in (*told, *(image_name(line, splits) for line in found.listed))}
    names = {}
    for file in found.label_files:
        picture = found.pictures.get(counterpart(file))
        bare = stem(image_name(file, splits))
        names[file] = image_name(picture, splits) if picture else by_stem.get(bare, bare)
    often = Counter(names.values())
    for file, name in names.items():
        if often[name] > 1:  # one name in two splits: the whole path says which
            names[file] = found.pictures.get(counterpart(file), stem(file))
    return names


def _picture_size(root: Path, picture: str | None) -> Size | None:
    """Return height and width of a picture from its first bytes, as EXIF turns it; None where it has none."""
    if picture is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about large pictures: nothing is decoded
            with Image.open(root / picture) as image:
                width, height = image.size
                turned = image.getexif().get(0x0112) in TURNED
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if not 0 < width * height <= LARGEST_IMAGE:
        return None
    return (width, height) if turned else (height, width)


def _predictions(path: Path, warn: Warn) -> _Beside:
    """Read predictions.jsonl, if it is there; lines that are not ours are left out with one sentence."""
    found, bad = _Beside({}, {}), 0
    if not path.is_file() or path.stat().st_size > LARGEST_FILE:
        return found
    with path.open("rb") as stream:
        for line in stream:
            try:
                said = orjson.loads(line)
                name, box = said["image"], tuple(round(100 * side) for side in said["box"])
                entry = _Entry(
                    str(said["label"]),
                    str(said["label_id"]),
                    float(said.get("score", math.nan)),
                    said["shape"],
                )
                found.entries.setdefault(stem(name), {}).setdefault(box, []).append(entry)
                found.names[stem(name)] = name
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
                bad += bool(line.strip())
    if bad:
        warn(f"{path}: {bad} line(s) that are not as they were written are passed over.")
    return found
