"""Pascal VOC, read: our files, those of other tools, and VOC's own."""

import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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


@dataclass
class _Said:
    """What files say beside their labels, and what is to tell: kind -> how often, where first."""

    names: list[str] = field(default_factory=list)  # of images
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    export: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)  # images of which an object was left out
    torn: list[str] = field(default_factory=list)  # stems of files that cannot be read

    def lose(self, what: str, place: str) -> None:
        self.counts[what] += 1
        self.places.setdefault(what, place)


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
    said = _Said()
    rows = _rows(path, said)
    tables = []
    while block := list(islice(rows, BLOCK)):
        tables.append(incoming(block, ()).labels)
    if path.is_dir():
        whole_images = read_image_labels(path / IMAGE_LABELS, warn=warn, unread=said.unread)
        tables.append(incoming(whole_images, ()).labels)
    if not said.names:
        raise LabelError(next(iter(said.places.values()), f"{path}: no file of Pascal VOC in it") + ".")
    for what, count in said.counts.items():
        warn(f"{said.places[what]}: {count} {what}.")
    empty = incoming(
        (),
        said.names,
        step=STEP,
        export=said.export,
        unread=[*said.unread, *_of_torn(said.torn, sizes or {})],
        sizes=said.sizes,
    )
    tables = [table for table in tables if len(table)]
    return replace(empty, labels=pd.concat(tables, ignore_index=True)) if tables else empty


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


def stated_size(root: Element) -> tuple[int, int] | None:
    """Return the height and width of its image that a file states, or None."""
    texts = [root.said("size", name) for name in ("height", "width")]
    sides = [int(text) for text in texts if text and re.fullmatch(r"\s*[1-9][0-9]{0,8}\s*", text, re.ASCII)]
    return (sides[0], sides[1]) if len(sides) == 2 else None


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


def _rows(path: Path, said: _Said) -> Iterator[dict[str, Any]]:
    """Yield the row of each object; put the rest of what the files say into ``said``."""
    base = folder_base(path)
    for file, place in annotation_files(path):
        try:
            root = annotation(file)
        except LabelError as error:
            said.lose(UNREADABLE, str(error).rstrip("."))
            said.torn.append(place.removesuffix(".xml"))
            continue
        name = image_name(root, place)
        said.names.append(name)
        said.export = said.export or _export(root)
        if size := stated_size(root):
            said.sizes[name] = size
        for element in root.all("object"):
            try:
                row = _row(element, file_base(root, base))
            except NotALabelError as error:
                said.lose(f"{error}: left out", f"{file}, line {element.line}")
                said.unread.append(name)
                continue
            yield {**row, "image": name, "where": f"{place}, line {element.line}"}


def _of_torn(stems: list[str], sizes: Sizes) -> list[str]:
    """Return the images of files that cannot be read: those of ``sizes`` with that stem, else the stem."""
    if not stems:
        return []
    known: dict[str, list[str]] = {}
    for name in sizes:
        known.setdefault(os.path.splitext(name)[0], []).append(name)
    return [name for stem in stems for name in known.get(stem, [stem])]


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
