"""What a COCO file must hold so that no known reader refuses, drops or misreads a part of it.

Most readers say nothing: of twenty files with one fault each, pycocotools refuses one. Each rule
below names the reader that stumbles. A fault is where it is and what it is, in words. The rules of
single annotations are in ``coco_annotation_rules``, those of results in ``coco_results_rules``.
"""

import re
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from dinonat.errors import LabelError
from dinonat.formats.coco_annotation_rules import (
    ALL,
    COCO,
    CVAT,
    DATUMARO,
    LABELFORMAT,
    Finding,
    annotation_findings,
    id_findings,
    key_of,
    place_of,
    size_of,
)
from dinonat.formats.coco_files import Parsed, instances_files, load, parse, starts_a_list
from dinonat.formats.coco_results_rules import results_findings
from dinonat.formats.handover import Check, Fault
from dinonat.formats.json_files import has_picture


def faults(path: Path, check: Check) -> Iterator[Fault]:
    """Yield every fault of an instances file, of a folder's instances files, or of a results file.

    ``check.target`` is "" for whatever readers stumble over, except what is right COCO and one of them
    alone does not read (run lengths of single objects, "labelformat"), or one of "coco" (pycocotools,
    faster-coco-eval, globox, and what is COCO at all), "datumaro", "cvat" and "labelformat"
    (LightlyStudio) for what hurts that one; what no reader says and every user suffers from is always
    told. ``check.images`` holds the pictures; without it they are looked for where an export has them,
    ``images/NAME`` for ``annotations/instances_NAME.json``, if anything is there. A file that cannot be
    read is a fault.
    """
    try:
        files = instances_files(path)
    except LabelError as error:
        yield str(path), str(error)
        return
    for file in files:
        place = f"{file.name}, " if len(files) > 1 else ""
        try:
            for where, what, tools in _findings(file, check):
                if check.target in tools or (not check.target and tools != LABELFORMAT):
                    yield f"{place}{where}", what
        except LabelError as error:
            yield f"{place}file", str(error).removeprefix(f"{file}: ")


def _findings(path: Path, check: Check) -> Iterator[Finding]:
    """Yield what is wrong with one file, with the tools that it hurts."""
    if starts_a_list(path):
        yield from results_findings(load(path), path, check.target)
        return
    coco = parse(path)
    beside = path.parent.parent / "images" / path.stem.removeprefix("instances_")
    folder = check.images or (beside if beside.is_dir() and any(beside.iterdir()) else None)
    yield from _file_findings(coco)
    categories, images = _entries(coco, "categories"), _entries(coco, "images")
    yield from _category_findings(categories, check.category_base)
    yield from _image_findings(images, folder)
    sizes = {key_of(image): size_of(image) for image in images}
    classes = {key_of(category) for category in categories}
    ids: set[int] = set()
    for index, entry in enumerate(coco.annotations or ()):
        if not isinstance(entry, dict):
            yield f"annotation at place {index}", "not an object; every reader stumbles. Take it out.", ALL
            continue
        yield from id_findings(entry, index, "annotation", "silently lost in pycocotools", ids, COCO)
        yield from annotation_findings(entry, place_of("annotation", entry, index), sizes, classes)


def _file_findings(coco: Parsed) -> Iterator[Finding]:
    """Yield which parts of the file are missing."""
    if not isinstance(coco.head.get("info"), dict):
        yield "file", "no object 'info'; some CVAT versions expect it. Write {}.", CVAT
    licences = coco.head.get("licenses")
    if not isinstance(licences, list) or not licences or not all(isinstance(one, dict) for one in licences):
        yield (
            "file",
            "no 'licenses'; CVAT versions stop with 'Cannot find the licenses section'. "
            'Write [{"id": 0, "name": "", "url": ""}].',
            CVAT,
        )
    for key in ("categories", "images"):
        if not isinstance(coco.head.get(key), list):
            yield "file", f"no list '{key}'; every reader needs it.", ALL
        elif len(_entries(coco, key)) < len(coco.head[key]):
            yield "file", f"'{key}' holds entries that are not objects; every reader stumbles.", ALL
    if coco.annotations is None:
        yield "file", "no list 'annotations'; every reader needs it. Write [] where nothing is labelled.", ALL


def _category_findings(categories: list[dict[str, Any]], base: int) -> Iterator[Finding]:
    """Yield what is wrong with the categories."""
    ids: set[int] = set()
    names: dict[str, str] = {}
    for index, category in enumerate(categories):
        where, name = place_of("category", category, index), category.get("name")
        yield from id_findings(category, index, "category", "two classes become one", ids, ALL)
        if category.get("id") == 0 and base > 0:
            yield (
                where,
                "category id 0; CVAT and datumaro load its annotations without a label. Start at 1.",
                COCO | CVAT | DATUMARO,
            )
        if not isinstance(name, str) or not name:
            yield where, "no 'name'; every reader needs it.", ALL
        elif (other := _earlier(name, names)) == name:
            yield (
                f"{where}, {name!r}",
                "its name stands a second time; readers keep one of the two. Rename one.",
                ALL,
            )
        elif other is not None:
            yield (
                f"{where}, {name!r} and {other!r}",
                "names that differ only in case or Unicode form; people and "
                "tools take them for one class. Rename one, or merge the two.",
                ALL,
            )
        if not isinstance(category.get("supercategory"), str):
            yield where, "no text 'supercategory'; some CVAT versions expect it. Write \"\".", CVAT


def _image_findings(images: list[dict[str, Any]], folder: Path | None) -> Iterator[Finding]:
    """Yield what is wrong with the images."""
    ids: set[int] = set()
    names: dict[str, str] = {}
    for index, image in enumerate(images):
        where, name = place_of("image", image, index), image.get("file_name")
        yield from id_findings(image, index, "image", "annotations land on the wrong picture", ids, ALL)
        if size_of(image) is None:
            yield where, "no positive whole 'width' and 'height'; datumaro, CVAT and masks need them.", ALL
        if not isinstance(name, str) or not name:
            yield where, "no 'file_name'; no reader finds the picture.", ALL
            continue
        if (other := _earlier(name, names)) == name:
            yield f"{where}, {name!r}", "its file_name a second time; tools that match by name keep one.", ALL
        elif other is not None:
            yield (
                f"{where}, {name!r} and {other!r}",
                "file_names that differ only in case or Unicode form; on Windows and "
                "macOS one picture replaces the other. Rename one.",
                ALL,
            )
        yield from _name_findings(f"{where}, {name!r}", name, size_of(image), folder)


def _name_findings(
    where: str, name: str, size_hw: tuple[int, int] | None, folder: Path | None
) -> Iterator[Finding]:
    """Yield what is wrong with the name of one picture, and with the picture itself."""
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in PurePosixPath(name).parts:
        yield (
            where,
            "absolute 'file_name' or one with '..'; datumaro refuses it. Write it relative.",
            COCO | CVAT | DATUMARO,
        )
    elif "\\" in name:
        yield where, "backslash in 'file_name'; only Windows finds it. Write '/'.", ALL
    elif folder is not None:
        yield from _picture_findings(where, name, size_hw, folder)


def _picture_findings(
    where: str, name: str, size_hw: tuple[int, int] | None, folder: Path
) -> Iterator[Finding]:
    """Yield whether a picture is missing, or of another size than the file says."""
    if not has_picture(folder, name):
        yield where, "its picture is not below the image folder; every tool shows nothing there.", ALL
        return
    plain, turned = _picture_sizes(folder / name)
    if size_hw is None or plain is None or size_hw == turned:
        return
    if size_hw == plain:
        yield (
            where,
            "its size is that of its picture before EXIF turns it; browsers and OpenCV turn the picture, and "
            "boxes land beside their objects. Write the turned size, or take the turn out of the picture.",
            ALL,
        )
    else:
        yield (
            f"{where}: {size_hw[1]}x{size_hw[0]}, the picture {turned[1]}x{turned[0]}",  # type: ignore[index]
            "its size is not that of its picture; boxes land beside their objects. Write the size of the "
            "picture that the labels were made on.",
            ALL,
        )


def _picture_sizes(path: Path) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the size of a picture as it is stored and as EXIF turns it; None where Pillow cannot tell."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except Exception:  # not a picture of Pillow's, damaged, or beyond its bounds: not judged here
        return None, None
    return (height, width), (width, height) if turned else (height, width)


def _earlier(name: str, names: dict[str, str]) -> str | None:
    """Return an earlier name that is the same to who tells neither case nor Unicode forms; remember this."""
    if name in names:
        return name
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    other = names.get(f"/{folded}")  # no relative name begins so
    names[name] = name
    names.setdefault(f"/{folded}", name)
    return other


def _entries(coco: Parsed, key: str) -> list[dict[str, Any]]:
    """Return the objects of one of the lists; [] where it is no list."""
    value = coco.head.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
