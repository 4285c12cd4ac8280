"""What a file of Datumaro's JSON must hold, so that datumaro and CVAT take it.

Datumaro stops at the first annotation that it does not understand, and then loads nothing of the file.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from dinonat.errors import LabelError
from dinonat.formats.coco_masks import runs_of
from dinonat.formats.handover import Check, Fault
from dinonat.formats.json_files import has_picture, load_json
from dinonat.polygons import is_tangled

READ = (  # types of annotations that datumaro reads
    "label", "mask", "points", "polygon", "polyline", "bbox", "caption", "cuboid_3d", "ellipse", "cuboid_2d",
)  # fmt: skip
BORDER = 0.005  # pixels: what writing with two decimals may add
Row = dict[str, Any]


def annotation_files(path: Path) -> list[Path]:
    """Return the files that ``path`` means. Raises LabelError for a folder without any."""
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("annotations/*.json")) or sorted(path.glob("*.json"))
    if not found:
        raise LabelError(f"{path}: no annotations/SPLIT.json in it. Give the folder of an export.")
    return found


def load(path: Path) -> Row:
    """Parse one file; ``items`` is a list in what is returned.

    Raises LabelError where it is missing, too large, not JSON, or has no list of items.
    """
    document = load_json(path, "a file of Datumaro")
    if not isinstance(document, dict) or not isinstance(document.get("items"), list):
        raise LabelError(f"{path}: no list 'items' in it, so it is not Datumaro's JSON. Give another file.")
    return document


def class_names(document: Row) -> list[str]:
    """Return the names of the classes, whose place is the label_id; [] where there are none."""
    categories = document.get("categories")
    label = categories.get("label") if isinstance(categories, dict) else None
    labels = label.get("labels") if isinstance(label, dict) else None
    entries = labels if isinstance(labels, list) else []
    return [str(entry.get("name", "")) if isinstance(entry, dict) else "" for entry in entries]


def size_hw(media: Row) -> tuple[int, int] | None:
    """Return the height and width that an item says, or None."""
    size = media.get("size")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(side) is int and side > 0 for side in size)
    ):
        return None
    return size[0], size[1]


def finite(value: object) -> TypeGuard[float]:
    """Say whether ``value`` is a finite number."""
    return type(value) in (int, float) and -1e15 < value < 1e15  # type: ignore[operator]  # NaN is not


def faults(path: Path, check: Check) -> Iterator[Fault]:
    """Yield every fault of a file, or of every subset of a folder.

    Pictures are looked for below ``check.images``, or below ``images/SUBSET`` beside a folder of
    annotations where anything lies there.
    """
    try:
        files = annotation_files(path)
    except LabelError as error:
        yield str(path), str(error)
        return
    for file in files:
        try:
            document = load(file)
        except LabelError as error:
            yield file.name, str(error)
            continue
        beside = file.parent.parent / "images" / file.stem
        filled = file.parent.name == "annotations" and beside.is_dir() and any(beside.iterdir())
        folder = check.images or (beside if filled else None)
        yield from ((file.name, what) for what in _head_faults(document))
        yield from ((f"{file.name}, {where}", what) for where, what in _item_faults(document, folder))


def _head_faults(document: Row) -> Iterator[str]:
    """Yield what is wrong before the items."""
    if document.get("dm_format_version", "1.0") not in ("1.0", "legacy"):
        yield "'dm_format_version' is not \"1.0\"; datumaro stops."
    if document.get("media_type", 2) != 2:
        yield "'media_type' is not 2; datumaro refuses pictures in it. Write 2."
    categories = document.get("categories")
    if not isinstance(categories, dict) or not isinstance(categories.get("label"), dict):
        yield "no 'categories' with 'label'; datumaro stops, or loads labels without names."
        return
    labels = categories["label"].get("labels")
    if not isinstance(labels, list):
        yield "no list 'labels' in the categories; datumaro stops."
        return
    names: set[str] = set()
    for entry in labels:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            yield "a class without 'name'; datumaro stops."
        elif name in names:
            yield f"class {name!r} stands twice; datumaro stops."
        elif "parent" not in entry:
            yield f"class {name!r} without 'parent'; datumaro stops. Write \"\"."
        names.add(str(name))


def _item_faults(document: Row, folder: Path | None) -> Iterator[Fault]:
    """Yield what is wrong with the items."""
    count = len(class_names(document))
    seen: set[str] = set()
    for place, item in enumerate(document["items"], start=1):
        item_id = str(item["id"]) if isinstance(item, dict) and isinstance(item.get("id"), str | int) else ""
        if not item_id:
            yield f"item at place {place}", "no 'id'; datumaro stops."
            continue
        if item_id in seen:
            yield f"item {item_id!r}", "its 'id' stands twice; datumaro stops. Keep one item a picture."
        seen.add(item_id)
        yield from _media_faults(item, f"item {item_id!r}", folder)
        annotations = item.get("annotations", [])
        if not isinstance(annotations, list):
            yield f"item {item_id!r}", "'annotations' is no list; datumaro stops. Write []."
            continue
        media = item.get("image")
        size = size_hw(media) if isinstance(media, dict) else None
        for at, annotation in enumerate(annotations, start=1):
            if not isinstance(annotation, dict):
                yield f"item {item_id!r}, annotation at place {at}", "no object; datumaro stops."
                continue
            where = f"item {item_id!r}, annotation {annotation.get('id', f'at place {at}')}"
            yield from ((where, what) for what in _annotation_faults(annotation, count, size))


def _media_faults(item: Row, where: str, folder: Path | None) -> Iterator[Fault]:
    """Yield what is wrong with the picture of an item."""
    media = item.get("image")
    if media is None and item.keys() & {"point_cloud", "video", "video_frame", "media"}:
        return
    if not isinstance(media, dict):
        yield where, "no object 'image'; datumaro may skip the masks."
        return
    if size_hw(media) is None:
        yield where, "no 'size' [height, width] of whole numbers; datumaro may skip the masks."
    path = media.get("path")
    if not isinstance(path, str) or not path:
        yield where, "no 'path'; datumaro looks for the id with .jpg behind it. Write the file name."
    elif (
        path.startswith(("/", "\\"))
        or path[1:2] == ":"
        or ".." in PurePosixPath(path.replace("\\", "/")).parts
    ):
        yield (
            where,
            "'path' is absolute or has '..'; datumaro refuses it. Write it relative to images/SUBSET.",
        )
    elif folder is not None and not has_picture(folder, path):
        yield (
            f"{where}, {path!r}",
            "its picture is not below the image folder; every tool shows nothing there.",
        )


def _annotation_faults(annotation: Row, count: int, size: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with one annotation, in a file of ``count`` classes; 0 where they are missing."""
    kind, label = annotation.get("type"), annotation.get("label_id")
    if kind not in READ:
        yield f"type {kind!r} is none that datumaro reads; it stops. Write bbox, mask, polygon or label."
        return
    if label is None and kind != "caption":
        yield "no 'label_id'; datumaro stops, or loads it without a class."
    elif label is not None and (type(label) is not int or label < 0 or (count and label >= count)):
        yield f"label_id {label!r} is not the place of a class from 0 on; tools stop or show another class."
    attributes = annotation.get("attributes", {})
    if not isinstance(attributes, dict):
        yield "'attributes' is no object; datumaro stops. Write {}."
    elif "score" in attributes and not finite(attributes["score"]):
        yield "score is no finite number; tools that sort by it stop."
    if kind == "bbox":
        yield from _box_faults(annotation.get("bbox"), size)
    elif kind == "mask":
        yield from _mask_faults(annotation.get("rle"), size)
    elif kind == "polygon":
        yield from _polygon_faults(annotation.get("points"), size)


def _box_faults(box: object, size: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with a box."""
    if not isinstance(box, list) or len(box) != 4 or not all(map(finite, box)):
        yield "'bbox' is not [x, y, width, height] of finite numbers; datumaro stops."
    elif min(box[2:]) <= 0:
        yield "box of no or negative size; tools draw nothing."
    elif size is not None:
        x, y, w, h = box
        if min(x, y) < -BORDER or x + w > size[1] + BORDER or y + h > size[0] + BORDER:
            yield "box reaches outside its image; trainers clip or crash. Clip it."


def _mask_faults(rle: object, size: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with the run lengths of a mask."""
    if not isinstance(rle, dict):
        yield "mask without an object 'rle'; datumaro stops."
        return
    try:
        _, own = runs_of(rle)
    except LabelError as error:
        yield f"rle: {error}; tools draw a torn mask or stop."
        return
    if not isinstance(rle["counts"], str):
        yield "rle with a list of counts; datumaro stops. Pack them into a text, as pycocotools does."
    if size is not None and own != size:
        yield "size of the rle is not the image's [height, width]; tools stop or draw elsewhere."


def _polygon_faults(points: object, size: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with the points of a polygon."""
    if not isinstance(points, list) or len(points) % 2 or not all(map(finite, points)):
        yield "'points' is no flat list x1, y1, x2, ... of finite numbers; datumaro stops."
    elif len(points) < 6:
        yield "polygon of fewer than three points; datumaro stops."
    elif size is not None and is_tangled(points, size):
        yield (
            "polygon that goes up and down more often than its image has pixels, or reaches beyond any; "
            "tools take all memory for it. Write run lengths."
        )
