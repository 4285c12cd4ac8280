"""What Pascal VOC must hold so that datumaro, supervision, CVAT and the many small readers take all of it."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dinonat.errors import LabelError
from dinonat.formats.fault_places import as_fault
from dinonat.formats.handover import Check, Fault
from dinonat.formats.tables import PICTURES
from dinonat.formats.voc_reading import (
    ANNOTATIONS,
    LABELMAP,
    LISTS,
    NotALabelError,
    annotation,
    annotation_files,
    corners,
    file_base,
    folder_base,
    image_name,
)
from dinonat.formats.xml_files import Element, XmlError

DEPTHS = ("1", "3", "4")


def faults(path: Path, check: Check) -> Iterator[Fault]:
    """Yield every fault of a VOC file, or of all files of a folder and what lies beside them."""
    try:
        files = annotation_files(path)
    except LabelError as error:
        yield as_fault(error, path)
        return
    root = _root(path)
    classes = None
    if root is not None:
        classes = _classes(root / LABELMAP)
        yield from _labelmap_faults(root / LABELMAP)
    base = folder_base(path)
    names: set[str] = set()
    for file, place in files:
        try:
            found = annotation(file)
        except XmlError as error:
            yield f"{place}, line {error.line}" if error.line else place, error.what
            continue
        yield from _file_faults(found, place, check, names)
        for element in found.all("object"):
            where = f"{place}, line {element.line}"
            if (label := element.said("name")) and classes is not None and label not in classes:
                yield (
                    f"{where}, class {label!r}",
                    "not in labelmap.txt; datumaro stops or drops the box. Add a line NAME::: for it.",
                )
            for what in _object_faults(element, found, file_base(found, base)):
                yield where, what
    if root is not None and path.is_dir():
        stems = {place.removesuffix(".xml") for _, place in files}
        yield from _list_faults(root / LISTS, stems)
        yield from _picture_faults(check.images or root / "JPEGImages", stems)


def _root(path: Path) -> Path | None:
    """Return the folder that holds ``Annotations``, or None where the files lie anywhere."""
    folder = path if path.is_dir() else path.parent
    if (folder / ANNOTATIONS).is_dir():
        return folder
    return folder.parent if folder.name == ANNOTATIONS else None


def _file_faults(root: Element, place: str, check: Check, names: set[str]) -> Iterator[Fault]:
    """Yield what is wrong with a file beside its objects; put its image into ``names``."""
    where = f"{place}, line {root.line}"
    size = root.first("size")
    if size is None or not all(_positive(size.said(name)) for name in ("width", "height")):
        yield (
            where,
            "no <size> with positive whole <width> and <height>; readers that scale boxes stop. Write it.",
        )
    elif size.said("depth") not in DEPTHS:
        yield (
            f"{place}, line {size.line}",
            f"<depth> {size.said('depth')!r}, not 1, 3 or 4 channels; readers that check it stop. Write 1.",
        )
    if "/" in place:
        yield (
            where,
            "file in a folder below Annotations; supervision passes over it silently. Flatten the names.",
        )
    yield from _name_faults(root, place, check, names)


def _name_faults(root: Element, place: str, check: Check, names: set[str]) -> Iterator[Fault]:
    """Yield what is wrong with the name of a file's image; put it into ``names``."""
    where, stem = f"{place}, line {root.line}", PurePosixPath(place).stem
    said = root.said("filename")
    if not said:
        yield where, "no <filename>; labelformat stops, others guess the ending. Write the picture's name."
        return
    plain = PurePosixPath(said)
    if said.startswith("/") or re.match(r"[A-Za-z]:", said) or ".." in plain.parts or "\\" in said:
        yield (
            where,
            "<filename> is absolute or has '..' or a backslash; datumaro refuses it. Write the bare name.",
        )
    elif plain.stem != stem:
        yield (
            f"{where}, <filename> {said!r}",
            "not the picture of this file by its name; datumaro takes the one, "
            "supervision and torchvision the other. Rename the file or mend <filename>.",
        )
    name = image_name(root, place)
    if name in names:
        yield (
            f"{where}, image {name!r}",
            "is that of an earlier file too; readers keep one of the two. Join them.",
        )
    names.add(name)
    if check.target == "cvat" and re.search(r"[\s.]", stem):
        yield (
            where,
            "blanks or dots in the name; CVAT may not find the frame (cvat #6319). Rename the picture.",
        )
    if check.images is not None and not (check.images / name).is_file():
        yield (
            f"{where}, {name!r}",
            "its picture is not below the image folder; every tool shows nothing there.",
        )


def _object_faults(element: Element, root: Element, base: int) -> Iterator[str]:
    """Yield what is wrong with one object; ``base`` is what the boxes count from."""
    if not element.said("name"):
        yield "object without a <name>; every reader stops. Write its class."
    for name in ("difficult", "truncated", "occluded"):
        if element.said(name) not in ("0", "1", None):
            yield f"<{name}> is not 0 or 1; datumaro stops. Write 0."
    if element.said("difficult") is None:
        yield "no <difficult>; readers of VOC's own evaluation stop. Write <difficult>0</difficult>."
    try:
        left, top, right, bottom = corners(element)
    except NotALabelError:
        yield "no <bndbox> of four finite numbers xmin, ymin, xmax, ymax; every reader stops. Write it."
        return
    if any(value % 1 for value in (left, top, right, bottom)):
        yield "coordinates in fractions; readers that take whole numbers stop. Round, keeping xmin < xmax."
    if right <= left - base or bottom <= top - base:
        yield "box without area or with its corners exchanged; readers drop it or train on nothing. Mend it."
        return
    width, height = (root.said("size", name) for name in ("width", "height"))
    if (
        min(left, top) < base
        or (_positive(width) and right > float(width or 0))
        or (_positive(height) and bottom > float(height or 0))
    ):
        yield "box reaches outside its image; no reader says so, trainers clip or crash. Clip it."


def _labelmap_faults(path: Path) -> Iterator[Fault]:
    """Yield what is wrong with ``labelmap.txt``."""
    if not path.is_file():
        yield (
            LABELMAP,
            "is missing; datumaro assumes the 20 classes of VOC. Write a line NAME::: for each class.",
        )
        return
    names: set[str] = set()
    for line, text in _lines(path):
        name = text.partition(":")[0]
        if text.count(":") != 3:
            yield (
                f"{LABELMAP}, line {line}",
                "not NAME:COLOUR:PARTS:ACTIONS; datumaro refuses the whole set. Mend it.",
            )
        elif not re.fullmatch(r"(\s*[0-9]+\s*,\s*[0-9]+\s*,\s*[0-9]+\s*)?", text.split(":")[1]):
            yield (
                f"{LABELMAP}, line {line}",
                "the colour is not R,G,B; datumaro refuses the whole set. Leave it empty.",
            )
        elif name in names:
            yield (
                f"{LABELMAP}, line {line}, class {name!r}",
                "a class a second time; datumaro refuses the whole set. Keep one.",
            )
        names.add(name)


def _classes(path: Path) -> list[str] | None:
    """Return the classes of ``labelmap.txt``; None where it is missing."""
    return [text.partition(":")[0] for _, text in _lines(path)] if path.is_file() else None


def _list_faults(folder: Path, stems: set[str]) -> Iterator[Fault]:
    """Yield what is wrong with the lists of the splits."""
    listed: dict[str, str] = {}
    for file in sorted(folder.glob("*.txt")):
        for line, stem in _lines(file, comments=False):
            where = f"{LISTS}/{file.name}, line {line}, {stem!r}"
            if stem.startswith("#"):
                yield where, "begins with '#'; datumaro takes it for a comment. Rename the picture."
            if stem not in stems and re.search(" (0|1|-1)$", stem):
                continue  # VOC's own lists of one class: stem and whether the class is there
            if stem not in stems:
                yield (
                    where,
                    "has no file in Annotations; torchvision stops. Write one without objects.",
                )
            elif listed.setdefault(stem, file.name) != file.name:
                yield where, f"is in {listed[stem]} too; what is trained on is tested on. Keep one."
    if not listed:
        yield (
            LISTS,
            "holds no list of images; datumaro and torchvision find nothing. Write one: trainval.txt.",
        )
        return
    for stem in sorted(stems - set(listed)):
        yield (
            f"{stem}.xml",
            "is in no list of ImageSets/Main; datumaro and torchvision leave it out. Add its stem.",
        )


def _picture_faults(folder: Path, stems: set[str]) -> Iterator[Fault]:
    """Yield pictures without a file: not known to be empty, only forgotten."""
    for file in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = file.relative_to(folder)
        if name.suffix.lower() in PICTURES and name.with_suffix("").as_posix() not in stems:
            yield (
                f"{name.as_posix()}",
                "picture without a file in Annotations; torchvision stops, others call it empty. "
                "Write one without objects.",
            )


def _lines(path: Path, *, comments: bool = True) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines of a small file that say something."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            text = line.strip()
            if text and not (comments and text.startswith("#")):
                yield number, text


def _positive(text: str | None) -> bool:
    """Say whether a text is a whole number above 0."""
    return re.fullmatch(r"\s*[1-9][0-9]{0,8}\s*", text or "", re.ASCII) is not None
