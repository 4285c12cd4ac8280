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
        spent = "a class" if self.per_class else "images"
        heads = [f"{'strategy':12}{'proposed by':22}{spent:>8}{'labels':>8}{'classes':>8}"]
        heads += [f"{name:>13}" for name in columns.values()]
        return [
            *dict.fromkeys(self.warnings),
            f"Set {self.set}, network {self.model}, truth {self.labels}; percent, mean of {self.draws} draws "
            "(spread), of what was not labelled",
            "".join(heads),
            *("".join(cells) for cells in table(self.rounds, columns)),
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
        cells = [f"{strategy:12}{way or 'auto':22}{spent:8}{labels:8.0f}{classes:8.1f}"]
        lines.append(
            [*cells, *(f"{spread([one.figures.get(n, np.nan) for one in own]):>13}" for n in columns)]
        )
    return lines


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
    lines = table(report.rounds, columns)
    heads = ["strategy, way, labels", *columns.values()]
    page = render(
        f"Labels spent on {report.set}",
        _sentences(report),
        [_panel(report, name) for name in DRAWN[report.kind]],
        heads,
        lines,
    )
    write_bytes(folder / PAGE, page.encode())


def _sentences(report: RoundsReport) -> list[str]:
    """Say what the page shows."""
    what = "images" if report.kind == "image" else "images with their boxes"
    return [
        f"Network {report.model}. A person who knows the truth labels {what}, chosen by lot or by `select`; "
        "the rest is proposed and judged by the truth, then more is labelled.",
        "Clicks are those of the whole set: what was labelled from nothing, then the rest corrected.",
        *report.warnings,
    ]


def _panel(report: RoundsReport, name: str) -> Panel:
    """Return the curves of one figure over the labels spent, in percent."""
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for (strategy, way, _), own in grouped(report.rounds).items():
        value = float(np.nanmean([one.figures.get(name, np.nan) for one in own]))
        curves.setdefault((strategy, way), []).append(
            (float(np.mean([one.images for one in own])), 100 * value)
        )
    lines = [
        Curve(f"{strategy} {way}".strip(), *zip(*sorted(points), strict=True))
        for (strategy, way), points in curves.items()
    ]
    return Panel(WORDS[name], "images labelled", "percent", tuple(lines))
