"""Pascal VOC, read: our files, those of other tools, and VOC's own."""

import math
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from dinonat.errors import LabelError
from dinonat.formats.handover import LABEL_ID, Incoming, Sizes, Warn, incoming
from dinonat.formats.image_labels import IMAGE_LABELS, read_image_labels
from dinonat.formats.xml_files import Element, XmlError, whole

ANNOTATIONS = "Annotations"
LISTS = "ImageSets/Main"
LABELMAP = "labelmap.txt"
# Which pixels a box names, as each of our files says; the place is the base.
BASES = ("dinotool: edges of pixels from 0", "dinotool: pixels from 1, the last one included")
AUTHORS = "PASCAL VOC"  # how VOC's own data begins source/annotation: pixels from 1
SUPERVISION = ("VOC", "roboflow.ai")  # folder and database of what supervision writes: pixels from 1
STEP = 0.51  # pixels: rounding to whole ones

NOT_NUMBERS = "objects without a box of four numbers"
NO_AREA = "objects whose box has no area or exchanged corners"
NO_NAME = "objects without a name"
UNREADABLE = "files that cannot be read: left out"
BLOCK = 20_000  # rows that are held as objects at a time


class NotALabelError(ValueError):
    """An object that cannot be a label: what it is, in the plural."""


def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read one VOC file, or all of a folder: of an export, of ``Annotations``, or any with such files.

    An image is named by ``filename``, with the folders below ``Annotations`` before it; without one by
    the file's own stem. Boxes come back as edges from 0, whatever the file counts from (see `voc`).
    Parts, poses and polygons of objects are passed over. Labels of whole images come from
    ``image_labels.csv`` of the folder. ``warn`` gets one sentence for each kind of
    object that cannot be a label, and one for files that cannot be read.

    Raises LabelError where no file is one of VOC.
    """
    names: list[str] = []
    found, places = Counter[str](), dict[str, str]()
    exports: list[str] = []
    rows = _rows(path, names, exports, found, places)
    tables = []
    while block := list(islice(rows, BLOCK)):
        tables.append(incoming(block, ()).labels)
    if path.is_dir():
        tables.append(incoming(read_image_labels(path / IMAGE_LABELS, warn=warn), ()).labels)
    if not names:
        raise LabelError(next(iter(places.values()), f"{path}: no file of Pascal VOC in it") + ".")
    for what, count in found.items():
        warn(f"{places[what]}: {count} {what}.")
    empty = incoming((), names)
    tables = [table for table in tables if len(table)]
    labels = pd.concat(tables, ignore_index=True) if tables else empty.labels
    return Incoming(labels, empty.images, step=STEP, export=next(filter(None, exports), ""))


def annotation_files(path: Path) -> list[tuple[Path, str]]:
    """Return the XML files that ``path`` means, each with its place below ``Annotations``, in order.

    Raises LabelError where a folder holds none.
    """
    if not path.is_dir():
        return [(path, path.name)]
    folder = path / ANNOTATIONS if (path / ANNOTATIONS).is_dir() else path
    files = [(file, file.relative_to(folder).as_posix()) for file in sorted(folder.rglob("*.xml"))]
    if not files:
        raise LabelError(f"{folder}: no XML file in it. Give a folder that holds Annotations/NAME.xml.")
    return files


def annotation(file: Path) -> Element:
    """Return the root of one VOC file. Raises LabelError where it is none."""
    root = whole(file)
    if root.name != "annotation":
        raise XmlError(
            file, root.line, f"<{root.name}> is not VOC's <annotation>. Give a file of Pascal VOC."
        )
    return root


def image_name(root: Element, place: str) -> str:
    """Return the image that a file is of."""
    name = root.said("filename") or place.rpartition("/")[2].removesuffix(".xml")
    folder = place.rpartition("/")[0]
    return f"{folder}/{name}" if folder and "/" not in name else name


def folder_base(path: Path) -> int | None:
    """Return from what the boxes of a folder count, as its ``labelmap.txt`` says; None where it does not."""
    for folder in (path, path.parent, path.parent.parent):
        if (folder / LABELMAP).is_file():
            with (folder / LABELMAP).open(encoding="utf-8", errors="replace") as stream:
                head = [stream.readline(200).strip("# \n") for _ in range(3)]
            return next((base for base, text in enumerate(BASES) if text in head), None)
    return None


def file_base(root: Element, base: int | None) -> int:
    """Return from what the boxes of a file count: what it says or shows, else ``base``, else 0."""
    said = root.said("source", "annotation") or ""
    if said in BASES:
        return BASES.index(said)
    if said.upper().startswith(AUTHORS):
        return 1
    if (root.said("folder"), root.said("source", "database")) == SUPERVISION:
        return 1
    return base or 0


def corners(element: Element) -> list[float]:
    """Return xmin, ymin, xmax, ymax of an object. Raises NotALabelError where they are no numbers."""
    box = element.first("bndbox")
    texts = [box.said(name) if box else None for name in ("xmin", "ymin", "xmax", "ymax")]
    try:
        values = [float(text or "") for text in texts]
    except ValueError as error:
        raise NotALabelError(NOT_NUMBERS) from error
    if not all(abs(value) < 1e7 for value in values):
        raise NotALabelError(NOT_NUMBERS)
    return values


def _rows(
    path: Path, names: list[str], exports: list[str], found: Counter[str], places: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield the row of each object; put into the lists what the files say of themselves.

    ``found`` counts what cannot be a label, ``places`` says where each kind of that was first.
    """
    base = folder_base(path)
    for file, place in annotation_files(path):
        try:
            root = annotation(file)
        except LabelError as error:
            found[UNREADABLE] += 1
            places.setdefault(UNREADABLE, str(error).rstrip("."))
            continue
        names.append(image_name(root, place))
        exports.append(_export(root))
        for element in root.all("object"):
            try:
                row = _row(element, file_base(root, base))
            except NotALabelError as error:
                found[f"{error}: left out"] += 1
                places.setdefault(f"{error}: left out", f"{file}, line {element.line}")
                continue
            yield {**row, "image": names[-1], "where": f"{place}, line {element.line}"}


def _row(element: Element, base: int) -> dict[str, Any]:
    """Return what an object says."""
    label = element.said("name")
    if not label:
        raise NotALabelError(NO_NAME)
    left, top, right, bottom = corners(element)
    left, top = left - base, top - base
    if right <= left or bottom <= top:
        raise NotALabelError(NO_AREA)
    facts = dict(_facts(element))
    try:
        score = float(facts.get("score", ""))
    except ValueError:
        score = math.nan
    return {
        "label": label,
        "x": left,
        "y": top,
        "w": right - left,
        "h": bottom - top,
        LABEL_ID: facts.get(LABEL_ID, "").strip(),
        "status": facts.get("status", "").strip(),
        "score": score if math.isfinite(score) else math.nan,
    }


def _facts(element: Element) -> Iterator[tuple[str, str]]:
    """Yield the attributes of an object, as CVAT and datumaro write them."""
    attributes = element.first("attributes")
    for item in attributes.all("attribute") if attributes else []:
        yield item.said("name") or "", item.said("value") or ""


def _export(root: Element) -> str:
    """Return the export that one of our files says it came from."""
    ours = root.said("source", "annotation") in BASES
    return (root.said("source", "database") or "") if ours else ""
