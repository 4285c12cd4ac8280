"""The rows of `dinotool agreement` as plain numbers, and as tables of text."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dinonat.agreement.estimates import Estimate
from dinonat.agreement.rows import CENTRED, Row

Numbers = tuple[float, float, float]  # value, lower and upper bound; bounds are NaN without an interval

MAPS = ("attention", "similarity", "component", "cut", "gradient", "residual", "intensity")
VECTORS = ("mean", "grid", "HOG", "hog", "raw", "thumbnail", "orientations")


@dataclass(frozen=True)
class Line:
    """A row of the table; keys of ``figures`` are those of `dinonat.agreement.rows`."""

    name: str
    kind: str
    prepared: str
    figures: dict[str, Numbers]


def line_of(row: Row) -> Line:
    """Return a row as plain numbers."""
    return Line(row.name, row.kind, row.prepared, {key: numbers(each) for key, each in row.figures.items()})


def numbers(estimate: Estimate) -> Numbers:
    """Return value and bounds; without them where no resample differs, as of 100 % in few pairs."""
    low, high = estimate.interval
    return (estimate.value, low, high) if low < high else (estimate.value, math.nan, math.nan)


def maps_table(table: Sequence[Line]) -> list[str]:
    """Compare the maps: a row for each map of each network, and for each made by hand."""
    rows = [["map", "partners", "strangers", "gap", "Spearman", "IoU"]]
    for name in MAPS:
        for line in table:
            if f"{name}/pearson/gap" in line.figures and not _single(line):
                measures = ("pearson/paired", "pearson/mismatched", "spearman/gap", "overlap/gap")
                paired, strangers, *gaps = (_number(line.figures[f"{name}/{each}"]) for each in measures)
                gap = _with(line.figures[f"{name}/pearson/gap"])
                rows.append([_named(line, name), paired, strangers, gap, *gaps])
    return ["Pearson of partners' maps, of strangers', the gap; gaps of Spearman and IoU", *aligned(rows)]


def features_table(table: Sequence[Line], *, apart: bool) -> list[str]:
    """Compare the vectors: a row for each of each network, and for each made by hand.

    ``apart`` says that other frames of the recording are left out, which one recording does not allow.
    """
    rows = [["vector", "cropped R@1, %", "R@5", "aligned R@1", "tokens", "CKA (by lot)"]]
    for line, name in _with_vectors(table, "cka"):
        found = f"{name}{CENTRED}"
        rows.append(
            [
                _named(line, name),
                _with(line.figures[f"{found}/cropped/both/1"], _percent),
                _percent(line.figures[f"{found}/cropped/both/5"]),
                _percent(line.figures[f"{found}/aligned/both/1"]),
                _percent(line.figures.get("dense/hit") if name in ("mean", "HOG") else None),
                f"{_number(line.figures[f'{name}/cka'])} ({_number(line.figures[f'{name}/cka by lot'])})",
            ]
        )
    chance = _chance(table)
    lots = [_percent(chance.get(key)) for key in ("cropped/1", "cropped/5", "cropped/1")]
    tokens = next((line.figures["dense/chance"] for line in table if "dense/chance" in line.figures), None)
    left_out = ", other frames of the recording left out" if apart else ""
    return [
        f"Partners found, both ways, each light's mean off{left_out}: thermal pictures cropped, and aligned; "
        "tokens found with one side moved",
        *aligned([*rows, ["chance", *lots, _percent(tokens), ""]]),
    ]


def retention_table(table: Sequence[Line]) -> list[str]:
    """Compare what labels of colour pictures tell of thermal ones; nothing without labels."""
    rows = [["vector", "colour gallery, %", "thermal gallery", "retained", "colour, means left in"]]
    for line, name in _with_vectors(table, "k-NN/across"):
        key = f"{name}{CENTRED}/k-NN"
        rows.append(
            [
                _named(line, name),
                _with(line.figures[f"{key}/across"], _percent),
                *(_percent(line.figures[f"{key}/{each}"]) for each in ("within", "retained")),
                _percent(line.figures[f"{name}/k-NN/across"]),
            ]
        )
    if len(rows) == 1:
        return []
    lots = _percent(_chance(table).get("k-NN"))
    rows.append(["chance", lots, lots, "", lots])
    return [
        "k-NN of labelled things in thermal pictures, k=5, balanced accuracy, the recording left out",
        *aligned(rows),
    ]


def _chance(table: Sequence[Line]) -> dict[str, Numbers]:
    return next((line.figures for line in table if line.kind == "chance"), {})


def _with_vectors(table: Sequence[Line], key: str) -> Iterator[tuple[Line, str]]:
    for line in table:
        for name in VECTORS:
            if f"{name}/{key}" in line.figures and not _single(line):
                yield line, name


def _single(line: Line) -> bool:
    """Say whether a row is one of several seeds whose mean is shown."""
    return line.kind == "untrained" and line.name.startswith("untrained:")


def _named(line: Line, part: str) -> str:
    prepared = f" ({line.prepared})" if line.prepared not in ("", "percentile") else ""
    return f"{line.name}{prepared}" + ("" if line.kind == "by hand" else f": {part}")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines, columns below each other.

    >>> aligned([["a", "b"], ["cc", "1"]])
    ['  a   b', '  cc  1']
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(["", f"{first:{widths[0]}}", *cells]).rstrip())
    return lines


def _with(found: Numbers, write: Callable[[Numbers | None], str] | None = None) -> str:
    """Write a figure with its interval.

    >>> _with((0.5, 0.25, 0.75))
    '0.50 (0.25 to 0.75)'
    """
    write = write or _number
    _, low, high = found
    if low != low:
        return write(found)
    return f"{write(found)} ({write((low, low, low))} to {write((high, high, high))})"


def _number(found: Numbers | None) -> str:
    return "" if found is None or found[0] != found[0] else f"{found[0]:z.2f}"


def _percent(found: Numbers | None) -> str:
    return "" if found is None or found[0] != found[0] else f"{100 * found[0]:z.1f}"
