"""Where things are, whatever they are called: the first box of an image, and recall by how many are taken."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dinonat.geometry import iou_xywh
from dinonat.proposals.objects import BOX
from dinonat.records import Bool

Float64 = NDArray[np.float64]
CENTRED = 0.8  # of both sides of an image: the box that costs nothing


def ranks(boxes: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Return ``boxes`` best first within their images by the columns ``order``, the largest first."""
    return boxes.sort_values(["image", *order], ascending=[True, *[False] * len(order)], kind="stable")


def located(ranked: pd.DataFrame, truth: pd.DataFrame, images: Sequence[str], *, iou: float = 0.5) -> Bool:
    """Mark the ``images`` (n,) whose first box meets a true one: correct localisation, CorLoc.

    Deselaers, Alexe and Ferrari 2010 ("Localizing Objects While Learning Their Appearance"): the share
    of the images with an object in which the one box that is named overlaps one with an IoU of 0.5. All
    ``images`` should hold a true box; one without a proposed box is not right.
    """
    first = {str(image): rows[BOX].to_numpy(np.float64)[:1] for image, rows in ranked.groupby("image")}
    true = {str(image): rows[BOX].to_numpy(np.float64) for image, rows in truth.groupby("image")}
    none = np.zeros((0, 4))
    met = [bool((iou_xywh(first.get(i, none), true.get(i, none)) >= iou).any()) for i in images]
    return np.array(met, bool)


def centred_boxes(sizes: dict[str, tuple[int, int]], part: float = CENTRED) -> pd.DataFrame:
    """Return one box in the middle of each image, ``part`` of its width and height; sizes (height, width)."""
    rows = [
        (image, w * (1 - part) / 2, h * (1 - part) / 2, w * part, h * part) for image, (h, w) in sizes.items()
    ]
    return pd.DataFrame(rows, columns=["image", *BOX])


def rank_of_first(ranked: pd.DataFrame, truth: pd.DataFrame, *, iou: float = 0.5) -> Float64:
    """Return, for each true box (n,), the place (from 1) of the first box of its image that meets it, or inf.

    So the share of places that are at most k is the recall with k boxes an image.
    """
    boxes = {str(image): rows[BOX].to_numpy(np.float64) for image, rows in ranked.groupby("image")}
    places = np.full(len(truth), np.inf)
    sides = truth[BOX].to_numpy(np.float64)
    for image, own in truth.groupby("image").indices.items():
        if str(image) in boxes:
            met = iou_xywh(sides[own], boxes[str(image)]) >= iou
            places[own] = np.where(met.any(axis=1), met.argmax(axis=1) + 1, np.inf)
    return places


def nearest_true(boxes: pd.DataFrame, truth: pd.DataFrame) -> tuple[Float64, NDArray[np.object_]]:
    """Return, for each box (n,), its largest IoU with a true box of its image, and the label of that one."""
    best, label = np.zeros(len(boxes)), np.full(len(boxes), "", object)
    sides = boxes[BOX].to_numpy(np.float64)
    true = {str(image): rows for image, rows in truth.groupby("image")}
    for image, own in boxes.groupby("image").indices.items():
        if str(image) in true:
            real = true[str(image)]
            overlaps = iou_xywh(sides[own], real[BOX].to_numpy(np.float64))
            at = overlaps.argmax(axis=1)
            best[own] = overlaps[np.arange(len(own)), at]
            label[own] = real["label"].to_numpy(object)[at]
    return best, label
