"""YOLO labels read back: ours, and those that Ultralytics, CVAT, Roboflow, labelImg and Darknet lay out."""

import math
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import orjson
import pandas as pd
from PIL import Image

from dinonat.errors import LabelError
from dinonat.formats.handover import Incoming, Sizes, Warn, incoming
from dinonat.formats.image_labels import IMAGE_LABELS, read_image_labels
from dinonat.formats.runs import LARGEST_IMAGE
from dinonat.formats.tables import LARGEST_FILE
from dinonat.formats.yolo import PREDICTIONS, stem
from dinonat.formats.yolo_files import Layout, counterpart, image_name, layout, splits_of, text_lines
from dinonat.formats.yolo_row_reading import Box, Entry, Rows, Size, Text

TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class _Beside(NamedTuple):
    """predictions.jsonl by the name of the picture without its ending."""

    names: dict[str, str]  # -> its name
    entries: dict[str, dict[Box, list[Entry]]]


def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read a folder of YOLO labels, or the one that a data.yaml, obj.data or classes.txt lies in.

    Rows of 5 numbers are boxes, of 6 boxes with a score, of 7 and any greater odd number polygons: masks
    of the pixels whose centre is inside. Sizes of pictures are those of ``sizes``, else of the picture
    itself. ``predictions.jsonl`` gives a row its id where its box has not been moved, and says which
    polygons were boxes without a mask. An empty text says that nothing is in its picture, a missing
    one says nothing.

    Rows that cannot be labels cost themselves; ``warn`` gets one sentence for each kind. Raises
    LabelError where nothing names the classes or no text holds rows. ``sizes`` of what is returned are
    those of pictures beside that had to be looked at, because nobody told theirs.
    """
    found = layout(path)
    unread: list[str] = []
    whole = read_image_labels(found.root / IMAGE_LABELS, warn=warn, unread=unread)
    if not found.label_files and not whole:
        raise LabelError(f"{found.root}: no text with rows in it. Expected labels/train/NAME.txt.")
    known = _predictions(found.root / PREDICTIONS, warn)
    names = _image_names(found, [*(sizes or {}), *known.names.values()])
    rows, seen = _all_rows(found, names, known, sizes or {})
    for why, count in sorted(rows.lost.items()):
        warn(f"{found.root}: {count} row(s) {why} are left out; the first is {rows.first[why]}.")
    labels = [table for table in (rows.table(), incoming(whole, ()).labels) if len(table)]
    empty = incoming(
        (),
        (*names.values(), *(row["image"] for row in whole)),
        export=str(found.data.get("export", "")),
        unread=(*rows.unread, *unread),
        sizes=seen,
    )
    return replace(empty, labels=pd.concat(labels, ignore_index=True)) if labels else empty


def _all_rows(found: Layout, names: dict[str, str], known: _Beside, told: Sizes) -> tuple[Rows, Sizes]:
    """Read all texts; return their rows, and the sizes of the pictures that had to be looked at."""
    by_stem = {stem(name): size for name, size in told.items()}
    rows, seen = Rows(found.names), dict[str, Size]()
    for file, name in names.items():
        lines = text_lines(found.root / file)
        if not any(map(bytes.split, lines)):
            continue
        size = told.get(name) or by_stem.get(stem(name))
        if size is None and (size := _picture_size(found.root, found.pictures.get(counterpart(file)))):
            seen[name] = size
        rows.read(lines, Text(file, name, size, known.entries.get(stem(name), {})))
    rows.drop_triangles()
    return rows, seen


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
                entry = Entry(
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
