"""Datumaro's own JSON: boxes, masks, labels of whole images, scores, ids and facts, without a loss.

One file for each split, ``annotations/SPLIT.json``, with ``images/SPLIT`` beside it; CVAT's "Datumaro
1.0" is the same folder as a zip. An item is a picture, its id the file name without ending, its subset
the split. Masks are packed run lengths, and each label carries its id and its facts as attributes.
(https://open-edge-platform.github.io/datumaro, data formats, Datumaro)
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import orjson
import pandas as pd

from dinonat.formats.collecting import no_collecting
from dinonat.formats.datumaro_reading import AREA, BOX, read
from dinonat.formats.datumaro_rules import faults
from dinonat.formats.facts import Facts, label_facts
from dinonat.formats.handover import LABEL_ID, NUMBERS, TEXTS, Outgoing, Written
from dinonat.formats.runs import box_of_counts, pack
from dinonat.geometry import mask_area

__all__ = ["faults", "picture", "read", "write"]

BLOCK = 1000  # images that are made at a time
ATTRIBUTES = sorted((LABEL_ID, BOX, AREA, "cluster", *TEXTS, *NUMBERS))
Row = dict[str, Any]


def picture(split: str, file_name: str) -> str:
    """Return where the picture of an item lies below the folder."""
    return f"images/{split or 'default'}/{file_name}"


@no_collecting()
def write(asked: Outgoing, folder: Path) -> Written:
    """Write ``annotations/SPLIT.json`` for each split into ``folder``, "default" where nothing is split.

    Equal input gives equal bytes. Where two pictures of a split differ in their ending only, their ids
    are the whole file names. Nothing is lost but what ``asked.losses`` already names.
    """
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    splits = asked.images["split"].to_numpy(object)
    files = []
    for split in sorted(set(splits.tolist())) or [""]:
        (folder / picture(split, "")).mkdir(parents=True, exist_ok=True)
        files.append(f"annotations/{split or 'default'}.json")
        _write_split(asked, np.flatnonzero(splits == split), folder / files[-1])
    whole = int((asked.labels["kind"] == "image").sum())
    return Written(tuple(files), len(asked.labels) - whole, whole, dict(asked.losses))


def _write_split(asked: Outgoing, images: np.ndarray, path: Path) -> None:
    """Write the file of one split, whose images are the rows ``images``."""
    labels = [{"name": name, "parent": "", "attributes": []} for name in asked.classes]
    head = {
        "dm_format_version": "1.0",
        "media_type": 2,  # pictures
        "infos": {"export": asked.name},
        "categories": {"label": {"labels": labels, "label_groups": [], "attributes": ATTRIBUTES}},
    }
    names = asked.images["file_name"].iloc[images].tolist()
    ids = _item_ids(names)
    with path.open("wb") as stream:
        stream.write(orjson.dumps(head)[:-1] + b',"items":[')
        for first in range(0, len(images), BLOCK):
            block = slice(first, first + BLOCK)
            items = _items(asked, images[block], names[block], ids[block])
            lines = [orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY) for item in items]
            stream.write((b",\n" if first else b"\n") + b",\n".join(lines))
        stream.write(b"\n]}\n")


def _item_ids(names: list[str]) -> list[str]:
    """Return the names without their ending, but where two pictures would share an id."""
    short = [str(PurePosixPath(name).with_suffix("")) for name in names]
    times = Counter([*short, *names])
    return [
        stem if times[stem] == 1 + (stem == name) else name for stem, name in zip(short, names, strict=True)
    ]


def _items(asked: Outgoing, images: np.ndarray, names: list[str], ids: list[str]) -> Iterator[Row]:
    """Yield an item for each of the images."""
    place = asked.labels["at"].to_numpy()
    first, last = np.searchsorted(place, images), np.searchsorted(place, images, side="right")
    sizes = asked.images[["height", "width"]].to_numpy(np.int64)[images].tolist()
    own = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    heights = np.repeat([size[0] for size in sizes], last - first).tolist()
    annotations = list(_annotations(asked.labels.iloc[own], own, heights))
    ends = np.cumsum(last - first).tolist()
    for name, item, size, start, stop in zip(names, ids, sizes, [0, *ends], ends, strict=False):
        media = {"path": name, "size": size}
        yield {"id": item, "annotations": _sized(annotations[start:stop], size), "image": media}


def _sized(annotations: list[Row], size: list[int]) -> list[Row]:
    """Give masks the size of their image."""
    for annotation in annotations:
        if "rle" in annotation:
            annotation["rle"]["size"] = size
    return annotations


def _annotations(labels: pd.DataFrame, numbers: np.ndarray, heights: list[int]) -> Iterator[Row]:
    """Yield an annotation for each label; ``numbers`` are their rows in the export, which give the ids."""
    columns = zip(
        *(labels[name].tolist() for name in ("proposal", "kind", "number")),
        labels["mask_counts"], labels[list("xywh")].to_numpy(np.float64).tolist(), heights,
        label_facts(labels), (numbers + 1).tolist(), strict=True,
    )  # fmt: skip
    for label_id, kind, label, counts, box, height, facts, number in columns:
        annotation = {"id": number, "type": "label", "attributes": {LABEL_ID: label_id, **facts}}
        annotation.update(group=0, label_id=label)
        if kind == "image":
            yield annotation
            continue
        annotation["z_order"] = 0
        if counts:
            annotation.update(type="mask", rle={"counts": pack(counts)})
            annotation["attributes"].update(_own_box(counts, box, height))
        else:
            annotation.update(type="bbox", bbox=box)
        yield annotation


def _own_box(counts: tuple[int, ...], box: list[float], height: int) -> Facts:
    """Return a box that is not its mask's, as attributes: texts and numbers, which every tool keeps."""
    if tuple(box) == box_of_counts(counts, height):
        return {}
    return {BOX: " ".join(map(str, box)), AREA: mask_area(counts)}
