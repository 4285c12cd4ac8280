"""The reliability picture: what a probability says against what an audit found, bin by bin."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dinonat.pages.templating import template

SIDE = 320  # of the square field, whose axes go from 0 to 1
MARKS = (0.0, 0.25, 0.5, 0.75, 1.0)
WORDS = {"image": "Labels of whole images", "region": "Boxes"}


class Point(NamedTuple):
    """One bin: where it lies in the field, how far the truth may be from it, and what it says in words."""

    x: float
    y: float
    low: float
    high: float
    text: str


class Reliability(NamedTuple):
    """The picture of one kind of proposals."""

    title: str
    points: list[Point]
    line: str  # of the points, for SVG
    marks: list[tuple[float, str]]
    sentences: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]


def reliability_of(found: Mapping[str, Any]) -> Reliability:
    """Lay out what an audit found of one kind of proposals (a row of the run's ``calibration.json``).

    Each bin stands at its mean probability and the share that was right, with the 90 % interval of that
    share (each end a one-sided 95 % bound); on the diagonal a probability is worth what it says.
    """
    points = [
        Point(
            SIDE * each["said"],
            SIDE * (1 - each["right"]),
            SIDE * (1 - each["low"]),
            SIDE * (1 - each["high"]),
            f"{each['items']:.0f} audited: said {each['said']:.0%}, right {each['right']:.0%} "
            f"({each['low']:.0%} to {each['high']:.0%})",
        )
        for each in found["bins"]
    ]
    notes = {
        "audited": f"{found['audited']}, of which {found['right']} are right",
        "calibration error": "" if found["error"] is None else f"{100 * found['error']:.1f} points",
        "probability": f"{found['how']}, each item by a fit without its recording" if found["how"] else "",
        "asked": f"{found['precision']:.0%} of what is accepted to be right",
        "accepted": f"{found['accepted']:,} of {found['proposals']:,}",
    }
    return Reliability(
        WORDS.get(found["kind"], found["kind"]),
        points,
        " ".join(f"{point.x:.1f},{point.y:.1f}" for point in points),
        [(SIDE * mark, f"{mark:.0%}") for mark in MARKS],
        tuple(found.get("sentences", ())),
        tuple((name, text) for name, text in notes.items() if text),
    )


def reliability_page(kinds: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Return a page with the picture of each kind of proposals; it needs no other file and runs no script."""
    return template("reliability_page.html").render(
        title=title, pictures=[reliability_of(found) for found in kinds], side=SIDE
    )
