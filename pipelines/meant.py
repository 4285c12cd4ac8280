"""Which images of a set a file means, and its rows as they lie on them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import LabelError
from dinonat.formats.handover import Incoming, Warn
from dinonat.formats.matching import match_names
from dinonat.geometry import Float64
from dinonat.pipelines.export_folder import Exported
from dinonat.proposals.abstain import BACKGROUND
from dinonat.records import Bool

SAME_SHAPE = 0.01  # by how much the sides of a resized picture may differ in proportion


@dataclass(frozen=True, eq=False)
class Meant:
    """What a file says of images of the set."""

    rows: pd.DataFrame  # INCOMING_COLUMNS, with the images' names in the set, boxes inside them
    listed: list[str]  # images that it speaks of
    complete: list[str]  # of them: everything could be read, so what is missing there was removed


def heights_widths(known: EmbeddingSet) -> dict[str, tuple[int, int]]:
    """Return the (height, width) of each readable image of the set."""
    items = known.items[(known.items["kind"] == "image") & (known.items["status"] == "ok")]
    sizes = zip(items["height"].tolist(), items["width"].tolist(), strict=True)
    return dict(zip(items["image"].tolist(), sizes, strict=True))


def known_names(asked: Iterable[str], exported: Exported) -> dict[str, str]:
    """Return name in a file -> image: as the export has it, as the set does, or nearly as the export."""
    own = dict(zip(exported.images["file_name"], exported.images["image"], strict=True))
    names = {**{image: image for image in exported.images["image"]}, **own}
    found = {name: names[name] for name in asked if name in names}
    near = match_names([name for name in asked if name not in found], list(own))
    return {**found, **{name: own[file] for name, file in near.found.items()}}


def meant(incoming: Incoming, exported: Exported | None, known: EmbeddingSet, warn: Warn) -> Meant:
    """Return what a file says of readable images of the set; whatever is left out, ``warn`` gets a sentence.

    Boxes on pictures of another size in proportion are scaled; of another shape they are left out. Boxes
    are cut to their image. Raises LabelError where nothing in the file belongs to a readable image.
    """
    found = _found(incoming, exported, known, warn)
    rows = incoming.labels[incoming.labels["image"].isin(list(found))]
    rows = rows.assign(file_name=rows["image"], image=rows["image"].map(found).astype("str"))
    unread = _unread(incoming, found)
    rows, other_shape = _on_the_set(rows, incoming, found, heights_widths(known), warn)
    rows, odd = _inside(rows, heights_widths(known), warn)
    listed = sorted({found[name] for name in found} - other_shape)
    complete = [] if "" in incoming.unread else sorted(set(listed) - unread - odd)
    columns = ["image", "kind", "label", *"xywh", "label_id", "mask_counts"]
    rows = rows.drop(columns="file_name").drop_duplicates(columns, ignore_index=True)
    return Meant(rows, listed, complete)


def _unread(incoming: Incoming, found: Mapping[str, str]) -> set[str]:
    """Return the images of which something could not be read; a torn file may only tell their stem."""
    torn = {PurePosixPath(name).stem for name in incoming.unread if name not in found}
    return {
        image for name, image in found.items() if name in incoming.unread or PurePosixPath(name).stem in torn
    }


def _found(incoming: Incoming, exported: Exported | None, known: EmbeddingSet, warn: Warn) -> dict[str, str]:
    """Return name in the file -> readable image of the set."""
    images = known.items[known.items["kind"] == "image"]
    asked = dict.fromkeys([*incoming.images, *incoming.labels["image"]])
    if not asked:
        raise LabelError("it names no image. Give a file in which something is labelled.")
    found = {} if exported is None else known_names(asked, exported)
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
            f"images are named like {images['image'].iloc[0]!r}. Name them so, or give another --set-name."
        )
    exact = {*images["image"]} if exported is None else {*images["image"], *exported.images["file_name"]}
    return _one_name_each(found, exact, warn)


def _one_name_each(found: Mapping[str, str], exact: set[str], warn: Warn) -> dict[str, str]:
    """Return the names without those that only nearly mean an image which another name means, too."""
    names: dict[str, str] = {}  # image -> its name
    for name, image in sorted(found.items(), key=lambda pair: pair[0] not in exact):
        if names.setdefault(image, name) != name and name not in exact:
            warn(
                f"{name!r}: means the image {image!r}, and so does {names[image]!r}; its labels are left out."
            )
    return {name: image for name, image in found.items() if name in exact or names[image] == name}


def _on_the_set(
    rows: pd.DataFrame,
    incoming: Incoming,
    found: Mapping[str, str],
    sizes: Mapping[str, tuple[int, int]],
    warn: Warn,
) -> tuple[pd.DataFrame, set[str]]:
    """Return the rows on the pixels of the set, and the images whose pictures had another shape."""
    scales, other = {}, set()
    for name, (height, width) in incoming.sizes.items():
        if name in found and (height, width) != sizes[found[name]]:
            down, across = sizes[found[name]][0] / height, sizes[found[name]][1] / width
            if abs(down / across - 1) < SAME_SHAPE:
                scales[name] = (across, down)
            else:
                other.add(found[name])
    if other:
        warn(
            f"{len(other)} images have another shape in the file than in the set, {min(other)!r} among them "
            "(turned or cut?): their labels are left out."
        )
    if scales:
        warn(
            f"{len(scales)} images have another size in the file than in the set, {min(scales)!r} among "
            "them: their boxes are scaled, their masks left out."
        )
    rows = rows[~rows["image"].isin(list(other))].copy()
    resized = rows["file_name"].isin(list(scales)).to_numpy()
    factors = np.array([scales.get(name, (1.0, 1.0)) * 2 for name in rows["file_name"]]).reshape(-1, 4)
    rows.loc[resized, list("xywh")] = (rows[list("xywh")].to_numpy() * factors).round(2)[resized]
    fits = _fitting(rows, sizes) & ~resized
    lost = int((~fits & ~resized).sum())
    if lost:
        warn(f"{lost} masks do not fill their image in the set: taken as boxes.")
    masks = [tuple(mask) if good else () for mask, good in zip(rows["mask_counts"], fits, strict=True)]
    return rows.assign(mask_counts=pd.Series(masks, index=rows.index, dtype=object)), other


def _fitting(rows: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]) -> Bool:
    """Mark the rows without a mask, or with one that fills the image of the set."""
    pixels = [sizes[image][0] * sizes[image][1] for image in rows["image"]]
    return np.array([sum(m) in (0, own) for m, own in zip(rows["mask_counts"], pixels, strict=True)], bool)


def _inside(
    rows: pd.DataFrame, sizes: Mapping[str, tuple[int, int]], warn: Warn
) -> tuple[pd.DataFrame, set[str]]:
    """Return the rows with boxes cut to their image, and the images of which one was left out."""
    regions = (rows["kind"] == "region").to_numpy()
    given = rows[list("xywh")].to_numpy(np.float64)
    limits = np.array([sizes[image][::-1] for image in rows["image"]], np.float64).reshape(-1, 2)
    cut = _cut(given, limits)
    with np.errstate(invalid="ignore"):
        gone = regions & ~(cut[:, 2:] > 0).all(axis=1)
    word = (rows["label"] == BACKGROUND).to_numpy()
    said = Counter(
        {
            "boxes lie outside their image": int(gone.sum()),
            f"labels are called '{BACKGROUND}', which is our word for what is no label": int(word.sum()),
        }
    )
    for what, count in said.items():
        if count:
            warn(f"{count} {what}: left out.")
    rows = rows.assign(**dict(zip("xywh", np.where(regions[:, None], cut, np.nan).T, strict=True)))
    return rows[~gone & ~word], set(rows["image"][gone | word])


def _cut(boxes: Float64, limits: Float64) -> Float64:
    """Cut boxes (n, 4) to images of (width, height) ``limits`` (n, 2), in hundredths of a pixel."""
    low = np.clip(boxes[:, :2], 0, limits)
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, limits)
    return np.concatenate([low, np.clip(high - low, 0, None)], axis=1).round(2)
