"""Labels as tables, CSV or Parquet: the one form of ours in which nothing is lost.

``labels`` has a row for each label: label_id, image (its name in the set), file_name (what the export
calls it), kind ("region" or "image"), label, x, y, w, h (pixels, x right, y down), mask (COCO run lengths
of the whole image, column by column, background first: "25 5 3" in CSV, a list in Parquet), split, and
every fact. ``images`` has a row for each image, labelled or not. Numbers have the digits that give the
same float back. A row can be changed, copied or deleted in any program: label_id says which label it was.

A spreadsheet program must be told to import all columns as text: it would run a class called "=cmd" as a
formula, read 1.5 as a date, and cut a mask at 32,767 characters. The files are not bent to prevent that.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from dinonat.errors import LabelError
from dinonat.formats.fault_places import as_fault
from dinonat.formats.handover import (
    LABEL_ID,
    NUMBERS,
    TEXTS,
    Check,
    Fault,
    Incoming,
    Outgoing,
    Sizes,
    Warn,
    Written,
)
from dinonat.formats.table_faults import faults_of_images, judge
from dinonat.formats.table_rows import Images, Rows, load_images, load_labels
from dinonat.formats.tables import as_arrow, write_table
from dinonat.records import INCOMING_COLUMNS, as_table

LABELS, IMAGES = "labels", "images"
LABEL_TABLE_COLUMNS = (
    LABEL_ID, "image", "file_name", "kind", "label", "x", "y", "w", "h", "mask", "split",
    *NUMBERS, *TEXTS, "cluster",
)  # fmt: skip
IMAGE_TABLE_COLUMNS = ("image", "file_name", "width", "height", "split", "export")


def write_csv(asked: Outgoing, folder: Path) -> Written:
    """Write labels.csv and images.csv; nothing is lost beyond ``asked.losses``."""
    return _write(asked, folder, "csv")


def write_parquet(asked: Outgoing, folder: Path) -> Written:
    """Write labels.parquet and images.parquet; nothing is lost beyond ``asked.losses``."""
    return _write(asked, folder, "parquet")


def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read labels.csv or labels.parquet, or the folder that holds one, and the images beside it.

    A CSV with ``image,label[,x,y,w,h]`` that a person wrote is read as well, whatever of the other
    columns it lacks, with ``;`` or tab between the cells and a comma in the numbers. A row that cannot
    be a label costs itself, a mask that cannot be one becomes a box; ``warn`` gets one sentence for
    each kind, and images of which a row is left out are ``unread``. ``sizes`` is asked where no table
    of images says how large an image is.

    Raises LabelError for a file that is no table or has no column for the image or the label.
    """
    file = _file(path)
    rows, images = _loaded(file)
    table, lost = rows.table, np.zeros(len(rows.table), bool)
    for finding in judge(rows, {**(sizes or {}), **images.sizes}):
        count = int((finding.rows & ~lost).sum())
        if not count:
            continue
        if finding.rule.costs == "mask":
            masks = zip(table["mask_counts"], finding.rows.tolist(), strict=True)
            table["mask_counts"] = [() if bad else mask for mask, bad in masks]
        elif finding.rule.costs == "row":
            lost |= finding.rows
        if finding.rule.said:
            warn(f"{file}: {count} row(s) {finding.rule.said}.")
    kept = as_table(table[~lost] if lost.any() else table, INCOMING_COLUMNS)
    boxes = kept[list("xywh")].to_numpy().round(2)
    boxes[(kept["kind"] == "image").to_numpy(bool)] = np.nan
    kept[list("xywh")] = boxes
    named = dict.fromkeys([*filter(None, images.names), *kept["image"]])
    unread = tuple(dict.fromkeys(table["image"][lost]))
    return Incoming(kept, tuple(named), export=images.export, unread=unread, sizes=images.sizes)


def faults(path: Path, check: Check) -> Iterator[Fault]:
    """Yield every fault of a table of labels and of the images beside it, in words.

    More columns than ours are no fault. A file that cannot be read is one.
    """
    try:
        file = _file(path)
        rows, images = _loaded(file)
    except LabelError as error:
        yield as_fault(error, path)
        return
    yield from faults_of_images(images, check.images)
    for finding in judge(rows, images.sizes, listed=images.names):
        for where in rows.table["where"][finding.rows]:
            yield where, finding.rule.fault


def picture(split: str, file_name: str) -> str:
    """Return where a picture lies below the folder."""
    return f"images/{split}/{file_name}" if split else f"images/{file_name}"


def _write(asked: Outgoing, folder: Path, kind: Literal["csv", "parquet"]) -> Written:
    """Write both tables as ``kind``."""
    files = (f"{LABELS}.{kind}", f"{IMAGES}.{kind}")
    texts = kind == "csv"
    for name, table in zip(files, (_labels(asked, texts), _images(asked)), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        write_table(table, folder / name) if texts else parquet.write_table(table, folder / name)
    whole = int((asked.labels["kind"] == "image").sum())
    return Written(files, len(asked.labels) - whole, whole, dict(asked.losses))


def _labels(asked: Outgoing, texts: bool) -> pa.Table:
    """Return the table of labels; ``texts`` asks for masks as texts."""
    rows = asked.labels
    own = asked.images.take(rows["at"].to_numpy())
    masks = pa.array(rows["mask_counts"].tolist(), pa.list_(pa.int32()))
    cluster = pa.array(rows["cluster"].to_numpy(np.int32), mask=(rows["cluster"] < 0).to_numpy())
    other: dict[str, Any] = {
        LABEL_ID: as_arrow(rows["proposal"]),
        "mask": pc.binary_join(masks.cast(pa.list_(pa.string())), " ") if texts else masks,
        **{name: as_arrow(own[name]) for name in ("image", "file_name", "split")},
        **{name: _doubles(rows[name]) for name in "xywh"},
        "cluster": cluster,
    }
    other |= {name: as_arrow(rows[name]) for name in LABEL_TABLE_COLUMNS if name not in other}
    return pa.table({name: other[name] for name in LABEL_TABLE_COLUMNS})


def _images(asked: Outgoing) -> pa.Table:
    """Return the table of images."""
    listed = asked.images.assign(export=asked.name)
    numbers = {name: pa.array(listed[name].to_numpy(np.int32)) for name in ("width", "height")}
    return pa.table({name: numbers.get(name, as_arrow(listed[name])) for name in IMAGE_TABLE_COLUMNS})


def _doubles(column: pd.Series) -> pa.Array:
    """Return float64 with null for NaN."""
    values = column.to_numpy(np.float64)
    return pa.array(values, mask=np.isnan(values))


def _file(path: Path) -> Path:
    """Return the table of labels that a path means."""
    if not path.is_dir():
        return path
    first = path / f"{LABELS}.parquet"
    return first if first.is_file() else path / f"{LABELS}.csv"


def _loaded(file: Path) -> tuple[Rows, Images]:
    """Return the labels and the images beside them; a row may name an image as the export does, too."""
    rows, images = load_labels(file), load_images(_beside(file))
    known = dict(zip(images.file_names, images.names, strict=True)) | {name: name for name in images.names}
    rows.table["image"] = [known.get(name, name) for name in rows.table["image"]]
    return rows, images


def _beside(file: Path) -> Path:
    """Return where the table of images lies, if there is one."""
    return file.with_name(f"{IMAGES}{file.suffix}")
