"""COCO instances: written so that every reader takes it the first time, read, and checked.

The rules and the readers they were found with: pycocotools, faster-coco-eval, datumaro, CVAT,
labelformat, globox. One pixel grid: the picture as EXIF turns it. Labels of whole images have no
place in COCO; they go to ``image_labels.csv`` beside it, never into boxes of the whole image.
"""

import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from dinonat.errors import LabelError
from dinonat.files import write_bytes
from dinonat.formats import coco_rules
from dinonat.formats.coco_masks import segmentation
from dinonat.formats.handover import Masks, list_cell
from dinonat.formats.matching import Warn
from dinonat.formats.tables import read_text, write_image_labels
from dinonat.geometry import clip_xywh
from dinonat.records import LABEL_COLUMNS, TEMPERATURE_COLUMNS, as_table

ANNOTATIONS = "annotations/instances_default.json"  # datumaro's and CVAT's place for the subset "default"
PICTURES = "images/default"
IMAGE_LABELS = "image_labels.csv"

ATTRIBUTE_TEXTS = ("proposal", "status", "advice", "reason", "source", "model", "prepare", "unit")
ATTRIBUTE_NUMBERS = ("similarity", "objectness", "margin", "lo", "hi")

NOT_A_BOX = "boxes without area inside the image: left out"
WHOLE_IMAGE = f"labels of whole images: COCO has none, they are in {IMAGE_LABELS}"
VOTERS = "lists of the labelled neighbours that voted: only in proposals.parquet"
FRAMES = "images that are one frame of a file: named path#frame, which only dinotool can open; see --proxies"


@dataclass(frozen=True)
class Written:
    """What an export holds, and what the format could not."""

    files: tuple[str, ...]  # relative to the folder
    annotations: int
    image_labels: int
    losses: Mapping[str, int]  # sentence -> how many labels or images it concerns


def write(
    proposals: pd.DataFrame,
    folder: Path,
    *,
    images: pd.DataFrame,
    classes: Sequence[str],
    masks: Masks = "auto",
    category_base: int = 1,
) -> Written:
    """Write proposals as COCO under ``folder``; equal input gives equal bytes.

    Parameters
    ----------
    proposals
        Table of PROPOSAL_COLUMNS: rows of kind "region" become annotations, rows of kind "image"
        lines of ``image_labels.csv``. Boxes in pixels, clipped here.
    folder
        Receives ``annotations/instances_default.json``, where there are any the image labels, and
        ``images/default``, empty unless proxies were put there.
    images
        Columns ``image, width, height`` (EXIF applied) of every image, labelled or not; a column
        ``file_name``, if any, is what the file says instead, with the image's own name under ``raw``.
    classes
        Names in the order of their category ids; unused ones stay in.
    masks
        "auto": polygons, and run lengths where a mask has holes; "polygon": always polygons, holes
        filled; "rle": always run lengths.
    category_base
        Id of the first category. 0 is refused or misread by CVAT and datumaro.

    Raises LabelError where a label is not among ``classes`` or an image not among ``images``.
    """
    losses: Counter[str] = Counter()
    ordered = images.sort_values("image", kind="stable").itertuples(index=False)
    listed = [_image_entry(number, row) for number, row in enumerate(ordered, start=1)]
    ids = {entry.get("raw", entry["file_name"]): entry for entry in listed}
    numbers = {name: number for number, name in enumerate(classes, start=category_base)}
    losses[FRAMES] = sum(bool(re.search(r"#\d+$", entry["file_name"])) for entry in listed)
    entries: list[dict[str, Any]] = []
    regions = proposals[proposals["kind"] == "region"].sort_values(["image", "proposal"], kind="stable")
    own = [_known(ids, name, "image") for name in regions["image"]]
    boxes = _boxes(regions, [(image["height"], image["width"]) for image in own])
    for row, image, box in zip(regions.itertuples(index=False), own, boxes, strict=True):
        if box is None:
            losses[NOT_A_BOX] += 1
            continue
        category = _known(numbers, str(row.label), "class")
        entries.append(_annotation(row, len(entries) + 1, image, category, box, masks=masks, losses=losses))
        losses[VOTERS] += len(list_cell(row.neighbours)) > 0
    categories = [{"id": number, "name": name, "supercategory": ""} for name, number in numbers.items()]
    write_bytes(folder / ANNOTATIONS, _document(categories, listed, entries))
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)  # datumaro refuses annotations without it
    files, whole = [ANNOTATIONS], int((proposals["kind"] == "image").sum())
    if whole:
        write_image_labels(proposals, folder / IMAGE_LABELS)
        files.append(IMAGE_LABELS)
        losses[WHOLE_IMAGE] = whole
    else:
        (folder / IMAGE_LABELS).unlink(missing_ok=True)  # of an earlier export into the same folder
    return Written(tuple(files), len(entries), whole, {text: n for text, n in sorted(losses.items()) if n})


def read(path: Path, *, warn: Warn = warnings.warn) -> pd.DataFrame:
    """Read the boxes of a COCO file into a table of LABEL_COLUMNS, in pixels.

    Crowd annotations are left out: they are no single object. An annotation that names an unknown
    image or category, or has no usable box, costs itself; ``warn`` gets one sentence for each kind.
    Raises LabelError where the file is not COCO or holds no box.
    """
    coco = load(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(coco.get(key), list):
            raise LabelError(f"{path}: no list {key!r} in it, so it is not COCO. Give an instances file.")
    names = {_hashable(i.get("id")): i.get("raw", i.get("file_name")) for i in _dicts(coco["images"])}
    classes = {_hashable(c.get("id")): c.get("name") for c in _dicts(coco["categories"])}
    rows, problems = [], Counter[str]()
    for entry in _dicts(coco["annotations"]):
        image, label = (
            names.get(_hashable(entry.get("image_id"))),
            classes.get(_hashable(entry.get("category_id"))),
        )
        if not isinstance(image, str) or not isinstance(label, str):
            problems["of an image or a category that the file does not list"] += 1
        elif entry.get("iscrowd") == 1:
            problems["of a crowd (iscrowd 1)"] += 1
        elif not coco_rules.is_box(entry.get("bbox")):
            problems["without a box of positive size"] += 1
        else:
            rows.append((image.replace("\\", "/"), label, *map(float, entry["bbox"])))
    for problem, count in sorted(problems.items()):
        warn(f"{path}: {count} annotation(s) {problem} are left out.")
    if not rows:
        raise LabelError(f"{path}: no annotation with an image, a category and a box. Give another file.")
    return as_table(pd.DataFrame(rows, columns=list(LABEL_COLUMNS)), LABEL_COLUMNS)


def validate(
    path: Path, *, images: Path | None = None, category_base: int = 1, polygons_only: bool = False
) -> list[str]:
    """Return one sentence for every kind of fault in a COCO file that some reader stumbles over.

    Parameters
    ----------
    path
        The instances file.
    images
        Folder of the images, to find missing ones; default: ``images/NAME`` beside the folder of
        ``annotations/instances_NAME.json`` where that holds anything, else no look.
    category_base
        0 allows the category id 0.
    polygons_only
        Also report run-length masks with ``iscrowd`` 0: correct COCO, refused by labelformat
        (LightlyStudio) for segmentation.
    """
    try:
        coco = load(path)
    except LabelError as error:
        return [str(error)]
    beside = path.parent.parent / "images" / path.stem.removeprefix("instances_")
    folder = images or (beside if beside.is_dir() and any(beside.iterdir()) else None)
    return coco_rules.sentences(coco_rules.faults(coco, folder, category_base, polygons_only))


def load(path: Path) -> dict[str, Any]:
    """Parse a COCO file, NaN and Infinity included (validate reports them).

    Raises LabelError where it is missing, too large, not JSON, or not one JSON object.
    """
    text = read_text(path)
    try:
        coco = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            coco = json.loads(text)  # takes the NaN that orjson rightly refuses
        except (ValueError, RecursionError) as error:
            raise LabelError(f"{path}: not JSON ({error}). Give a COCO instances file.") from error
    if not isinstance(coco, dict):
        raise LabelError(
            f"{path}: a JSON {type(coco).__name__}, not the object with images, annotations and categories "
            "that COCO is. A results file cannot stand alone; give the instances file."
        )
    return coco


def _known(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """Return the entry of ``name``; LabelError where the export was given no such image or class."""
    if name not in table:
        raise LabelError(f"{name!r}: a label names this {kind}, but it is not in the list to be exported.")
    return table[name]


def _image_entry(number: int, row: Any) -> dict[str, Any]:
    """Return one entry of ``images``."""
    file_name = getattr(row, "file_name", row.image)
    entry = {"id": number, "file_name": file_name, "width": int(row.width), "height": int(row.height)}
    return entry if file_name == row.image else {**entry, "raw": row.image}


def _annotation(
    row: Any,
    number: int,
    image: Mapping[str, Any],
    category: int,
    box: list[float],
    *,
    masks: Masks,
    losses: Counter[str],
) -> dict[str, Any]:
    """Return one annotation; what its mask lost is counted in ``losses``."""
    shape = segmentation(list_cell(row.mask_counts), (image["height"], image["width"]), masks=masks)
    if shape.loss:
        losses[shape.loss] += 1
    return {
        "id": number,
        "image_id": image["id"],
        "category_id": category,
        "bbox": box,
        "segmentation": shape.written,
        "area": float(shape.area) if shape.area else round(box[2] * box[3], 4),
        "iscrowd": 0,
        **_finite(row, ("score",)),
        "attributes": _attributes(row),
    }


def _boxes(regions: pd.DataFrame, sizes_hw: list[tuple[int, int]]) -> list[list[float] | None]:
    """Return x, y, w, h of each row, clipped, in hundredths of a pixel; None where nothing is left."""
    given = regions[["x", "y", "w", "h"]].to_numpy(np.float64).reshape(-1, 4)
    sizes = np.array(sizes_hw, np.int64).reshape(-1, 2)
    clipped = np.full(given.shape, np.nan)
    for height, width in np.unique(sizes, axis=0).tolist():
        rows = (sizes == (height, width)).all(axis=1)
        clipped[rows] = clip_xywh(given[rows], (height, width))
    low, high = np.round(clipped[:, :2], 2), np.round(clipped[:, :2] + clipped[:, 2:], 2)
    sides = np.round(high - low, 2)
    usable = np.isfinite(given).all(axis=1) & (sides > 0).all(axis=1)
    boxes = np.concatenate([low, sides], axis=1).tolist()
    return [box if good else None for box, good in zip(boxes, usable.tolist(), strict=True)]


def _finite(row: Any, names: Iterable[str], *, digits: int = 6) -> dict[str, float]:
    """Return those of the numbers that exist."""
    values = {name: float(getattr(row, name)) for name in names}
    return {name: round(value, digits) for name, value in values.items() if math.isfinite(value)}


def _attributes(row: Any) -> dict[str, Any]:
    """Return what COCO has no key for: read as attributes by CVAT, datumaro and FiftyOne."""
    texts = {name: str(getattr(row, name)) for name in ATTRIBUTE_TEXTS}
    cluster = {"cluster": int(row.cluster)} if row.cluster >= 0 else {}
    measured = _finite(row, TEMPERATURE_COLUMNS, digits=2)  # in hundredths of `unit`
    return {**texts, **_finite(row, ATTRIBUTE_NUMBERS), **measured, **cluster}


def _document(*lists: list[dict[str, Any]]) -> bytes:
    """Return the file: one entry a line, so that two exports can be compared; NaN is refused."""
    info = {"description": "dinotool export", "version": "1"}
    parts = [f'"info": {json.dumps(info)}', '"licenses": [{"id": 0, "name": "", "url": ""}]']
    for name, entries in zip(("categories", "images", "annotations"), lists, strict=True):
        lines = [json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in entries]
        parts.append(f'"{name}": [\n' + ",\n".join(lines) + "\n]")
    return ("{" + ",\n".join(parts) + "}\n").encode()


def _dicts(entries: list[Any]) -> list[dict[str, Any]]:
    """Return the entries that are objects."""
    return [entry for entry in entries if isinstance(entry, dict)]


def _hashable(value: Any) -> str | int | None:
    """Return an id as a key; lists and objects of a damaged file are no ids."""
    return value if isinstance(value, str | int) else None
