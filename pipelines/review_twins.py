"""The colour image of the same moment beside a thermal one: from what `inspect` found, else by the names."""

import csv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dinonat.errors import WorkspaceError
from dinonat.images.prepare import COLOUR
from dinonat.pages.gather import reference
from dinonat.pipelines import workspace as places
from dinonat.pipelines.inputs import FINDINGS
from dinonat.pipelines.review_list import Shown
from dinonat.records import ImageRef
from dinonat.survey.facts import GREY, PHOTOGRAPH, Facts
from dinonat.survey.twins import find_twins

TWINS = "twins.csv"


def twins_of(shown: Shown) -> dict[int, ImageRef]:
    """Return the colour twin of each image that has one, by the image's place in the list.

    From the workspace's newest inspection of the set's folder that found any; without one, the images of
    the set are paired by their names (`survey.twins`). Whether a twin is still there, and lies below the
    folder it was found in, shows when it is read.
    """
    for folder, colours in _inspections(shown):
        pairs = _pairs(folder / TWINS, shown, colours)
        if pairs:
            return pairs
    return _by_name(shown)


def _inspections(shown: Shown) -> Iterator[tuple[Path, Path]]:
    """Yield the inspections of the set's folder, the newest first, and where their colour images lie."""
    names = places.names(shown.workspace, "inspection")
    with suppress(WorkspaceError):
        names.insert(0, places.newest(shown.workspace, "inspection"))
    for name in dict.fromkeys(names):
        folder = places.inspections_folder(shown.workspace, name)
        with suppress(WorkspaceError):  # one that was stopped
            known = places.read_object(folder / FINDINGS)
            if known.get("root") == str(shown.real_root):
                yield folder, Path(str(known.get("rgb") or known["root"]))


def _pairs(file: Path, shown: Shown, colours: Path) -> dict[int, ImageRef]:
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = [(row["thermal"], row["colour"]) for row in csv.DictReader(stream)]
    except (OSError, ValueError, KeyError, csv.Error):
        return {}
    return {shown.image_at[own]: reference(colours, other) for own, other in rows if own in shown.image_at}


def _by_name(shown: Shown) -> dict[int, ImageRef]:
    """Pair the colour pictures of the set with its other images."""
    table = shown.pictures
    if not (table["prepare"] == COLOUR).any():
        return {}
    columns = zip(shown.images, table["width"], table["height"], table["prepare"], strict=True)
    facts = [
        Facts(
            ImageRef(shown.root, name),
            look=PHOTOGRAPH if prepare == COLOUR else GREY,
            width=int(width),
            height=int(height),
        )
        for name, width, height, prepare in columns
    ]
    return {twin.thermal: reference(shown.root, shown.images[twin.colour]) for twin in find_twins(facts)}
