"""YOLO as Ultralytics reads it: a text file for each picture, a row for each object, classes in data.yaml.

Detection has boxes (class, centre, width, height), segmentation polygons (class, x and y of each corner),
all as shares of the picture's width and height. A row has no place for anything else, so ids and
scores lie beside it in ``predictions.jsonl``, which every other program passes by.
Source: https://docs.ultralytics.com/datasets/detect and /segment.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import yaml
from numpy.typing import NDArray

from dinonat.errors import LabelError
from dinonat.formats.handover import (
    NO_FACTS,
    NO_IDS,
    NO_MASKS,
    NO_SCORES,
    NUMBERS,
    TEXTS,
    WHOLE_IMAGE,
    Outgoing,
    Written,
)
from dinonat.formats.image_labels import IMAGE_LABELS, write_image_labels
from dinonat.formats.yolo_rows import Rows, box_rows, polygon_rows

DATA, PREDICTIONS = "data.yaml", "predictions.jsonl"
WHOLE = "train"  # the folder of what is not split
BLOCK = 5000  # images whose rows are in memory at a time


def write_detect(asked: Outgoing, folder: Path) -> Written:
    """Write boxes as YOLO rows ``class xc yc w h``; masks are left out and counted.

    Raises LabelError where two pictures would share one label file, because their names differ only
    in what follows the last dot.
    """
    regions = asked.labels[asked.labels["kind"] == "region"]
    losses = {NO_MASKS: sum(map(bool, regions["mask_counts"]))}
    return _write(asked, folder, regions, losses, segment=False)


def write_segment(asked: Outgoing, folder: Path) -> Written:
    """Write masks as YOLO rows ``class x1 y1 x2 y2 ...``, and labels without one as the corners of their box.

    A row is one polygon: holes are filled; parts are joined by lines without width, so that filling
    by the even-odd rule gives the mask back, or given a row each (``asked.multipart``). Raises as
    `write_detect` does.
    """
    regions = asked.labels[asked.labels["kind"] == "region"]
    return _write(asked, folder, regions, {}, segment=True)


def picture(split: str, file_name: str) -> str:
    """Return where a picture lies; Ultralytics finds its labels by putting "labels" for "images"."""
    return f"images/{split or WHOLE}/{file_name}"


def label_file(split: str, file_name: str) -> str:
    """Return where the rows of a picture lie."""
    return f"labels/{split or WHOLE}/{stem(file_name)}.txt"


def stem(file_name: str) -> str:
    """Return a file name without its ending: what follows its last dot.

    >>> stem("night/a.b.png"), stem("v1.2/a")
    ('night/a.b', 'v1.2/a')
    """
    before, dot, ending = file_name.rpartition(".")
    return before if dot and "/" not in ending and before[-1:] not in ("", "/") else file_name


def _write(
    asked: Outgoing, folder: Path, regions: pd.DataFrame, losses: dict[str, int], *, segment: bool
) -> Written:
    """Write the files of either kind."""
    counted = Counter({**asked.losses, **losses})
    files = _label_files(asked.images)
    for place in {os.path.dirname(file) for file in files}:
        (folder / place).mkdir(parents=True, exist_ok=True)
    names = asked.images["file_name"].tolist()
    with (folder / PREDICTIONS).open("wb") as beside:
        for first in range(0, len(files), BLOCK):
            low, high = np.searchsorted(regions["at"], [first, first + BLOCK])
            block = regions[low:high]
            rows = polygon_rows(block, asked, counted) if segment else box_rows(block, asked.images)
            at = block["at"].to_numpy()[rows.label] - first
            cuts = np.searchsorted(at, np.arange(min(BLOCK, len(files) - first) + 1)).tolist()
            for file, start, end in zip(files[first:], cuts, cuts[1:], strict=False):
                _write_text(f"{folder}/{file}", "".join(rows.text[start:end]))
            beside.writelines(_side_lines(block, rows, names[first : first + BLOCK], at, cuts))
    (folder / DATA).write_text(_data_yaml(asked, segment=segment), encoding="utf-8", newline="\n")
    return _written(asked, folder, regions, counted, files)


def _label_files(images: pd.DataFrame) -> list[str]:
    """Return the label file of each image. Raises LabelError where two would share one."""
    pairs = zip(images["split"], images["file_name"], strict=True)
    files = [label_file(str(split), str(name)) for split, name in pairs]
    owners: dict[str, str] = {}
    for file, name in zip(files, images["file_name"], strict=True):
        if owners.setdefault(file, name) != name:
            raise LabelError(
                f"{owners[file]!r} and {name!r}: YOLO has one label file, {file}, for both. "
                "Give one of the pictures another name before its ending."
            )
    return files


def _write_text(path: str, text: str) -> None:
    """Write one small file; `open` takes twice as long, which is felt with 20,000 of them."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        if text:
            data = text.encode()
            while data:
                data = data[os.write(file, data) :]
    finally:
        os.close(file)


def _side_lines(
    block: pd.DataFrame, rows: Rows, names: list[str], at: NDArray[np.int64], cuts: list[int]
) -> Iterator[bytes]:
    """Yield a line of predictions.jsonl for each row: what the row itself cannot say."""
    ids, classes = block["proposal"].tolist(), block["label"].tolist()
    scores = block["score"].to_numpy(np.float64).tolist()
    row_of = (np.arange(len(at)) - np.asarray(cuts)[at] + 1).tolist()
    columns = zip(at.tolist(), row_of, rows.label, rows.box, rows.shape, strict=True)
    for image, row, label, box, shape in columns:
        line = {"image": names[image], "row": row, "label_id": ids[label], "label": classes[label]}
        if math.isfinite(scores[label]):
            line["score"] = scores[label]
        yield orjson.dumps({**line, "box": box, "shape": shape}, option=orjson.OPT_APPEND_NEWLINE)


def _data_yaml(asked: Outgoing, *, segment: bool) -> str:
    """Return data.yaml: where the pictures of each split are, and the classes by number."""
    splits = list(dict.fromkeys(str(split) or WHOLE for split in asked.images["split"])) or [WHOLE]
    folders = {name: f"images/{name}" for name in sorted(splits)}
    lines = [
        f"# {'Polygons' if segment else 'Boxes'} for YOLO, written by dinotool. '.' is where a program is",
        "# started: start it in this folder, or write the whole path of this folder here.",
        "path: .",
    ]
    for key, other in ((WHOLE, "val"), ("val", WHOLE)):
        if key not in folders:
            lines.append(
                f"# There is no split {key!r}, but it must be named: these are the pictures of another"
            )
            lines.append("# one, and what is measured on pictures that were trained on says nothing.")
        lines.append(f"{key}: {_quoted(folders.get(key) or folders.get(other) or min(folders.values()))}")
    lines += [f"{_quoted(name)}: {_quoted(folders[name])}" for name in folders if name not in (WHOLE, "val")]
    names = [f"  {number}: {_quoted(name, plain=False)}" for number, name in enumerate(asked.classes)]
    lines += [f"export: {_quoted(asked.name)}", "names:" if names else "names: {}", *names]
    return "\n".join(lines) + "\n"


def _quoted(text: str, *, plain: bool = True) -> str:
    """Return a text as YAML on one line, whatever is in it; a plain path may stay without quotes."""
    if plain and re.fullmatch(r"images(/[a-z]+)+|test", text):
        return text
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf).strip("\n")


def _written(
    asked: Outgoing, folder: Path, regions: pd.DataFrame, losses: Counter[str], files: list[str]
) -> Written:
    """Write the labels of whole images, and return what was written and lost."""
    whole = len(asked.labels) - len(regions)
    if whole:
        write_image_labels(asked.labels, folder / IMAGE_LABELS)
    losses[WHOLE_IMAGE] += whole
    losses[NO_SCORES] += int(np.isfinite(regions["score"].to_numpy(np.float64)).sum())
    losses[NO_IDS] += len(regions)
    losses[NO_FACTS] += _with_facts(regions)
    beside = [IMAGE_LABELS] if whole else []
    return Written(
        (DATA, PREDICTIONS, *beside, *files),
        len(regions),
        whole,
        {text: n for text, n in sorted(losses.items()) if n},
    )


def _with_facts(regions: pd.DataFrame) -> int:
    """Count the labels of which anything is known that rows and ids do not say."""
    known = (regions["cluster"] >= 0).to_numpy(copy=True)
    for name in TEXTS:
        known |= (regions[name].astype("str") != "").to_numpy()
    for name in NUMBERS:
        if name != "score":
            known |= np.isfinite(regions[name].to_numpy(np.float64))
    return int(known.sum())
