"""What the elements of a CVAT file say of size and form, as numbers; refused where it is nonsense."""

import math
import re

import numpy as np

from dinonat.formats.runs import LARGEST_IMAGE
from dinonat.formats.xml_files import Element
from dinonat.records import Bool

NO_BOXES = ("polyline", "points", "ellipse", "cuboid", "skeleton")  # shapes of CVAT that are no regions


class NotALabelError(ValueError):
    """An element that cannot be a label: what it is, in the plural."""


def image_size(image: Element) -> tuple[int, int] | None:
    """Return the height and width that an ``<image>`` says, or None."""
    texts = [image.attributes.get(name, "").strip() for name in ("height", "width")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) for text in texts):
        return None
    return int(texts[0]), int(texts[1])


def number(element: Element, name: str) -> float:
    """Return an attribute as a finite number. Raises NotALabelError where it is none."""
    try:
        value = float(element.attributes[name])
    except (KeyError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise NotALabelError(f"elements <{element.name}> without the numbers that they need")
    return value


def polygon_points(element: Element) -> np.ndarray:
    """Return the points (n, 2) of a polygon as x, y. Raises NotALabelError where it is none."""
    try:
        pairs = [pair.split(",") for pair in element.attributes["points"].strip(" ;").split(";")]
        points = np.array([[float(x), float(y)] for x, y in pairs])
    except (KeyError, ValueError) as error:
        raise NotALabelError("polygons whose points are not x,y;x,y;...") from error
    if len(points) < 3 or not np.isfinite(points).all() or np.abs(points).max() > 1e7:
        raise NotALabelError("polygons of fewer than three points")
    return points


def mask_window(element: Element, size_hw: tuple[int, int] | None) -> tuple[Bool, int, int]:
    """Return a mask inside its box, left and top. Raises NotALabelError where it cannot be drawn."""
    left, top, width, height = (int(number(element, name)) for name in ("left", "top", "width", "height"))
    if size_hw is None or size_hw[0] * size_hw[1] > LARGEST_IMAGE:
        raise NotALabelError("masks in images of unknown size or more than 2**28 pixels")
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size_hw[1] or top + height > size_hw[0]:
        raise NotALabelError("masks whose box is not inside their image")
    try:
        runs = [int(run) for run in element.attributes.get("rle", "").split(",")]
    except ValueError as error:
        raise NotALabelError("masks whose rle is not whole numbers") from error
    if min(runs) < 0 or sum(runs) != width * height:
        raise NotALabelError("masks whose rle does not fill their box")
    if not sum(runs[1::2]):
        raise NotALabelError("masks without a pixel")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width), left, top
