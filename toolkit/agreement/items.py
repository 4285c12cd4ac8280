"""Labelled things of aligned pairs: where each lies in the colour picture and in its thermal partner."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dinonat.formats.matching import match_labels
from dinonat.images.batches import WHOLE, Box
from dinonat.records import LABEL_COLUMNS

Size = tuple[int, int]  # width, height in pixels


@dataclass(frozen=True)
class Item:
    """One labelled box, or a whole picture, of a pair; boxes as shares of the sides."""

    pair: int
    label: str
    colour: Box
    thermal: Box


def items_of(
    labels: pd.DataFrame,
    names: Sequence[tuple[str, str]],
    sizes: Sequence[tuple[Size, Size]],
    *,
    offset: tuple[float, float] = (0.0, 0.0),
) -> tuple[list[Item], str]:
    """Return the labelled things of the pairs, and in which light their labels were given.

    ``labels`` has LABEL_COLUMNS; ``names`` and ``sizes`` are of the (colour, thermal) pictures of each pair,
    ``offset`` is that of `common_area`. Labels of thermal pictures count where there are any, else those
    of colour pictures: a box of one holds at the same place of the other. Where both are named alike, they
    are of those in which more of the boxes lie. Boxes are taken where there are any, else labels of whole
    pictures. The word is "thermal", "colour" or "" where nothing fits.
    """
    made = {}
    for side, word in ((1, "thermal"), (0, "colour")):
        place = {pair[side]: at for at, pair in enumerate(names)}
        found = match_labels(labels, list(place), warn=lambda said: None)
        rows = found[found["x"].notna()] if found["x"].notna().any() else found
        every = [
            _item(place[image], label, box_xywh, side, sizes[place[image]], offset)
            for image, label, *box_xywh in rows[[*LABEL_COLUMNS]].itertuples(index=False)
        ]
        made[word] = [item for item in every if item is not None]
    alike = all(colour == thermal for colour, thermal in names)
    more = len(made["colour"]) > len(made["thermal"])
    word = "colour" if more and (alike or not made["thermal"]) else "thermal"
    return made[word], word if made[word] else ""


def _item(
    pair: int,
    label: str,
    box_xywh: Sequence[float],
    side: int,
    sizes: tuple[Size, Size],
    offset: tuple[float, float],
) -> Item | None:
    """Return one thing where both pictures show all of it."""
    x, y, w, h = (float(value) for value in box_xywh)
    if x != x:
        return Item(pair, label, WHOLE, WHOLE)
    width, height = sizes[side]
    own = (x / width, y / height, (x + w) / width, (y + h) / height)
    # The thermal picture lies ``offset`` pixels of the colour one right and down on it.
    dx, dy = offset[0] / sizes[0][0], offset[1] / sizes[0][1]
    sign = 1 if side else -1
    other = (own[0] + sign * dx, own[1] + sign * dy, own[2] + sign * dx, own[3] + sign * dy)
    if not (_inside(own) and _inside(other)):
        return None
    return Item(pair, label, *((other, own) if side else (own, other)))


SLACK = 0.005  # of a side: boxes may end a fraction of a pixel outside


def _inside(box: Box) -> bool:
    return min(box[:2]) >= -SLACK and max(box[2:]) <= 1 + SLACK and box[2] > box[0] and box[3] > box[1]
