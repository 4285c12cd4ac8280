"""What `dinotool agreement` found, as records and as text for people."""

from dataclasses import dataclass
from pathlib import Path

from dinonat.agreement.rows import Row
from dinonat.agreement.verdict import Claim, sentence
from dinonat.evaluation.intervals import FEW, LEVEL, RESAMPLES
from dinonat.pipelines.agreement_lines import (
    Line,
    Numbers,
    features_table,
    maps_table,
    numbers,
    retention_table,
)
from dinonat.pipelines.figures import shortened

BLIND, ANSWERS = "blind.png", "blind-answers.json"  # the test by eye


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
            *maps_table(self.table),
            *features_table(self.table, apart=self.recordings > 1),
            *retention_table(self.table),
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
    page: str
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        return [
            *shortened(self.warnings),
            *map(_about_picture, self.pictures),
            f"Page: {self.page}",
        ]


def _about_picture(file: str) -> str:
    path = Path(file)
    if path.name == BLIND:
        return f"Test by eye: {path}. Which numbers are partners? The answers: {path.with_name(ANSWERS)}"
    return f"Attention by head and stage: {path}"


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


def about_intervals(report: AgreementReport) -> str:
    """Say what the intervals rest on, or why there are none."""
    if report.recordings < 2:
        return "No intervals and no verdict: all pairs are of one recording, which says nothing about others."
    rough = f"; of fewer than {FEW} recordings they are rough" if report.recordings < FEW else ""
    return (
        f"{100 * LEVEL:.0f} % intervals: {RESAMPLES} resamples of the {report.recordings} recordings{rough}"
    )
