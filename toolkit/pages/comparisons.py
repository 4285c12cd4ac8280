"""Lines of a report side by side: as a table of figures, and as dots with intervals on one axis."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dinonat.pages.dots import Scale, Spot, Triple, scale_of

Line = Mapping[str, Any]  # name, kind, prepared, figures
Parts = Callable[[Line], Iterable[tuple[str, str]]]  # the rows of a line: what keys begin with, and a name
Lookup = Callable[[Line, str], Triple | None]

CHANCE = "chance"  # the kind of line that is shown only beside others


class Column(NamedTuple):
    """A column: its head, the key of its figure after the name of map or vector, and how it is written."""

    head: str
    key: str
    share: bool = False  # written in percent


class Cell(NamedTuple):
    """A figure as it is read, and its interval; "" where there is none."""

    text: str
    around: str


class Entry(NamedTuple):
    """A row of a table or of a chart."""

    name: str
    kind: str
    of: str  # which map or vector, where a line has several
    cells: list[Cell]
    spot: Spot | None = None


class Group(NamedTuple):
    """Rows of pictures that were prepared alike."""

    prepared: str  # "" where all pictures were
    entries: list[Entry]
    level: float | None = None  # where the floor lies, in percent of the width


class Table(NamedTuple):
    """Rows under their heads: those over several columns as (text, columns), then one for each column."""

    spans: Sequence[tuple[str, int]]
    heads: list[str]
    groups: list[Group]


class Chart(NamedTuple):
    """Figures with their intervals below each other."""

    zero: float
    marks: list[tuple[float, str]]
    groups: list[Group]


def written(value: float, *, share: bool = False, signed: bool = False) -> str:
    """Write a figure: two digits, or percent with one.

    >>> written(0.1234), written(0.1234, share=True), written(-0.001), written(0.1234, signed=True)
    ('0.12', '12.3', '0.00', '+0.12')
    """
    how = ("+" if signed else "z") + (".1f" if share else ".2f")
    return format(100 * value if share else value, how)


def cell_of(found: Triple | None, *, share: bool = False, signed: bool = False) -> Cell:
    """Write a figure and its interval."""
    if found is None:
        return Cell("", "")
    value, *ends = (None if x is None else written(x, share=share, signed=signed) for x in found)
    return Cell(value or "", "" if None in ends else f"{ends[0]} to {ends[1]}")


def preparations(table: Iterable[Line]) -> list[str]:
    """Return how thermal pictures were prepared, in order."""
    return list(dict.fromkeys(str(line["prepared"]) for line in table if line["prepared"]))


def grouped(table: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Return the lines of each preparation, in order; one preparation needs no name."""
    names = preparations(table)
    if len(names) < 2:
        return [("", list(table))]
    groups = [
        (f"Thermal pictures: {name}", [line for line in table if line["prepared"] == name]) for name in names
    ]
    return [*groups, ("Whatever the preparation", [line for line in table if not line["prepared"]])]


def tabled(
    table: Sequence[Line],
    columns: Sequence[Column],
    parts: Parts,
    lookup: Lookup,
    spans: Sequence[tuple[str, int]] = (),
) -> Table | None:
    """Return a table of the lines that have any of the figures; None where none has."""
    groups = []
    for prepared, lines in grouped(table):
        rows = [(line, prefix, of) for line in lines for prefix, of in parts(line)]
        entries = [
            Entry(
                line["name"],
                line["kind"],
                of,
                [cell_of(lookup(line, prefix + column.key), share=column.share) for column in columns],
            )
            for line, prefix, of in rows
        ]
        groups.append(Group(prepared, [each for each in entries if any(cell.text for cell in each.cells)]))
    groups = _worth(groups)
    return Table(spans, [column.head for column in columns], groups) if groups else None


def charted(
    table: Sequence[Line], column: Column, parts: Parts, lookup: Lookup, floor: Callable[[Line], float | None]
) -> Chart | None:
    """Return one figure of all lines on one axis, and the highest ``floor`` of lines prepared alike."""
    found = [
        (line, of, triple)
        for line in table
        for prefix, of in parts(line)
        if (triple := lookup(line, prefix + column.key)) is not None
    ]
    scale = scale_of(triple for *_, triple in found)
    general = [line for line in table if not line["prepared"]]
    groups = []
    for prepared, lines in grouped(table):
        entries = [
            Entry(line["name"], line["kind"], of, [cell_of(triple, share=column.share)], scale.spot(triple))
            for line, of, triple in found
            if any(line is each for each in lines)
        ]
        floors = [each for line in (*lines, *general) if (each := floor(line)) is not None]
        groups.append(Group(prepared, entries, scale.place(max(floors)) if floors else None))
    groups = _worth(groups)
    return Chart(scale.place(0.0), marked(scale, share=column.share), groups) if groups else None


def marked(scale: Scale, *, share: bool = False) -> list[tuple[float, str]]:
    """Return where round numbers stand below an axis, and what they are."""
    return [(scale.place(value), f"{100 * value if share else value:z.3g}") for value in scale.marks()]


def _worth(groups: Sequence[Group]) -> list[Group]:
    """Leave out empty groups, and all where nothing but chance is told."""
    if all(entry.kind == CHANCE for group in groups for entry in group.entries):
        return []
    return [group for group in groups if group.entries]
