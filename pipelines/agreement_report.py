"""What `dinotool agreement` found, as records and as text for people."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinonat.agreement.estimates import Estimate
from dinonat.agreement.rows import CENTRED, Row
from dinonat.agreement.verdict import Claim, sentence
from dinonat.evaluation.intervals import FEW, LEVEL, RESAMPLES
from dinonat.pipelines.figures import shortened

BLIND, ANSWERS = "blind.png", "blind-answers.json"  # the test by eye

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


@dataclass(frozen=True)
class Said:
    """One claim about one network, and what it rests on."""

    weights: str
    prepared: str
    about: str  # "attention" or "features"
    word: str  # "holds", "fails" or "not settled"
    sentence: str
    value: float
    differences: dict[str, Numbers]


@dataclass(frozen=True)
class AgreementReport:
    """How well partners agree, to networks and to what is made by hand."""

    name: str
    colour: str
    thermal: str
    size: int
    pairs: int
    recordings: int
    recordings_by: str
    largest: int  # pairs of the largest recording
    alignment: str
    table: tuple[Line, ...]
    claims: tuple[Said, ...]
    pictures: tuple[str, ...]
    page: str
    warnings: tuple[str, ...]
    seconds: float
    doubts: tuple[str, ...] = ()  # of the warnings, those that the verdict must not be read without
    no_verdict: str = ""  # why there is none

    def lines(self) -> list[str]:
        """Text for people, the verdict last."""
        return [
            *shortened([each for each in self.warnings if each not in self.doubts]),
            f"{self.pairs} pairs of {self.recordings} recording{'s' * (self.recordings > 1)} "
            f"({self.recordings_by}); the largest has {self.largest}. {self.alignment}",
            about_intervals(self),
            *_maps(self.table),
            *_features(self.table),
            *_retention(self.table),
            *map(_about_picture, self.pictures),
            f"Page: {self.page}",
            *self.doubts,
            *self._verdict(),
        ]

    def _verdict(self) -> list[str]:
        if self.no_verdict:
            return [self.no_verdict]
        several = len({(each.weights, each.prepared) for each in self.claims}) > 1
        return [
            (f"{each.weights}, {each.prepared}: " if several else "") + each.sentence for each in self.claims
        ]


@dataclass(frozen=True)
class PicturesReport:
    """Where the attention of pictures was drawn."""

    pictures: tuple[str, ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        return [
            *shortened(self.warnings),
            *map(_about_picture, self.pictures),
        ]


def _about_picture(file: str) -> str:
    path = Path(file)
    if path.name == BLIND:
        return f"Test by eye: {path}. Which numbers are partners? The answers: {path.with_name(ANSWERS)}"
    return f"Attention by head and stage: {path}"


def line_of(row: Row) -> Line:
    """Return a row as plain numbers."""
    return Line(row.name, row.kind, row.prepared, {key: numbers(each) for key, each in row.figures.items()})


def said_of(row: Row, claim: Claim, recordings: int) -> Said:
    """Return a claim about the network of a row as plain numbers and a sentence."""
    return Said(
        row.name,
        row.prepared,
        claim.about,
        claim.word,
        sentence(claim, recordings),
        claim.figure.value,
        {name: numbers(each) for name, each in claim.differences.items()},
    )


def numbers(estimate: Estimate) -> Numbers:
    """Return value and bounds."""
    low, high = estimate.interval
    return estimate.value, low, high


def about_intervals(report: AgreementReport) -> str:
    """Say what the intervals rest on, or why there are none."""
    if report.recordings < 2:
        return "No intervals and no verdict: all pairs are of one recording, which says nothing about others."
    rough = f"; of fewer than {FEW} recordings they are rough" if report.recordings < FEW else ""
    return (
        f"{100 * LEVEL:.0f} % intervals: {RESAMPLES} resamples of the {report.recordings} recordings{rough}"
    )


def _maps(table: Sequence[Line]) -> list[str]:
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


def _features(table: Sequence[Line]) -> list[str]:
    """Compare the vectors: a row for each of each network, and for each made by hand."""
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
    chance = next((line.figures for line in table if line.kind == "chance"), {})
    lots = [_percent(chance.get(key)) for key in ("cropped/1", "cropped/5", "cropped/1")]
    return [
        "Partners found, both ways, each light's mean off, other frames of the recording left out: thermal "
        "pictures cropped, and aligned; tokens found with one side moved",
        *aligned([*rows, ["chance", *lots, "", ""]]),
    ]


def _retention(table: Sequence[Line]) -> list[str]:
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
    return [
        "k-NN of labelled things in thermal pictures, k=5, balanced accuracy, the recording left out",
        *aligned(rows),
    ]


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
