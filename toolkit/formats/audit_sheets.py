"""The sheet of an audit: proposals drawn at random, each with an empty cell for what a person says of it.

A CSV with a row for each proposal: number (as on the page beside it), label_id, image, x, y, w, h (pixels;
empty for a label of the whole image), label, score, verdict, audit (its name). The verdict is ``yes``,
``no``, or the class that it is instead; an empty one says nothing. A class that is itself called yes, y, no
or n is written ``class:no``.
"""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dinonat.errors import LabelError
from dinonat.files import write_bytes
from dinonat.formats.handover import LABEL_ID, Incoming, Warn
from dinonat.formats.tables import as_number, parse_csv
from dinonat.records import ACCEPTED, INCOMING_COLUMNS, REJECTED, as_table

FILE = "audit.csv"  # its name in the folder of the audit
VERDICT, AUDIT = "verdict", "audit"
COLUMNS = ("number", LABEL_ID, "image", *"xywh", "label", "score", VERDICT, AUDIT)
NEEDED = (LABEL_ID, "image", "label", VERDICT, AUDIT)
YES, NO = ("yes", "y"), ("no", "n")
CLASS = "class:"  # before a class that would be read as an answer


@dataclass(frozen=True, eq=False)
class Sheet:
    """What an audit that came back says."""

    audit: str  # its name
    incoming: Incoming  # the rows that were answered
    rows: int  # answered or not


def spelled(label: str) -> str:
    """Return a class as it is written for a verdict.

    >>> spelled("tram"), spelled("No")
    ('tram', 'class:No')
    """
    return f"{CLASS}{label}" if label.strip().casefold() in (*YES, *NO) else label


def sheet_rows(proposals: pd.DataFrame, *, audit: str) -> list[list[str | int]]:
    """Return the cells (COLUMNS) of the sheet for ``proposals`` (PROPOSAL_COLUMNS), in their order."""
    rows: list[list[str | int]] = []
    for number, row in enumerate(proposals.to_dict("records"), start=1):
        box = ["" if row["kind"] == "image" else f"{float(row[side]):.2f}" for side in "xywh"]
        score = "" if row["score"] != row["score"] else f"{float(row['score']):.6g}"
        texts = [str(row[name]) for name in ("proposal", "image")]
        rows.append([number, *texts, *box, str(row["label"]), score, "", audit])
    return rows


def write(proposals: pd.DataFrame, file: Path, *, audit: str) -> None:
    """Write the sheet for ``proposals`` (PROPOSAL_COLUMNS)."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *sheet_rows(proposals, audit=audit)])
    write_bytes(file, stream.getvalue().encode())


def is_sheet(path: Path) -> bool:
    """Say whether a file is such a sheet: a CSV with its columns, whatever else a program added."""
    if not path.is_file() or path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return False
    with path.open("rb") as stream:
        first = stream.readline(4096).decode("utf-8-sig", errors="replace").lower()
    return VERDICT in first and LABEL_ID in first and AUDIT in first


def asks_about(path: Path, proposals: pd.DataFrame) -> bool:
    """Say whether all rows of a sheet, answered or not, are of these ``proposals`` with these labels."""
    try:
        header, rows, _ = parse_csv(path, exact=True)
    except LabelError:
        return False
    if LABEL_ID not in header or "label" not in header:
        return False
    named, called = header.index(LABEL_ID), header.index("label")
    own = {(row[named].strip(), row[called]) for _, row in rows if len(row) > max(named, called)}
    return own <= set(zip(proposals["proposal"].astype("str"), proposals["label"].astype("str"), strict=True))


def label_ids(path: Path) -> list[str]:
    """Return the labels that a sheet asks about, answered or not, in its order; none where there is none."""
    try:
        header, rows, _ = parse_csv(path, exact=True)
    except LabelError:
        return []
    if LABEL_ID not in header:
        return []
    named = header.index(LABEL_ID)
    return [row[named].strip() for _, row in rows if len(row) > named]


def read(path: Path, *, warn: Warn) -> Sheet:
    """Read the answered rows of a sheet; ``warn`` gets a sentence for what is not answered.

    No row that is missing or empty removes a label. A verdict that is neither yes nor no is the class that
    the item is instead. Raises LabelError where a column is missing, rows are of several audits, or no
    row is answered.
    """
    header, rows, comma = parse_csv(path, exact=True)
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise LabelError(f"{path}: no column {missing[0]!r}. Take the sheet that `dinotool select` wrote.")
    cells = [
        {name: _cell(name, row[i]) if i < len(row) else "" for i, name in enumerate(header)}
        for _, row in rows
    ]
    audits = sorted({row[AUDIT] for row in cells} - {""})
    if len(audits) != 1:
        named = ", ".join(audits) or "none"
        raise LabelError(f"{path}: rows of one audit were expected, got {named}. Bring each in by itself.")
    answered = [
        _answered(row, comma, f"{path.name}, line {line}")
        for row, (line, _) in zip(cells, rows, strict=True)
        if row[VERDICT]
    ]
    labels = {row["label"] for row in cells}
    _remark(path, answered, len(cells), labels, warn)
    short = {row[VERDICT].casefold() for row in cells}
    for label in sorted(label for label in labels if label.casefold() in short & {*YES, *NO}):
        warn(
            f"{path}: the verdict {label!r} is taken for the answer, though a class is called so. Where the "
            f"class was meant, write {spelled(label)}."
        )
    table = as_table(answered, INCOMING_COLUMNS)
    # "": nothing that is not in a sheet was removed; it is a sample.
    incoming = Incoming(table, tuple(dict.fromkeys(table["image"])), unread=("",))
    return Sheet(audits[0], incoming, len(cells))


def _cell(name: str, text: str) -> str:
    """Return a cell; names of images and classes may begin with a space, what a person wrote does not."""
    return text if name in ("image", "label") else text.strip()


def _answered(row: dict[str, str], comma: bool, where: str) -> dict[str, object]:
    """Return a row of INCOMING_COLUMNS."""
    said = row[VERDICT].casefold()
    box = [as_number(row.get(side, ""), comma=comma) for side in "xywh"]
    return {
        "image": row["image"],
        "kind": "region" if box[0] == box[0] else "image",
        "label": row["label"] if said in (*YES, *NO) else _class_of(row[VERDICT]),
        **dict(zip("xywh", box, strict=True)),
        "mask_counts": (),
        "label_id": row[LABEL_ID],
        "status": REJECTED if said in NO else ACCEPTED,
        "score": as_number(row.get("score", ""), comma=comma),
        "where": where,
    }


def _class_of(verdict: str) -> str:
    """Return the class that a verdict names."""
    plain = verdict.removeprefix(CLASS).strip()
    return plain if spelled(plain) != plain else verdict


def _remark(path: Path, answered: list[dict[str, object]], rows: int, labels: set[str], warn: Warn) -> None:
    """Say what is not answered, and which verdicts are none of the ``labels``; LabelError for no answer."""
    if not answered:
        raise LabelError(
            f"{path}: none of its {rows} rows is answered. Write yes, no or the right class into the column "
            f"{VERDICT}."
        )
    strange = Counter(str(row["label"]) for row in answered if row["label"] not in labels)
    for label, count in sorted(strange.items()):
        warn(f"{path}: the verdict {label!r} ({count} rows) is a class of its own: nobody proposed it.")
    if len(answered) < rows:
        warn(
            f"{path}: {rows - len(answered)} of {rows} rows are not answered and say nothing. Where "
            "the hard ones are left out, the proposals look better than they are."
        )
