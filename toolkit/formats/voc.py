"""Pascal VOC: a file for each image, whole pixels, read by nearly everything.

``Annotations/STEM.xml`` for every image, labelled or not; ``ImageSets/Main/SPLIT.txt`` with the stems of each
split, ``trainval.txt`` where nothing is split (a name that torchvision takes, and datumaro takes any);
``labelmap.txt``, without which datumaro assumes VOC's own 20 classes; the pictures belong into
``JPEGImages``. Folders below ``Annotations`` are not found by most readers, so names should hold none.

VOC's authors count pixels from 1 and include the last; CVAT, datumaro and FiftyOne read the same numbers as
edges from 0. We write edges from 0 unless ``voc_base`` is 1, and say which in ``source/annotation`` of each
file and in a comment of ``labelmap.txt``; reading follows the file, then the comment; VOC's own data
and what supervision writes count from 1, everything else from 0.

``label_id``, ``status`` and ``score`` lie in ``attributes`` of each object, where CVAT and datumaro write and
read attributes; other readers pass over them. Sources: the VOC2012 development kit, the readers of datumaro
and of supervision.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from dinonat.errors import LabelError
from dinonat.formats.handover import (
    LABEL_ID,
    NO_FACTS,
    NO_MASKS,
    NUMBERS,
    TEXTS,
    WHOLE_IMAGE,
    Outgoing,
    Written,
)
from dinonat.formats.image_labels import IMAGE_LABELS, write_image_labels
from dinonat.formats.voc_reading import ANNOTATIONS, BASES, LABELMAP, LISTS, read
from dinonat.formats.voc_rules import faults
from dinonat.formats.xml_files import UNSAYABLE, escaped, number_texts, sayable

__all__ = ["faults", "picture", "read", "write"]

PICTURES = "JPEGImages"
UNSPLIT = "trainval"
BLOCK = 4096  # labels written at a time

WHOLE_PIXELS = "boxes in fractions of a pixel: rounded to whole pixels"
NO_CLASS = (
    "classes with a colon, a line break or blanks at an end: not in labelmap.txt, which cannot hold them"
)
UNLISTED = "images whose name begins with '#' or has blanks at an end: readers of ImageSets pass over them"


def write(asked: Outgoing, folder: Path) -> Written:
    """Write labels as Pascal VOC under ``folder``; equal input gives equal bytes.

    Corners go to the nearest whole pixel; a box that would vanish is given the pixel it lies in.
    Raises LabelError where two images have one stem, or a name leaves the folder.
    """
    losses = Counter(dict(asked.losses))
    stems = _stems(asked.images["file_name"].tolist())
    (folder / PICTURES).mkdir(exist_ok=True)
    _write_annotations(asked, stems, folder / ANNOTATIONS, losses)
    lists = _write_lists(stems, asked.images["split"].tolist(), folder / LISTS, losses)
    (folder / LABELMAP).write_text(_labelmap(asked, losses), encoding="utf-8", newline="\n")
    regions = asked.labels["kind"] == "region"
    whole = int((~regions).sum())
    if whole:
        losses[WHOLE_IMAGE] += write_image_labels(asked.labels, folder / IMAGE_LABELS)
    losses[NO_MASKS] += sum(map(bool, asked.labels["mask_counts"]))
    losses[NO_FACTS] += int((_has_facts(asked.labels) & regions).sum())
    names = [*asked.images["file_name"], *(asked.classes[number] for number in asked.labels["number"])]
    losses[UNSAYABLE] += sum(not sayable(name) for name in names)
    files = (
        LABELMAP,
        *lists,
        *(f"{ANNOTATIONS}/{stem}.xml" for stem in stems),
        *[IMAGE_LABELS][: bool(whole)],
    )
    return Written(files, int(regions.sum()), whole, {text: n for text, n in losses.items() if n})


def picture(split: str, file_name: str) -> str:
    """Return where a picture lies: all in one folder, whatever their split."""
    return f"{PICTURES}/{file_name}"


def whole_pixels(boxes: np.ndarray) -> np.ndarray:
    """Return x, y, w, h (n, 4) as whole left, top, right, bottom: edges from 0, none without area.

    >>> whole_pixels(np.array([[0.5, 1.4, 2.0, 2.0], [3.1, 3.6, 0.2, 0.9]]))
    array([[1, 1, 3, 3],
           [3, 4, 4, 5]])
    """
    edges = np.concatenate([boxes[:, :2], np.round(boxes[:, :2] + boxes[:, 2:], 2)], axis=1)
    near = np.floor(edges + 0.5).astype(np.int64)
    gone = near[:, 2:] <= near[:, :2]
    inside = np.floor((edges[:, :2] + edges[:, 2:]) / 2).astype(np.int64)
    return np.concatenate(
        [np.where(gone, inside, near[:, :2]), np.where(gone, inside + 1, near[:, 2:])], axis=1
    )


def _stems(names: list[str]) -> list[str]:
    """Return the names without their ending. Raises LabelError where they cannot name a file each."""
    stems: dict[str, str] = {}
    for name in names:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or not place.name:
            raise LabelError(
                f"{name!r}: an image name that leaves the export's folder. Name it relative to it."
            )
        other = stems.setdefault(str(place.with_suffix("")), name)
        if other != name:
            raise LabelError(
                f"{name!r} and {other!r}: only their endings differ, so VOC has one file for both. "
                "Rename one."
            )
    return list(stems)


def _write_annotations(asked: Outgoing, stems: list[str], folder: Path, losses: Counter[str]) -> None:
    """Write one file for each image, with its objects."""
    objects = _objects(asked, losses)
    regions = asked.labels["at"][asked.labels["kind"] == "region"].to_numpy(np.int64)
    counts = np.bincount(regions, minlength=len(stems)).tolist()
    source = (
        f"<source><database>{escaped(asked.name)}</database><annotation>{BASES[asked.voc_base]}</annotation>"
    )
    for parent in {(folder / stem).parent for stem in stems} | {folder}:
        parent.mkdir(parents=True, exist_ok=True)
    columns = (asked.images[name].tolist() for name in ("file_name", "width", "height"))
    for stem, name, width, height, count in zip(stems, *columns, counts, strict=True):
        text = (
            f"<annotation>\n<folder>{PICTURES}</folder>\n<filename>{escaped(name)}</filename>\n{source}</source>\n"
            f"<size><width>{width}</width><height>{height}</height><depth>1</depth></size>\n"
            f"<segmented>0</segmented>\n{''.join(islice(objects, count))}</annotation>\n"
        )
        with (folder / f"{stem}.xml").open("wb", buffering=0) as stream:
            stream.write(text.encode())


def _objects(asked: Outgoing, losses: Counter[str]) -> Iterator[str]:
    """Yield the ``<object>`` of each region, in order; count the boxes that change."""
    rows = asked.labels[asked.labels["kind"] == "region"]
    classes = [escaped(name) for name in asked.classes]
    for start in range(0, len(rows), BLOCK):
        block = rows.iloc[start : start + BLOCK]
        boxes = block[list("xywh")].to_numpy(np.float64)
        corners = whole_pixels(boxes)
        exact = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        losses[WHOLE_PIXELS] += int((np.abs(corners - exact) > 0.001).any(axis=1).sum())
        corners[:, :2] += asked.voc_base
        for number, (left, top, right, bottom), facts in zip(
            block["number"].tolist(), corners.tolist(), _attributes(block), strict=True
        ):
            yield (
                f"<object><name>{classes[number]}</name><pose>Unspecified</pose><truncated>0</truncated>"
                f"<difficult>0</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>"
                f"<ymax>{bottom}</ymax></bndbox><attributes>{facts}</attributes></object>\n"
            )


def _attributes(rows: pd.DataFrame) -> Iterator[str]:
    """Yield the attributes of each row: what an import needs to know a label again."""
    columns = (rows["proposal"].tolist(), rows["status"].tolist(), number_texts(rows["score"]))
    for own, status, score in zip(*columns, strict=True):
        facts = [(LABEL_ID, escaped(str(own)))]
        if status:
            facts.append(("status", escaped(str(status))))
        if score:
            facts.append(("score", score))
        yield "".join(
            f"<attribute><name>{name}</name><value>{text}</value></attribute>" for name, text in facts
        )


def _write_lists(stems: list[str], splits: list[str], folder: Path, losses: Counter[str]) -> list[str]:
    """Write the stems of each split; return the files' names below the export."""
    lists: dict[str, list[str]] = {}
    for stem, split in zip(stems, splits, strict=True):
        lists.setdefault(split or UNSPLIT, []).append(stem)
        losses[UNLISTED] += stem.startswith("#") or stem != stem.strip() or "\n" in stem
    folder.mkdir(parents=True, exist_ok=True)
    for split, own in lists.items():
        text = "".join(f"{escaped_line(stem)}\n" for stem in own)
        (folder / f"{split}.txt").write_text(text, encoding="utf-8", errors="replace", newline="\n")
    return [f"{LISTS}/{split}.txt" for split in sorted(lists)]


def escaped_line(stem: str) -> str:
    """Return a stem as one line: line breaks, which lists cannot hold, become blanks."""
    return re.sub(r"[\r\n]", " ", stem)


def _labelmap(asked: Outgoing, losses: Counter[str]) -> str:
    """Return ``labelmap.txt``; its label 0 is the background, as readers of it expect."""
    lines = ["# label:color_rgb:parts:actions", f"# {BASES[asked.voc_base]}"]
    for name in dict.fromkeys(["background", *asked.classes]):
        if re.search(r"[:\r\n]", name) or name != name.strip() or name.startswith("#"):
            losses[NO_CLASS] += 1
        else:
            lines.append(f"{name}:::")
    return "\n".join(lines).encode("utf-8", "replace").decode() + "\n"


def _has_facts(labels: pd.DataFrame) -> np.ndarray:
    """Say of each label whether it has a fact beside status and score."""
    found = (labels["cluster"] >= 0).to_numpy(copy=True)
    for name in TEXTS:
        if name != "status":
            found |= (labels[name].astype("str") != "").to_numpy()
    for name in NUMBERS:
        if name != "score":
            found |= np.isfinite(labels[name].to_numpy(np.float64))
    return found
