"""The page of `dinotool agreement`: whether what a network sees of colour holds for thermal pictures."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dinonat.pages.comparisons import (
    CHANCE,
    Column,
    Line,
    Parts,
    Table,
    charted,
    preparations,
    tabled,
)
from dinonat.pages.dots import Triple, triple_of
from dinonat.pages.pictures import data_uri
from dinonat.pages.templating import template
from dinonat.pages.verdicts import SIGNS, STYLES, judged

CENTRED = ", centred"
ATTENTION = "attention"
BY_HAND = "by hand"
ORDER = (ATTENTION, "similarity", "component", "cut", "mean", "grid")  # of maps and vectors of networks
MAP = re.compile(r"(.+)/pearson/gap")
VECTOR = re.compile(r"(.+)/cropped/both/1")
SEED = re.compile(r"untrained:\d")  # begins the name of a network with weights by chance
SPACE = re.compile(r"(.+)/cka")
LABELLED = re.compile(r"(.+)/k-NN/across")
MAP_FLOORS, VECTOR_FLOORS = {"gradient energy"}, {"HOG", "hog"}  # the best is drawn through a chart

MAP_COLUMNS = [
    Column("partners", "pearson/paired"),
    Column("strangers", "pearson/mismatched"),
    Column("gap", "pearson/gap"),
    Column("gap", "spearman/gap"),
    Column("partners", "overlap/paired"),
    Column("gap", "overlap/gap"),
]
MAP_SPANS = [("Pearson correlation", 3), ("Spearman", 1), ("overlap of top quarters", 2)]
WAYS = {"T>V": "T\N{RIGHTWARDS ARROW}V", "V>T": "V\N{RIGHTWARDS ARROW}T", "both": "both"}
FOUND_COLUMNS = [
    *(Column(text, f"cropped/{way}/{k}", True) for k in (1, 5) for way, text in WAYS.items()),
    Column("aligned", "aligned/both/1", True),
    Column("cropped, all", "cropped, all/both/1", True),
    Column("aligned, all", "aligned, all/both/1", True),
]
FOUND_SPANS = [("R@1, cropped, %", 3), ("R@5, cropped, %", 3), ("R@1, both ways, %", 3)]
DENSE_COLUMNS = [
    Column("hit", "dense/hit", True),
    Column("mutual", "dense/mutual", True),
    Column("by lot", "dense/chance", True),
    Column("hit", "unshifted/hit", True),
    Column("mutual", "unshifted/mutual", True),
]
DENSE_SPANS = [("one side moved, %", 3), ("in place: position may help, %", 2)]
SPACE_COLUMNS = [
    Column("CKA", "cka"),
    Column("CKA, by lot", "cka by lot"),
    Column("modality gap", "modality"),
]
KNN_COLUMNS = [
    Column("colour to thermal, %", "k-NN/across", True),
    Column("thermal to thermal, %", "k-NN/within", True),
    Column("retained, %", "k-NN/retained", True),
]


def render(report: Mapping[str, Any], *, sheets: Sequence[tuple[str, bytes]] = ()) -> str:
    """Return the page: HTML that needs no other file, runs no script and asks no server for anything.

    Names are escaped; signs that cannot be seen are shown as escapes. Equal reports give equal text.

    Parameters
    ----------
    report
        The report of `dinotool agreement` as JSON gives it: ``table`` holds a line for each network,
        control and floor (``name``, ``kind``, ``prepared``, ``figures``: key to [value, low, high], null
        where there is no interval; the keys are those of `dinonat.agreement.rows`), ``claims`` what can be
        said of each network. Any figure may be missing.
    sheets
        Figures of attention as (caption, PNG).
    """
    table = list(report["table"])
    shown = _without_seeds(table)
    gap, first = Column("", "pearson/gap"), Column("", "cropped/both/1", share=True)
    return template("agreement.html").render(
        report=report,
        several=len(preparations(table)) > 1,
        judged=judged(report["claims"]),
        signs=SIGNS,
        styles=STYLES,
        attention=_table(table, MAP_COLUMNS, _lead_map, MAP_SPANS),
        attention_chart=charted(shown, gap, _lead_map, _figure, _map_floor),
        silent=list(dict.fromkeys(line["name"] for line in table if _is_silent(line))),
        others=_table(table, MAP_COLUMNS, _further_maps, MAP_SPANS),
        others_chart=charted(shown, gap, _further_maps, _figure, _map_floor),
        found=_table(table, FOUND_COLUMNS, _centred, FOUND_SPANS),
        found_raw=_table(table, FOUND_COLUMNS, _as_they_are, FOUND_SPANS),
        found_chart=charted(shown, first, _centred, _figure, _vector_floor),
        dense=_table(table, DENSE_COLUMNS, lambda _: [("", "")], DENSE_SPANS),
        spaces=_table(table, SPACE_COLUMNS, _spaces),
        nearest=_table(table, KNN_COLUMNS, _labelled),
        sheets=[(caption, data_uri(png, "png")) for caption, png in sheets],
    )


def _without_seeds(table: Sequence[Line]) -> list[Line]:
    """Return lines for charts: of untrained networks their mean, where there is one."""
    means = any(line["kind"] == "untrained" and not SEED.match(line["name"]) for line in table)
    return [
        line for line in table if not (means and line["kind"] == "untrained" and SEED.match(line["name"]))
    ]


def _table(
    table: Sequence[Line], columns: Sequence[Column], parts: Parts, spans: Sequence[tuple[str, int]] = ()
) -> Table | None:
    return tabled(table, columns, parts, _figure, spans)


def _map_floor(line: Line) -> float | None:
    return _floor(line, MAP_FLOORS, _lead_map, "pearson/gap")


def _vector_floor(line: Line) -> float | None:
    return _floor(line, VECTOR_FLOORS, _centred, "cropped/both/1")


def _floor(line: Line, names: set[str], parts: Parts, key: str) -> float | None:
    """Return what a line made by hand reaches, None of other lines."""
    if line["kind"] != BY_HAND or line["name"] not in names:
        return None
    found = [triple.value for prefix, _ in parts(line) if (triple := _figure(line, prefix + key))]
    return max(found, default=None)


def _is_silent(line: Line) -> bool:
    """Say whether a network tells of maps, but of no attention."""
    names = _in_order(line, MAP)
    return line["kind"] == "network" and bool(names) and ATTENTION not in names


def _lead_map(line: Line) -> Iterator[tuple[str, str]]:
    """Return the map by which a line is compared with the attention of others: by hand the only one."""
    names = _in_order(line, MAP)[:1] if line["kind"] == BY_HAND else [ATTENTION]
    return ((f"{name}/", "") for name in names)


def _further_maps(line: Line) -> Iterator[tuple[str, str]]:
    if line["kind"] not in {BY_HAND, CHANCE}:
        yield from ((f"{name}/", name) for name in _in_order(line, MAP) if name != ATTENTION)


def _centred(line: Line) -> Iterator[tuple[str, str]]:
    names = [CENTRED] if line["kind"] == CHANCE else _in_order(line, VECTOR)
    return _vectors(line, [name for name in names if name.endswith(CENTRED)])


def _as_they_are(line: Line) -> Iterator[tuple[str, str]]:
    names = [""] if line["kind"] == CHANCE else _in_order(line, VECTOR)
    return _vectors(line, [name for name in names if not name.endswith(CENTRED)])


def _vectors(line: Line, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return prefix and name of each vector; one that is called as its line needs no name."""
    for name in names:
        bare = name.removesuffix(CENTRED)
        yield f"{name}/", "" if bare == line["name"] else bare


def _spaces(line: Line) -> Iterator[tuple[str, str]]:
    return _vectors(line, _in_order(line, SPACE))


def _labelled(line: Line) -> Iterator[tuple[str, str]]:
    return ((f"{name}/", name) for name in _in_order(line, LABELLED))


def _in_order(line: Line, pattern: re.Pattern[str]) -> list[str]:
    """Return the maps or vectors of a line: those of networks in their order, others by name."""
    names = {found[1] for key in line["figures"] if (found := pattern.fullmatch(key))}
    return sorted(names, key=lambda name: (*(name.removesuffix(CENTRED) != each for each in ORDER), name))


def _figure(line: Line, key: str) -> Triple | None:
    """Return a figure of a line; of chance also what its few figures say of it."""
    found = triple_of(line["figures"].get(key))
    if found is not None or line["kind"] != CHANCE:
        return found
    parts = key.split("/")
    if parts[-1] == "gap" or parts[-2] in {"pearson", "spearman"}:
        return Triple(0.0, None, None)  # two maps by lot do not correlate
    if parts[-2] == "overlap":
        return _certain(line, "overlap")
    if len(parts) == 4:  # VECTOR/PROTOCOL/WAY/k, the same for cropped pictures and for whole ones
        return _certain(line, f"{parts[1].replace('aligned', 'cropped')}/{parts[3]}")
    return None


def _certain(line: Line, key: str) -> Triple | None:
    found = triple_of(line["figures"].get(key))
    return None if found is None else Triple(found.value, None, None)
