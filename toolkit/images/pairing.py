"""Which parts of a colour and a thermal picture show the same, where one lies shifted on the other."""

from dinonat.errors import UsageError
from dinonat.images.batches import Box

LEAST = 0.5  # of a side that must be left; less is a mistake in the offset


def parse_offset(text: str) -> tuple[float, float]:
    """Read ``DX,DY``; UsageError for anything else.

    >>> parse_offset("12,-3")
    (12.0, -3.0)
    """
    parts = text.split(",")
    try:
        x, y = (float(part) for part in parts)
    except ValueError as error:
        raise UsageError(
            f"--pair-offset {text}: expected two numbers of pixels, as in --pair-offset 12,-3: how far right "
            "and down the thermal picture lies on the colour picture."
        ) from error
    return x, y


def common_area(size_wh: tuple[int, int], offset: tuple[float, float]) -> tuple[Box, Box]:
    """Return the common area as a box of the colour picture, and as a box of the thermal picture.

    Both show the same field, so the thermal picture is first thought scaled to the colour picture's
    ``size_wh`` in pixels; then it lies ``offset`` pixels right and down on it. Boxes are left, top, right,
    bottom as shares of the sides. Raises UsageError where less than half of a side is left.

    >>> common_area((100, 50), (10, -5))
    ((0.1, 0.0, 1.0, 0.9), (0.0, 0.1, 0.9, 1.0))
    """
    x, y = (moved / side for moved, side in zip(offset, size_wh, strict=True))
    if not max(abs(x), abs(y)) <= 1 - LEAST:
        raise UsageError(
            f"--pair-offset {offset[0]:g},{offset[1]:g}: leaves less than half of a colour picture of "
            f"{size_wh[0]} x {size_wh[1]} pixels. Give pixels of the colour picture."
        )
    return _cut(x, y), _cut(-x, -y)


def _cut(x: float, y: float) -> Box:
    return max(0.0, x), max(0.0, y), 1 + min(0.0, x), 1 + min(0.0, y)
