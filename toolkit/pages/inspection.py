"""The inspection page: what a folder holds and what is odd in it, with pictures, in one file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dinonat.images.batches import Shown, read_prepared
from dinonat.images.reading import AS_STORED, Reading
from dinonat.pages.charts import Histogram, Spans, Strip, histograms_of, spans_of, strip_of
from dinonat.pages.pictures import data_uri, thumbnail
from dinonat.pages.templating import template
from dinonat.survey.finding import Finding, Marked, Seen

SIDE = 480  # pixels of a picture's longer side
TALLEST = 1.25  # height over width of the field of a picture, at most
UNITS = {"celsius": "\N{DEGREE SIGN}C", "counts": "counts", "grey": "grey levels"}
WORDS = {"problem": "Problems", "warn": "Warnings", "info": "Good to know"}


class Thumb(NamedTuple):
    """A small picture; the size is that of the original, in whose pixels marks are."""

    address: str
    width: int
    height: int
    scale: str  # which values became black and white


@dataclass(frozen=True, eq=False)
class PageFacts:
    """All that the page says."""

    title: str
    seen: Seen
    findings: tuple[Finding, ...]
    files: tuple[tuple[str, str], ...] = ()
    thumbs: Mapping[tuple[bool, str], Thumb] = field(default_factory=dict)  # (of the other folder, image)


def gather(facts: PageFacts, *, workers: int = 0, reading: Reading = AS_STORED) -> PageFacts:
    """Return the facts with the pictures of their examples; one that cannot be read is left out."""
    wanted = {
        (shown.other, shown.image): None
        for finding in facts.findings
        for example in finding.examples
        for shown in example
    }
    known = {(False, fact.image): fact.ref for fact in facts.seen.facts if not fact.reason}
    known |= {(True, fact.image): fact.ref for fact in facts.seen.others or () if not fact.reason}
    keys = [key for key in wanted if key in known]
    loaded = read_prepared([known[key] for key in keys], workers=workers, shown=Shown(reading=reading))
    thumbs = {}
    for key, image in zip(keys, loaded, strict=True):
        if image.prepared is not None:
            prepared = image.prepared
            height, width = prepared.pixels.shape[:2]
            said = (
                ""
                if prepared.mode == "colour"
                else f"{prepared.lo:.4g} to {prepared.hi:.4g} {UNITS[prepared.unit]}"
            )
            thumbs[key] = Thumb(data_uri(thumbnail(prepared.pixels, side=SIDE)), width, height, said)
    return replace(facts, thumbs=thumbs)


class _Tile(NamedTuple):
    shown: Marked
    thumb: Thumb
    radius: float  # of a circle, in pixels of the original


class _Section(NamedTuple):
    severity: str
    title: str
    findings: list[tuple[Finding, list[list[_Tile]]]]


def render(facts: PageFacts) -> str:
    """Return the page: HTML that needs no other file, runs no script and asks no server for anything.

    Names are escaped; signs that cannot be seen are shown as escapes. Equal facts give equal text.
    """
    seen = facts.seen
    failed = sum(bool(fact.reason) for fact in seen.facts)
    of = {name for name, fact in zip(seen.recordings.of, seen.facts, strict=True) if not fact.reason}
    return template("inspection.html").render(
        facts=facts,
        seen=seen,
        failed=failed,
        recordings=len(of),
        units=UNITS,
        sections=_sections(facts),
        histograms=_histograms(seen),
        spans=_spans(seen),
        strip=_strip(seen),
        verdict=_verdict(facts.findings),
    )


def _verdict(findings: Sequence[Finding]) -> str:
    """Say in one sentence what to make of it all."""
    problems, warnings = (sum(f.severity == severity for f in findings) for severity in ("problem", "warn"))
    if problems:
        return "Look at the problems first: they change what numbers mean or which images are used."
    if warnings:
        return "Nothing stands in the way; the warnings say what would disturb labels or measures."
    return "Nothing stands in the way of labelling."


def _sections(facts: PageFacts) -> list[_Section]:
    sections = []
    for severity, title in WORDS.items():
        own = [(f, _rows(f, facts.thumbs)) for f in facts.findings if f.severity == severity]
        if own:
            sections.append(_Section(severity, title, own))
    return sections


def _rows(finding: Finding, thumbs: Mapping[tuple[bool, str], Thumb]) -> list[list[_Tile]]:
    """Return the pictures of the examples; single ones share a row."""
    rows = []
    for example in finding.examples:
        tiles = [
            _tile(shown, thumbs[key]) for shown in example if (key := (shown.other, shown.image)) in thumbs
        ]
        if tiles:
            rows.append(tiles)
    if rows and all(len(row) == 1 for row in rows):
        return [[tile for row in rows for tile in row]]
    return rows


def _tile(shown: Marked, thumb: Thumb) -> _Tile:
    return _Tile(shown, thumb, max(thumb.width, thumb.height) / 40)


def _histograms(seen: Seen) -> list[tuple[str, Histogram]]:
    by_unit = [(unit, [fact for fact in seen.thermal if fact.unit == unit]) for unit in UNITS]
    return [(UNITS[unit], histograms_of([fact.levels for fact in own])) for unit, own in by_unit if own]


def _spans(seen: Seen) -> list[tuple[str, Spans]]:
    by_unit = [(unit, [fact for fact in seen.thermal if fact.unit == unit]) for unit in UNITS]
    return [
        (UNITS[unit], spans_of([(fact.image, fact.levels) for fact in own]))
        for unit, own in by_unit
        if len(own) > 1
    ]


def _strip(seen: Seen) -> Strip | None:
    names = [name for name, fact in zip(seen.recordings.of, seen.facts, strict=True) if not fact.reason]
    return strip_of(names) if 1 < len(set(names)) < len(names) else None
