"""How the images of a set come in: their recordings, the limits they share, what is to be said of them."""

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import cast

from dinonat.embeddings.given import recordings_beside, recordings_of
from dinonat.embeddings.store import open_set
from dinonat.errors import LabelError, UsageError, WorkspaceError
from dinonat.images.batches import Shown
from dinonat.images.prepare import POOLED, Preparation
from dinonat.images.ranges import pooled_limits
from dinonat.images.reading import Reading
from dinonat.pipelines import workspace as places
from dinonat.pipelines.progress import say, track
from dinonat.records import ImageRef, Loaded

FINDINGS, RECORDINGS = "findings.json", "recordings.csv"  # what `dinotool inspect` leaves
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

Warn = Callable[[str], None]


def find_recordings(
    asked: Path | None, images: Path, refs: Sequence[ImageRef], *, workspace: Path, warn: Warn
) -> tuple[dict[str, str], Path | None]:
    """Return the recording of each image and the file that said so.

    That is the file asked for, else recordings.csv in or beside the folder, else what `dinotool
    inspect` found out about the folder; none of them gives no recordings. Raises LabelError for a bad
    file that was asked for.
    """
    if asked is not None:
        return recordings_of(asked, refs, warn=warn), asked
    file = recordings_beside(images) or inspected(images, workspace)
    if file is None:
        return {}, None
    try:
        return recordings_of(file, refs, warn=warn), file
    except LabelError as error:  # nobody named this file, so it may be another thing of that name
        warn(f"{error} Left out.")
        return {}, None


def inspected(images: Path, workspace: Path) -> Path | None:
    """Return the recordings that an inspection of this very folder wrote, if there was one."""
    root = str(images.resolve())
    names = places.names(workspace, "inspection")
    with suppress(WorkspaceError):
        names.insert(0, places.newest(workspace, "inspection"))  # of several, the last word
    for name in names:
        folder = places.inspections_folder(workspace, name)
        try:
            known = places.read_object(folder / FINDINGS).get("root")
        except WorkspaceError:  # an inspection that was stopped
            continue
        if known == root and (folder / RECORDINGS).is_file():
            return folder / RECORDINGS
    return None


def shown(
    refs: Sequence[ImageRef],
    preparation: Preparation,
    reading: Reading,
    *,
    recordings: dict[str, str],
    workers: int,
    title: str,
) -> Shown:
    """Return how images are read and prepared; limits that many share cost a pass over all of them."""
    if preparation.mode not in POOLED:
        return Shown(preparation, reading=reading)
    whose = "each recording" if preparation.mode == "recording" else "the set"
    say(f"{title}: reading {len(refs)} images for the limits of {whose}")
    limits = pooled_limits(
        refs,
        preparation,
        recordings=recordings,
        workers=workers,
        reading=reading,
        track=lambda results: track(results, "limits", total=len(refs)),
    )
    return Shown(preparation, limits, reading)


def shown_as(folder: Path, refs: Sequence[ImageRef], preparation: Preparation, reading: Reading) -> Shown:
    """Return how the set in ``folder`` shows these images; UsageError where it does not hold one."""
    other = open_set(folder)
    held = set(other.items["image"])
    foreign = [ref.name for ref in refs if ref.name not in held]
    if foreign:
        raise UsageError(
            f"limits_of={folder.name}: that set does not hold {foreign[0]}. Leave the setting out, or "
            "list only images of that set."
        )
    return Shown(preparation, other.shown.limits, reading)


def remarked(loaded: Iterator[Loaded], remarks: list[str]) -> Generator[Loaded, None, None]:
    """Pass images on, and in the end add what was to be said of them to ``remarks``: each thing once.

    Sentences that differ only in their numbers are one; the first image it was said of is named.
    """
    counts, first = Counter[str](), dict[str, str]()
    try:
        with closing(cast("Generator[Loaded, None, None]", loaded)) as images:
            for image in images:
                for warning in image.warnings:
                    kind = NUMBER.sub("0", warning)
                    counts[kind] += 1
                    first.setdefault(kind, f"{image.ref.name}: {warning}")
                yield image
    finally:  # whoever takes as many as there are does not ask for the end
        for kind, count in counts.most_common():
            others = f", and {count - 1} more like it" if count > 1 else ""
            remarks.append(f"{first[kind]}{others}.")
