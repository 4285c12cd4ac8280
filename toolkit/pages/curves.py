"""Curves over the steps of training: read from a run's lines, and laid out as numbers for SVG."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

WIDE = (640, 220)  # field of a chart
SMALL = (300, 110)
MOST_POINTS = 800  # of a line


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps of training."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


class Line(NamedTuple):
    """A curve as SVG points."""

    curve: Curve
    points: str
    first: str
    last: str


class Dot(NamedTuple):
    """One value of a curve that was taken at few points."""

    x: float
    y: float
    text: str
    step: float


class Chart(NamedTuple):
    """Lines in a field of ``width`` and ``height``, with readable marks on both axes."""

    width: int
    height: int
    lines: list[Line]
    y_marks: list[tuple[float, str]]
    x_marks: list[tuple[float, str]]
    levels: list[tuple[float, str]]  # dashed, over the whole width
    moments: list[tuple[float, str]]  # upright, over the whole height, their names one under the other
    dots: list[Dot]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON objects; a line cut off by a kill ends them, no file gives none."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if isinstance(line, dict):
            lines.append(line)
    return lines


def number(value: object) -> float | None:
    """Return a finite number, or None for all else that a file may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def curve_of(lines: Iterable[dict[str, Any]], key: str, name: str) -> Curve | None:
    """Return what lines of one run say of ``key``, None where no line does."""
    pairs = [(number(line.get("step")), number(line.get(key))) for line in lines]
    points = [(step, value) for step, value in pairs if step is not None and value is not None]
    return Curve(name, *zip(*points, strict=True)) if points else None


def chart_of(
    curves: Sequence[Curve],
    *,
    size: tuple[int, int] = WIDE,
    levels: Sequence[tuple[float, str]] = (),
    moments: Sequence[tuple[float, str]] = (),
    span: tuple[float, float] | None = None,
    reach: float | None = None,
    least: float = 0.0,
    dotted: bool = False,
) -> Chart:
    """Lay out curves in one field.

    Parameters
    ----------
    levels
        Values, in the unit of the curves, with their names; the field reaches to them.
    moments
        Steps with their names; those outside of the field are left out.
    span
        First and last step of the field; None: of the curves.
    reach
        A value that the field reaches to, such as 0.
    least
        How much the field spans at least, so that small changes look small.
    dotted
        Whether each value is marked.
    """
    width, height = size
    values = [value for curve in curves for value in curve.values] + [value for value, _ in levels]
    low, high = _field([*values, *([] if reach is None else [reach])], least)
    start, end = span or (min(curve.steps[0] for curve in curves), max(curve.steps[-1] for curve in curves))

    def x(step: float) -> float:
        return (step - start) / ((end - start) or 1) * width

    def y(value: float) -> float:
        return height - (value - low) / (high - low) * height

    marked = [each for curve in curves for each in zip(curve.steps, curve.values, strict=True)]
    return Chart(
        width=width,
        height=height,
        lines=[_line(c, [(x(s), y(v)) for s, v in zip(c.steps, c.values, strict=True)]) for c in curves],
        y_marks=[(y(value), f"{value:g}") for value in ticks(low, high, max(2, height // 55))],
        x_marks=[(x(step), f"{step:,.0f}") for step in ticks(start, end, max(2, width // 160))],
        levels=[(y(value), text) for value, text in levels],
        moments=[(x(step), text) for step, text in moments if start <= step <= end],
        dots=[Dot(x(s), y(v), f"step {s:,.0f}: {v:.4g}", s) for s, v in marked] if dotted else [],
    )


def _field(values: Sequence[float], least: float) -> tuple[float, float]:
    """Return from where to where a field goes that holds ``values`` and spans ``least``."""
    low, high = min(values), max(values)
    more = max(0.0, least - (high - low)) / 2 or (0.0 if high > low else 0.5)
    return low - more, high + more


def _line(curve: Curve, places: list[tuple[float, float]]) -> Line:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in _thinned(places))
    return Line(curve, points, f"{curve.values[0]:.4g}", f"{curve.values[-1]:.4g}")


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep at most about MOST_POINTS points, the last one always."""
    step = math.ceil(len(points) / MOST_POINTS)
    return [*points[:-1:step], points[-1]]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Return about so many round numbers from ``low`` to ``high``.

    >>> ticks(0.3, 9.8, 4), ticks(5.0, 5.0, 4)
    ([2.0, 4.0, 6.0, 8.0], [5.0])
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next((power * m for m in (1, 2, 5) if power * m >= rough * 0.8), power * 10)
    return [round(step * i, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
