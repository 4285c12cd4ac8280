"""Which colour and thermal pictures belong together, by a list, names or times, and which have no partner."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from dinonat.embeddings.given import recordings_of
from dinonat.errors import ImageError
from dinonat.files import short_hash, write_json
from dinonat.formats.matching import match_names
from dinonat.formats.pair_lists import read_pair_list
from dinonat.images.reader import read_raster, read_thermal
from dinonat.images.workers import run_in_workers
from dinonat.pipelines.progress import say, track
from dinonat.records import ImageRef
from dinonat.survey.facts import PHOTOGRAPH, Facts, survey
from dinonat.survey.naming import named
from dinonat.survey.twins import find_twins

NAMED = 3  # pictures that a sentence names
NEARLY_ALL = 0.9
FOUND = "pairs"  # folder of a workspace where lies what took decoding to find
RULES = 1  # rises when pictures show other pairs or recordings than before

Couple = tuple[ImageRef, ImageRef]  # colour, thermal
Size = tuple[int, int]  # width, height


def listed(
    file: Path, colour: Sequence[ImageRef], thermal: Sequence[ImageRef], remarks: list[str]
) -> list[Couple]:
    """Return the pairs of a list whose pictures are there, each picture in its first pair only."""
    rows = read_pair_list(file)
    known = []
    for names, refs in zip(zip(*rows, strict=True), (colour, thermal), strict=True):
        by_name = {ref.name: ref for ref in refs}
        found = match_names(names, list(by_name)).found
        known.append({asked: by_name[name] for asked, name in found.items()})
    asked = dict.fromkeys((name, side) for row in rows for side, name in enumerate(row))
    missing = [name for name, side in asked if name not in known[side]]
    if missing:
        remarks.append(
            f"{file}: " + counted(missing, "picture of it is not there", "pictures of it are not there")
        )
    couples, used, again = list[Couple](), set[tuple[str, ImageRef]](), list[str]()
    for a, b in rows:
        if a in known[0] and b in known[1]:
            couple = (known[0][a], known[1][b])
            sides = {("colour", couple[0]), ("thermal", couple[1])}
            if sides & used:
                again.append(f"{a},{b}")
            else:
                couples.append(couple)
                used |= sides
    if again:
        remarks.append(
            f"{file}: "
            + counted(
                again,
                "row is left out, because an earlier one has a partner for its picture",
                "rows are left out, because earlier ones have a partner for their pictures",
            )
        )
    return couples


def of_one_folder(refs: Sequence[ImageRef], workers: int, workspace: Path) -> list[Couple]:
    """Return the pairs of a folder that holds both kinds, by names, looks and times."""

    def find() -> list[tuple[int, int]]:
        return [(twin.colour, twin.thermal) for twin in find_twins(surveyed(refs, workers))]

    return [(refs[a], refs[b]) for a, b in remembered(workspace, "one-folder", [refs], find)]


def of_two_folders(
    colour: Sequence[ImageRef], thermal: Sequence[ImageRef], workers: int, workspace: Path
) -> list[Couple]:
    """Pair by what names say, which reads no picture; what is left on both sides by what files say."""
    one, other = [Facts(ref) for ref in thermal], [Facts(ref) for ref in colour]
    couples = [(colour[twin.colour], thermal[twin.thermal]) for twin in find_twins(one, other)]
    paired = {ref for couple in couples for ref in couple}
    left = [[ref for ref in refs if ref not in paired] for refs in (thermal, colour)]
    if all(left):

        def find() -> list[tuple[int, int]]:
            say(f"Reading {sum(map(len, left))} pictures without a partner of their name for their times")
            facts = [surveyed(refs, workers) for refs in left]
            return [(twin.colour, twin.thermal) for twin in find_twins(*facts)]

        found = remembered(workspace, "two-folders", left, find)
        couples += [(left[1][a], left[0][b]) for a, b in found]
    return sorted(couples, key=lambda couple: couple[1])


def remembered(
    workspace: Path, what: str, lists: Sequence[Sequence[ImageRef]], find: Callable[[], Any]
) -> Any:
    """Return what ``find`` finds in lists of pictures, as JSON; it is asked once for each state of them.

    The answer lies in the workspace, whole or not at all, under the pictures' names, sizes and times of
    change: decoding all of them again only to learn that a run is done already would be dear.
    """
    files = [[(ref.name, *_state(ref)) for ref in refs] for refs in lists]
    path = workspace / FOUND / f"{what}-{short_hash(RULES, files)}.json"
    with suppress(OSError, ValueError):  # not there, or not what was written
        return json.loads(path.read_bytes())
    found = find()
    write_json(path, found)
    return found


def _state(ref: ImageRef) -> tuple[int, int]:
    try:
        facts = ref.file.stat()
    except OSError:
        return -1, -1
    return facts.st_size, facts.st_mtime_ns


def surveyed(refs: Sequence[ImageRef], workers: int) -> list[Facts]:
    """Look at pictures as `dinotool inspect` does."""
    results = survey(refs, workers=min(workers, len(refs)))
    with closing(cast("Any", results)):
        return list(track(results, "pairs", total=len(refs)))


def left_over(couples: Sequence[Couple], others: Sequence[Sequence[ImageRef]]) -> list[str]:
    """Say which colour and thermal pictures (``others``) are in no pair, and where that may be a mistake.

    Only the ending tells ``a.jpg`` from ``a.png``, so which of them belongs to ``a.tif`` is a guess. Cameras
    of one housing (``_V``, ``_W``) have names of their own.
    """
    said, alike = [], []
    for side, which in enumerate(("colour", "thermal")):
        names = [ref.name for ref in others[side]]
        if names:
            said.append(
                counted(names, f"{which} picture has no partner", f"{which} pictures have no partner")
            )
        taken = {_called(couple[side]): couple[side].name for couple in couples}
        alike += [f"{taken[_called(ref)]}, not {ref.name}" for ref in others[side] if _called(ref) in taken]
    if alike:
        pairs = counted(alike, "pair is a guess", "pairs are guesses", apart="; ")
        said.append(f"Pictures share a name but for its ending, so {pairs} Decide by a list (pair_list).")
    return said


def _called(ref: ImageRef) -> tuple[str, str, str, int]:
    parts = named(ref.path)
    return parts.folder, parts.stem, parts.word, ref.frame


def swapped_folders(facts: Sequence[Facts]) -> list[str]:
    """Say where pictures that should be thermal look like photographs."""
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


def sizes(refs: Sequence[ImageRef], workers: int) -> list[Size | None]:
    """Return width and height of each picture, None where it is damaged."""
    results = run_in_workers(
        _size, refs, workers=min(workers, len(refs)), on_death=_unknown, belongs_to=lambda ref: ref.file
    )
    with closing(cast("Any", results)):
        return list(track(results, "sizes", total=len(refs)))


def unpaired(couples: Sequence[Couple], listed: Sequence[ImageRef], side: int) -> list[ImageRef]:
    """Return the pictures of one folder of pairs (``side`` 0: colour, 1: thermal) that are in no pair."""
    paired = {couple[side] for couple in couples}
    return [ref for ref in listed if ref not in paired]


def given_to_others(
    others: Sequence[ImageRef], own: Sequence[ImageRef], recordings: Sequence[str], file: Path
) -> list[str]:
    """Return the recordings of pictures in no pair, "" where unknown, by the file that gave those of pairs.

    Nothing is known where that file contradicts the ``recordings`` of the paired pictures ``own`` of the
    same folder: a number means another moment there than in the folder that the file names.
    """
    found = recordings_of(file, [*own, *others], warn=lambda said: None)
    for ref, recording in zip(own, recordings, strict=True):
        if recording and found.get(ref.name, recording) != recording:
            return [""] * len(others)
    return [found.get(ref.name, "") for ref in others]


def nothing(
    colour_folder: Path,
    thermal_folder: Path,
    colour: Sequence[ImageRef],
    thermal: Sequence[ImageRef],
    list_file: Path | None,
) -> str:
    """Say that no two pictures belong together, and how they are named."""
    if list_file is None and colour == thermal:
        return (
            f"{thermal_folder}: no two of {len(thermal)} pictures belong together by names or times, as "
            f"colour and thermal pictures of one moment; they are named like {thermal[0].name!r}. Give the "
            "folder of the colour pictures first, or a CSV with the columns colour,thermal (pair_list)."
        )
    there = f"{colour[0].name!r} in {colour_folder} and {thermal[0].name!r} in {thermal_folder}"
    if list_file is not None:
        return f"{list_file}: names no pair of pictures that are there. They are named like {there}."
    return (
        f"{colour_folder}, {thermal_folder}: no two of {len(colour)} colour and {len(thermal)} thermal "
        f"pictures belong together by their names or times; they are named like {colour[0].name!r} and "
        f"{thermal[0].name!r}. Give a CSV with the columns colour,thermal (pair_list)."
    )


def counted(names: Sequence[str], one: str, several: str, *, apart: str = ", ") -> str:
    """Say how many there are and name the first.

    >>> counted(["a", "b"], "picture is missing", "pictures are missing")
    '2 pictures are missing (a, b).'
    """
    more = ["..."] if len(names) > NAMED else []
    return f"{len(names)} {one if len(names) == 1 else several} ({apart.join([*names[:NAMED], *more])})."


def place_of(ref: ImageRef) -> tuple[str, int]:
    """Return the file that a reference leads to, and the frame; only links are resolved one by one."""
    file = ref.file
    if file.is_symlink():
        return str(file.resolve()), ref.frame
    return f"{_resolved(str(file.parent))}/{file.name}", ref.frame


@lru_cache(maxsize=2**12)
def _resolved(folder: str) -> str:
    return str(Path(folder).resolve())
