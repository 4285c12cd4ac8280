"""What rounds of labelling come to: a table, a page with curves, and all figures as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dinonat.files import write_bytes, write_json
from dinonat.pages.curves import Curve
from dinonat.pages.rounds import Panel, render
from dinonat.pipelines.judged_lines import percent
from dinonat.pipelines.options import plain
from dinonat.pipelines.rounds import Round

PAGE, FIGURES = "report.html", "rounds.json"
AS_IT_COMES = "default"  # settings of propose-labels that nobody has set
# Columns: figure -> (head, what it is called on the page, unit is percent).
OF_IMAGES = {
    "accuracy": "accuracy",
    "balanced": "balanced",
    "at_50": "at 50 %",
    "error": "calib. error",
    "error_audited": "audited",
    "coverage": "coverage",
    "precision": "right of it",
    "saved_in_all": "saved",
}
OF_BOXES = {
    "things": "regions",
    "balanced_things": "balanced",
    "found_30": "found by 30",
    "corloc": "CorLoc",
    "ap": "AP50",
    "ap_agnostic": "agnostic",
    "ap_all": "of all",
    "right": "right",
    "saved_in_all": "saved",
}
WORDS = {
    "balanced": "balanced accuracy of the rest",
    "at_50": "accuracy of the more confident half",
    "error_audited": "calibration error after an audit",
    "saved_in_all": "clicks saved of labelling all from nothing",
    "balanced_things": "balanced accuracy of the regions that meet a box",
    "found_30": "true boxes found by 30 regions",
    "ap": "AP50 of the proposals",
    "ap_all": "AP50 with nothing left unknown",
}
DRAWN = {"image": ("balanced", "at_50", "saved_in_all"), "region": ("balanced_things", "ap", "saved_in_all")}


@dataclass(frozen=True)
class RoundsReport:
    """What labels spent bring, by strategy and way of proposing; means over the draws."""

    set: str
    model: str
    labels: str  # file of the truth
    kind: str
    per_class: bool
    draws: int
    rounds: tuple[Round, ...]
    page: str
    file: str
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        columns = OF_IMAGES if self.kind == "image" else OF_BOXES
        return [
            *dict.fromkeys(self.warnings),
            f"Set {self.set}, network {self.model}, truth {self.labels}; percent, mean of {self.draws} draws "
            "(spread), of what was not labelled",
            *map(_text, [heads(self.per_class, columns), *table(self.rounds, columns)]),
            f"Curves -> {self.page}",
        ]


def grouped(rounds: Sequence[Round]) -> dict[tuple[str, str, int], list[Round]]:
    """Return the draws of each strategy, way and number of labels."""
    found: dict[tuple[str, str, int], list[Round]] = {}
    for each in rounds:
        found.setdefault((each.strategy, each.way, each.spent), []).append(each)
    return found


def table(rounds: Sequence[Round], columns: Mapping[str, str]) -> list[list[str]]:
    """Return the cells of each line: means over the draws, and from the least to the largest behind them."""
    lines = []
    for (strategy, way, spent), own in grouped(rounds).items():
        labels, classes = (
            float(np.mean([getattr(one, name) for one in own])) for name in ("labels", "classes")
        )
        cells = [strategy, way or AS_IT_COMES, str(spent), f"{labels:.0f}", f"{classes:.1f}"]
        lines.append([*cells, *(spread([one.figures.get(n, np.nan) for one in own]) for n in columns)])
    return lines


def heads(per_class: bool, columns: Mapping[str, str]) -> list[str]:
    """Return what the cells of a line are."""
    spent = "a class" if per_class else "images"
    return ["strategy", "proposed by", spent, "labels", "classes", *columns.values()]


def _text(cells: Sequence[str]) -> str:
    """Put cells abreast: two names, three counts, then figures."""
    room = [-12, -22, 8, 8, 8, *[13] * (len(cells) - 5)]
    return "".join(f"{cell:{'<' if n < 0 else '>'}{abs(n)}}" for cell, n in zip(cells, room, strict=True))


def spread(values: Sequence[float]) -> str:
    """Write the mean of shares in percent and half of what they span.

    >>> spread([0.25, 0.27]), spread([0.5]), spread([float("nan")])
    ('26.0 (1.0)', '50.0', '-')
    """
    there = [value for value in values if value == value]
    if not there:
        return "-"
    half = 50 * (max(there) - min(there))
    return percent(float(np.mean(there))) + (f" ({half:.1f})" if len(there) > 1 else "")


def write(report: RoundsReport, folder: Path) -> None:
    """Write the page and its figures."""
    write_json(folder / FIGURES, plain(asdict(report)))
    columns = OF_IMAGES if report.kind == "image" else OF_BOXES
    page = render(
        f"Labels spent on {report.set}",
        _sentences(report),
        [panel for name in DRAWN[report.kind] if (panel := _panel(report, name)).curves],
        heads(report.per_class, columns),
        table(report.rounds, columns),
    )
    write_bytes(folder / PAGE, page.encode())


def _sentences(report: RoundsReport) -> list[str]:
    """Say what the page shows."""
    what = "images" if report.kind == "image" else "images with their boxes"
    return [
        f"Network {report.model}. A person who knows the truth labels {what}, chosen by lot or by dinotool "
        "select; the rest is proposed and judged by the truth, then more is labelled.",
        "Clicks are those of the whole set: what was labelled from nothing, then the rest corrected.",
        *report.warnings,
    ]


def _panel(report: RoundsReport, name: str) -> Panel:
    """Return the curves of one figure over the labels spent, in percent, where it could be had."""
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for (strategy, way, _), own in grouped(report.rounds).items():
        there = [value for one in own if (value := one.figures.get(name, np.nan)) == value]
        if not there:  # as where no region meets a true box
            continue
        curves.setdefault((strategy, way), []).append(
            (float(np.mean([one.images for one in own])), 100 * float(np.mean(there)))
        )
    lines = [
        Curve(f"{strategy} {way}".strip(), *zip(*sorted(points), strict=True))
        for (strategy, way), points in curves.items()
    ]
    return Panel(WORDS[name], "images labelled", "percent", tuple(lines))
