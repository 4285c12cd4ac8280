"""What an export hands to a format, and what a format gives back: written, read, found wrong."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dinonat.geometry import mask_area
from dinonat.records import INCOMING_COLUMNS, TEMPERATURE_COLUMNS, as_table

Masks = Literal["auto", "polygon", "rle"]
Warn = Callable[[str], object]  # receives one sentence
Fault = tuple[str, str]  # (where: "annotation 17", "a.xml, line 3"; what it is, what it does and the mend)
Sizes = Mapping[str, tuple[int, int]]  # image, as a file may name it -> (height, width)
Picture = Callable[[str, str], str]  # (split, file name) -> where that picture lies below the export

# What a person or a tool may want to know of a label beside its class, box and mask.
TEXTS = ("status", "advice", "reason", "source", "model", "prepare", "unit")
NUMBERS = ("score", "similarity", "objectness", "margin", "lo", "hi", *TEMPERATURE_COLUMNS)
LABEL_ID = "label_id"  # the name of a label's id in every file: never reused, never changed

# What is lost on the way to any format, before it is written.
NOT_A_BOX = "boxes without area inside the image: left out"
CUT = "boxes that reached over the border of their image: cut"
ROUNDED = "boxes given in fractions below a hundredth of a pixel: rounded to hundredths"
BAD_MASK = "masks that do not fill their image or are empty: written as boxes"
# What single formats cannot hold.
NO_SCORES = "scores: this format has no place for them"
NO_FACTS = "status, reason, temperatures and other facts of a label: this format has no place for them"
NO_IDS = "ids of labels: this format has no place for them; a corrected file is matched by place"
NO_MASKS = "masks: written as boxes"
MASKS_BOX = "boxes that differ from their mask's: the mask's box is what the file says"
WHOLE_IMAGE = "labels of whole images: this format has none, they are in image_labels.csv"
NO_BOXES = "boxes: this format holds labels of whole images only"


@dataclass(frozen=True, eq=False)
class Outgoing:
    """What is to be written; made by `outgoing`, so that every format is given the same clean labels.

    ``labels`` has a row for each label, ordered by image and id: proposal (its id), kind ("region" or
    "image"), label, x, y, w, h (float64, in hundredths of a pixel, inside the image; NaN for labels of
    whole images), mask_counts (a tuple of COCO run lengths of the whole image; () = no mask), cluster (-1
    = none), TEXTS, NUMBERS (NaN = none), and two numbers that save looking up: ``at`` (row of its image in
    ``images``) and ``number`` (place of its class in ``classes``). Columns of texts may be categorical.
    ``images`` has a row for each image, labelled or not, ordered by name: image (the name in the set),
    file_name (what the file is to call it), width, height, split ("" where nothing is split).
    """

    labels: pd.DataFrame
    images: pd.DataFrame
    classes: tuple[str, ...]  # the place is the export id, for ever; unused ones stay in
    name: str = "export"  # of the export; formats that can, write it into the file
    masks: Masks = "auto"  # "rle" and "polygon" ask for one form always, "auto" for what says it exactly
    category_base: int = 1  # number of the first class, where a format numbers them
    voc_base: int = 0  # 1: VOC boxes as its authors meant them, 1-based and inclusive
    multipart: Literal["bridge", "split"] = "bridge"  # a mask of several parts where one ring must do
    losses: Mapping[str, int] = field(default_factory=dict)  # sentence -> labels, found by `outgoing`


@dataclass(frozen=True)
class Written:
    """What an export holds, and what the format could not."""

    files: tuple[str, ...]  # relative to the folder, the most important first
    annotations: int  # labels of regions in them
    image_labels: int
    losses: Mapping[str, int]  # sentence -> how many labels or images it concerns


@dataclass(frozen=True, eq=False)
class Incoming:
    """What a file of labels says; images are named as the file names them."""

    labels: pd.DataFrame  # INCOMING_COLUMNS
    images: tuple[str, ...]  # every image that the file lists, labelled or not
    step: float = 0.005  # pixels by which a box can differ that nobody has touched
    export: str = ""  # the export that it says it came from
    # Images of which something could not be read: what is missing there, nobody has removed. "" = of which
    # image is not known, so nothing that is missing anywhere was removed.
    unread: tuple[str, ...] = ()
    sizes: Sizes = field(default_factory=dict)  # image -> (height, width), where the file states it


@dataclass(frozen=True)
class Check:
    """What is known when a file is checked."""

    target: str = ""  # for which tool: "coco", "cvat", "datumaro", ...; "" = for all that read the format
    images: Path | None = None  # folder of the images, to find missing ones and wrong sizes
    category_base: int = 1


def outgoing(labels: pd.DataFrame, images: pd.DataFrame, classes: Sequence[str], **more: Any) -> Outgoing:
    """Return labels as every format takes them: clipped, on hundredths of a pixel, in order.

    ``labels`` are rows of PROPOSAL_COLUMNS (neighbours may be missing); ``images`` has image, width,
    height, and may have file_name and split. ``more`` are the other fields of Outgoing. Raises KeyError
    where a label names an image or a class that is not listed: a defect of the caller.
    """
    listed = images.sort_values("image", kind="stable").reset_index(drop=True)
    listed = listed.assign(file_name=listed.get("file_name", listed["image"]), split=listed.get("split", ""))[
        ["image", "file_name", "width", "height", "split"]
    ]
    at = _places(labels["image"], listed["image"])
    number = _places(labels["label"], classes)
    for places, column in ((at, "image"), (number, "label")):
        if (places < 0).any():
            raise KeyError(f"{column} {labels[column].iloc[int(np.argmin(places))]!r} is not listed")
    order = _ordered(at, labels["proposal"])
    rows = labels.iloc[order].reset_index(drop=True)
    rows = rows.assign(at=at[order], number=number[order])
    losses = Counter[str]()
    sizes = listed[["height", "width"]].to_numpy(np.int64)[rows["at"].to_numpy()].reshape(-1, 2)
    rows = _with_boxes(rows, sizes, losses)
    sizes = listed[["height", "width"]].to_numpy(np.int64)[rows["at"].to_numpy()].reshape(-1, 2)
    masks = _masks(rows["mask_counts"], sizes[:, 0] * sizes[:, 1], losses)
    rows["mask_counts"] = pd.Series(masks, index=rows.index, dtype=object)  # of no masks, too
    found = {text: count for text, count in losses.items() if count}
    return Outgoing(rows, listed, tuple(classes), losses=found, **more)


def incoming(
    rows: Iterable[Mapping[str, Any]],
    images: Iterable[str],
    *,
    step: float = 0.005,
    export: str = "",
    unread: Iterable[str] = (),
    sizes: Sizes | None = None,
) -> Incoming:
    """Return what was read; each row needs image and label, and what INCOMING_COLUMNS has beside, if known.

    Boxes are put on hundredths of a pixel, in which we write them, so that percent and shares of a
    width come back as what they were.
    """
    default = {
        "kind": "region", "mask_counts": (), LABEL_ID: "", "status": "", "score": np.nan, "where": "",
        **dict.fromkeys("xywh", np.nan),
    }  # fmt: skip
    table = as_table([{**default, **row} for row in rows], INCOMING_COLUMNS)
    table[list("xywh")] = table[list("xywh")].round(2)
    listed, missing = tuple(dict.fromkeys(images)), tuple(dict.fromkeys(unread))
    return Incoming(table, listed, step=step, export=export, unread=missing, sizes=sizes or {})


def sentences(found: Iterable[Fault]) -> list[str]:
    """Return one sentence for each kind of fault: its first place, and how many more there are."""
    places: dict[str, list[str]] = {}
    for where, what in found:
        places.setdefault(what, []).append(where)
    return [
        f"{where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}: {what}"
        for what, where in places.items()
    ]


def list_cell(values: Any) -> list[Any]:
    """Return a list cell of a table as a list; Parquet gives arrays, and None for no list."""
    if values is None or isinstance(values, float):
        return []
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _with_boxes(rows: pd.DataFrame, sizes_hw: np.ndarray, losses: Counter[str]) -> pd.DataFrame:
    """Put the boxes on hundredths of a pixel inside their image; leave out those without area."""
    regions = (rows["kind"] == "region").to_numpy()
    given = rows[list("xywh")].to_numpy(np.float64, copy=True)
    given[~regions] = np.nan
    # float32 to hundredths: what a table stores as 10.3 is 10.30000019, and nobody gave those digits.
    low, high = np.round(given[:, :2], 2), np.round(given[:, :2] + given[:, 2:], 2)
    exact = np.abs(np.concatenate([low - given[:, :2], high - given[:, :2] - given[:, 2:]], axis=1))
    coarse = (exact > 1e-6 * np.maximum(1, np.abs(np.concatenate([low, high], axis=1)))).any(axis=1)
    inside = _clipped(np.concatenate([low, high - low], axis=1), sizes_hw)
    inside[:, 2:] = np.round(inside[:, 2:], 2)
    with np.errstate(invalid="ignore"):
        usable = ~regions | (np.isfinite(inside).all(axis=1) & (inside[:, 2:] > 0).all(axis=1))
        cut = (np.abs(inside - np.concatenate([low, high - low], axis=1)) > 0.001).any(axis=1)
    losses[NOT_A_BOX] += int((~usable).sum())
    losses[CUT] += int((usable & regions & cut).sum())
    losses[ROUNDED] += int((usable & regions & coarse).sum())
    kept: pd.DataFrame = rows[usable].reset_index(drop=True)
    kept[list("xywh")] = inside[usable]
    return kept


def _clipped(boxes: np.ndarray, sizes_hw: np.ndarray) -> np.ndarray:
    """Cut boxes (n, 4) to images of sizes (n, 2), as `clip_xywh` does for one size."""
    limit = sizes_hw[:, ::-1]
    low = np.clip(boxes[:, :2], 0, limit)
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, limit)
    return np.concatenate([low, np.clip(high - low, 0, None)], axis=1)


def _places(values: pd.Series, listed: Iterable[str]) -> np.ndarray:
    """Return the place of each value among the listed ones, -1 for those that are not there."""
    codes, found = pd.factorize(values)  # of texts that repeat, each is looked up once
    places = pd.Index(listed).get_indexer(pd.Index(found).astype("str"))
    return np.where(codes < 0, -1, places[codes])


def _ordered(at: np.ndarray, ids: pd.Series) -> np.ndarray:
    """Return the order by image, then by id; equal ones stay as they are."""
    table = pa.table({"at": at, "id": pa.array(ids.astype("str"), pa.large_string())})
    order: np.ndarray = pc.sort_indices(table, [("at", "ascending"), ("id", "ascending")]).to_numpy()
    return order


def _masks(cells: pd.Series, areas: np.ndarray, losses: Counter[str]) -> list[tuple[int, ...]]:
    """Return the run lengths as tuples; () for those that do not fill their image or hold nothing."""
    masks: list[tuple[int, ...]] = []
    for cell, pixels in zip(cells, areas.tolist(), strict=True):
        counts = cell if isinstance(cell, tuple) else tuple(list_cell(cell))
        if counts and (sum(counts) != pixels or min(counts) < 0 or not mask_area(counts)):
            losses[BAD_MASK] += 1
            counts = ()
        masks.append(counts)
    return masks
