"""What teacher and student saw, as pictures for a page."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from dinonat.pages.pictures import data_uri, png
from dinonat.records import UInt8

GAP = 4  # pixels between views
ABOUT = 112  # points on the screen that a global view fills, about


@dataclass(frozen=True, eq=False)
class Seen:
    """What both networks saw of some pictures at one point of a run; RGB, uint8."""

    when: str
    teacher: UInt8  # (n, 2, S, S, 3)
    student: UInt8  # (n, 2, S, S, 3)
    local: UInt8  # (n, L, s, s, 3), which the student sees, too
    paired: int = 0  # so many last rows the two see in different light


class Strip(NamedTuple):
    """Views of one kind, one row for each picture, as one PNG."""

    name: str
    address: str
    width: int  # points on the screen
    height: int


class Block(NamedTuple):
    """The views of one point of a run."""

    seen: Seen
    same: bool  # both networks saw the same
    strips: list[Strip]


def block_of(seen: Seen) -> Block:
    """Make one PNG of each kind of view; those of a picture lie in one row."""
    side = seen.teacher.shape[2]
    zoom = max(1, round(ABOUT / side))
    kinds = {
        "the teacher saw": seen.teacher,
        "the student saw": seen.student,
        "and the student, smaller": seen.local,
    }
    strips = []
    for name, views in kinds.items():
        if views.size:
            sheet = sheet_of(views, side)
            address = data_uri(png(Image.fromarray(sheet)), "png")
            strips.append(Strip(name, address, zoom * sheet.shape[1], zoom * sheet.shape[0]))
    return Block(seen, bool(np.array_equal(seen.teacher, seen.student)), strips)


def sheet_of(views: UInt8, side: int) -> UInt8:
    """Lay views (n, k, s, s, 3) out, one picture a row of height ``side``; the gaps are transparent.

    Returns (H, W, 4).
    """
    rows, columns, small = views.shape[:3]
    sheet = np.zeros((rows * (side + GAP) - GAP, columns * (small + GAP) - GAP, 4), np.uint8)
    inset = (side - small) // 2
    for row in range(rows):
        for column in range(columns):
            y, x = row * (side + GAP) + inset, column * (small + GAP)
            sheet[y : y + small, x : x + small, :3] = views[row, column]
            sheet[y : y + small, x : x + small, 3] = 255
    return sheet
