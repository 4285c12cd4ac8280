"""Labels and recordings from CSV files and class folders; tables as CSV."""

import csv
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from dinonat.errors import LabelError
from dinonat.formats.matching import Warn
from dinonat.records import LABEL_COLUMNS, as_table

LARGEST_FILE = 1 << 30  # bytes; a label file beyond it is a mistake, and is refused before it is read
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

# Column -> headers that mean it, best first; compared in lower case with "_" for spaces and dashes.
HEADERS = {
    "image": ("image", "image_name", "image_path", "image_file", "filename", "file_name", "file", "path",
              "img", "name", "image_id"),
    "label": ("label", "class", "category", "class_name", "category_name", "label_name", "classname"),
    "recording": ("recording", "sequence", "drive", "flight", "video", "session", "group"),
    "x": ("x", "left", "bbox_x", "box_x"),
    "y": ("y", "top", "bbox_y", "box_y"),
    "w": ("w", "bbox_w", "box_w", "bbox_width", "width"),
    "h": ("h", "bbox_h", "box_h", "bbox_height", "height"),
    "x1": ("xmin", "x1", "x_min"),
    "y1": ("ymin", "y1", "y_min"),
    "x2": ("xmax", "x2", "x_max"),
    "y2": ("ymax", "y2", "y_max"),
}  # fmt: skip


def read_csv(path: Path, *, warn: Warn = warnings.warn) -> pd.DataFrame:
    """Read a CSV with ``image,label[,x,y,w,h]`` into a table of LABEL_COLUMNS.

    Boxes are in pixels of the image; ``xmin,ymin,xmax,ymax`` do as well. Other spellings of the
    headers, a byte-order mark, and ``;`` or tab between the columns are understood. A row without a
    label is no label. A row that cannot be a label costs itself: ``warn`` gets its sentence.
    Raises LabelError where no column names the image or the label, or no row is left.
    """
    header, rows, comma = parse_csv(path)
    at = {name: column_of(header, name) for name in HEADERS}
    for needed in ("image", "label"):
        if at[needed] is None:
            raise LabelError(
                f"{path}: no column for the {needed}; its header is {', '.join(header)}. "
                f"Name one column {HEADERS[needed][0]!r}: image,label[,x,y,w,h]."
            )
    records = []
    for line, row in rows:
        cells = {name: row[i].strip() for name, i in at.items() if i is not None and i < len(row)}
        if not cells.get("label"):
            continue
        try:
            records.append({"image": _named(cells), "label": cells["label"], **_box(cells, comma=comma)})
        except ValueError as error:
            warn(f"{path}, line {line}: {error}; this row is left out.")
    if not records:
        raise LabelError(f"{path}: no row holds a label. Fill its label column, or give another file.")
    return as_table(records, LABEL_COLUMNS)


def read_class_folders(folder: Path) -> pd.DataFrame:
    """Read a folder per class into labels of whole images; the first folder below is the class.

    Images are named relative to ``folder``. Raises LabelError where no class folder holds an image.
    """
    rows = [
        {"image": image, "label": image.split("/")[0], "x": None, "y": None, "w": None, "h": None}
        for image in sorted(_pictures(folder))
        if "/" in image
    ]
    if not rows:
        raise LabelError(
            f"{folder}: no folder per class with images in it. Expected {folder.name}/CLASS/IMAGE.png."
        )
    return as_table(rows, LABEL_COLUMNS)


def read_recordings(path: Path) -> dict[str, str]:
    """Read a CSV with ``image,recording``: which drive, flight or sequence each image comes from.

    Raises LabelError where a column is missing or one image is given two recordings.
    """
    header, rows, _ = parse_csv(path)
    image, recording = column_of(header, "image"), column_of(header, "recording")
    if image is None or recording is None:
        raise LabelError(f"{path}: expected the columns image,recording; its header is {', '.join(header)}.")
    found: dict[str, str] = {}
    for line, row in rows:
        if max(image, recording) >= len(row) or not row[image].strip():
            continue
        name, value = row[image].strip(), row[recording].strip()
        if found.setdefault(name, value) != value:
            raise LabelError(
                f"{path}, line {line}: {name!r} is in recording {found[name]!r} and in {value!r}. "
                "Keep one of the two rows."
            )
    return found


def write_table(table: pa.Table, path: Path) -> None:
    """Write columns of texts and numbers as CSV: UTF-8, commas, texts in quotes, an empty cell for null.

    Numbers have the fewest digits that give the same number of their type back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrow_csv.write_csv(table, path)


def as_arrow(column: pd.Series) -> pa.Array:
    """Return texts as texts, "" where there is none; numbers as float32 or float64, null where not finite."""
    if isinstance(column.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        texts = pa.Array.from_pandas(column)
        return texts.cast(pa.string()).fill_null("")
    values = column.to_numpy(np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    finite = np.isfinite(values)
    exact = bool((narrow[finite] == values[finite]).all())  # float32 that was widened on the way
    return pa.array(narrow if exact else values, mask=~finite)


def read_text(path: Path) -> str:
    """Return the text of a label file: UTF-8 with or without mark, UTF-16 with one, else Latin-1.

    Raises LabelError where the file is missing, unreadable or larger than LARGEST_FILE.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise LabelError(f"{path}: larger than {LARGEST_FILE >> 20} MiB, which no label file is.")
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror}). Give a file with labels.") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def parse_csv(path: Path, *, exact: bool = False) -> tuple[list[str], list[tuple[int, list[str]]], bool]:
    """Return the header, (line number, cells) of each row, and whether a comma may be the decimal mark.

    ``exact`` keeps spaces before a cell, which names may begin with, unless the header has them too,
    and takes cells of any length, which masks may need. The header is in lower case with "_" for
    spaces and dashes. Raises LabelError for what is no CSV.
    """
    text = read_text(path)
    first = text.lstrip().partition("\n")[0]
    delimiter = max((",", ";", "\t"), key=first.count)
    spaces = not exact or f"{delimiter} " in first
    limit = csv.field_size_limit()
    csv.field_size_limit(LARGEST_FILE if exact else limit)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=spaces)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise LabelError(f"{path}, line {reader.line_num}: not a CSV file ({error}).") from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise LabelError(f"{path}: empty. Expected a header and a row for each label: image,label[,x,y,w,h].")
    return plain_headers(rows[0][1]), rows[1:], delimiter != ","


def plain_headers(header: list[str]) -> list[str]:
    """Return headers as HEADERS spells them."""
    return [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in header]


def as_number(text: str, *, comma: bool = False) -> float:
    """Return a number as float64, NaN for what is none; ``comma``: it may be the decimal mark."""
    try:
        return float(text.replace(",", ".") if comma else text)
    except ValueError:
        return float("nan")


def column_of(header: list[str], name: str) -> int | None:
    """Return where the column ``name`` stands, by the best of its headers; None without one."""
    return next((header.index(spelling) for spelling in HEADERS[name] if spelling in header), None)


def _named(cells: dict[str, str]) -> str:
    """Return the image name of a row; ValueError where it has none."""
    if not cells["image"]:
        raise ValueError("no image is named")
    return cells["image"]


def _box(cells: dict[str, str], *, comma: bool) -> dict[str, float | None]:
    """Return x, y, w, h of a row: all None without a box, ValueError for half a box or none at all."""
    corners = any(cells.get(name) for name in ("x1", "y1", "x2", "y2"))
    names = ("x1", "y1", "x2", "y2") if corners else ("x", "y", "w", "h")
    texts = [cells.get(name, "") for name in names]
    # `width` and `height` alone are the size of the image, not half a box.
    if not corners and not texts[0] and not texts[1]:
        return {"x": None, "y": None, "w": None, "h": None}
    a, b, c, d = (_number(text, name, comma=comma) for text, name in zip(texts, names, strict=True))
    w, h = (c - a, d - b) if corners else (c, d)
    if w <= 0 or h <= 0:
        raise ValueError(f"a box needs a positive width and height, got {w:g} x {h:g}")
    return {"x": a, "y": b, "w": w, "h": h}


def _number(text: str, name: str, *, comma: bool) -> float:
    """Read one finite number; ValueError in words otherwise."""
    try:
        value = float(text.replace(",", ".") if comma else text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}, expected a number of pixels") from error
    if not abs(value) < 1e7:
        raise ValueError(f"{name} is {text}, expected a number of pixels")
    return value


def _pictures(folder: Path) -> Iterator[str]:
    """Yield the images below ``folder`` as POSIX paths; linked folders once, hidden ones never."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        for name in files:
            if name.lower().endswith(PICTURES) and not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()
