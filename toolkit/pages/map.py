"""The map page: every item of a set as a point that can be coloured, found and selected, in one file."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dinonat.pages.map_sheets import Sheets
from dinonat.pages.pictures import printable
from dinonat.pages.templating import template
from dinonat.records import Float32

# Eight colours and a grey on each ground, found by search: any two are at least 17 apart by CIEDE2000, for
# people who see all colours and for those without red, green or blue cones (Machado et al. 2009). Further
# classes take the same colours with another shape.
PALETTES: dict[str, tuple[str, ...]] = {
    "light": ("#21b1f9", "#f6a606", "#148e65", "#d92906", "#7d3ffa", "#174f4f", "#741111", "#51049e"),
    "dark": ("#f9f921", "#a897fc", "#32ac84", "#f5bcd9", "#8d38e3", "#bcf5bc", "#a8a818", "#95602b"),
}
GREYS = {"light": "#a7adb3", "dark": "#6a727a"}
# Ten steps of viridis, turned so that much stands out from the ground.
RAMPS: dict[str, tuple[str, ...]] = {
    "light": ("#b0dd2f", "#7ad151", "#4ac16d", "#22a884", "#21918c", "#2a788e", "#355f8d", "#414487",
              "#482475", "#440154"),
    "dark": ("#414487", "#3a528b", "#2f6c8e", "#26828e", "#1f988b", "#2fb47c", "#5ec962", "#95d840",
             "#cae11f", "#fde725"),
}  # fmt: skip
GROUNDS = {"light": "#ffffff", "dark": "#14171a"}
BINS = 10


@dataclass(frozen=True, eq=False)
class Colouring:
    """One way to colour points: the class of each, and the names of the classes."""

    title: str
    names: tuple[str, ...]
    codes: ArrayLike  # (n,), which name
    grey: tuple[int, ...] = ()  # codes that stand for nothing known
    ordered: bool = False  # the names are steps of one quantity


@dataclass(frozen=True, eq=False)
class MapFacts:
    """All that a map shows; ``n`` points, of which every array has one entry each."""

    title: str
    kind: str  # "image" or "region"
    images: tuple[str, ...]  # (n,), name of the image of each point
    layouts: Mapping[str, Float32]  # name -> (n, 2) in [-1, 1], the first is shown first
    colourings: tuple[Colouring, ...]
    boxes: Float32 | None = None  # (n, 4), x, y, w, h of regions in pixels
    scores: Float32 | None = None  # (n,), NaN where there is none
    reasons: tuple[str, ...] = ()  # (n,) or none at all
    sheets: Sheets | None = None
    sentences: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())  # what a reader should know: "UMAP follows"


def colouring(title: str, values: Sequence[str], *, nothing: Sequence[str] = ()) -> Colouring:
    """Colour points by what each is called; the most frequent class first, ``nothing`` last and grey.

    >>> colouring("label", ["a", "b", "b", "?"], nothing=["?"]).names
    ('b', 'a', '?')
    """
    codes, unique = pd.factorize(np.asarray(values, dtype=object), sort=True)
    names = [str(name) for name in unique]
    counts = np.bincount(codes, minlength=len(names))
    order = sorted(range(len(names)), key=lambda i: (names[i] in nothing, -counts[i], i))
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    ranked = tuple(names[i] for i in order)
    return Colouring(
        title, ranked, place[codes], tuple(i for i, name in enumerate(ranked) if name in nothing)
    )


def binned(title: str, values: Float32, *, missing: str) -> Colouring:
    """Colour points by a number in [0, 1]: ten steps, and ``missing`` where it is NaN.

    >>> binned("score", np.float32([0.05, 1.0, np.nan]), missing="none").codes.tolist()
    [0, 9, 10]
    """
    known = ~np.isnan(values)
    steps = np.clip((np.where(known, values, 0) * BINS).astype(np.int64), 0, BINS - 1)
    names = tuple(f"{i / BINS:.1f} to {(i + 1) / BINS:.1f}" for i in range(BINS))
    return Colouring(title, (*names, missing), np.where(known, steps, BINS), (BINS,), ordered=True)


def render(facts: MapFacts) -> str:
    """Return the page: HTML that needs no other file, asks no server for anything, and runs one script.

    The browser runs that script by its hash alone; names and labels reach it as data and become text, never
    markup; signs that cannot be seen are shown as escapes. Equal facts give equal text.
    """
    script = "".join(template(name).render() for name in ("map_data.js", "map_draw.js", "map.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    head, sheets = _data(facts), list(facts.sheets.jpegs) if facts.sheets else []
    return template("map.html").render(
        facts=facts,
        n=len(facts.images),
        script=script,
        digest=digest,
        data=_json(head),
        sheets=[base64.b64encode(sheet).decode() for sheet in sheets],
    )


def _data(facts: MapFacts) -> dict[str, Any]:
    """Return what the script reads: arrays as base64, texts in tables with their repeats coded."""
    names, images = _table(facts.images)
    reasons, said = _table(facts.reasons or [""] * len(facts.images))
    return {
        "kind": facts.kind,
        "count": len(facts.images),
        "layouts": [{"name": name, "xy": _packed(xy, "<f4")} for name, xy in facts.layouts.items()],
        "names": names,
        "images": images,
        "boxes": None if facts.boxes is None else _packed(facts.boxes, "<f4"),
        "scores": None if facts.scores is None else _packed(facts.scores, "<f4"),
        "reasons": reasons,
        "said": said,
        "colourings": [_coloured(each) for each in facts.colourings],
        "sheets": None if facts.sheets is None else _sheets(facts.sheets),
        "palettes": PALETTES,
        "greys": GREYS,
        "ramps": RAMPS,
        "grounds": GROUNDS,
    }


def _coloured(each: Colouring) -> dict[str, Any]:
    return {
        "title": each.title,
        "names": list(each.names),
        "codes": _codes(each.codes, len(each.names)),
        "grey": list(each.grey),
        "ordered": each.ordered,
    }


def _sheets(sheets: Sheets) -> dict[str, Any]:
    return {
        "side": sheets.side,
        "across": sheets.across,
        "points": _packed(sheets.points, "<u4"),
        "sizes": _packed(sheets.sizes, "u1"),
    }


def _table(texts: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the different texts, and which of them each is."""
    codes, unique = pd.factorize(np.asarray(texts, dtype=object))
    return [str(text) for text in unique], _codes(codes, len(unique))


def _codes(codes: ArrayLike, count: int) -> dict[str, str]:
    """Pack whole numbers below ``count`` into as few bytes as hold them."""
    kind = "u1" if count <= 1 << 8 else "<u2" if count <= 1 << 16 else "<u4"
    return _packed(codes, kind)


def _packed(values: ArrayLike, kind: str) -> dict[str, str]:
    """Return numbers as base64 of little-endian ``kind``, and its name."""
    data = np.ascontiguousarray(np.asarray(values), dtype=kind).tobytes()
    return {"type": kind.lstrip("<"), "data": base64.b64encode(data).decode()}


def _json(value: object) -> str:
    """Write JSON that cannot end the element it stands in: no sign of markup is in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def shown_title(set_name: str, kind: str, n: int) -> str:
    """Name a page.

    >>> shown_title("plant", "image", 1796)
    'Map of plant: 1,796 images'
    """
    return f"Map of {printable(set_name)}: {n:,} {kind}{'' if n == 1 else 's'}"
