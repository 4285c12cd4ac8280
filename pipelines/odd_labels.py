"""What is odd about the labels that stand: images that are not there, and labels against each other."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dinonat.geometry import iou_xywh
from dinonat.proposals.objects import BOX, SAME_PLACE

NAMED = 3  # images that a sentence names


def missing(labels: pd.DataFrame, items: pd.DataFrame) -> list[str]:
    """Say how many ``labels`` (image) are for images that are not among the readable ones of ``items``."""
    images = items[(items["kind"] == "image") & (items["status"] == "ok")]
    lost = labels[~labels["image"].isin(images["image"])]
    if lost.empty:
        return []
    return [
        f"{len(lost)} labels are for images that the set does not hold or could not read "
        f"({_some(lost['image'])}); they are not used. Embed these images to use them."
    ]


def contradictions(labels: pd.DataFrame) -> list[str]:
    """Say which ``labels`` (LABEL_COLUMNS) give one image, or one place of it, several classes.

    All of them stand: an image may show two things, and which label is wrong nobody but a person knows. Such
    an item is an example of each of its classes, for diffusion half of each.
    """
    whole = labels[labels["x"].isna()]
    several = whole[whole["image"].duplicated(keep=False)]
    words = []
    if len(several):
        images = several["image"].drop_duplicates()
        words.append(
            f"{len(images)} images have several labels ({_some(images)}): each is an example of all of them. "
            "Where only one is right, correct it and import it again."
        )
    twice = _twice(labels[labels["x"].notna()])
    if twice:
        words.append(
            f"{len(twice)} places have boxes of several classes (in {_some(twice)}): each is an example of "
            "its class. Where only one is right, correct it and import it again."
        )
    return words


def _twice(boxes: pd.DataFrame) -> list[str]:
    """Return the image of each pair of boxes in one place with different classes."""
    found: list[str] = []
    for image, rows in boxes.groupby("image", sort=False):
        places, classes = rows[BOX].to_numpy(), rows["label"].to_numpy(object)
        same = np.triu(iou_xywh(places, places) >= SAME_PLACE, 1)
        found += [str(image)] * int((same & (classes[:, None] != classes[None])).sum())
    return found


def _some(images: Sequence[str] | pd.Series) -> str:
    """Name the first few images."""
    names = list(dict.fromkeys(images))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + more
