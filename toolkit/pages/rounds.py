"""The page of labels spent: what proposals are worth after each round, by strategy and way of proposing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dinonat.pages.curves import Chart, Curve, chart_of
from dinonat.pages.templating import template

# Dark enough on white and light enough on black: Okabe and Ito's, in the order of their distance.
INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7a2f", "#7f7f7f")


@dataclass(frozen=True)
class Panel:
    """One figure over the labels spent."""

    title: str
    across: str  # what the steps are
    up: str  # unit of the values
    curves: tuple[Curve, ...]


class _Drawn(NamedTuple):
    panel: Panel
    chart: Chart
    inks: list[str]
    dots: list[tuple[float, float, str, str]]  # x, y, ink, text


def render(
    title: str,
    sentences: Sequence[str],
    panels: Sequence[Panel],
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> str:
    """Return the page: charts and the table behind them, in one file without scripts; names are escaped."""
    return template("rounds.html").render(
        title=title,
        sentences=list(sentences),
        drawn=[_drawn(panel) for panel in panels],
        heads=list(heads),
        rows=[list(row) for row in rows],
    )


def _drawn(panel: Panel) -> _Drawn:
    """Lay out one figure; each line keeps its colour in all of them."""
    chart = chart_of(panel.curves, dotted=True, least=5.0)
    inks = [INKS[i % len(INKS)] for i in range(len(panel.curves))]
    owners = [(curve, ink) for curve, ink in zip(panel.curves, inks, strict=True) for _ in curve.steps]
    values = [value for curve in panel.curves for value in curve.values]
    dots = [
        (dot.x, dot.y, ink, f"{curve.name}, {dot.step:g} {panel.across}: {value:.1f} {panel.up}")
        for dot, (curve, ink), value in zip(chart.dots, owners, values, strict=True)
    ]
    return _Drawn(panel, chart, inks, dots)
