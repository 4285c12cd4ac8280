"""What a CVAT file must hold so that CVAT, datumaro and labelformat take all of it.

CVAT refuses a whole upload for one frame or label that the task does not have, and drops attributes that were
not declared without a word. Sources: CVAT's importer (``dataset_manager/formats/cvat.py``), its issues
#6304, #6319 and #6767, cvat-sdk's models of labels, datumaro's importer.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dinonat.errors import LabelError
from dinonat.formats.cvat_label_rules import declared_labels, label_faults
from dinonat.formats.cvat_reading import VIDEO, xml_file
from dinonat.formats.cvat_shapes import (
    NO_BOXES,
    NotALabelError,
    image_size,
    mask_window,
    number,
    polygon_points,
)
from dinonat.formats.fault_places import as_fault
from dinonat.formats.handover import Check, Fault
from dinonat.formats.xml_files import Element, XmlError, parts
from dinonat.polygons import is_tangled

SHAPES = ("box", "polygon", "mask", *NO_BOXES)
EDGE = 0.005  # pixels: half a hundredth, which writing with two decimals may add
Declared = dict[str, set[str]]  # label -> names of its attributes


def faults(path: Path, check: Check) -> Iterator[Fault]:
    """Yield every fault of an ``annotations.xml`` (or of that of a folder) and of the labels beside it."""
    try:
        file = xml_file(path)
        yield from _file_faults(file, check)
    except XmlError as error:
        yield f"line {error.line}" if error.line else "file", error.what
    except LabelError as error:
        yield as_fault(error, path)


def _file_faults(file: Path, check: Check) -> Iterator[Fault]:
    """Yield the faults of a file, part by part."""
    found = parts(file)
    root = next(found)
    if root.name != "annotations":
        yield "line 1", f"<{root.name}> is not CVAT's <annotations>; CVAT finds nothing in it."
        return
    declared: Declared | None = None
    version, meta = "", False
    seen = _Seen()
    for part in found:
        if part.name == "version":
            version = part.text.strip()
        elif part.name == "meta":
            meta, declared = True, declared_labels(part)
            yield from _meta_faults(part, check)
            yield from label_faults(part, file)
        elif part.name == "track":
            yield f"line {part.line}", f"<track>: the file {VIDEO}"
        elif part.name == "image":
            yield from _image_faults(part, seen, check)
            yield from _shapes_faults(part, declared)
    if version != "1.1":
        yield "file", f"version {version!r}, not '1.1'. Write <version>1.1</version>."
    if not meta:
        yield (
            "file",
            "no <meta>; datumaro and labelformat refuse the file. Write <meta><task> with the labels.",
        )


class _Seen:
    """Names and ids of the images so far."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.stems: set[str] = set()
        self.ids: set[str] = set()


def _meta_faults(meta: Element, check: Check) -> Iterator[Fault]:
    """Yield what is wrong with the head beside its labels."""
    where = f"line {meta.line}"
    if not any(meta.first(name) for name in ("task", "project", "job")):
        yield where, "<meta> without <task>; datumaro and labelformat refuse the file. Write <task> in it."
    elif meta.first("job") and check.target in ("", "datumaro"):
        yield where, "<meta> of a <job>; datumaro refuses it. Export the task, or rename <job> to <task>."


def _image_faults(image: Element, seen: _Seen, check: Check) -> Iterator[Fault]:
    """Yield what is wrong with an image beside its labels."""
    where, said = f"line {image.line}", image.attributes
    number_ = said.get("id", "")
    if not re.fullmatch("[0-9]+", number_, re.ASCII):
        yield where, "image without a whole number as 'id'; CVAT and datumaro stop. Write the frame's number."
    elif number_ in seen.ids:
        yield (
            f"{where}, id {number_}",
            "image id a second time; datumaro puts the labels of both on one. Count up.",
        )
    seen.ids.add(number_)
    if image_size(image) is None:
        yield (
            where,
            "image without positive whole 'width' and 'height'; masks cannot be drawn, labelformat stops.",
        )
    name = said.get("name", "")
    if not name:
        yield where, "image without a 'name'; CVAT finds frames by it and refuses the whole upload."
        return
    yield from _name_faults(where, name, seen)
    places = [name, f"{said.get('subset', '')}/{name}"]
    if check.images is not None and not any((check.images / place).is_file() for place in places):
        yield f"{where}, {name!r}", "its picture is not below the image folder; datumaro refuses the file."


def _name_faults(where: str, name: str, seen: _Seen) -> Iterator[Fault]:
    """Yield what is wrong with the name of an image."""
    stem = str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name
    if name in seen.names:
        yield (
            f"{where}, {name!r}",
            "image name a second time; CVAT puts the labels of both on one frame. Join them.",
        )
    elif stem in seen.stems:
        yield (
            f"{where}, {name!r}",
            "image name that differs from another only after the last dot; CVAT compares names without it, "
            "so labels may land on the other. Rename one picture.",
        )
    seen.names.add(name)
    seen.stems.add(stem)
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in PurePosixPath(name).parts:
        yield where, "absolute image name or one with '..'; no task has such a frame. Write it relative."
    elif "\\" in name:
        yield where, "backslash in an image name; CVAT's frames are named with '/'. Write '/'."


def _shapes_faults(image: Element, declared: Declared | None) -> Iterator[Fault]:
    """Yield what is wrong with the labels of an image."""
    size_hw = image_size(image)
    for element in image.children:
        where = f"line {element.line}"
        if element.name not in (*SHAPES, "tag"):
            yield where, f"<{element.name}> is no shape that CVAT knows; it skips it."
            continue
        for which, what in _label_faults(element, declared):
            yield f"{where}{which}", what
        if element.name != "tag":
            for what in _shape_faults(element, size_hw):
                yield where, what
        if not re.fullmatch(r"\s*-?[0-9]+\s*", element.attributes.get("group_id", "0"), re.ASCII):
            yield where, "'group_id' is no whole number; CVAT and datumaro stop. Write one, or leave it out."


def _label_faults(element: Element, declared: Declared | None) -> Iterator[Fault]:
    """Yield which label or attribute of an element is wrong ("" for the element itself), and what is."""
    label = element.attributes.get("label", "")
    if not label:
        yield "", f"<{element.name}> without a 'label'; CVAT refuses the whole upload."
    elif declared is not None and label not in declared:
        yield (
            f", label {label!r}",
            "label that is not declared in <meta>; datumaro reads it without a class, and CVAT refuses "
            "the upload if the task does not have it. Declare it, in the task too.",
        )
    names = [name for name, _ in element.facts]
    if "" in names or element.first("attribute"):
        yield "", "<attribute> without a 'name'; CVAT and datumaro stop."
    if len(set(names)) < len(names):
        yield "", "one attribute a second time; CVAT keeps one of the two."
    for name in dict.fromkeys(names):
        if name and declared is not None and name not in declared.get(label, {name}):
            yield (
                f", attribute {name!r} of {label!r}",
                "attribute that is not declared for its label; CVAT drops it without a word. Declare it.",
            )


def _shape_faults(element: Element, size_hw: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with the form of an element."""
    if element.attributes.get("occluded") not in ("0", "1") and element.name != "skeleton":
        yield "no 'occluded' of 0 or 1; CVAT stops at the missing one. Write 0."
    if not re.fullmatch(r"\s*-?[0-9]+\s*", element.attributes.get("z_order", "0"), re.ASCII):
        yield "'z_order' is no whole number; CVAT and datumaro stop. Write 0."
    try:
        if element.name == "box":
            yield from _box_faults(element, size_hw)
        elif element.name == "polygon":
            yield from _polygon_faults(element, size_hw)
        elif element.name == "mask":
            yield from _mask_faults(element, size_hw)
    except NotALabelError as error:
        yield f"{error}; CVAT refuses the upload, datumaro stops."


def _box_faults(element: Element, size_hw: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with a box."""
    left, top, right, bottom = (number(element, name) for name in ("xtl", "ytl", "xbr", "ybr"))
    if right <= left or bottom <= top:
        yield "box without area or with its corners exchanged; CVAT draws nothing. xtl < xbr and ytl < ybr."
        return
    turned = element.attributes.get("rotation") and number(element, "rotation") % 360
    if size_hw is not None and not turned and _outside(left, top, right, bottom, size_hw):
        yield "box reaches outside its image; CVAT shows it there, trainers clip or crash. Clip it."


def _polygon_faults(element: Element, size_hw: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with a polygon."""
    points = polygon_points(element)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    if size_hw is not None and _outside(left, top, right, bottom, size_hw):
        yield "polygon reaches outside its image; CVAT shows it there, trainers clip or crash. Clip it."
    if right <= left or bottom <= top:
        yield "polygon without area; CVAT drops it."
    elif size_hw is not None and is_tangled(points, size_hw):
        yield "polygon that goes up and down more often than its image has pixels; it outlines nothing."


def _mask_faults(element: Element, size_hw: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with a mask."""
    texts = element.attributes.get("rle", "").split(",")
    if not all(re.fullmatch(r"\s*[0-9]+\s*", text, re.ASCII) for text in texts):
        yield "'rle' is not whole numbers from 0 up with commas; CVAT refuses the whole upload."
        return
    runs = [int(text) for text in texts]
    width, height = number(element, "width"), number(element, "height")
    number(element, "left"), number(element, "top")
    if not sum(runs[1::2]):
        yield "mask without a pixel; CVAT refuses the whole upload. Leave it out."
    elif sum(runs) != width * height:
        yield (
            "'rle' does not fill width x height; CVAT draws a torn mask and later exports fail. It goes row "
            "by row inside the mask's box and begins with zeros, which COCO's run lengths do not."
        )
    elif size_hw is not None:
        mask_window(element, size_hw)


def _outside(left: float, top: float, right: float, bottom: float, size_hw: tuple[int, int]) -> bool:
    """Say whether a box reaches over the border of its image."""
    return min(left, top) < -EDGE or right > size_hw[1] + EDGE or bottom > size_hw[0] + EDGE
