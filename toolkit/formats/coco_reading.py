"""COCO read back: our own exports, what annotation tools made of them, and files that others wrote."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dinonat.errors import LabelError
from dinonat.formats.coco_annotation_rules import finite, size_of
from dinonat.formats.coco_files import Parsed, instances_files, parse
from dinonat.formats.coco_masks import mask_counts
from dinonat.formats.collecting import no_collecting
from dinonat.formats.handover import LABEL_ID, Incoming, Sizes, Warn, incoming
from dinonat.formats.image_labels import IMAGE_LABELS, read_image_labels
from dinonat.formats.runs import box_of_counts

BLOCK = 20_000  # rows that are held as objects at a time

CROWD = "of a crowd (iscrowd 1), which is no single object; CVAT marks every new mask so"


class Listed(NamedTuple):
    """An image of the file."""

    name: str
    size_hw: tuple[int, int] | None


@no_collecting()
def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read a COCO instances file, or the folder that holds one for each split.

    Masks come from polygons, run lengths and packed run lengths; score, status and label id from the
    annotation or its attributes, where tools give numbers as texts. Labels of whole images come from
    ``image_labels.csv`` of the folder. An image has its name in the set (``raw``) where the file says it.
    A crowd is left out unless it has an id of ours: CVAT and datumaro mark masks that way. An annotation
    that names an unknown image or category, or has no usable box, costs itself; a mask that cannot be
    drawn costs the mask; ``warn`` gets one sentence for each kind.

    ``sizes`` are used where the file does not tell those of its images. Raises LabelError where a file
    is not COCO.
    """
    files = instances_files(path)
    images: list[str] = []
    exports: list[str] = []
    rows = chain.from_iterable(
        _file(file, f"{file.name}, " if len(files) > 1 else "", sizes or {}, warn, images, exports)
        for file in files
    )
    if path.is_dir():
        rows = chain(rows, read_image_labels(path / IMAGE_LABELS, warn=warn))
    tables = []
    while block := list(islice(rows, BLOCK)):
        tables.append(incoming(block, ()).labels)
    labels = pd.concat(tables, ignore_index=True) if tables else incoming((), ()).labels
    return Incoming(labels, tuple(dict.fromkeys(images)), export=next(filter(None, exports), ""))


def _file(
    path: Path, place: str, sizes: Sizes, warn: Warn, images: list[str], exports: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one file, and note its images and the export that it says it came from."""
    coco, problems = parse(path), Counter[str]()
    listed, classes = _lists(coco, path, sizes)
    images += [image.name for image in listed.values()]
    info = coco.head.get("info")
    name = info.get("export") if isinstance(info, dict) else None
    exports.append(name if isinstance(name, str) else "")
    yield from _rows(coco.annotations or (), listed, classes, place, problems)
    for problem, count in sorted(problems.items()):
        warn(f"{path}: {count} {problem}.")


def _lists(
    coco: Parsed, path: Path, sizes: Sizes
) -> tuple[dict[str | int | None, Listed], dict[str | int | None, str]]:
    """Return the images and the classes by their ids."""
    for key in ("images", "annotations", "categories"):
        if not isinstance(coco.annotations if key == "annotations" else coco.head.get(key), list | Iterator):
            raise LabelError(f"{path}: no list {key!r} in it, so it is not COCO. Give an instances file.")
    images: dict[str | int | None, Listed] = {}
    for entry in _dicts(coco.head["images"]):
        name = entry.get("raw", entry.get("file_name"))
        if isinstance(name, str) and name:
            name = name.replace("\\", "/")
            images[_key(entry.get("id"))] = Listed(name, size_of(entry) or sizes.get(name))
    classes = {
        _key(entry.get("id")): entry["name"]
        for entry in _dicts(coco.head["categories"])
        if isinstance(entry.get("name"), str) and entry["name"]
    }
    return images, classes


def _rows(
    annotations: Iterable[Any],
    images: Mapping[str | int | None, Listed],
    classes: Mapping[str | int | None, str],
    place: str,
    problems: Counter[str],
) -> Iterator[dict[str, Any]]:
    """Yield a row for each annotation that is a label; count what the others are in ``problems``."""
    for entry in annotations:
        if not isinstance(entry, dict):
            problems["annotation(s) that are no objects are left out"] += 1
            continue
        image, label = images.get(_key(entry.get("image_id"))), classes.get(_key(entry.get("category_id")))
        facts = entry.get("attributes")
        facts = facts if isinstance(facts, dict) else {}
        label_id = _text(facts.get(LABEL_ID))
        if image is None or label is None:
            problems["annotation(s) of an image or a category that the file does not list are left out"] += 1
            continue
        if entry.get("iscrowd") == 1 and not label_id:
            problems[f"annotation(s) {CROWD}, are left out"] += 1
            continue
        counts = _mask(entry, image, problems)
        box = _box(entry, counts, image)
        if box is None:
            problems["annotation(s) without a box of positive size are left out"] += 1
            continue
        yield {
            "image": image.name, "label": label, **dict(zip("xywh", box, strict=True)), "mask_counts": counts,
            LABEL_ID: label_id, "status": _text(facts.get("status")),
            "score": _number(entry.get("score", facts.get("score"))),
            "where": f"{place}annotation {entry.get('id')}",
        }  # fmt: skip


def _mask(entry: Mapping[str, Any], image: Listed, problems: Counter[str]) -> tuple[int, ...]:
    """Return the mask of an annotation; one that cannot be drawn is counted and is none."""
    try:
        return mask_counts(entry.get("segmentation"), image.size_hw)
    except LabelError as error:
        problems[f"mask(s) are left out and their boxes kept: {error}"] += 1
        return ()


def _box(entry: Mapping[str, Any], counts: tuple[int, ...], image: Listed) -> tuple[float, ...] | None:
    """Return x, y, w, h of an annotation; that of its mask where it has no box, None without either."""
    box = entry.get("bbox")
    if isinstance(box, list) and len(box) == 4 and all(map(finite, box)) and min(box[2:]) > 0:
        return tuple(map(float, box))
    if not box and counts and image.size_hw is not None:
        return box_of_counts(counts, image.size_hw[0])
    return None


def _text(value: object) -> str:
    """Return a text; whole numbers, which some tools make of digits, as their digits."""
    return value.strip() if isinstance(value, str) else str(value) if type(value) is int else ""


def _number(value: object) -> float:
    """Return a number that may be given as text; NaN where it is none."""
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _dicts(entries: list[Any]) -> list[dict[str, Any]]:
    """Return the entries that are objects."""
    return [entry for entry in entries if isinstance(entry, dict)]


def _key(value: Any) -> str | int | None:
    """Return an id as a key; lists and objects of a damaged file are no ids."""
    return value if isinstance(value, str | int) else None
