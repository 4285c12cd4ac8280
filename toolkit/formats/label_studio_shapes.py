"""What a region of Label Studio draws: boxes and points, in percent and in pixels."""

import math

from dinonat.formats.label_studio_tasks import Row, finite, labels_in, listed


def is_labelled(result: object) -> bool:
    """Say whether a result has an id and gives its region a label."""
    value = result.get("value") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(value, dict) or not result.get("id"):
        return False
    return "choices" not in value and any(labels_in(value, name) for name in value)


def drawn(value: Row) -> str | None:
    """Return what a value draws; None for ellipses, key points and what is not on a picture."""
    if "points" in value:
        return "polygon"
    if "rle" in value:
        return "brush"
    return "box" if "width" in value and "height" in value and "x" in value else None


def rectangle(value: Row) -> tuple[float, float, float, float] | None:
    """Return x, y, width, height of a value in percent; None unless all are finite numbers."""
    x, y, w, h = (value.get(name) for name in ("x", "y", "width", "height"))
    return (x, y, w, h) if finite(x) and finite(y) and finite(w) and finite(h) else None


def ring_of(points: object, size_hw: tuple[int, int]) -> list[float] | None:
    """Return points in percent as x1, y1, x2, ... in pixels; None where they are fewer than three."""
    ring: list[float] = []
    for point in listed(points):
        if not isinstance(point, list) or len(point) < 2 or not finite(point[0]) or not finite(point[1]):
            return None
        ring += [point[0] * size_hw[1] / 100, point[1] * size_hw[0] / 100]
    return ring if len(ring) >= 6 else None


def around(x: float, y: float, w: float, h: float, angle: float) -> tuple[float, float, float, float]:
    """Return the box around a box that is turned clockwise about its upper left corner."""
    cos, sin = math.cos(angle), math.sin(angle)
    across, down = [0, w * cos, -h * sin, w * cos - h * sin], [0, w * sin, h * cos, w * sin + h * cos]
    return x + min(across), y + min(down), max(across) - min(across), max(down) - min(down)
