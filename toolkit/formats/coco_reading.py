"""COCO read back: our own exports, what annotation tools made of them, and files that others wrote."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dinonat.errors import LabelError
from dinonat.formats.coco import DESCRIPTION
from dinonat.formats.coco_annotation_rules import finite, size_of
from dinonat.formats.coco_files import Parsed, instances_files, parse
from dinonat.formats.coco_masks import mask_counts
from dinonat.formats.collecting import no_collecting
from dinonat.formats.handover import LABEL_ID, Incoming, Sizes, Warn, incoming
from dinonat.formats.image_labels import IMAGE_LABELS, read_image_labels
from dinonat.formats.runs import box_of_counts
from dinonat.polygons import FARTHEST

BLOCK = 20_000  # rows that are held as objects at a time

NO_OBJECT = "annotation(s) that are no objects are left out"
NOT_LISTED = "annotation(s) of an image or a category that the file does not list are left out"
CROWD = "annotation(s) of a crowd (iscrowd 1), which is no single object, are left out"
NO_BOX = "annotation(s) without a box of positive size are left out"
AS_OBJECTS = "mask(s) with iscrowd 1 are read as single objects: CVAT and datumaro write every mask so"
BLANK = ("contributor", "date_created", "description", "url", "version", "year")  # in `info` of theirs


class Listed(NamedTuple):
    """An image of the file."""

    name: str
    size_hw: tuple[int, int] | None


@dataclass
class Said:
    """What files say beside their rows."""

    images: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # images of annotations that are left out, "" = unknown
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    export: str = ""


@no_collecting()
def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read a COCO instances file, or the folder that holds one for each split.

    Masks come from polygons, run lengths and packed run lengths; score, status and label id from the
    annotation or its attributes, where tools give numbers as texts. Labels of whole images come from
    ``image_labels.csv`` of the folder. An image has its name in the set (``raw``) where the file says it.
    A crowd is left out, unless it has an id of ours or is of a file whose crowds are single objects
    (`crowds_are_objects`). An annotation that names an unknown image or category, or has no usable box,
    costs itself, and its image is ``unread``; a mask that cannot be drawn costs the mask; ``warn`` gets
    one sentence for each kind.

    ``sizes`` are used where the file does not tell those of its images. Raises LabelError where a file
    is not COCO.
    """
    files = instances_files(path)
    said = Said()
    rows = chain.from_iterable(
        _file(file, f"{file.name}, " if len(files) > 1 else "", sizes or {}, warn, said) for file in files
    )
    if path.is_dir():
        rows = chain(rows, read_image_labels(path / IMAGE_LABELS, warn=warn, unread=said.unread))
    tables = []
    while block := list(islice(rows, BLOCK)):
        tables.append(incoming(block, ()).labels)
    labels = pd.concat(tables, ignore_index=True) if tables else incoming((), ()).labels
    listed, unread = (tuple(dict.fromkeys(names)) for names in (said.images, said.unread))
    return Incoming(labels, listed, export=said.export, unread=unread, sizes=said.sizes)


def _file(path: Path, place: str, sizes: Sizes, warn: Warn, said: Said) -> Iterator[dict[str, Any]]:
    """Yield the rows of one file, and note what it says beside them."""
    coco, problems = parse(path), Counter[str]()
    listed, classes = _lists(coco, path, sizes, said)
    said.export = said.export or str(_info(coco).get("export") or "")
    objects = crowds_are_objects(coco)
    yield from _rows(coco.annotations or (), listed, classes, place, objects, problems, said.unread)
    for problem, count in sorted(problems.items()):
        warn(f"{path}: {count} {problem}.")


def crowds_are_objects(coco: Parsed) -> bool:
    """Say whether run lengths with iscrowd 1 are single objects in this file, as CVAT and datumaro write.

    Their files have an ``info`` of empty texts. Without one: all masks of the file are run lengths with
    iscrowd 1. In COCO's own files run lengths are for crowds only, and single objects have polygons.
    """
    info = _info(coco)
    if all(info.get(key) == "" for key in BLANK):
        return True
    if info.get("description") == DESCRIPTION or not isinstance(coco.annotations, list):
        return False  # we write 0, and a file of ours is read a line at a time
    masks = [entry for entry in _dicts(coco.annotations) if entry.get("segmentation")]
    return all(entry.get("iscrowd") == 1 and isinstance(entry["segmentation"], dict) for entry in masks)


def _info(coco: Parsed) -> dict[str, Any]:
    """Return what the file says of itself."""
    info = coco.head.get("info")
    return info if isinstance(info, dict) else {}


def _lists(
    coco: Parsed, path: Path, sizes: Sizes, said: Said
) -> tuple[dict[str | int | None, Listed], dict[str | int | None, str]]:
    """Return the images and the classes by their ids; note the images."""
    for key in ("images", "annotations", "categories"):
        if not isinstance(coco.annotations if key == "annotations" else coco.head.get(key), list | Iterator):
            raise LabelError(f"{path}: no list {key!r} in it, so it is not COCO. Give an instances file.")
    images: dict[str | int | None, Listed] = {}
    for entry in _dicts(coco.head["images"]):
        name = entry.get("raw", entry.get("file_name"))
        if isinstance(name, str) and name:
            name = name.replace("\\", "/")
            own = size_of(entry)
            images[_key(entry.get("id"))] = Listed(name, own or sizes.get(name))
            said.images.append(name)
            said.sizes.update({name: own} if own else {})
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
    objects: bool,
    problems: Counter[str],
    unread: list[str],
) -> Iterator[dict[str, Any]]:
    """Yield a row for each annotation that is a label; count what the others are in ``problems``.

    ``objects`` says whether crowds are single objects; ``unread`` gets the images of what is left out.
    """
    for entry in annotations:
        if not isinstance(entry, dict):
            _leave_out(NO_OBJECT, "", problems, unread)
            continue
        image, label = images.get(_key(entry.get("image_id"))), classes.get(_key(entry.get("category_id")))
        facts = entry.get("attributes")
        facts = facts if isinstance(facts, dict) else {}
        label_id = _text(facts.get(LABEL_ID))
        if image is None or label is None:
            _leave_out(NOT_LISTED, image.name if image else "", problems, unread)
            continue
        if entry.get("iscrowd") == 1 and not label_id:
            if not objects or not isinstance(entry.get("segmentation"), dict):
                _leave_out(CROWD, image.name, problems, unread)
                continue
            problems[AS_OBJECTS] += 1
        counts = _mask(entry, image, problems)
        box = _box(entry, counts, image)
        if box is None:
            _leave_out(NO_BOX, image.name, problems, unread)
            continue
        yield {
            "image": image.name, "label": label, **dict(zip("xywh", box, strict=True)), "mask_counts": counts,
            LABEL_ID: label_id, "status": _text(facts.get("status")),
            "score": _number(entry.get("score", facts.get("score"))),
            "where": f"{place}annotation {entry.get('id')}",
        }  # fmt: skip


def _leave_out(why: str, image: str, problems: Counter[str], unread: list[str]) -> None:
    """Count an annotation that is left out, and note its image."""
    problems[why] += 1
    unread.append(image)


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
    if isinstance(box, list) and len(box) == 4 and all(map(finite, box)) and _on_grid(box):
        return tuple(map(float, box))
    if not box and counts and image.size_hw is not None:
        return box_of_counts(counts, image.size_hw[0])
    return None


def _on_grid(box: list[float]) -> bool:
    """Say whether a box has a size on hundredths of a pixel, and lies where those can be told."""
    return max(map(abs, box)) < FARTHEST and round(min(box[2:]), 2) > 0


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
