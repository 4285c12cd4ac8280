"""Labels of whole images as CSV, for the formats that hold only boxes: ``image_labels.csv`` beside theirs."""

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from dinonat.errors import LabelError
from dinonat.formats.handover import LABEL_ID, NUMBERS, TEXTS
from dinonat.formats.matching import Warn
from dinonat.formats.tables import as_arrow, as_number, column_of, parse_csv, write_table

IMAGE_LABELS = "image_labels.csv"
IMAGE_LABEL_COLUMNS = (LABEL_ID, "image", "label", *NUMBERS, *TEXTS, "cluster")


def write_image_labels(labels: pd.DataFrame, path: Path) -> int:
    """Write the rows of kind "image" as CSV with IMAGE_LABEL_COLUMNS; return how many there are.

    ``labels`` are those of Outgoing. COCO, VOC and YOLO cannot hold the label of a whole image, so this
    file lies beside theirs. Nothing is left out or rounded: numbers have the digits by which they come
    back as the same float32, and those that do not exist are empty cells. Texts stay what they are:
    who opens the file in a spreadsheet program imports all columns as text, because a class called
    "=cmd" would be run there as a formula.
    """
    rows = labels[labels["kind"] == "image"].sort_values(["image", "proposal"], kind="stable")
    columns = {name: as_arrow(rows["proposal" if name == LABEL_ID else name]) for name in IMAGE_LABEL_COLUMNS}
    columns["cluster"] = as_arrow(rows["cluster"].where(rows["cluster"] >= 0).astype("float64"))
    write_table(pa.table(columns), path)
    return len(rows)


def read_image_labels(
    path: Path, *, warn: Warn = warnings.warn, unread: list[str] | None = None
) -> list[dict[str, Any]]:
    """Read what `write_image_labels` wrote as rows for `handover.incoming`; [] where there is no file.

    The columns may stand in any order and more may be there. Rows that name no image or no class are
    left out: ``warn`` gets one sentence for them, and ``unread`` their images ("" where none is named).
    What is no number as a score is no score.
    Raises LabelError for a file that is no CSV or has no column for the image or the label.
    """
    if not path.exists():
        return []
    header, rows, comma = parse_csv(path, exact=True)
    at = {name: column_of(header, name) for name in ("image", "label")}
    for name in at:
        if at[name] is None:
            raise LabelError(f"{path}: no column {name!r}; its header is {', '.join(header)}. Put it back.")
    # An export of an earlier version calls the id of a label "proposal".
    at[LABEL_ID] = next((header.index(name) for name in (LABEL_ID, "proposal") if name in header), None)
    at |= {name: header.index(name) if name in header else None for name in ("status", "score")}
    found, lost = [], Counter[str]()
    for line, row in rows:
        cells = {name: row[i] if i is not None and i < len(row) else "" for name, i in at.items()}
        if not cells["image"] or not cells["label"]:
            lost["image" if not cells["image"] else "class"] += 1
            if unread is not None:
                unread.append(cells["image"])
            continue
        score = as_number(cells.pop("score"), comma=comma)
        found.append({**cells, "kind": "image", "score": score, "where": f"{path.name}, line {line}"})
    for name, count in sorted(lost.items()):
        warn(f"{path}: {count} row(s) that name no {name} are left out.")
    return found
