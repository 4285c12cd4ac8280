"""Sheets of thumbnails: many small pictures in a few large ones, which a browser decodes at once."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinonat.geometry import square_with_context
from dinonat.records import Int64, UInt8

ACROSS = 32  # cells in a row of a sheet, and rows of a sheet at most
CONTEXT = 0.15  # of the surroundings that a region is shown with
QUALITY = 80


@dataclass(frozen=True, eq=False)
class Sheets:
    """Thumbnails: the i-th lies in cell i, counted row by row and sheet by sheet."""

    jpegs: tuple[bytes, ...]
    points: Int64  # (m,), the point that each shows, rising
    sizes: NDArray[np.uint8]  # (m, 2), width and height of each; the rest of its cell is black
    side: int = 64  # of a cell in pixels: a multiple of 16, so that no block of a JPEG holds two pictures
    across: int = ACROSS


def chosen(groups: Int64, most: int) -> Int64:
    """Return at most ``most`` places (m,) of points (n,), rising: evenly over the set and its groups.

    Half of them are shared out evenly among the groups, so that none is without; the other half by size.
    Within a group they lie evenly in the order of the set.

    >>> chosen(np.int64([0, 0, 0, 0, 0, 0, 1, 2]), 4).tolist()
    [1, 4, 6, 7]
    """
    if len(groups) <= most:
        return np.arange(len(groups))
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    quotas = _quotas(sizes, most)
    order = np.argsort(inverse, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    kept = [
        order[starts[g] + ((np.arange(q) + 0.5) * sizes[g] / q).astype(np.int64)]
        for g, q in enumerate(quotas)
        if q
    ]
    places: Int64 = np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)
    return places


def _quotas(sizes: Int64, most: int) -> list[int]:
    """Share ``most`` among groups of these sizes, the larger group first where it does not come out even."""
    floor = most // (2 * len(sizes)) or int(most >= len(sizes))
    quotas = [min(int(size), floor) for size in sizes]
    left = [int(size) - quota for size, quota in zip(sizes, quotas, strict=True)]
    free, total = most - sum(quotas), sum(left) or 1
    quotas = [quota + free * rest // total for quota, rest in zip(quotas, left, strict=True)]
    for g in np.argsort(-sizes, kind="stable")[: most - sum(quotas)]:
        quotas[g] += int(quotas[g] < sizes[g])
    return quotas


def small(pixels: UInt8, box_xywh: tuple[float, float, float, float] | None, *, side: int) -> UInt8:
    """Return a picture (H, W, 3), or the square around a box of it, with no side above ``side``."""
    picture = Image.fromarray(pixels)
    if box_xywh is not None:
        x, y, w, h = square_with_context(box_xywh, context=CONTEXT, size_hw=pixels.shape[:2])
        picture = picture.crop((int(x), int(y), max(int(x) + 1, round(x + w)), max(int(y) + 1, round(y + h))))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def sheets_of(pictures: Iterable[tuple[int, UInt8]], *, side: int) -> Sheets:
    """Put small pictures, of which point each with (h, w, 3) levels, on as few sheets as hold them."""
    ranked = sorted(pictures, key=lambda pair: pair[0])
    sizes = [(levels.shape[1], levels.shape[0]) for _, levels in ranked]
    return Sheets(
        tuple(_jpegs([levels for _, levels in ranked], side)),
        np.array([point for point, _ in ranked], np.int64),
        np.array(sizes, np.uint8).reshape(-1, 2),
        side,
    )


def _jpegs(pictures: list[UInt8], side: int) -> Iterator[bytes]:
    for start in range(0, len(pictures), ACROSS**2):
        own = pictures[start : start + ACROSS**2]
        sheet = np.zeros((-(-len(own) // ACROSS) * side, min(len(own), ACROSS) * side, 3), np.uint8)
        for i, levels in enumerate(own):
            y, x = i // ACROSS * side, i % ACROSS * side
            sheet[y : y + levels.shape[0], x : x + levels.shape[1]] = levels
        stream = io.BytesIO()
        Image.fromarray(sheet).save(stream, "JPEG", quality=QUALITY, optimize=True)
        yield stream.getvalue()
