"""The rows of a table of labels, from CSV or Parquet, and what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from dinonat.errors import LabelError
from dinonat.formats.handover import LABEL_ID, list_cell
from dinonat.formats.runs import LARGEST_IMAGE
from dinonat.formats.tables import LARGEST_FILE, as_number, column_of, parse_csv, plain_headers
from dinonat.records import Bool

MOST_ROWS = 20_000_000  # a small Parquet file can claim any number of rows
CORNERS = ("x1", "y1", "x2", "y2")
SPACES = str.maketrans("[](),;", "      ")  # of lists as other programs write them
Float64 = NDArray[np.float64]
PLAIN = (LABEL_ID, "kind", "status", "score", "file_name", "mask", "split", "export", "width", "height")


@dataclass(frozen=True, eq=False)
class Rows:
    """A table of labels: INCOMING_COLUMNS, boxes and scores NaN where missing, masks () where missing."""

    table: pd.DataFrame
    bad_scores: Bool  # something stands there that is no number
    bad_masks: Bool
    half_boxes: Bool  # some numbers of a box are there, some are not or are none


@dataclass(frozen=True)
class Images:
    """A table of images; empty where there is no file."""

    names: tuple[str, ...] = ()  # one for each row, as are file_names and where
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # (height, width)
    export: str = ""
    file_names: tuple[str, ...] = ()
    where: tuple[str, ...] = ()


def load_labels(file: Path) -> Rows:
    """Return the rows of a CSV or Parquet file; LabelError for what is neither or names no labels."""
    cells, where, comma = _load(file)
    for needed in ("image", "label"):
        if needed not in cells:
            raise LabelError(
                f"{file}: no column for the {needed}. Name one column {needed!r}: image,label[,x,y,w,h]."
            )
    count = len(where)
    texts = {name: _texts(cells.get(name), count) for name in ("image", "kind", "label", LABEL_ID, "status")}
    if "file_name" in cells:  # a row that somebody added may name the picture only as the export does
        texts["image"] = [
            a or b for a, b in zip(texts["image"], _texts(cells["file_name"], count), strict=True)
        ]
    numbers, half = _boxes(cells, count, comma)
    unboxed = np.asarray(np.isnan(numbers).all(axis=1))
    texts["kind"] = [
        kind or ("image" if none else "region")
        for kind, none in zip(texts["kind"], unboxed.tolist(), strict=True)
    ]
    scores, bad_scores = _numbers(cells.get("score"), count, comma)
    masks, bad_masks = _masks(cells.get("mask"), count)
    table = pd.DataFrame({**texts, "where": where}, dtype=object)
    table[list("xywh")] = numbers
    table["score"] = scores
    table["mask_counts"] = pd.Series(masks, dtype=object)
    return Rows(table, bad_scores, bad_masks, half)


def load_images(file: Path) -> Images:
    """Return the table of images; nothing where there is no file. LabelError where it names none."""
    if not file.is_file():
        return Images()
    cells, where, comma = _load(file)
    if "image" not in cells:
        raise LabelError(f"{file}: no column 'image'. Put it back, or move the file away.")
    count = len(where)
    names = _texts(cells["image"], count)
    files = _texts(cells["file_name"], count) if "file_name" in cells else names
    sides = [_numbers(cells.get(name), count, comma)[0] for name in ("height", "width")]
    good = np.all(
        [(side >= 1) & (side <= LARGEST_IMAGE) & (side == np.round(side)) for side in sides], axis=0
    )
    sizes = {
        name: (int(h), int(w))
        for name, h, w, usable in zip(names, *sides, good.tolist(), strict=True)
        if usable and h * w <= LARGEST_IMAGE
    }
    export = next((text for text in _texts(cells.get("export"), count) if text), "")
    return Images(tuple(names), sizes, export, tuple(files), tuple(where))


def _load(file: Path) -> tuple[dict[str, list[Any]], list[str], bool]:
    """Return the known columns by our names, where each row stands, and whether commas may be decimal."""
    if _is_parquet(file):
        return _load_parquet(file)
    header, rows, comma = parse_csv(file, exact=True)
    if LABEL_ID not in header and "export" not in header:  # a person's: spaces around cells mean nothing
        header, rows, comma = parse_csv(file)
        rows = [(line, [cell.strip() for cell in row]) for line, row in rows]
    at = _known(header)
    cells = {name: [row[i] if i < len(row) else "" for _, row in rows] for name, i in at.items()}
    return cells, [f"{file.name}, line {line}" for line, _ in rows], comma


def _known(header: list[str]) -> dict[str, int]:
    """Return where the columns stand that mean something here."""
    at = {name: column_of(header, name) for name in ("image", "label", *"xywh", *CORNERS)}
    at |= {name: header.index(name) for name in PLAIN if name in header}
    if LABEL_ID not in at and "proposal" in header:
        at[LABEL_ID] = header.index("proposal")
    return {name: place for name, place in at.items() if place is not None}


def _load_parquet(file: Path) -> tuple[dict[str, list[Any]], list[str], bool]:
    """Return what `_load` returns, of a Parquet file."""
    try:
        table = parquet.ParquetFile(file)
        count = table.metadata.num_rows
        if count > MOST_ROWS:
            raise LabelError(f"{file}: {count:,} rows; at most {MOST_ROWS:,} are read. Split the file.")
        names = table.schema_arrow.names
        at = {name: names[place] for name, place in _known(plain_headers(names)).items()}
        columns = table.read(columns=sorted(set(at.values())))
        cells = {name: columns.column(own).to_pylist() for name, own in at.items()}
    except (pa.ArrowException, OSError, KeyError) as error:
        raise LabelError(
            f"{file}: not a Parquet table that can be read ({error}). Export it again."
        ) from error
    return cells, [f"{file.name}, row {row}" for row in range(1, count + 1)], False


def _is_parquet(file: Path) -> bool:
    """Say whether a file is Parquet; LabelError where it cannot be opened or is too large."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise LabelError(f"{file}: larger than {LARGEST_FILE >> 20} MiB, which no label file is.")
        with file.open("rb") as stream:
            return stream.read(4) == b"PAR1" or file.suffix == ".parquet"
    except OSError as error:
        raise LabelError(f"{file}: cannot be read ({error.strerror}). Give a file with labels.") from error


def _texts(cells: list[Any] | None, count: int) -> list[str]:
    """Return a column as texts, "" where there is none."""
    if cells is None:
        return [""] * count
    return [
        cell if isinstance(cell, str) else "" if cell is None or cell != cell else str(cell) for cell in cells
    ]


def _numbers(cells: list[Any] | None, count: int, comma: bool) -> tuple[Float64, Bool]:
    """Return a column as float64 (NaN = none), and where something stands that is no finite number."""
    if cells is None:
        return np.full(count, np.nan), np.zeros(count, bool)
    values = np.array([_number(cell, comma) for cell in cells], np.float64)
    bad = np.isinf(values)  # stands for texts that are no numbers, too
    values[bad] = np.nan
    return values, bad


def _number(cell: Any, comma: bool) -> float:
    """Return one number: NaN for an empty cell, infinity for what is no number."""
    if isinstance(cell, str):
        value = as_number(cell, comma=comma)
        return value if value == value or not cell.strip() else np.inf
    return np.nan if cell is None else float(cell) if isinstance(cell, int | float) else np.inf


def _boxes(cells: Mapping[str, list[Any]], count: int, comma: bool) -> tuple[Float64, Bool]:
    """Return x, y, w, h (n, 4) with NaN where there is no box, and which of them are only half there."""
    columns = {name: _numbers(cells.get(name), count, comma) for name in (*"xywh", *CORNERS)}
    for values, bad in columns.values():
        bad |= np.abs(values) >= 1e7  # no image is so large
        values[bad] = np.nan
    there = {name: ~np.isnan(values) | bad for name, (values, bad) in columns.items()}
    corners = np.any([there[name] for name in CORNERS], axis=0)
    plain = np.stack([columns[name][0] for name in "xywh"], axis=1)
    ends = np.stack([columns[name][0] for name in CORNERS], axis=1)
    ends[:, 2:] -= ends[:, :2]
    boxes = np.where(corners[:, None], ends, plain)
    # `width` and `height` alone are the size of the image, not half a box.
    given = corners | there["x"] | there["y"]
    boxes[~given] = np.nan
    return boxes, given & np.isnan(boxes).any(axis=1)


def _masks(cells: list[Any] | None, count: int) -> tuple[list[tuple[int, ...]], Bool]:
    """Return masks as run lengths, () where there is none, and which cells hold something else."""
    masks = [_mask(cell) for cell in cells] if cells is not None else [()] * count
    return [mask or () for mask in masks], np.array([mask is None for mask in masks], bool)


def _mask(cell: Any) -> tuple[int, ...] | None:
    """Return the run lengths that a cell holds, None where it holds none that can be."""
    if isinstance(cell, str):
        cell = cell.translate(SPACES).split()
    try:
        counts = tuple(int(run) for run in list_cell(cell))
    except (ValueError, TypeError):
        return None
    if counts and (min(counts) < 0 or sum(counts) > LARGEST_IMAGE or not sum(counts[1::2])):
        return None
    return counts
