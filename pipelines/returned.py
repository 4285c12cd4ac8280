"""A file of labels that comes back: which export it was, and which images of the set it means."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import LabelError
from dinonat.formats.catalog import alike
from dinonat.formats.handover import Incoming
from dinonat.formats.matching import match_names
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export_folder import ABOUT, RECORD, Exported, read_record

ONLY_WHOLE = ("folders", "yolo-classify")  # they hold labels of whole images and no boxes
WHOLE_BESIDE = ("coco", "voc", "yolo", "yolo-segment")  # image_labels.csv holds those of whole images
LIKE_IT = 0.25  # share of boxes in place from which a file without name and ids is a corrected export
Warn = Callable[[str], object]


def heights_widths(known: EmbeddingSet) -> dict[str, tuple[int, int]]:
    """Return the (height, width) of each readable image of the set."""
    items = known.items[(known.items["kind"] == "image") & (known.items["status"] == "ok")]
    sizes = zip(items["height"].tolist(), items["width"].tolist(), strict=True)
    return dict(zip(items["image"].tolist(), sizes, strict=True))


def sizes_by_name(
    known: EmbeddingSet, workspace: Path, export: str | None, name: str
) -> dict[str, tuple[int, int]]:
    """Return sizes by every name that a file may use: those of the set, and of its exports."""
    sizes = heights_widths(known)
    named = [export] if export else exports_of(workspace, known.folder.name, name)
    for each in reversed(named):
        images = read_record(workspace, each).images
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
    workspace: Path, set_name: str, incoming: Incoming, format_: str, asked: str | None
) -> tuple[Exported | None, str]:
    """Return the export that the file came from, and how that is known."""
    if asked is not None:
        exported = read_record(workspace, asked)
        if exported.set != set_name:
            raise LabelError(
                f"--export {asked}: of the set '{exported.set}', not of '{set_name}'. Add --set-name "
                f"{exported.set}."
            )
        return exported, "as asked for"
    there = exports_of(workspace, set_name)
    if incoming.export in there:
        return read_record(workspace, incoming.export), "its name is in the file"
    ids = set(incoming.labels["label_id"]) - {""}
    held = {name: len(ids & set(read_record(workspace, name).labels["label_id"])) for name in there if ids}
    best = max(held.values(), default=0)
    if best:
        name = next(name for name in there if held[name] == best)
        return read_record(workspace, name), f"it holds {best} of the {len(ids)} ids in the file"
    same = exports_of(workspace, set_name, format_)
    if ids or not same or format_ in ("csv", "parquet", "folders"):  # these always have ids if they are ours
        return None, "labels of its own"
    newest = read_record(workspace, same[0])
    if _in_place(incoming, newest) < LIKE_IT:
        return (
            None,
            f"few boxes are where the newest export as {format_}, {same[0]}, had them; --export says it",
        )
    return newest, f"the newest export as {format_}; --export names another"


def kinds_of(incoming: Incoming, format_: str) -> list[str]:
    """Return the kinds of labels that a file speaks of: what it cannot hold nobody has removed from it.

    Tools hand back the file that they know, without the image_labels.csv beside it.
    """
    if format_ in ONLY_WHOLE:
        return ["image"]
    whole = (incoming.labels["kind"] == "image").any()
    return ["region"] if format_ in WHOLE_BESIDE and not whole else ["region", "image"]


def _in_place(incoming: Incoming, exported: Exported) -> float:
    """Return the share of the exported boxes, of images that the file lists, which are where they were."""
    found = _known_names([*incoming.images, *incoming.labels["image"]], exported)
    there = exported.labels[exported.labels["image"].isin(list(found.values()))]
    digits = 2 if incoming.step < 0.1 else 0  # VOC has whole pixels
    held = _corners(there["image"], there, digits)
    names = [found.get(name, "") for name in incoming.labels["image"]]
    return len(held & _corners(names, incoming.labels, digits)) / max(len(held), 1)


def _known_names(asked: Iterable[str], exported: Exported) -> dict[str, str]:
    """Return name in a file -> image: as the export has it, as the set does, or nearly as the export."""
    own = dict(zip(exported.images["file_name"], exported.images["image"], strict=True))
    names = {**{image: image for image in exported.images["image"]}, **own}
    found = {name: names[name] for name in asked if name in names}
    near = match_names([name for name in asked if name not in found], list(own))
    return {**found, **{name: own[file] for name, file in near.found.items()}}


def _corners(names: Iterable[str], table: pd.DataFrame, digits: int) -> set[tuple[str, ...]]:
    """Return image, left, top, right and bottom of each box, rounded."""
    low = table[["x", "y"]].to_numpy(float)
    corners = np.round(np.concatenate([low, low + table[["w", "h"]].to_numpy(float)], axis=1), digits)
    return {(name, *map(str, row)) for name, row in zip(names, corners.tolist(), strict=True)}


def named(
    incoming: Incoming, exported: Exported | None, known: EmbeddingSet, warn: Warn
) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows, and the images that the file speaks of, with the names of the set.

    Raises LabelError where nothing in the file belongs to a readable image of the set.
    """
    images = known.items[known.items["kind"] == "image"]
    asked = dict.fromkeys([*incoming.images, *incoming.labels["image"]])
    found = {} if exported is None else _known_names(asked, exported)
    matches = match_names([name for name in asked if name not in found], images["image"].to_list())
    for problem in matches.problems:
        warn(problem)
    found |= matches.found
    failed = images[images["status"] != "ok"].set_index("image")["reason"]
    for name in sorted(set(found.values()) & set(failed.index)):
        warn(f"{name!r}: could not be read ({failed[name]}); its labels are left out.")
    found = {name: image for name, image in found.items() if image not in failed.index}
    if not found:
        raise LabelError(
            f"none of its {len(asked)} images is a readable image of the set '{known.folder.name}', whose "
            f"images are named like {images['image'].iloc[0]!r}. Name them so, or give another "
            "--set-name."
        )
    rows = incoming.labels[incoming.labels["image"].isin(list(found))]
    rows = rows.assign(image=rows["image"].map(found).astype("str")).drop_duplicates(
        ["image", "kind", "label", *"xywh", "label_id", "mask_counts"], ignore_index=True
    )
    rows["mask_counts"] = _fitting(rows, heights_widths(known), warn)
    return rows, sorted({found[name] for name in asked if name in found})


def _fitting(rows: pd.DataFrame, sizes: Mapping[str, tuple[int, int]], warn: Warn) -> pd.Series:
    """Return the masks that fill their image of the set; others become (), and it is said how many."""
    pixels = [sizes[image][0] * sizes[image][1] for image in rows["image"]]
    fits = [sum(mask) in (0, own) for mask, own in zip(rows["mask_counts"], pixels, strict=True)]
    if not all(fits):
        warn(
            f"{fits.count(False)} masks are of pictures of another size than those of the set: taken as "
            "boxes. Boxes may be wrong, too; were the pictures resized?"
        )
    masks = [tuple(mask) if good else () for mask, good in zip(rows["mask_counts"], fits, strict=True)]
    return pd.Series(masks, index=rows.index, dtype=object)
