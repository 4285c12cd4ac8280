"""A file of labels that comes back: which export it was, and of what it speaks."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import LabelError, WorkspaceError
from dinonat.formats.catalog import alike
from dinonat.formats.handover import Incoming, Warn, list_cell
from dinonat.formats.image_labels import IMAGE_LABELS
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export_folder import ABOUT, RECORD, Exported, read_record
from dinonat.pipelines.export_labels import TABLE
from dinonat.pipelines.meant import heights_widths, known_names

ONLY_WHOLE = ("folders", "yolo-classify")  # they hold labels of whole images and no boxes
WHOLE_BESIDE = ("coco", "voc", "yolo", "yolo-segment")  # image_labels.csv holds those of whole images
LIKE_IT = 0.25  # share of boxes in place from which a file without name and ids is a corrected export


def sizes_by_name(
    known: EmbeddingSet, workspace: Path, export: str | None, name: str
) -> dict[str, tuple[int, int]]:
    """Return sizes by every name that a file may use: those of the set, and of its exports."""
    sizes = heights_widths(known)
    named = [export] if export else exports_of(workspace, known.folder.name, name)
    for each in reversed(named):
        record = _readable(workspace, each, lambda _: None)  # whoever asks which export it is will say it
        if record is None:
            continue
        images = record.images
        pairs = zip(images["height"].tolist(), images["width"].tolist(), strict=True)
        sizes.update(zip(images["file_name"].tolist(), pairs, strict=True))
    return sizes


def exports_of(workspace: Path, set_name: str, format_: str = "") -> list[str]:
    """Return the exports of a set (in a format, or one of the same look), the newest first."""
    found = []
    for name in places.names(workspace, "export"):
        about = places.exports_folder(workspace, name) / RECORD / ABOUT
        if about.is_file():
            facts = places.read_object(about)
            if facts.get("set") == set_name and (not format_ or alike(format_, str(facts.get("format")))):
                found.append((about.stat().st_mtime, name))
    return [name for _, name in sorted(found, reverse=True)]


def which_export(
    workspace: Path, set_name: str, incoming: Incoming, format_: str, asked: str | None, warn: Warn
) -> tuple[Exported | None, str]:
    """Return the export that the file came from, or None, and how that is known."""
    if asked is not None:
        exported = read_record(workspace, asked)
        if exported.set != set_name:
            raise LabelError(
                f"--export {asked}: of the set '{exported.set}', not of '{set_name}'. Add --set-name "
                f"{exported.set}."
            )
        return exported, "as asked for"
    there = [
        record for name in exports_of(workspace, set_name) if (record := _readable(workspace, name, warn))
    ]
    for record in there:
        if record.name == incoming.export:
            return record, "its name is in the file"
    if incoming.export:
        return None, f"it says that it is the export {incoming.export}, which is not of this set or gone"
    ids = set(incoming.labels["label_id"]) - {""}
    held = [(len(ids & set(record.labels["label_id"])), record) for record in there]
    if ids and any(count for count, _ in held):
        # Of those that hold as many, one of the same format, then the one that holds the least beside them.
        best, record = max(held, key=lambda each: _likely(each[0], each[1], format_))
        return record, f"it holds {best} of the {len(ids)} ids in the file"
    same = [record for record in there if alike(format_, record.format)]
    if ids or not same or format_ in ("csv", "parquet", "folders"):  # these always have ids if they are ours
        return None, "labels of its own"
    newest = same[0]
    if _in_place(incoming, newest) < LIKE_IT:
        return None, f"few of its boxes are those of the newest export as {format_}, {newest.name}"
    return newest, f"the newest export as {format_}; --export names another"


def _readable(workspace: Path, name: str, warn: Warn) -> Exported | None:
    """Return the record of an export; None, and a sentence, where it is damaged."""
    try:
        return read_record(workspace, name)
    except WorkspaceError as error:
        warn(f"{error} It is passed over.")
        return None


def _likely(ids: int, record: Exported, format_: str) -> tuple[int, bool, int]:
    """Return by what an export is the likelier: ids in common, its format, few other labels."""
    return ids, alike(format_, record.format), -len(record.labels)


def kinds_of(place: Path, incoming: Incoming, format_: str) -> list[str]:
    """Return the kinds of labels that a file speaks of: what it cannot hold nobody has removed from it.

    Tools hand back the file that they know, without the image_labels.csv beside it.
    """
    if format_ in ONLY_WHOLE:
        return ["image"]
    whole = (incoming.labels["kind"] == "image").any() or (
        place.is_dir() and (place / IMAGE_LABELS).is_file()
    )
    return ["region"] if format_ in WHOLE_BESIDE and not whole else ["region", "image"]


def _in_place(incoming: Incoming, exported: Exported) -> float:
    """Return the share of the exported boxes, of images that the file lists, which are where they were."""
    found = known_names([*incoming.images, *incoming.labels["image"]], exported)
    there = exported.labels[exported.labels["image"].isin(list(found.values()))]
    digits = 2 if incoming.step < 0.1 else 0  # VOC has whole pixels
    held = _corners(there["image"], there, digits)
    names = [found.get(name, "") for name in incoming.labels["image"]]
    return len(held & _corners(names, incoming.labels, digits)) / max(len(held), 1)


def _corners(names: Iterable[str], table: pd.DataFrame, digits: int) -> set[tuple[str, ...]]:
    """Return image, left, top, right and bottom of each box, rounded."""
    low = table[["x", "y"]].to_numpy(float)
    corners = np.round(np.concatenate([low, low + table[["w", "h"]].to_numpy(float)], axis=1), digits)
    return {(name, *map(str, row)) for name, row in zip(names, corners.tolist(), strict=True)}


def proposals_named(workspace: Path, set_name: str, ids: set[str]) -> Iterator[pd.DataFrame]:
    """Yield those of the proposals of a set that have these ids, as they were made, run by run."""
    columns = ["proposal", "run", "image", "kind", "label", *"xywh", "mask_counts", "cluster"]
    for run in places.names(workspace, "proposals") if ids else ():
        path = places.proposals_folder(workspace, run) / TABLE
        with suppress(OSError, ValueError, KeyError, WorkspaceError):  # a run that is being made, or damaged
            if places.read_object(path.with_name("meta.json")).get("set") == set_name:
                asked = [("proposal", "in", sorted(ids))]
                rows = pd.read_parquet(path, columns=columns, filters=asked).rename(
                    columns={"proposal": "label_id"}
                )
                rows[list("xywh")] = rows[list("xywh")].astype("float64").round(2)
                masks = [tuple(list_cell(counts)) for counts in rows["mask_counts"]]
                yield rows.assign(mask_counts=pd.Series(masks, index=rows.index, dtype=object))
