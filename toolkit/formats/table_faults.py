"""What is wrong with a table of labels: what it costs when it is read, and the mend."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from dinonat.formats.handover import LABEL_ID, Fault, Sizes
from dinonat.formats.table_rows import Float64, Images, Rows
from dinonat.records import Bool


class Rule(NamedTuple):
    """What a row that breaks a rule costs, and what is said of it."""

    costs: Literal["row", "mask", ""]
    said: str  # when it is read; "" = not worth a word
    fault: str


class Finding(NamedTuple):
    """One rule, and which rows break it."""

    rows: Bool
    rule: Rule


RULES = {  # those that cost a row first
    "image": Rule(
        "row",
        "that name no image are left out",
        "names no image, so no reader knows what is labelled. Write its name or delete the row.",
    ),
    "label": Rule(
        "row",
        "without a class are left out",
        "names no class and is left out when it is read. Write one or delete the row.",
    ),
    "kind": Rule(
        "row",
        "whose kind is neither region nor image are left out",
        "its kind is neither 'region' nor 'image' and it is left out when read. Write one of both.",
    ),
    "half box": Rule(
        "row",
        "with half a box, or a region's without one, are left out",
        "a box of which a number is missing or is none; it is left out when it is read. Write x,y,w,h.",
    ),
    "flat box": Rule(
        "row",
        "whose box has no width or height are left out",
        "a box without width or height; it is left out when it is read. Write positive w and h.",
    ),
    "mask": Rule(
        "mask",
        "whose mask does not fill its image are read as boxes",
        "a mask that is empty, or whose run lengths do not add up to width x height of its image: "
        "it is read as a box. Spreadsheet programs cut long cells; take it from the first export.",
    ),
    "no score": Rule(
        "",
        "whose score is no number are read without it",
        "a score that is no number; it is read as none. Leave the cell empty.",
    ),
    "outside": Rule(
        "", "", "a box that reaches outside its image, which trainers cut or stumble over. Cut it."
    ),
    "score": Rule("", "", "a score outside 0 to 1. Write a share, not percent."),
    "label_id": Rule(
        "",
        "",
        "a label_id that an earlier row has: both claim one label when they are "
        "imported. Leave the cell of the copy empty.",
    ),
    "unlisted": Rule(
        "", "", "names an image that the table of images does not list. Add it there, or mend the name."
    ),
}


def judge(rows: Rows, sizes: Sizes, *, listed: Iterable[str] = ()) -> Iterator[Finding]:
    """Yield each rule with the rows that break it, those that cost a row first."""
    stated = [sizes.get(name, (np.nan, np.nan)) for name in rows.table["image"]]
    size = np.array(stated, np.float64).reshape(-1, 2)
    broken = {**_texts(rows.table, set(listed)), **_boxes(rows, size)}
    broken["mask"] = rows.bad_masks | _do_not_fill(rows.table["mask_counts"], size)
    broken["no score"] = rows.bad_scores
    broken["score"] = ((rows.table["score"] < 0) | (rows.table["score"] > 1)).to_numpy(bool)
    for name, rule in RULES.items():
        yield Finding(broken[name], rule)


def _texts(table: pd.DataFrame, listed: set[str]) -> dict[str, Bool]:
    """Return the rows that break each rule of texts; no images listed: there is no table of them."""
    image, label, own = (table[name] for name in ("image", "label", LABEL_ID))
    unlisted = ~image.isin(listed) & (image != "") & bool(listed)
    broken = {
        "image": image == "",
        "label": label == "",
        "kind": ~table["kind"].isin(["region", "image"]),
        "label_id": (own != "") & own.duplicated(),
        "unlisted": unlisted,
    }
    return {name: rows.to_numpy(bool) for name, rows in broken.items()}


def _boxes(rows: Rows, size_hw: Float64) -> dict[str, Bool]:
    """Return the rows that break each rule of boxes; sizes (n, 2) are NaN where they are not known."""
    box = rows.table[list("xywh")].to_numpy(np.float64)
    regions = (rows.table["kind"] == "region").to_numpy(bool)
    half = regions & (rows.half_boxes | np.isnan(box).any(axis=1))
    low, high = box[:, :2].min(axis=1, initial=0), box[:, :2] + box[:, 2:]
    with np.errstate(invalid="ignore"):
        flat = (box[:, 2:] <= 0).any(axis=1)
        # Half a hundredth of a pixel: what writing with two decimals may add.
        outside = (low < -0.005) | (high > size_hw[:, ::-1] + 0.005).any(axis=1)
    whole = regions & ~half
    return {"half box": half, "flat box": whole & flat, "outside": whole & outside}


def faults_of_images(images: Images, folder: Path | None) -> Iterator[Fault]:
    """Yield what is wrong with a table of images; ``folder`` holds the pictures, None = do not look."""
    seen: set[str] = set()
    for name, file_name, where in zip(images.names, images.file_names, images.where, strict=True):
        if not name:
            yield where, "names no image. Write its name or delete the row."
            continue
        if name in seen:
            yield where, "an image that an earlier row lists: its size could be either. Keep one row."
        seen.add(name)
        if name not in images.sizes:
            yield where, "width and height are no whole positive numbers; boxes and masks cannot be checked."
        steps = file_name.replace("\\", "/").split("/")
        if not steps[0] or steps[0][1:2] == ":" or ".." in steps:
            yield where, "a file_name that leaves the folder of the images. Write it relative to that folder."
        elif folder is not None and not (folder / file_name).is_file():
            yield where, "its picture is not below the folder of the images. Add it, or mend file_name."


def _do_not_fill(masks: Iterable[tuple[int, ...]], size_hw: Float64) -> Bool:
    """Say which masks do not fill their image, where its size is known."""
    areas = (size_hw[:, 0] * size_hw[:, 1]).tolist()
    return np.array(
        [bool(mask) and area == area and sum(mask) != area for mask, area in zip(masks, areas, strict=True)],
        bool,
    )
