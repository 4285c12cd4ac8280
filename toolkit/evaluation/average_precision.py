"""Average precision of labelled boxes at IoU 0.5, by faster-coco-eval, and with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dinonat.geometry import iou_xywh
from dinonat.proposals.objects import BOX
from dinonat.records import Bool, Int64

Float64 = NDArray[np.float64]
RECALLS = np.linspace(0, 1, 101)  # at which COCO reads precision


def average_precision(
    found: pd.DataFrame, truth: pd.DataFrame, images: Sequence[str], *, iou: float = 0.5
) -> dict[str, float]:
    """Return the average precision of each true class, in [0, 1], as COCO counts it.

    ``found`` has image, label, score, x, y, w, h in pixels, ``truth`` the same without score; boxes in other
    ``images`` are not counted, and no image has too many. Classes that ``truth`` lacks are left out, as
    COCO does. Their mean is AP50.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    names = sorted(set(truth["label"].astype(str)))
    if not names:
        return {}
    found = found[found["label"].isin(names)]
    true = COCO(_coco(truth, images, names, scored=False))
    if found.empty:
        return dict.fromkeys(names, 0.0)
    known = _coco(found, images, names, scored=True)["annotations"]
    run = COCOeval_faster(true, true.loadRes(known), "bbox", print_function=lambda *_: None)
    run.params.iouThrs = np.array([iou])
    run.params.maxDets = [1, 10, max(100, int(found.groupby("image").size().max()))]
    run.evaluate()
    run.accumulate()
    precision = run.eval["precision"][0, :, :, 0, -1]  # (101, classes) over all areas
    return {name: float(precision[:, i].mean()) for i, name in enumerate(names)}


def agnostic(boxes: pd.DataFrame) -> pd.DataFrame:
    """Return boxes as if all were of one class."""
    return boxes.assign(label="object")


def _coco(
    boxes: pd.DataFrame, images: Sequence[str], names: Sequence[str], *, scored: bool
) -> dict[str, Any]:
    """Return boxes as a COCO dictionary; images and classes are numbered from 1."""
    at, number = {image: i for i, image in enumerate(images, 1)}, {name: i for i, name in enumerate(names, 1)}
    boxes = boxes[boxes["image"].isin(list(at))]
    sides, rows = boxes[BOX].to_numpy(np.float64), []
    pairs = zip(boxes["image"].astype(str), boxes["label"].astype(str), sides.tolist(), strict=True)
    for i, (image, label, box) in enumerate(pairs, 1):
        own = {"id": i, "image_id": at[image], "category_id": number[label], "bbox": box}
        rows.append({**own, "area": box[2] * box[3], "iscrowd": 0})
    if scored:
        for row, score in zip(rows, boxes["score"].to_numpy(np.float64).tolist(), strict=True):
            row["score"] = score
    listed = [{"id": i, "file_name": image, "width": 1, "height": 1} for image, i in at.items()]
    return {
        "images": listed,
        "categories": [{"id": i, "name": n} for n, i in number.items()],
        "annotations": rows,
    }


@dataclass(frozen=True, eq=False)
class Hits:
    """Boxes found of one class, best first, and how many true ones each group holds."""

    right: Bool  # (n,) whether the box is the first to meet a true one
    groups: Int64  # (n,) to which its image belongs
    true: Float64  # (G,) true boxes in each group

    def average_precision(self, times: Float64) -> float:
        """Return the average precision where group g counts ``times[g]``; NaN without true boxes.

        Which true box a found one meets is decided within an image, so images can be drawn anew without
        meeting anything again; with ones it is what COCO computes.
        """
        total = float(times @ self.true)
        if not total:
            return float("nan")
        count = times[self.groups]
        hits, asked = np.cumsum(count * self.right), np.cumsum(count)
        precision = np.divide(hits, asked, out=np.zeros_like(hits), where=asked > 0)
        best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        return float(best[np.searchsorted(hits / total, RECALLS, side="left")].mean())


def hits_of(
    found: pd.DataFrame, truth: pd.DataFrame, groups: dict[str, int], *, iou: float = 0.5
) -> dict[str, Hits]:
    """Return the hits of each true class; ``groups`` numbers the group of every image that counts.

    As COCO: in an image, by falling score, a box takes the true box of its class that it overlaps most
    among those that are left, if by ``iou`` at least.
    """
    n_groups = max(groups.values(), default=-1) + 1
    result = {}
    for name in sorted(set(truth["label"].astype(str))):
        true = _by_image(truth[truth["label"] == name], groups)
        own = _by_image(found[found["label"] == name], groups)
        parts = [_met(own[image], true.get(image), iou) for image in own]
        score = np.concatenate([rows["score"].to_numpy(np.float64) for rows in own.values()] or [np.zeros(0)])
        group = np.repeat([groups[image] for image in own], [len(rows) for rows in own.values()])
        order = np.argsort(-score, kind="stable")
        right = np.concatenate(parts or [np.zeros(0, bool)])
        counts = np.bincount(
            [groups[image] for image in true], [len(rows) for rows in true.values()], minlength=n_groups
        )
        result[name] = Hits(right[order], group.astype(np.int64)[order], counts.astype(np.float64))
    return result


def _by_image(boxes: pd.DataFrame, groups: dict[str, int]) -> dict[str, pd.DataFrame]:
    """Return image -> its rows, best first where they have a score; images in the order of ``groups``."""
    if "score" in boxes:
        boxes = boxes.sort_values("score", ascending=False, kind="stable")
    parts = {str(image): rows for image, rows in boxes.groupby("image", sort=False)}
    return {image: parts[image] for image in groups if image in parts}


def _met(found: pd.DataFrame, truth: pd.DataFrame | None, iou: float) -> Bool:
    """Mark the boxes of an image, best first, that meet a true one which no better box has met."""
    right = np.zeros(len(found), bool)
    if truth is None:
        return right
    overlaps = iou_xywh(found[BOX].to_numpy(np.float64), truth[BOX].to_numpy(np.float64))
    free = np.ones(len(truth), bool)
    for i, row in enumerate(overlaps):
        best = (
            len(row) - 1 - int(np.argmax(np.where(free, row, -1.0)[::-1]))
        )  # of equal ones the last, as COCO
        if free[best] and row[best] >= iou:
            right[i], free[best] = True, False
    return right
