"""The kinds of images in a folder: those of one format, unit, depth, look and camera are one kind."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from dinonat.images.faults import printable
from dinonat.survey.facts import Facts

MOST_FOLDERS = 4  # that are named


@dataclass(frozen=True)
class Group:
    """Images of one kind, and how to say what they are."""

    number: int
    images: tuple[str, ...]
    format: str
    unit: str
    look: str
    camera: str
    depth: str
    sizes: str
    least: float  # of the middle 98 percent of all images
    median: float
    most: float
    where: str  # folders, with how many lie there


def groups_of(facts: Sequence[Facts]) -> tuple[Group, ...]:
    """Return the kinds of the readable images, the largest first."""
    kinds: dict[tuple[str, ...], list[Facts]] = {}
    for fact in facts:
        if not fact.reason:
            kinds.setdefault(_kind(fact), []).append(fact)
    ranked = sorted(kinds.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return tuple(_group(number, own) for number, (_, own) in enumerate(ranked, start=1))


def _kind(fact: Facts) -> tuple[str, ...]:
    depth = "8" if fact.depth <= 8 else "float" if fact.depth >= 32 else "deep"
    return fact.format, fact.unit, fact.look, fact.camera, depth


def _group(number: int, facts: Sequence[Facts]) -> Group:
    levels = np.array([[fact.levels.low, fact.levels.median, fact.levels.high] for fact in facts])
    depths = sorted({fact.depth for fact in facts})
    first = facts[0]
    return Group(
        number,
        tuple(fact.image for fact in facts),
        first.format,
        first.unit,
        first.look,
        first.camera,
        "float" if depths[-1] >= 32 else _span([str(depth) for depth in depths]) + " bits",
        sizes_of(facts),
        float(levels[:, 0].min()),
        float(np.median(levels[:, 1])),
        float(levels[:, 2].max()),
        where(facts),
    )


def _span(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"


def sizes_of(facts: Sequence[Facts]) -> str:
    """Say the sizes: the only one, or how many there are and the ends.

    Sizes are ranked by their number of pixels.
    """
    sizes = {(fact.width * fact.height, fact.size) for fact in facts}
    ranked = [size for _, size in sorted(sizes)]
    return ranked[0] if len(ranked) == 1 else f"{ranked[0]} to {ranked[-1]} ({len(ranked)} sizes)"


def where(facts: Sequence[Facts]) -> str:
    """Say in which folders images lie and how many in each; names of a few files where they share one."""
    folders = Counter(str(PurePosixPath(fact.ref.path).parent) for fact in facts)
    if set(folders) == {"."}:
        names = [printable(fact.image) for fact in facts]
        return ", ".join(names) if len(names) <= 2 else f"{names[0]}, ..., {names[-1]}"
    ranked = sorted(folders.items(), key=lambda pair: (-pair[1], pair[0]))
    said = ", ".join(f"{printable(folder)}/ ({count})" for folder, count in ranked[:MOST_FOLDERS])
    more = len(ranked) - MOST_FOLDERS
    return f"{said} and {more} more folders" if more > 0 else said
