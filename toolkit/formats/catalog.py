"""Every format by its name, and the one door by which labels come in."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from dinonat.errors import LabelError
from dinonat.formats import coco
from dinonat.formats.matching import Warn
from dinonat.formats.tables import read_class_folders, read_csv, read_text

WRITERS: dict[str, Callable[..., coco.Written]] = {"coco": coco.write}
VALIDATORS: dict[str, Callable[..., list[str]]] = {"coco": coco.validate}


def read_labels(path: Path, *, warn: Warn = warnings.warn) -> pd.DataFrame:
    """Read labels that people gave into a table of LABEL_COLUMNS; boxes in pixels, NaN without one.

    ``path`` is a CSV with ``image,label[,x,y,w,h]``, a COCO file, a folder per class, or a folder
    that ``export`` wrote; what it is shows in its content. Rows that cannot be labels cost themselves
    and ``warn`` gets a sentence. ``matching.match_labels`` then finds the images of a set that are meant.

    Raises LabelError where nothing in it is a label.
    """
    if not path.exists():
        raise LabelError(f"{path}: no such file or folder. Give a CSV, a COCO file or a folder per class.")
    if path.is_dir():
        return _read_folder(path, warn)
    if read_text(path).lstrip()[:1] in ("{", "["):
        return coco.read(path, warn=warn)
    return read_csv(path, warn=warn)


def _read_folder(folder: Path, warn: Warn) -> pd.DataFrame:
    """Read a folder that ``export`` wrote (boxes and image labels), else a folder per class."""
    boxes, whole = folder / coco.ANNOTATIONS, folder / coco.IMAGE_LABELS
    if not boxes.is_file():
        return read_class_folders(folder)
    tables = [read_csv(whole, warn=warn)] if whole.is_file() else []
    if not tables or coco.load(boxes).get("annotations"):
        tables.append(coco.read(boxes, warn=warn))
    return pd.concat(tables, ignore_index=True)
