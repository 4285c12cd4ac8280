"""Datumaro's own JSON: boxes, masks, labels of whole images, scores, ids and facts, without a loss.

One file for each split, ``annotations/SPLIT.json``, with ``images/SPLIT`` beside it; CVAT's "Datumaro
1.0" is the same folder as a zip. An item is a picture, its id the file name without ending, its subset
the split. Masks are packed run lengths, and each label carries its id and its facts as attributes.
(https://open-edge-platform.github.io/datumaro, data formats, Datumaro)
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import orjson
import pandas as pd

from dinonat.errors import LabelError
from dinonat.formats.coco_masks import mask_counts
from dinonat.formats.collecting import no_collecting
from dinonat.formats.datumaro_rules import annotation_files, class_names, faults, finite, load, size_hw
from dinonat.formats.facts import Facts, label_facts
from dinonat.formats.handover import (
    LABEL_ID,
    NUMBERS,
    TEXTS,
    Incoming,
    Outgoing,
    Sizes,
    Warn,
    Written,
    incoming,
)
from dinonat.formats.runs import box_of_counts, pack
from dinonat.geometry import mask_area

__all__ = ["faults", "picture", "read", "write"]

BLOCK = 1000  # images that are made at a time
# A mask's label may have a box of its own; that it goes with the mask shows in the mask's area.
BOX, AREA = "box", "mask_area"
ATTRIBUTES = sorted((LABEL_ID, BOX, AREA, "cluster", *TEXTS, *NUMBERS))
Row = dict[str, Any]


def picture(split: str, file_name: str) -> str:
    """Return where the picture of an item lies below the folder."""
    return f"images/{split or 'default'}/{file_name}"


@no_collecting()
def write(asked: Outgoing, folder: Path) -> Written:
    """Write ``annotations/SPLIT.json`` for each split into ``folder``, "default" where nothing is split.

    Equal input gives equal bytes. Where two pictures of a split differ in their ending only, their ids
    are the whole file names. Nothing is lost but what ``asked.losses`` already names.
    """
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    splits = asked.images["split"].to_numpy(object)
    files = []
    for split in sorted(set(splits.tolist())) or [""]:
        (folder / picture(split, "")).mkdir(parents=True, exist_ok=True)
        files.append(f"annotations/{split or 'default'}.json")
        _write_split(asked, np.flatnonzero(splits == split), folder / files[-1])
    whole = int((asked.labels["kind"] == "image").sum())
    return Written(tuple(files), len(asked.labels) - whole, whole, dict(asked.losses))


def _write_split(asked: Outgoing, images: np.ndarray, path: Path) -> None:
    """Write the file of one split, whose images are the rows ``images``."""
    labels = [{"name": name, "parent": "", "attributes": []} for name in asked.classes]
    head = {
        "dm_format_version": "1.0",
        "media_type": 2,  # pictures
        "infos": {"export": asked.name},
        "categories": {"label": {"labels": labels, "label_groups": [], "attributes": ATTRIBUTES}},
    }
    names = asked.images["file_name"].iloc[images].tolist()
    ids = _item_ids(names)
    with path.open("wb") as stream:
        stream.write(orjson.dumps(head)[:-1] + b',"items":[')
        for first in range(0, len(images), BLOCK):
            block = slice(first, first + BLOCK)
            items = _items(asked, images[block], names[block], ids[block])
            lines = [orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY) for item in items]
            stream.write((b",\n" if first else b"\n") + b",\n".join(lines))
        stream.write(b"\n]}\n")


def _item_ids(names: list[str]) -> list[str]:
    """Return the names without their ending, but where two pictures would share an id."""
    short = [str(PurePosixPath(name).with_suffix("")) for name in names]
    times = Counter([*short, *names])
    return [
        stem if times[stem] == 1 + (stem == name) else name for stem, name in zip(short, names, strict=True)
    ]


def _items(asked: Outgoing, images: np.ndarray, names: list[str], ids: list[str]) -> Iterator[Row]:
    """Yield an item for each of the images."""
    place = asked.labels["at"].to_numpy()
    first, last = np.searchsorted(place, images), np.searchsorted(place, images, side="right")
    sizes = asked.images[["height", "width"]].to_numpy(np.int64)[images].tolist()
    own = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    heights = np.repeat([size[0] for size in sizes], last - first).tolist()
    annotations = list(_annotations(asked.labels.iloc[own], own, heights))
    ends = np.cumsum(last - first).tolist()
    for name, item, size, start, stop in zip(names, ids, sizes, [0, *ends], ends, strict=False):
        media = {"path": name, "size": size}
        yield {"id": item, "annotations": _sized(annotations[start:stop], size), "image": media}


def _sized(annotations: list[Row], size: list[int]) -> list[Row]:
    """Give masks the size of their image."""
    for annotation in annotations:
        if "rle" in annotation:
            annotation["rle"]["size"] = size
    return annotations


def _annotations(labels: pd.DataFrame, numbers: np.ndarray, heights: list[int]) -> Iterator[Row]:
    """Yield an annotation for each label; ``numbers`` are their rows in the export, which give the ids."""
    columns = zip(
        *(labels[name].tolist() for name in ("proposal", "kind", "number")),
        labels["mask_counts"], labels[list("xywh")].to_numpy(np.float64).tolist(), heights,
        label_facts(labels), (numbers + 1).tolist(), strict=True,
    )  # fmt: skip
    for label_id, kind, label, counts, box, height, facts, number in columns:
        annotation = {"id": number, "type": "label", "attributes": {LABEL_ID: label_id, **facts}}
        annotation.update(group=0, label_id=label)
        if kind == "image":
            yield annotation
            continue
        annotation["z_order"] = 0
        if counts:
            annotation.update(type="mask", rle={"counts": pack(counts)})
            annotation["attributes"].update(_own_box(counts, box, height))
        else:
            annotation.update(type="bbox", bbox=box)
        yield annotation


def _own_box(counts: tuple[int, ...], box: list[float], height: int) -> Facts:
    """Return a box that is not its mask's, as attributes: texts and numbers, which every tool keeps."""
    if tuple(box) == box_of_counts(counts, height):
        return {}
    return {BOX: " ".join(map(str, box)), AREA: mask_area(counts)}


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
