"""The section of a page that shows what to look at first: outliers, near duplicates, labels in doubt."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dinonat.images.batches import BY_DEFAULT, Shown, read_prepared
from dinonat.pages.gather import reference
from dinonat.pages.pictures import data_uri, thumbnail
from dinonat.pages.report import DoubtList, DoubtTile

MOST = 8  # pictures of a list; the file holds all of it
TITLES = {
    "label": "Labels in doubt",
    "duplicate": "Near duplicates",
    "outlier": "Like nothing else",
}  # kind of doubt (proposals.doubts) -> heading, in the order of the page


def doubt_lists(
    table: pd.DataFrame,
    sentences: Mapping[str, str],
    *,
    root: Path,
    shown: Shown = BY_DEFAULT,
    most: int = MOST,
) -> tuple[tuple[DoubtList, ...], tuple[str, ...]]:
    """Return the lists of ``table`` (DOUBT_COLUMNS), and a sentence for each picture that cannot be shown.

    ``sentences`` are those of the lists, kind of doubt -> sentence. Pictures lie below ``root``; ``shown`` is
    that of the set. Of duplicates one picture a group is shown, that which is kept.
    """
    lists, lost = [], []
    for kind, title in TITLES.items():
        rows = table[table["doubt"] == kind]
        first = rows.drop_duplicates("group") if kind == "duplicate" else rows
        taken = first.head(most).to_dict("records")
        names = [str(row["other"] if kind == "duplicate" else row["image"]) for row in taken]
        counts = rows["group"].value_counts()
        captions = [_caption(row, int(counts.get(row["group"], 0))) for row in taken]
        boxes = [_box(row) if kind != "duplicate" else None for row in taken]
        tiles, unseen = _tiles(names, captions, boxes, root, shown)
        lost += unseen
        if kind in sentences or tiles:
            lists.append(DoubtList(title, sentences.get(kind, ""), tiles, len(first) - len(taken)))
    return tuple(lists), tuple(lost)


def _caption(row: Mapping[object, object], group: int) -> str:
    """Say why a row is shown."""
    if row["doubt"] == "label":
        return f"labelled {row['label']}; what is alike says {row['other']}"
    if row["doubt"] == "duplicate":
        return f"repeated {'once' if group == 1 else f'{group:,} times'}"
    return f"{row['value']:.2f} alike at most to what is near it"


def _box(row: Mapping[object, object]) -> tuple[float, float, float, float] | None:
    if row["kind"] != "region":
        return None
    x, y, w, h = (float(str(row[side])) for side in "xywh")
    return x, y, w, h


def _tiles(
    names: Sequence[str],
    captions: Sequence[str],
    boxes: Sequence[tuple[float, float, float, float] | None],
    root: Path,
    shown: Shown,
) -> tuple[tuple[DoubtTile, ...], list[str]]:
    """Read and shrink pictures; those that cannot be read are said instead."""
    tiles, lost = [], []
    loaded_all = read_prepared([reference(root, name) for name in names], shown=shown)
    for name, caption, box, loaded in zip(names, captions, boxes, loaded_all, strict=True):
        if loaded.prepared is None:
            lost.append(f"{name}: not shown, {loaded.reason}")
            continue
        pixels = loaded.prepared.pixels
        height, width = pixels.shape[:2]
        tiles.append(DoubtTile(name, caption, data_uri(thumbnail(pixels, side=240)), width, height, box))
    return tuple(tiles), lost
