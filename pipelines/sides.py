"""The two sides of `dinotool evaluate regions`: which pictures are gallery and query, and their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from dinonat.errors import LabelError
from dinonat.files import short_hash, write_bytes
from dinonat.formats.catalog import read_labels
from dinonat.formats.matching import Warn, match_labels, match_names
from dinonat.images.listing import list_images
from dinonat.pipelines.inputs import find_recordings
from dinonat.pipelines.labelled import GIVEN, LISTED, write_labels
from dinonat.records import LABEL_COLUMNS, ImageRef, as_table


@dataclass(frozen=True)
class Asked:
    """What a user names one side by."""

    folder: Path  # of images
    list_file: Path | None = None  # names the images instead, a path a line
    labels: Path | None = None  # None: the folder itself, a folder per class

    @property
    def label_file(self) -> Path:
        """Where the labels stand."""
        return self.labels or self.folder


@dataclass(frozen=True, eq=False)
class Side:
    """The labelled pictures of one side."""

    folder: Path
    refs: tuple[ImageRef, ...]  # the pictures that have a label
    labels: pd.DataFrame  # LABEL_COLUMNS, of these pictures: boxes, or whole pictures
    recordings: Mapping[str, str]  # picture -> recording, of those that have one
    recordings_file: Path | None

    @cached_property
    def identity(self) -> str:
        """Name pictures (by path, size and time), labels and recordings: other ones, another identity."""
        files = [(ref.name, ref.file.stat().st_size, ref.file.stat().st_mtime_ns) for ref in self.refs]
        rows = self.labels.astype(object).to_numpy().tolist()
        return short_hash(str(self.folder.resolve()), files, rows, self.recordings)

    def write(self, home: Path) -> tuple[Path, Path]:
        """Write below ``home`` the labels and the list of pictures as `embed` takes them."""
        folder = home / "labels" / self.identity
        if not (folder / LISTED).is_file():  # written last: with it, both are whole
            write_labels(self.labels, folder)
            # NUL after each name: the names may hold line breaks.
            listed = dict.fromkeys(ref.name for ref in self.refs)
            write_bytes(folder / LISTED, b"".join(name.encode() + b"\0" for name in listed))
        return folder / GIVEN, folder / LISTED


def both_sides(
    gallery: Asked, query: Asked, *, kind: str | None, recordings: Path | None, workspace: Path, warn: Warn
) -> tuple[tuple[Side, Side], str]:
    """Return gallery and query, of one folder asked about itself the same object, and the kind of items.

    That is "region" where the gallery's labels have boxes (labels without are left out then), else "image".
    ``warn`` gets a sentence for each labelled picture that neither side has. Raises ImageError for a folder
    without images, LabelError where a side has no label of the kind.
    """
    asked = [gallery] if query == gallery else [gallery, query]
    listed = [list_images(one.folder, list_file=one.list_file).refs for one in asked]
    tables = {one.label_file: _read(one, warn) for one in asked}
    found = [_matched(tables[one.label_file], refs) for one, refs in zip(asked, listed, strict=True)]
    for file, table in tables.items():
        served = [refs for one, refs in zip(asked, listed, strict=True) if one.label_file == file]
        for said in _unmatched(file, table, [[ref.name for ref in refs] for refs in served]):
            warn(said)
    kind = kind or ("region" if found[0]["x"].notna().any() else "image")
    sides = [
        _side(one, refs, labels, kind, recordings, workspace, warn)
        for one, refs, labels in zip(asked, listed, found, strict=True)
    ]
    return (sides[0], sides[-1]), kind


def what_to_leave_out(sides: tuple[Side, Side], warn: Warn) -> str:
    """Return what of the gallery a query must not see: its recording where any is known on both sides.

    Else its picture, where a query may have it in the gallery. ``warn`` gets a sentence where recordings are
    not known: neighbours in time then flatter every row.
    """
    gallery, query = sides
    if gallery.recordings and query.recordings:
        return "recording"
    shared = {ref.name for ref in gallery.refs} & {ref.name for ref in query.refs}
    lacking = " and ".join(dict.fromkeys(str(one.folder) for one in sides if not one.recordings))
    warn(
        f"No recordings are known of {lacking}: pictures of one drive or flight may be gallery and query, "
        "which flatters every row. Give --recordings FILE (CSV image,recording)."
    )
    return "image" if shared else "none"


def _read(asked: Asked, warn: Warn) -> pd.DataFrame:
    try:
        return read_labels(asked.label_file, warn=warn)
    except LabelError as error:
        if asked.labels is not None:
            raise
        raise LabelError(f"{error} Or give the labels with --labels FILE (COCO or CSV).") from error


def _matched(labels: pd.DataFrame, refs: Sequence[ImageRef]) -> pd.DataFrame:
    return match_labels(labels, [ref.name for ref in refs], warn=lambda _: None)


def _unmatched(file: Path, labels: pd.DataFrame, sides: Sequence[Sequence[str]]) -> list[str]:
    """Say which labelled pictures no side has (one file may speak of both), and which could be several."""
    names = list(dict.fromkeys(labels["image"].astype(str)))
    matches = [match_names(names, side) for side in sides]
    lost = [name for name in names if not any(name in each.found for each in matches)]
    said = []
    for side, each in zip(sides, matches, strict=True):
        files = {_file(name) for name in side}
        unfound = [name for name in names if name not in each.found]
        said += [why for name, why in zip(unfound, each.problems, strict=True) if _file(name) in files]
        lost = [name for name in lost if _file(name) not in files]
    if lost:
        said.append(
            f"{file}: {len(lost)} of the {len(names)} pictures it names are not there ({lost[0]!r} first); "
            "their labels are left out."
        )
    return list(dict.fromkeys(said))


def _file(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _side(
    asked: Asked,
    refs: Sequence[ImageRef],
    labels: pd.DataFrame,
    kind: str,
    recordings: Path | None,
    workspace: Path,
    warn: Warn,
) -> Side:
    boxes = labels["x"].notna()
    own = labels[boxes if kind == "region" else ~boxes].drop_duplicates(ignore_index=True)
    if own.empty:
        raise LabelError(_nothing(asked, refs, kind, others=len(labels)))
    if kind == "region" and not boxes.all():
        warn(f"{asked.label_file}: {int((~boxes).sum())} labels have no box; they are left out.")
    known, file = find_recordings(recordings, asked.folder, refs, workspace=workspace, warn=lambda _: None)
    held = set(own["image"])
    mine = {name: recording for name, recording in known.items() if name in held}
    return Side(
        asked.folder,
        tuple(ref for ref in refs if ref.name in held),
        as_table(own, LABEL_COLUMNS),
        mine,
        file,
    )


def _nothing(asked: Asked, refs: Sequence[ImageRef], kind: str, *, others: int) -> str:
    """Say why a side has no label of the kind that is compared."""
    if others:
        lacks = (
            "boxes, but only labels of whole pictures" if kind == "region" else "whole pictures, but boxes"
        )
        return (
            f"{asked.label_file}: has no labels of {lacks} for {asked.folder}. Both sides need the same: "
            "give labels of that kind with --labels or --query-labels."
        )
    return (
        f"{asked.label_file}: none of its labels names one of the {len(refs)} images of {asked.folder}, "
        f"which are named like {refs[0].name!r}. Name them so, or give this side's own labels with --labels "
        "(gallery) or --query-labels (query)."
    )
