"""The page on which a person answers an audit: each proposal with its picture, yes, no, or what it is."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dinonat.files import short_hash
from dinonat.formats.audit_sheets import COLUMNS, sheet_rows, spelled
from dinonat.geometry import shown_around
from dinonat.images.batches import BY_DEFAULT, Shown, read_prepared
from dinonat.pages.gather import reference
from dinonat.pages.pictures import data_uri, thumbnail
from dinonat.pages.templating import template
from dinonat.records import UInt8


class Tile(NamedTuple):
    """One proposal on the page; the box is in pixels of the picture that is shown."""

    number: int
    name: str
    label: str
    address: str  # of the picture; "" where it cannot be read
    width: int
    height: int
    box: tuple[float, float, float, float] | None


def audit_page(
    drawn: pd.DataFrame, *, audit: str, classes: Sequence[str], root: Path, shown: Shown = BY_DEFAULT
) -> tuple[str, tuple[str, ...]]:
    """Return the page for ``drawn`` (PROPOSAL_COLUMNS), and a sentence for each picture that is lost.

    It needs no other file and asks no server; its script keeps the answers in the browser and saves
    them as the sheet (`formats.audit_sheets`) with the column of verdicts filled in. Scores are not shown:
    they would sway the answer.
    """
    names = list(dict.fromkeys(drawn["image"].astype("str")))
    loaded = zip(names, read_prepared([reference(root, name) for name in names], shown=shown), strict=True)
    pixels = {name: each.prepared.pixels if each.prepared else None for name, each in loaded}
    lost = tuple(f"{name}: not shown, it cannot be read any more." for name in names if pixels[name] is None)
    tiles = [
        _tile(number, row, pixels[str(row["image"])])
        for number, row in enumerate(drawn.to_dict("records"), start=1)
    ]
    rows = sheet_rows(drawn, audit=audit)
    page = template("audit.html").render(
        audit=audit,
        key=short_hash(audit, rows),  # answers that the browser keeps are of these rows
        tiles=tiles,
        classes=[spelled(label) for label in classes],
        columns=list(COLUMNS),
        rows=rows,
        boxed=any(tile.box for tile in tiles),
    )
    return page, lost


def _tile(number: int, row: Mapping[Hashable, Any], pixels: UInt8 | None) -> Tile:
    """Cut the picture of one proposal: the whole image, or the box with what is around it."""
    facts = number, str(row["image"]), str(row["label"])
    if pixels is None:
        return Tile(*facts, "", 1, 1, None)
    if row["kind"] == "image":
        return Tile(*facts, data_uri(thumbnail(pixels)), pixels.shape[1], pixels.shape[0], None)
    x, y, w, h = (float(row[side]) for side in "xywh")
    reach = shown_around(w, h)
    left, top = (max(0, int(np.floor(value - reach))) for value in (x, y))
    right, bottom = int(np.ceil(x + w + reach)), int(np.ceil(y + h + reach))
    cut = np.ascontiguousarray(pixels[top:bottom, left:right])
    return Tile(*facts, data_uri(thumbnail(cut)), cut.shape[1], cut.shape[0], (x - left, y - top, w, h))
