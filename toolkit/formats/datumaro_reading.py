"""Datumaro's JSON read back: our own, what tools made of it, and what they wrote themselves."""

import math
import warnings
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from dinonat.errors import LabelError
from dinonat.formats.coco_masks import mask_counts
from dinonat.formats.collecting import no_collecting
from dinonat.formats.datumaro_rules import annotation_files, class_names, finite, load, size_hw
from dinonat.formats.handover import LABEL_ID, Incoming, Sizes, Warn, incoming
from dinonat.formats.runs import box_of_counts
from dinonat.geometry import mask_area

# A mask's label may have a box of its own; that it goes with the mask shows in the mask's area.
BOX, AREA = "box", "mask_area"
Row = dict[str, Any]


@no_collecting()
def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read a file of Datumaro's JSON, or those of every subset of a folder.

    Boxes, masks, polygons and labels of whole images; the id, status and score of a label are its
    attributes. Other types, and annotations that are no label, are left out, with one sentence to
    ``warn`` for each kind; their images are ``unread``. Images are named by ``path``,
    with the folders of the item's id where a tool has put them into the name. Raises LabelError where
    this is no Datumaro JSON.
    """
    rows: list[Row] = []
    images: list[str] = []
    unread: list[str] = []
    told: dict[str, tuple[int, int]] = {}
    noted: Counter[str] = Counter()
    export = ""
    for file in annotation_files(path):
        document = load(file)
        infos = document.get("infos")
        export = export or str(infos.get("export") or "" if isinstance(infos, dict) else "")
        classes = class_names(document)
        for item in document["items"]:
            if not isinstance(item, dict) or not (name := _image_name(item)):
                noted["items without a picture are left out"] += 1
                unread.append("")
                continue
            images.append(name)
            media = item.get("image")
            own = size_hw(media) if isinstance(media, dict) else None
            told.update({name: own} if own else {})
            for annotation in _given(item):
                row = _row(annotation, name, classes, own or (sizes or {}).get(name), noted)
                if row is None:
                    unread.append(name)
                else:
                    rows.append(row)
    for sentence, count in sorted(noted.items()):
        warn(f"{path}: {count} {sentence}.")
    return incoming(rows, images, export=export, unread=unread, sizes=told)


def _given(item: Row) -> list[Any]:
    """Return the annotations of an item; one that is none where they are no list."""
    annotations = item.get("annotations")
    return annotations if isinstance(annotations, list) else [] if annotations is None else [annotations]


def _image_name(item: Row) -> str:
    """Return the file name of an item; "" where it is no picture."""
    media, item_id = item.get("image"), item.get("id")
    if not isinstance(item_id, str | int) or not (media is None or isinstance(media, dict)):
        return ""
    item_id = str(item_id)
    if media is None:
        return "" if item.keys() & {"point_cloud", "video", "video_frame"} else item_id
    path = str(media.get("path") or "").replace("\\", "/")
    ending = PurePosixPath(path).suffix
    stem = path.removesuffix(ending)
    # Datumaro writes night/a as night_a.png, and older versions the whole path of the picture.
    named = stem in (item_id, item_id.replace("/", "_")) or stem.endswith(f"/{item_id}")
    return item_id + ending if named else (path or item_id)


def _row(
    annotation: object, image: str, classes: list[str], size: tuple[int, int] | None, noted: Counter[str]
) -> Row | None:
    """Return the row of one annotation, or None for what is no label of ours."""
    if not isinstance(annotation, dict) or annotation.get("type") not in ("bbox", "mask", "polygon", "label"):
        kind = annotation.get("type") if isinstance(annotation, dict) else None
        noted[f"annotations of type {kind} are left out: they are no boxes"] += 1
        return None
    label = annotation.get("label_id")
    if type(label) is not int or not 0 <= label < len(classes):
        noted["annotations without a class are left out"] += 1
        return None
    given = annotation.get("attributes")
    attributes = given if isinstance(given, dict) else {}
    label_id, status = attributes.get(LABEL_ID), attributes.get("status")
    row = {
        "image": image,
        "label": classes[label],
        LABEL_ID: str(label_id) if isinstance(label_id, str | int) else "",
        "status": status if isinstance(status, str) else "",
        "score": _score(attributes.get("score")),
        "where": f"{image}, annotation {annotation.get('id')}",
    }
    if annotation["type"] == "label":
        return {**row, "kind": "image"}
    try:
        return {**row, **_shape(annotation, attributes, size)}
    except LabelError as error:
        noted[f"annotations are left out: {str(error).rstrip('.')}"] += 1
        return None


def _shape(annotation: Row, attributes: Row, size: tuple[int, int] | None) -> Row:
    """Return the box, and the mask if there is one. Raises LabelError where there is no box."""
    if annotation["type"] == "bbox":
        box = annotation.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(finite, box)):
            raise LabelError("boxes without a size")
        if round(min(box[2:]), 2) <= 0:
            raise LabelError("boxes without a size")
        return dict(zip("xywh", box, strict=True))
    runs = annotation["type"] == "mask"
    shape = annotation.get("rle") if runs else annotation.get("points")
    counts = mask_counts(shape, size)
    if not counts:
        raise LabelError("masks that are empty")
    height = annotation["rle"]["size"][0] if runs else size[0] if size else 0
    box = _given_box(attributes, counts) or box_of_counts(counts, height)
    return {**dict(zip("xywh", box, strict=True)), "mask_counts": counts}


def _given_box(attributes: Row, counts: tuple[int, ...]) -> list[float] | None:
    """Return the box that goes with a mask, unless somebody has changed the mask since."""
    text, area = attributes.get(BOX), attributes.get(AREA)
    if not isinstance(text, str) or str(area) != str(mask_area(counts)):
        return None
    try:
        box = [float(word) for word in text.split()]
    except ValueError:
        return None
    return box if len(box) == 4 and all(map(finite, box)) and min(box[2:]) > 0 else None


def _score(value: object) -> float:
    """Return a score, as a number or as the text that tools make of attributes; NaN where it is none."""
    try:
        score = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return math.nan
    return score if math.isfinite(score) else math.nan
