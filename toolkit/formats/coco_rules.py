"""What a COCO file must hold so that no known reader refuses, drops or misreads a part of it.

Most readers say nothing: of twenty files with one fault each, pycocotools refuses one. Each rule
below names the reader that stumbles. A fault is where it is and what it is, in words.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

Fault = tuple[str, str]  # (where, what)


def sentences(found: Iterator[Fault]) -> list[str]:
    """Return one sentence for each kind of fault: its first place, and how many more there are."""
    places: dict[str, list[str]] = {}
    for where, what in found:
        places.setdefault(what, []).append(where)
    return [
        f"{where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}: {what}"
        for what, where in places.items()
    ]


def faults(
    coco: dict[str, Any], folder: Path | None, category_base: int, polygons_only: bool
) -> Iterator[Fault]:
    """Yield every fault of a parsed file; ``folder`` holds the images, if they are to be looked for."""
    if not isinstance(coco.get("info"), dict):
        yield "file", "no object 'info'; pycocotools and CVAT versions expect it. Write {}."
    if not _entries(coco, "licenses"):
        yield "file", "no 'licenses'; CVAT versions stop with 'Cannot find the licenses section'. Write one."
    for key in ("categories", "images", "annotations"):
        if not isinstance(coco.get(key), list):
            yield "file", f"no list '{key}'; every reader needs it."
        elif len(_entries(coco, key)) < len(coco[key]):
            yield "file", f"'{key}' holds entries that are not objects; every reader stumbles."
    categories, images = _entries(coco, "categories"), _entries(coco, "images")
    yield from _category_faults(categories, category_base)
    yield from _image_faults(images, folder)
    sizes = {_key(image): _size_hw(image) for image in images}
    classes = {_key(category) for category in categories}
    yield from _id_faults(_entries(coco, "annotations"), "annotation", "silently lost in pycocotools")
    for index, entry in enumerate(_entries(coco, "annotations")):
        where = _where("annotation", entry, index)
        for what in _annotation_faults(entry, sizes, classes, polygons_only):
            yield where, what


def is_box(value: object) -> bool:
    """Say whether ``value`` is [x, y, width, height] of finite numbers with positive sides."""
    return isinstance(value, list) and len(value) == 4 and all(map(_finite, value)) and min(value[2:]) > 0


def _category_faults(categories: list[dict[str, Any]], base: int) -> Iterator[Fault]:
    """Yield what is wrong with the categories."""
    yield from _id_faults(categories, "category", "two classes become one")
    names: set[str] = set()
    for index, category in enumerate(categories):
        where, name = _where("category", category, index), category.get("name")
        if category.get("id") == 0 and base > 0:
            yield where, "category id 0; CVAT and datumaro load its annotations without a label. Start at 1."
        if not isinstance(name, str) or not name:
            yield where, "no 'name'; every reader needs it."
        elif name in names:
            yield where, f"the name {name!r} a second time; readers keep one of the two."
        names.add(str(name))
        if not isinstance(category.get("supercategory"), str):
            yield where, "no text 'supercategory'; some CVAT versions expect it. Write \"\"."


def _image_faults(images: list[dict[str, Any]], folder: Path | None) -> Iterator[Fault]:
    """Yield what is wrong with the images."""
    yield from _id_faults(images, "image", "annotations land on the wrong picture")
    names: set[str] = set()
    for index, image in enumerate(images):
        where, name = _where("image", image, index), image.get("file_name")
        if _size_hw(image) is None:
            yield where, "no positive whole 'width' and 'height'; datumaro, CVAT and masks need them."
        if not isinstance(name, str) or not name:
            yield where, "no 'file_name'; no reader finds the picture."
            continue
        if name in names:
            yield where, f"file_name {name!r} a second time; tools that match by name keep one."
        names.add(name)
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in PurePosixPath(name).parts:
            yield where, "absolute 'file_name' or one with '..'; datumaro refuses it. Write it relative."
        elif "\\" in name:
            yield where, "backslash in 'file_name'; only Windows finds it. Write '/'."
        elif folder is not None and not (folder / name).is_file():
            yield (
                where,
                f"its picture {name!r} is not below the image folder; every tool shows nothing there.",
            )


def _annotation_faults(
    entry: dict[str, Any],
    sizes: dict[Any, tuple[int, int] | None],
    classes: set[Any],
    polygons_only: bool,
) -> Iterator[str]:
    """Yield what is wrong with one annotation."""
    if _key(entry, "image_id") not in sizes:
        yield "image_id that no image has; datumaro drops it, CVAT refuses the file."
    if _key(entry, "category_id") not in classes:
        yield "category_id that no category has; datumaro and CVAT refuse the file."
    if entry.get("iscrowd") not in (0, 1):
        yield "no 'iscrowd' of 0 or 1; datumaro and CVAT refuse the file. Write 0."
    if not _finite(entry.get("area")) or entry["area"] <= 0:
        yield "no positive 'area'; evaluation by size needs it. Write the mask's or the box's."
    if "score" in entry and not _finite(entry["score"]):
        yield "score is NaN, infinite or no number; datumaro and CVAT refuse the whole file. Leave it out."
    size_hw = sizes.get(_key(entry, "image_id"))
    yield from _box_faults(entry.get("bbox"), size_hw)
    yield from _segmentation_faults(entry, size_hw, polygons_only)


def _box_faults(box: object, size_hw: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with one ``bbox``."""
    if not isinstance(box, list) or len(box) != 4 or not all(map(_finite, box)):
        yield "'bbox' is not [x, y, width, height] of finite numbers; every reader needs it."
    elif not is_box(box):
        yield "box of no or negative size; globox refuses the file, others draw nothing."
    elif size_hw is not None:
        x, y, w, h = box
        # Half a hundredth of a pixel: what writing with two decimals may add.
        if min(x, y) < -0.005 or x + w > size_hw[1] + 0.005 or y + h > size_hw[0] + 0.005:
            yield "box reaches outside its image; no reader says so, trainers clip or crash. Clip it."


def _segmentation_faults(
    entry: dict[str, Any], size_hw: tuple[int, int] | None, polygons_only: bool
) -> Iterator[str]:
    """Yield what is wrong with one ``segmentation``: a list of polygons, [], or run lengths."""
    shape = entry.get("segmentation")
    if "segmentation" not in entry:
        yield "no key 'segmentation'; CVAT refuses the file. Write [] for a box."
    elif isinstance(shape, dict):
        yield from _run_faults(entry, shape, size_hw)
        if polygons_only and entry.get("iscrowd") == 0:
            yield "run lengths with iscrowd 0; labelformat (LightlyStudio) needs polygons: --masks polygon."
    elif not isinstance(shape, list):
        yield "segmentation is null or no list; datumaro and CVAT refuse the file. Write [] for a box."
    elif not all(map(_polygon, shape)):
        yield "segmentation is not a list of polygons [[x1, y1, x2, y2, x3, y3, ...]] of finite numbers."


def _run_faults(
    entry: dict[str, Any], shape: dict[str, Any], size_hw: tuple[int, int] | None
) -> Iterator[str]:
    """Yield what is wrong with a run-length mask; compressed counts (a string) are not unpacked."""
    counts, size = shape.get("counts"), shape.get("size")
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)):
        yield "run lengths without 'size' [height, width]; no reader can draw them."
        return
    if size_hw is not None and tuple(size) != size_hw:
        yield "size of the run lengths is not the image's [height, width]; datumaro and CVAT refuse it."
    if isinstance(counts, str):
        return
    if not isinstance(counts, list) or not all(isinstance(run, int) and run >= 0 for run in counts):
        yield "'counts' are not whole numbers from 0 up; no reader can draw them."
    elif sum(counts) != size[0] * size[1]:
        yield "'counts' do not add up to height x width; readers draw a torn mask."
    elif _finite(entry.get("area")) and sum(counts[1::2]) != entry["area"]:
        yield "'area' is not the number of pixels in the mask; evaluation by size goes wrong."


def _id_faults(entries: list[dict[str, Any]], kind: str, effect: str) -> Iterator[Fault]:
    """Yield ids that are no whole numbers, stand twice, or are an annotation's 0."""
    seen: set[int] = set()
    for index, entry in enumerate(entries):
        number = entry.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            yield f"{kind} at place {index}", f"{kind} id is not a whole number; datumaro and CVAT refuse it."
            continue
        if number in seen:
            yield f"{kind} {number}", f"{kind} id stands twice; {effect}."
        if number == 0 and kind == "annotation":
            yield f"{kind} 0", "annotation id 0; pycocotools counts its matches as misses. Start at 1."
        seen.add(number)


def _entries(coco: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects of one of the lists; [] where it is no list."""
    value = coco.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _where(kind: str, entry: dict[str, Any], index: int) -> str:
    """Name one entry by its id, or by its place where it has none."""
    number = entry.get("id")
    return f"{kind} {number}" if isinstance(number, int) else f"{kind} at place {index}"


def _key(entry: dict[str, Any], name: str = "id") -> Any:
    """Return an id that can be looked up; a list or object in its place matches nothing."""
    value = entry.get(name)
    return value if isinstance(value, int | str) else object()


def _size_hw(image: dict[str, Any]) -> tuple[int, int] | None:
    """Return the height and width of an image entry, or None."""
    size = (image.get("height"), image.get("width"))
    return size if all(isinstance(side, int) and side > 0 for side in size) else None  # type: ignore[return-value]


def _finite(value: object) -> bool:
    """Say whether ``value`` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _polygon(value: object) -> bool:
    """Say whether ``value`` is [x1, y1, x2, y2, x3, y3, ...]."""
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(_finite, value))
