"""What stays at the same pixels while the scene changes: drawings burnt into pictures, and stuck pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dinonat.records import Bool
from dinonat.survey.facts import Facts

ENOUGH = 8  # images of one size and camera, no two of them alike
DRAWN_SHARE = 0.75  # of them in which a pixel is white (or black) beside its opposite
JOIN = 4  # pixels that may lie between the parts of one drawing
LEAST_PIXELS = 12  # of a drawing

MOST_ASKED = 1000  # images of one camera

STUCK_ENOUGH = 5
STUCK_SHARE = 0.6  # of the images in which a pixel stands out alone
MOST_CHANGE = 0.8  # median correlation above which the scene does not change enough to tell

Box = tuple[int, int, int, int]  # x, y, w, h


@dataclass(frozen=True)
class Overlay:
    """Drawings in the display pictures of one camera and size."""

    places: tuple[int, ...]  # of the images, in the sequence of facts
    boxes: tuple[Box, ...]
    share: float  # of the picture that the boxes cover


@dataclass(frozen=True)
class Stuck:
    """Pixels of one camera that do not follow the scene."""

    places: tuple[int, ...]
    hot: tuple[tuple[int, int], ...]  # x, y
    dead: tuple[tuple[int, int], ...]


def find_overlays(facts: Sequence[Facts], different: Iterable[int]) -> list[Overlay]:
    """Return the drawings that the display pictures of one camera and size share.

    ``different`` holds the places of images that show different things (`duplicates.one_of_each`).
    """
    found = []
    for places in _alike_cameras(facts, different):
        drawn = [place for place in places if facts[place].unit == "grey"]
        if len(drawn) < ENOUGH or not _changes(facts, drawn):
            continue
        mask = _staying(facts, drawn, "drawn", DRAWN_SHARE)
        boxes = boxes_of(mask[0] | mask[1])
        if boxes:
            area = sum(w * h for _, _, w, h in boxes)
            found.append(Overlay(tuple(drawn), boxes, area / mask[0].size))
    return found


def find_stuck(facts: Sequence[Facts], different: Iterable[int], overlays: Sequence[Overlay]) -> list[Stuck]:
    """Return the pixels that stand out alone, at the same place, in most images of one camera and size.

    A single image cannot tell a stuck pixel from a small hot thing; different scenes can.
    """
    boxes = {place: overlay.boxes for overlay in overlays for place in overlay.places}
    found = []
    for places in _alike_cameras(facts, different):
        if len(places) < STUCK_ENOUGH or not _changes(facts, places):
            continue
        mask = _staying(facts, places, "lone", STUCK_SHARE)
        for x, y, w, h in boxes.get(places[0], ()):
            mask[:, y : y + h, x : x + w] = False
        hot, dead = (tuple((int(x), int(y)) for y, x in np.argwhere(each)) for each in mask)
        if hot or dead:
            found.append(Stuck(tuple(places), hot, dead))
    return found


def _alike_cameras(facts: Sequence[Facts], different: Iterable[int]) -> list[list[int]]:
    groups: dict[tuple[object, ...], list[int]] = {}
    for place in different:
        fact = facts[place]
        if fact.traces is not None and not fact.flat:
            key = (fact.width, fact.height, fact.camera, fact.look, fact.unit)
            groups.setdefault(key, []).append(place)
    return list(groups.values())


def _changes(facts: Sequence[Facts], places: Sequence[int]) -> bool:
    """Tell whether the scene changes from image to image: else all that stands still looks like a drawing."""
    looks = [traces.look for place in places[:200] if (traces := facts[place].traces) is not None]
    stacked = np.stack([look for look in looks if look is not None] or [np.zeros(1, np.float16)]).astype(
        np.float32
    )
    if len(stacked) < 2:
        return False
    upper = np.triu_indices(len(stacked), 1)
    return float(np.median(np.abs(stacked @ stacked.T)[upper])) < MOST_CHANGE


def _staying(facts: Sequence[Facts], places: Sequence[int], trace: str, share: float) -> Bool:
    """Return (2, H, W): which pixels carry a trace, bright or dark, in at least ``share`` of the images."""
    height, width = facts[places[0]].height, facts[places[0]].width
    counts = np.zeros(2 * height * width, np.uint32)
    asked = places[:: -(-len(places) // MOST_ASKED)]
    for place in asked:
        counts[getattr(facts[place].traces, trace)] += 1  # no place twice in one image
    staying = counts >= share * len(asked)
    return staying.reshape(height, width, 2).transpose(2, 0, 1).copy()


def boxes_of(mask: Bool) -> tuple[Box, ...]:
    """Return a box around each drawing in a mask (H, W): its parts lie at most JOIN pixels apart."""
    joined = ndimage.binary_dilation(mask, np.ones((3, 3), bool), iterations=JOIN)
    labels, _ = ndimage.label(joined, np.ones((3, 3), int))
    boxes = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        own = mask[rows, columns] & (labels[rows, columns] == number)
        if np.count_nonzero(own) >= LEAST_PIXELS:
            y, x = (np.flatnonzero(own.any(axis=axis)) for axis in (1, 0))
            left, top = int(columns.start + x[0]), int(rows.start + y[0])
            boxes.append((left, top, int(x[-1] - x[0]) + 1, int(y[-1] - y[0]) + 1))
    return tuple(boxes)
