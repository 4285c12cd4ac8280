"""Every format by its name, what a path holds, and the one door by which labels come in."""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dinonat.errors import LabelError
from dinonat.formats import (
    class_folders,
    coco,
    coco_reading,
    coco_rules,
    cvat,
    datumaro,
    label_studio,
    label_tables,
    voc,
    yolo,
    yolo_reading,
    yolo_rules,
)
from dinonat.formats.handover import Check, Fault, Incoming, Outgoing, Picture, Warn, Written
from dinonat.formats.tables import read_class_folders, read_csv
from dinonat.records import LABEL_COLUMNS, as_table

HEAD = 1 << 16  # bytes that tell a format


@dataclass(frozen=True)
class Format:
    """What can be done with one format; the signatures are those of its module."""

    write: Callable[[Outgoing, Path], Written]
    read: Callable[..., Incoming]
    faults: Callable[[Path, Check], Iterator[Fault]]
    picture: Picture
    flat: bool = False  # the names of its pictures hold no folders
    holds_pictures: bool = False  # it is nothing without the pictures
    # Where the pictures go, if their labels decide it: (row of the image, path below the folder).
    places: Callable[[Outgoing], list[tuple[int, str]]] | None = None


FORMATS: dict[str, Format] = {
    "yolo": Format(yolo.write_detect, yolo_reading.read, yolo_rules.faults, yolo.picture, flat=True),
    "yolo-segment": Format(yolo.write_segment, yolo_reading.read, yolo_rules.faults, yolo.picture, flat=True),
    "cvat": Format(cvat.write, cvat.read, cvat.faults, cvat.picture),
    "voc": Format(voc.write, voc.read, voc.faults, voc.picture, flat=True),
    "coco": Format(coco.write, coco_reading.read, coco_rules.faults, coco.picture),
    "csv": Format(label_tables.write_csv, label_tables.read, label_tables.faults, label_tables.picture),
    "parquet": Format(
        label_tables.write_parquet, label_tables.read, label_tables.faults, label_tables.picture
    ),
    "datumaro": Format(datumaro.write, datumaro.read, datumaro.faults, datumaro.picture),
    "label-studio": Format(label_studio.write, label_studio.read, label_studio.faults, label_studio.picture),
    "folders": Format(
        class_folders.write,
        class_folders.read,
        class_folders.faults,
        class_folders.picture,
        flat=True,
        holds_pictures=True,
        places=class_folders.places,
    ),
    "yolo-classify": Format(
        class_folders.write_classify,
        class_folders.read,
        class_folders.faults,
        class_folders.picture,
        flat=True,
        holds_pictures=True,
        places=class_folders.classify_places,
    ),
}


LOOKS = ({"yolo", "yolo-segment"}, {"folders", "yolo-classify"})  # `sniff` says the first of each


def sniff(path: Path) -> str:
    """Return the name of the format that a file or folder holds, by its content.

    "csv" also stands for a CSV that a person wrote. Raises LabelError for what is none of them.
    """
    if not path.exists():
        raise LabelError(
            f"{path}: no such file or folder. Give a file with labels, or a folder of an export."
        )
    return _of_folder(path) if path.is_dir() else _of_file(path)


def alike(one: str, other: str) -> bool:
    """Say whether two formats are one, or cannot be told apart by their files.

    >>> alike("yolo", "yolo-segment"), alike("csv", "parquet")
    (True, False)
    """
    return one == other or any({one, other} <= look for look in LOOKS)


def read_labels(path: Path, *, warn: Warn = warnings.warn) -> pd.DataFrame:
    """Read labels that people gave into a table of LABEL_COLUMNS; boxes in pixels, NaN without one.

    ``path`` is a CSV with ``image,label[,x,y,w,h]``, a folder per class, or a file or folder of any
    format of FORMATS; what it is shows in its content. Rows that cannot be labels cost themselves
    and ``warn`` gets a sentence. ``matching.match_labels`` then finds the images of a set that are meant.

    Raises LabelError where nothing in it is a label.
    """
    name = sniff(path)
    if name == "csv" and path.is_file():
        return read_csv(path, warn=warn)
    if name == "folders" and not (path / class_folders.CLASSES).is_file():
        return read_class_folders(path)
    labels = FORMATS[name].read(path, warn=warn).labels
    if labels.empty:
        raise LabelError(f"{path}: no label in it. Give a file in which something is labelled.")
    return as_table(labels[list(LABEL_COLUMNS)], LABEL_COLUMNS)


def _of_folder(folder: Path) -> str:
    """Return the format of a folder by the files that only this format has."""
    signs = {
        "annotations.xml": "cvat",
        "tasks*.json": "label-studio",
        "labels.parquet": "parquet",
        "labels.csv": "csv",
        "classes.csv": "folders",
        "data.yaml": "yolo",
        "obj.data": "yolo",
        "obj.names": "yolo",
        "labels/**/*.txt": "yolo",
        "Annotations/**/*.xml": "voc",
        "annotations/*.json": "json",
        "*.xml": "xml",
        "*.json": "json",
    }
    for pattern, name in signs.items():
        first = next(iter(sorted(folder.glob(pattern))), None)
        if first is not None:
            return _of_file(first) if name in ("json", "xml") else name
    return "folders"


def _of_file(path: Path) -> str:
    """Return the format of a file by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if head.startswith(b"PAR1"):
        return "parquet"
    codec = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = head.decode(codec, errors="replace").lstrip()
    if text.startswith("<"):
        return "cvat" if re.search(r"<annotations\b", text) else "voc"
    if text.startswith("{"):
        if re.search(r'"(data|value)"\s*:\s*\{|"was_cancelled"\s*:', text):
            return "label-studio"  # a single task
        # A long list of images may push the other keys out of sight: what is no Datumaro is COCO.
        return "datumaro" if re.search(r'"(items|media_type|dm_format_version)"\s*:', text) else "coco"
    if text.startswith("["):
        # A COCO results file; Label Studio's shorter export has any keys.
        return "coco" if re.search(r'"(image_id|category_id)"\s*:', text) else "label-studio"
    return "yolo" if path.suffix in (".yaml", ".yml", ".data", ".names") else "csv"
