"""Pairs of a colour and a thermal picture for training: found by name, time or a list, and checked."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np

from dinonat.errors import ImageError, UsageError
from dinonat.images.alignment import measure_alignment
from dinonat.images.batches import Box
from dinonat.images.listing import list_images, spread
from dinonat.images.pairing import common_area
from dinonat.images.polarity import find_mixed
from dinonat.images.polarity import sentence as polarity_sentence
from dinonat.images.reader import read_raster, read_thermal
from dinonat.images.workers import run_in_workers
from dinonat.pipelines.inputs import find_recordings as given_recordings
from dinonat.pipelines.partners import (
    Couple,
    alone,
    counted,
    listed,
    nothing,
    of_one_folder,
    of_two_folders,
    surveyed,
)
from dinonat.pipelines.progress import say, track
from dinonat.pretraining.sources import Sources
from dinonat.records import Bool, ImageRef
from dinonat.survey.duplicates import find_duplicates
from dinonat.survey.facts import PHOTOGRAPH, Facts
from dinonat.survey.recordings import find_recordings

LOOKED_AT = 32  # thermal pictures that are looked at where nothing else asks for it
NEARLY_ALL = 0.9
MEASURED = 16  # colour pictures that tell the usual size

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Gathered:
    """Pairs in order: ``colour[i]``, ``thermal[i]``, and the recording of both, "" where unknown."""

    colour: tuple[ImageRef, ...]
    thermal: tuple[ImageRef, ...]
    recordings: tuple[str, ...]
    by: str  # how the recordings were found, in words
    remarks: tuple[str, ...] = ()  # sentences for the user

    def __len__(self) -> int:
        """Return how many pairs there are."""
        return len(self.colour)

    def part(self, marks: Bool) -> "Gathered":
        """Return the pairs that are marked (N,)."""
        kept = np.flatnonzero(marks).tolist()
        return replace(
            self,
            colour=tuple(self.colour[place] for place in kept),
            thermal=tuple(self.thermal[place] for place in kept),
            recordings=tuple(self.recordings[place] for place in kept),
        )


def gather_pairs(
    colour_folder: Path,
    thermal_folder: Path,
    *,
    workspace: Path,
    list_file: Path | None = None,
    recordings: Path | None = None,
    workers: int = 0,
) -> Gathered:
    """Find which pictures of two folders (or twice the same one) belong together, and their recordings.

    By ``list_file`` (a CSV with the columns colour,thermal, such as the twins.csv of `dinotool
    inspect`), else by the rules of `find_twins`: names, for which no picture of two folders is read,
    then times. The recordings are those of the
    CSV asked for, of a recordings.csv beside the pictures or of an inspection in ``workspace``, else
    those that the thermal pictures show as `dinotool inspect` finds them. Raises UsageError where no
    two pictures belong together, LabelError for a bad list, ImageError for a folder without images.
    """
    colour, thermal = list_images(colour_folder).refs, list_images(thermal_folder).refs
    remarks: list[str] = []
    if list_file is not None:
        couples = listed(list_file, colour, thermal, remarks)
    elif colour_folder.resolve() == thermal_folder.resolve():
        couples = of_one_folder(thermal, workers)
    else:
        couples = of_two_folders(colour, thermal, workers)
        remarks += alone(couples, colour, "colour") + alone(couples, thermal, "thermal")
    if not couples:
        raise UsageError(nothing(colour_folder, thermal_folder, colour, thermal, list_file))
    given = _given(couples, (thermal_folder, colour_folder), recordings, workspace, remarks)
    if given is None:
        return _shown(couples, workers, remarks)
    names, file = given
    remarks += _swapped(surveyed(spread([own for _, own in couples], LOOKED_AT), workers))
    return _gathered(couples, names, f"as {file} says", remarks)


def _gathered(couples: Sequence[Couple], names: Sequence[str], by: str, remarks: Sequence[str]) -> Gathered:
    colour, thermal = zip(*couples, strict=True)
    return Gathered(colour, thermal, tuple(names), by, tuple(remarks))


def _given(
    couples: Sequence[Couple],
    folders: tuple[Path, Path],
    asked: Path | None,
    workspace: Path,
    remarks: list[str],
) -> tuple[list[str], Path] | None:
    """Return the recordings that a file gives, by the thermal pictures' names, else by the colour ones'."""
    colour, thermal = zip(*couples, strict=True)
    for folder, refs in zip(folders, (thermal, colour), strict=True):
        said: list[str] = []
        found, file = given_recordings(asked, folder, refs, workspace=workspace, warn=said.append)
        if found and file is not None:
            remarks += said
            return [found.get(ref.name, "") for ref in refs], file
    if asked is not None:
        remarks.append(f"{asked}: names none of the pictures of the pairs.")
    return None


def _shown(couples: Sequence[Couple], workers: int, remarks: list[str]) -> Gathered:
    """Find the recordings by what the thermal pictures show, as `dinotool inspect` does."""
    say(f"Reading {len(couples)} thermal pictures for their recordings")
    facts = surveyed([thermal for _, thermal in couples], workers)
    same = [(pair.first, pair.second) for pair in find_duplicates(facts).pairs]
    found = find_recordings(facts, same=same)
    return _gathered(couples, found.of, found.words, [*remarks, *_swapped(facts)])


def _swapped(facts: Sequence[Facts]) -> list[str]:
    seen = [fact for fact in facts if not fact.reason]
    photographs = sum(fact.look == PHOTOGRAPH for fact in seen)
    if photographs <= NEARLY_ALL * len(seen):
        return []
    return ["The thermal pictures of the pairs look like colour photographs: give the colour folder first."]


def _size(ref: ImageRef) -> Size | None:
    """Return width and height of a picture, decoded as small as its format can; None where damaged."""
    try:
        raster = read_raster(ref.file, frame=ref.frame, at_least=1)
        shape = raster.full_hw if raster is not None else read_thermal(ref.file, frame=ref.frame).data.shape
    except (ImageError, OSError, MemoryError):
        return None
    return shape[1], shape[0]


def _unknown(ref: ImageRef, reason: str) -> Size | None:
    return None


def _sizes(refs: Sequence[ImageRef], workers: int) -> list[Size | None]:
    results = run_in_workers(
        _size, refs, workers=min(workers, len(refs)), on_death=_unknown, belongs_to=lambda ref: ref.file
    )
    with closing(cast("Any", results)):
        return list(track(results, "sizes", total=len(refs)))


def usual_size(pairs: Gathered) -> Size:
    """Return the median width and height of a few colour pictures; (1, 1) where none can be read."""
    sizes = [size for size in _sizes(spread(pairs.colour, MEASURED), 0) if size is not None] or [(1, 1)]
    width, height = (round(median(side)) for side in zip(*sizes, strict=True))
    return width, height


def common_boxes(pairs: Gathered, offset: tuple[float, float], *, workers: int = 0) -> dict[ImageRef, Box]:
    """Return what of each picture of the pairs is kept: what both show, with the thermal one at ``offset``.

    In pixels of each colour picture, right and down; the thermal picture counts as scaled to it. Nothing
    where the offset is zero. Raises UsageError as `common_area` does.
    """
    boxes: dict[ImageRef, Box] = {}
    if offset == (0, 0):
        return boxes
    for colour, thermal, size in zip(pairs.colour, pairs.thermal, _sizes(pairs.colour, workers), strict=True):
        if size is not None:  # else packing will say what is wrong with it
            boxes[colour], boxes[thermal] = common_area(size, offset)
    return boxes


def without_pairs(refs: Sequence[ImageRef], pairs: Gathered) -> list[ImageRef]:
    """Return the pictures of folders that are in no pair: those that are come as pairs, or are held out."""
    taken = {_place(ref) for ref in (*pairs.colour, *pairs.thermal)}
    return [ref for ref in refs if _place(ref) not in taken]


def _place(ref: ImageRef) -> tuple[Path, int]:
    return ref.file.resolve(), ref.frame


def check_pairs(sources: Sources, pairs: Gathered, *, offset: tuple[float, float] = (0.0, 0.0)) -> list[str]:
    """Say whether packed pairs are aligned, which are not, and whether thermal ones have two polarities.

    ``sources`` were packed from ``pairs`` with the boxes of ``offset``. The first sentence is about all
    pairs.
    """
    colour, thermal = sources.paired.T
    pixels, names = sources.packed.pixels, sources.packed.names
    found = measure_alignment(pixels, sources.paired)
    said = [found.sentence(usual_size(pairs), offset)]
    if found.odd:
        odd = [f"{names[colour[place]]} and {names[thermal[place]]}" for place in found.odd]
        said.append(
            counted(odd, "pair fits no better than strangers", "pairs fit no better than strangers")
            + " About as many more may be wrong. Look at them, or leave them out by a list."
        )
    of = dict(zip((ref.name for ref in pairs.thermal), pairs.recordings, strict=True))
    recordings = [of[names[place]] for place in thermal]
    turned = polarity_sentence(
        find_mixed(pixels, recordings, places=thermal), [names[place] for place in thermal]
    )
    return said + ([turned] if turned else [])
