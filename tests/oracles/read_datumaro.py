"""Print as JSON what datumaro's importer reads: `PYTHON read_datumaro.py FORMAT FOLDER`.

It runs in a Python of its own, which has datumaro and not dinonat. FORMAT is a name of datumaro. A mask
is COCO run lengths of the whole image; polygons of one group are one mask. Items whose files lie there
say what size datumaro finds in them.
"""

import json
import sys
from typing import Any


def read(name: str, folder: str) -> dict[str, Any]:
    from datumaro import AnnotationType, Dataset

    dataset = Dataset.import_from(folder, name)
    classes = [each.name for each in dataset.categories()[AnnotationType.label].items]
    images = {}
    for item in dataset:
        size = None if item.media is None else item.media.size
        labels = [_label(one, classes, size) for one in item.annotations]
        images[item.id] = {
            "file": getattr(item.media, "path", ""),
            "subset": item.subset,
            "size": size and list(size),
            "attributes": dict(item.attributes),
            "labels": labels,
        }
    return {"classes": classes, "images": images}


def _label(one: Any, classes: list[str], size: tuple[int, int] | None) -> dict[str, Any]:
    kind = one.type.name
    x, y, w, h = one.get_bbox() if kind in ("bbox", "mask", "polygon") else (None,) * 4
    found = {
        "kind": kind,
        "label": None if one.label is None else classes[one.label],
        "box": None if x is None else [float(each) for each in (x, y, w, h)],
        "id": one.id,
        "group": one.group,
        "attributes": dict(one.attributes),
    }
    if kind == "mask":
        found["counts"] = _counts(one.image)
    if kind == "polygon":
        found["points"] = [float(each) for each in one.points]
        found["counts"] = _counts(_drawn([found["points"]], size))
    return found


def _drawn(rings: list[list[float]], size: Any) -> Any:
    from pycocotools import mask as coco_masks

    height, width = map(int, size)
    return coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(rings, height, width)))


def _counts(mask: Any) -> list[int]:
    import numpy as np

    flat = np.asarray(mask).astype(np.uint8).ravel(order="F")
    cuts = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.r_[0, cuts, flat.size]).tolist()
    return [0, *counts] if flat[0] else list(counts)


if __name__ == "__main__":
    print(json.dumps(read(*sys.argv[1:3]), default=str))
