"""Print as JSON what supervision reads: `PYTHON read_supervision.py coco|yolo|voc PICTURES LABELS [YAML]`.

It runs in a Python of its own, which has supervision and not dinonat. LABELS is a file for COCO and a
folder for the others; YAML is the data.yaml of YOLO. A mask is COCO run lengths of the whole image.
"""

import json
import os
import sys
from typing import Any


def read(name: str, pictures: str, labels: str, *more: str) -> dict[str, Any]:
    from supervision import DetectionDataset

    readers = {
        "coco": DetectionDataset.from_coco,
        "yolo": DetectionDataset.from_yolo,
        "voc": DetectionDataset.from_pascal_voc,
    }
    dataset = readers[name](pictures, labels, *more)
    images = {
        os.path.relpath(path, os.path.realpath(pictures)).replace(os.sep, "/"): {
            "labels": _labels(found, dataset.classes)
        }
        for path, found in dataset.annotations.items()
    }
    return {"classes": list(dataset.classes), "images": images}


def _labels(found: Any, classes: list[str]) -> list[dict[str, Any]]:
    rows = []
    for number, (x0, y0, x1, y1) in enumerate(found.xyxy.tolist()):
        row: dict[str, Any] = {"label": classes[found.class_id[number]], "box": [x0, y0, x1 - x0, y1 - y0]}
        if found.confidence is not None:
            row["score"] = float(found.confidence[number])
        if found.mask is not None:
            row["counts"] = _counts(found.mask[number])
        rows.append(row)
    return rows


def _counts(mask: Any) -> list[int]:
    import numpy as np

    flat = np.asarray(mask).astype(np.uint8).ravel(order="F")
    cuts = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.r_[0, cuts, flat.size]).tolist()
    return [0, *counts] if flat[0] else list(counts)


if __name__ == "__main__":
    print(json.dumps(read(*sys.argv[1:])))
