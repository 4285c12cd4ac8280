"""Pairs of a colour and a thermal picture for training: found by name, time or a list, and checked."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from dinonat.errors import UsageError
from dinonat.images.alignment import measure_alignment
from dinonat.images.batches import Box
from dinonat.images.listing import list_images, spread
from dinonat.images.pairing import common_area
from dinonat.images.polarity import find_mixed
from dinonat.images.polarity import sentence as polarity_sentence
from dinonat.pipelines.inputs import find_recordings as given_recordings
from dinonat.pipelines.partners import (
    Couple,
    Size,
    counted,
    given_to_others,
    left_over,
    listed,
    nothing,
    of_one_folder,
    of_two_folders,
    place_of,
    remembered,
    sizes,
    surveyed,
    swapped_folders,
    unpaired,
)
from dinonat.pipelines.progress import say
from dinonat.pretraining.sources import Sources
from dinonat.records import Bool, ImageRef
from dinonat.survey.duplicates import find_duplicates
from dinonat.survey.recordings import find_recordings

LOOKED_AT = 32  # thermal pictures that are looked at where nothing else asks for it
POLARITIES = 256  # thermal pictures whose polarity is looked at, evenly over all; as many of some recordings
OF_ONE = 16  # of each of these at least, where it has so many
MEASURED = 16  # colour pictures that tell the usual size


@dataclass(frozen=True)
class Gathered:
    """Pairs in order: ``colour[i]``, ``thermal[i]``, and the recording of both, "" where unknown."""

    colour: tuple[ImageRef, ...]
    thermal: tuple[ImageRef, ...]
    recordings: tuple[str, ...]
    by: str  # how the recordings were found, in words
    remarks: tuple[str, ...] = ()  # sentences for the user
    others: tuple[tuple[ImageRef, str], ...] = ()  # pictures of both folders in no pair, their recordings

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
    then times. The recordings are those of the CSV asked for, of a recordings.csv beside the pictures or
    of an inspection in ``workspace``, else those that the thermal pictures show as `dinotool inspect`
    finds them; pictures in no pair have none then. Raises UsageError where no two pictures belong
    together, LabelError for a bad list, ImageError for a folder without images.
    """
    one_folder = colour_folder.resolve() == thermal_folder.resolve()
    thermal = list_images(thermal_folder).refs
    colour = thermal if one_folder else list_images(colour_folder).refs
    remarks: list[str] = []
    if list_file is not None:
        couples = listed(list_file, colour, thermal, remarks)
    elif one_folder:
        couples = of_one_folder(thermal, workers, workspace)
    else:
        couples = of_two_folders(colour, thermal, workers, workspace)
    if not couples:
        raise UsageError(nothing(colour_folder, thermal_folder, colour, thermal, list_file))
    others = unpaired(couples, colour, 0), unpaired(couples, thermal, 1)
    if list_file is None and not one_folder:
        remarks += left_over(couples, others)
    said = _given(couples, (colour_folder, thermal_folder), recordings, workspace, remarks)
    if said is None:
        found = _shown(couples, workers, workspace, remarks)
        return replace(found, others=tuple((ref, "") for side in others for ref in side))
    names, file = said
    remarks += swapped_folders(surveyed(spread([own for _, own in couples], LOOKED_AT), workers))
    found = _gathered(couples, names, f"as {file} says", remarks)
    of_others = [
        pair
        for own, side in zip((found.colour, found.thermal), others, strict=True)
        for pair in zip(side, given_to_others(side, own, names, file), strict=True)
    ]
    return replace(found, others=tuple(of_others))


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
    for side in (1, 0):
        refs, said = [couple[side] for couple in couples], list[str]()
        found, file = given_recordings(asked, folders[side], refs, workspace=workspace, warn=said.append)
        if found and file is not None:
            remarks += said
            return [found.get(ref.name, "") for ref in refs], file
    if asked is not None:
        remarks.append(f"{asked}: names none of the pictures of the pairs.")
    return None


def _shown(couples: Sequence[Couple], workers: int, workspace: Path, remarks: list[str]) -> Gathered:
    """Find the recordings by what the thermal pictures show, as `dinotool inspect` does."""
    thermal = [own for _, own in couples]

    def find() -> list[Any]:
        say(f"Reading {len(thermal)} thermal pictures for their recordings")
        facts = surveyed(thermal, workers)
        same = [(pair.first, pair.second) for pair in find_duplicates(facts).pairs]
        found = find_recordings(facts, same=same)
        return [found.of, found.words, swapped_folders(facts)]

    names, words, swapped = remembered(workspace, "recordings", [thermal], find)
    return _gathered(couples, names, words, [*remarks, *swapped])


def usual_size(pairs: Gathered) -> Size:
    """Return the median width and height of a few colour pictures; (1, 1) where none can be read."""
    known = [size for size in sizes(spread(pairs.colour, MEASURED), 0) if size is not None] or [(1, 1)]
    width, height = (round(median(side)) for side in zip(*known, strict=True))
    return width, height


def common_boxes(pairs: Gathered, offset: tuple[float, float], *, workers: int = 0) -> dict[ImageRef, Box]:
    """Return what of each picture of the pairs is kept: what both show, with the thermal one at ``offset``.

    In pixels of each colour picture, right and down; the thermal picture counts as scaled to it. Nothing
    where the offset is zero. Raises UsageError as `common_area` does.
    """
    boxes: dict[ImageRef, Box] = {}
    if offset == (0, 0):
        return boxes
    for colour, thermal, size in zip(pairs.colour, pairs.thermal, sizes(pairs.colour, workers), strict=True):
        if size is not None:  # else packing will say what is wrong with it
            boxes[colour], boxes[thermal] = common_area(size, offset)
    return boxes


def without_pairs(refs: Sequence[ImageRef], pairs: Gathered) -> list[ImageRef]:
    """Return the pictures of folders that are in no pair: those that are come as pairs, or are held out."""
    taken = {place_of(ref) for ref in (*pairs.colour, *pairs.thermal)} if refs else set()
    return [ref for ref in refs if place_of(ref) not in taken]


def without_held_out(
    refs: Sequence[ImageRef], pairs: Gathered, held_out: Collection[str]
) -> tuple[list[ImageRef], str]:
    """Return the pictures of folders that show no held-out recording, and say which others are left out.

    Pictures in no pair that lie in the folders of the pairs are other moments of the same recordings: of
    three colour pictures for each thermal one two have no partner. Only those that are known to be of a
    recording that is not held out are kept; pictures of other folders always are.
    """
    if not held_out or not refs:
        return list(refs), ""
    doubtful = {place_of(ref): name for ref, name in pairs.others if not name or name in held_out}
    reason = [doubtful.get(place_of(ref)) for ref in refs]
    left_out = [name for name in reason if name is not None]
    if not left_out:
        return list(refs), ""
    unknown = left_out.count("")
    reasons = [f"{len(left_out) - unknown} of held-out recordings"] if unknown < len(left_out) else []
    reasons += [f"{unknown} of unknown recordings, which may be held out" if unknown else ""]
    return [ref for ref, name in zip(refs, reason, strict=True) if name is None], (
        f"{len(left_out)} images of the folders of the pairs are in no pair and are not trained on: "
        + " and ".join(filter(None, reasons))
        + (" (a CSV image,recording that names them tells)." if unknown else ".")
    )


def check_pairs(sources: Sources, pairs: Gathered, *, offset: tuple[float, float] = (0.0, 0.0)) -> list[str]:
    """Say whether packed pairs are aligned, which are not, and whether thermal ones have two polarities.

    ``sources`` were packed from ``pairs`` with the boxes of ``offset``. The first sentence is about all
    pairs.
    """
    thermal = sources.paired[:, 1]
    pixels, names = sources.packed.pixels, sources.packed.names
    found = measure_alignment(pixels, sources.paired)
    said = [found.sentence(usual_size(pairs), offset)]
    said += odd_pairs([f"{names[a]} and {names[b]}" for a, b in sources.paired[list(found.odd)]])
    of = dict(zip((ref.name for ref in pairs.thermal), pairs.recordings, strict=True))
    some = thermal[_of_all_and_of_some([of[names[place]] for place in thermal])]
    turned = polarity_sentence(
        find_mixed(pixels, [of[names[place]] for place in some], places=some),
        [names[place] for place in some],
    )
    return said + ([turned] if turned else [])


def odd_pairs(names: Sequence[str]) -> list[str]:
    """Say which pairs fit no better than strangers, if any do."""
    if not names:
        return []
    return [
        counted(names, "pair fits no better than strangers", "pairs fit no better than strangers")
        + " About as many more may be wrong. Look at them, or leave them out by a list."
    ]


def _of_all_and_of_some(recordings: Sequence[str]) -> list[int]:
    """Return some places evenly over all, and so many of each of some recordings that it can be judged alone.

    They are 2 * POLARITIES at most.
    """
    of = dict[str, list[int]]()
    for place, name in enumerate(recordings):
        of.setdefault(name, []).append(place)
    some = spread(list(of.values()), POLARITIES // OF_ONE)
    each = [place for places in some for place in spread(places, POLARITIES // len(some))]
    return sorted({*spread(range(len(recordings)), POLARITIES), *each})
