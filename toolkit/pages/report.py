"""The report page: what was labelled, how sure it is, and what made it, in one file for the browser."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dinonat.pages.curves import Curve, chart_of
from dinonat.pages.pictures import NO_CLASS, UNKNOWN, Mark, colour_of, colours, data_uri, printable
from dinonat.pages.reliability import SIDE, Reliability
from dinonat.pages.templating import template

TILE_WH = (345, 230)  # points on the screen that a picture of the sheet fills at most
TEXT_HEIGHT = 13  # points
LONGEST_TEXT = 28  # signs on a picture; pointing at the box shows all


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of the contact sheet."""

    name: str
    jpeg: bytes
    width: int  # of the original, in whose pixels the boxes are
    height: int
    marks: tuple[Mark, ...]


class Count(NamedTuple):
    """How many labels of one class were proposed, by what is to be done with them."""

    label: str
    accept: int
    review: int
    unknown: int  # left without a label though this class came nearest


class Abstention(NamedTuple):
    """One reason why no label was given."""

    number: int
    reason: str
    example: str = ""  # the reason of one item, where they differ in numbers and names


@dataclass(frozen=True)
class Comparison:
    """The features that were tried on the labelled items, and which were taken."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chosen: str  # first cell of the row that was taken
    note: str = ""


class DoubtTile(NamedTuple):
    """One picture, and why it is shown."""

    name: str
    caption: str
    address: str
    width: int  # of the original
    height: int
    box_xywh: tuple[float, float, float, float] | None  # in its pixels; None: the whole picture


class DoubtList(NamedTuple):
    """One list of doubts as a page shows it."""

    title: str
    sentence: str
    tiles: tuple[DoubtTile, ...]
    more: int  # rows that are not shown


@dataclass(frozen=True, eq=False)
class ReportFacts:
    """All that a page says; an empty part is left out of it."""

    title: str
    sentences: tuple[str, ...] = ()
    made_scenes: bool = False
    pictures: tuple[Picture, ...] = ()
    n_images: int = 0  # of the whole set; the sheet shows some of them
    score_is: str = "the share of the vote"  # what the number of a label means; never a probability
    counts: tuple[Count, ...] = ()
    abstentions: tuple[Abstention, ...] = ()
    comparison: Comparison | None = None
    reliability: tuple[Reliability, ...] = ()
    doubts: tuple[DoubtList, ...] = ()
    curves: tuple[Curve, ...] = ()
    training: tuple[tuple[str, str], ...] = ()
    used: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    review: tuple[str, str] | None = None  # the command that opens the review page, and where that is then
    warnings: tuple[str, ...] = field(default=())


def render(facts: ReportFacts) -> str:
    """Return the page: HTML that needs no other file, runs no script and asks no server for anything.

    Its one link, to the review page on this machine, waits for a click. Names and labels are escaped;
    signs that cannot be seen are shown as escapes. Equal facts give equal text.
    """
    marks = [mark for picture in facts.pictures for mark in picture.marks]
    labels = [*(count.label for count in facts.counts), *(mark.label for mark in marks)]
    palette = colours(label for label in labels if label not in ("", NO_CLASS))
    tiles = [_tile(picture, palette) for picture in facts.pictures]
    return template("report.html").render(
        facts=facts,
        palette=palette,
        grey=UNKNOWN,
        no_class=NO_CLASS,
        tiles=tiles,
        scored=any(not math.isnan(mark.score) for mark in marks),
        warm=any(mark.warmest for mark in marks),
        boxed=any(tile.boxes for tile in tiles),
        boxes_unknown=any(box.mark.advice == "unknown" for tile in tiles for box in tile.boxes),
        total=_total(facts.counts),
        most=max((c.accept + c.review + c.unknown for c in facts.counts if c.label != NO_CLASS), default=1)
        or 1,
        reliability_side=SIDE,
        charts=[chart_of([curve]) for curve in facts.curves if len(curve.steps) > 1],
    )


def _total(counts: Sequence[Count]) -> Count:
    """Add up the classes."""
    return Count(
        "",
        sum(count.accept for count in counts),
        sum(count.review for count in counts),
        sum(count.unknown for count in counts),
    )


class _Text(NamedTuple):
    """The text of a box, where it finds room: all in pixels of the original."""

    text: str
    x: float
    y: float
    width: float


class _Box(NamedTuple):
    mark: Mark
    colour: str
    text: _Text | None  # None where there is no room to read it


class _Tile(NamedTuple):
    picture: Picture
    address: str
    unit: float  # pixels of the original that look as large as a point on the screen
    boxes: list[_Box]
    whole: list[tuple[Mark, str]]
    known: int
    unknown: int


def _tile(picture: Picture, palette: dict[str, str]) -> _Tile:
    """Lay out one picture: the best boxes get their texts first and lie on top."""
    boxed = [mark for mark in picture.marks if mark.box_xywh is not None]
    ranked = sorted(boxed, key=lambda mark: (mark.advice == "unknown", -_score(mark)))
    unit = max(picture.width / TILE_WH[0], picture.height / TILE_WH[1])
    texts: list[_Text] = []
    boxes = []
    for mark in ranked:
        text = _text(mark, picture, unit) if mark.advice != "unknown" else None
        if text is not None and any(_overlap(text, other, unit) for other in texts):
            text = None
        texts.extend([text] if text else [])
        boxes.append(_Box(mark, colour_of(mark, palette), text))
    whole = [(mark, colour_of(mark, palette)) for mark in picture.marks if mark.box_xywh is None]
    known = sum(mark.advice != "unknown" for mark in picture.marks)
    address = data_uri(picture.jpeg)
    return _Tile(picture, address, unit, boxes[::-1], whole, known, len(picture.marks) - known)


def _text(mark: Mark, picture: Picture, unit: float) -> _Text:
    """Put the text of a box above it, inside where it touches the upper border, never over the edge."""
    assert mark.box_xywh is not None
    x, y = mark.box_xywh[:2]
    text = printable(mark.text)
    text = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    width, height = (6.2 * len(text) + 5) * unit, TEXT_HEIGHT * unit
    return _Text(text, max(0.0, min(x, picture.width - width)), y - height if y >= height else y, width)


def _overlap(one: _Text, other: _Text, unit: float) -> bool:
    """Say whether two texts cover each other."""
    apart = TEXT_HEIGHT * unit
    return abs(one.y - other.y) < apart and one.x < other.x + other.width and other.x < one.x + one.width


def _score(mark: Mark) -> float:
    return -1.0 if math.isnan(mark.score) else mark.score
