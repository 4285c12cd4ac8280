"""What a person changed in a file of labels: found by the labels' ids, then by place."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from dinonat.files import short_hash
from dinonat.geometry import Float64, box_of_mask, counts_to_mask, iou_xywh
from dinonat.records import EVENT_COLUMNS, REJECTED, Int64, as_table

KEPT, RELABELLED, MOVED, REMOVED, NEW = "kept", "relabelled", "moved", "removed", "new"
CHANGES = (KEPT, RELABELLED, MOVED, REMOVED, NEW)
SAME_PLACE = 0.5  # IoU from which a box of the file may be one that was moved
SIDES = list("xywh")
Counts = tuple[int, ...]
KNOWN_COLUMNS = {  # what a label was when the file was written, or is now
    **{name: kind for name, kind in EVENT_COLUMNS.items() if name != "action"},
    "removable": "bool",  # the file held it, so that it is gone if it is not there any more
}
CHANGE_COLUMNS = {**EVENT_COLUMNS, "change": "str", "was": "str", "says": "str"}


def compare(
    said: pd.DataFrame,
    known: pd.DataFrame,
    *,
    listed: Sequence[str],
    sizes: Mapping[str, tuple[int, int]],
    set_name: str,
    step: float = 0.005,
) -> pd.DataFrame:
    """Return what became of each label: a row of CHANGE_COLUMNS for each that was known or is said.

    ``said`` are rows of INCOMING_COLUMNS and ``known`` of KNOWN_COLUMNS, both with the image names of the
    set; ``listed`` are the images that the file speaks of, ``sizes`` their (height, width). A row of the
    file belongs to the label whose id it carries; of several with one id (somebody copied an object) the
    nearest. Rows without a known id belong to the label in the same place: first those with the very
    box and class, then by the assignment of largest IoU within an image (Hungarian method), from 0.5 up.
    Labels of whole images belong by their class, else, where one of each is left, by the image.

    ``change`` is one of CHANGES; ``action`` what the change would be as an event ("" for what was kept),
    the other columns what the label is now. ``was`` is the class before, ``says`` the status that the
    file gives. A box has moved where a side differs by more than ``step`` pixels, or its mask differs in
    more than filled holes; one that the file says is rejected counts as removed.
    """
    rows = said.reset_index(drop=True)
    before = known.reset_index(drop=True)
    owner = _by_id(rows, before)
    for match in (_by_equality, _by_place, _by_image):
        free = np.setdiff1d(np.arange(len(before)), owner[owner >= 0])
        match(rows, before, owner, free)
    found = owner >= 0
    taken = before.iloc[owner[found]].reset_index(drop=True)
    changed = _changed(rows[found].reset_index(drop=True), taken, sizes, step)
    new = _new(rows[~found], set_name)
    rest = before[~before.index.isin(owner[found])]
    gone = rest[rest["removable"] & rest["image"].isin(list(listed))]
    removed = gone.assign(change=REMOVED, action=REJECTED, was=gone["label"], says="")
    parts = [part for part in (changed, new, removed) if len(part)]
    return as_table(pd.concat(parts) if parts else [], CHANGE_COLUMNS)


def _by_id(rows: pd.DataFrame, before: pd.DataFrame) -> Int64:
    """Return for each row the place of the label whose id it carries, -1 for none."""
    at: Int64 = pd.Index(before["label_id"]).get_indexer(pd.Index(rows["label_id"])).astype(np.int64)
    at[(rows["label_id"] == "").to_numpy()] = -1
    here = np.flatnonzero(at >= 0)
    same = np.ones(len(here), bool)
    for name in ("image", "kind"):
        same &= rows[name].to_numpy()[here] == before[name].to_numpy()[at[here]]
    at[here[~same]] = -1
    here = here[same]
    often = pd.Series(at[here]).duplicated(keep=False).to_numpy()
    for label in np.unique(at[here[often]]):
        copies = here[at[here] == label]
        overlap = iou_xywh(rows.loc[copies, SIDES], before.loc[[label], SIDES])[:, 0]
        same_class = (rows.loc[copies, "label"] == before.at[label, "label"]).to_numpy()
        at[np.delete(copies, np.lexsort([same_class, overlap])[-1])] = -1
    return at


def _by_equality(rows: pd.DataFrame, before: pd.DataFrame, owner: Int64, free: Int64) -> None:
    """Give rows the labels with the very image, kind, class and box; of equal ones each its own."""
    key = ["image", "kind", "label", *SIDES]
    open_rows = rows[owner < 0]
    left, right = open_rows[key].copy(), before.loc[free, key].copy()
    for table in (left, right):
        table[SIDES] = table[SIDES].round(2).fillna(-1.0)
        table["copy"] = table.groupby(key, sort=False).cumcount()
    pairs = left.reset_index(names="row").merge(right.reset_index(names="place"), on=[*key, "copy"])
    owner[pairs["row"].to_numpy()] = pairs["place"].to_numpy()


def _by_place(rows: pd.DataFrame, before: pd.DataFrame, owner: Int64, free: Int64) -> None:
    """Give boxes the free labels that they overlap most, image by image."""
    left = np.flatnonzero((owner < 0) & (rows["kind"] == "region").to_numpy())
    boxes = free[(before.loc[free, "kind"] == "region").to_numpy()]
    there = before.loc[boxes].groupby("image", sort=False).indices
    said, known = rows[SIDES].to_numpy(), before[SIDES].to_numpy()
    classes = rows["label"].to_numpy(object), before["label"].to_numpy(object)
    for image, own in rows.loc[left].groupby("image", sort=False).indices.items():
        if image not in there:
            continue
        ours, theirs = left[own], boxes[there[image]]
        overlap = iou_xywh(said[ours], known[theirs])
        same_class = classes[0][ours][:, None] == classes[1][theirs][None, :]
        one, other = linear_sum_assignment(-(overlap + 0.01 * same_class))
        good = overlap[one, other] >= SAME_PLACE
        owner[ours[one[good]]] = theirs[other[good]]


def _by_image(rows: pd.DataFrame, before: pd.DataFrame, owner: Int64, free: Int64) -> None:
    """Where one label of a whole image is left, and one row for it, they are the same label."""
    left = rows[(owner < 0) & (rows["kind"] == "image").to_numpy()]
    right = before.loc[free]
    right = right[(right["kind"] == "image") & right["removable"]]
    left = left[~left["image"].duplicated(keep=False)].reset_index(names="row")
    right = right[~right["image"].duplicated(keep=False)].reset_index(names="place")
    pairs = left[["row", "image"]].merge(right[["place", "image"]], on="image")
    owner[pairs["row"].to_numpy()] = pairs["place"].to_numpy()


def _changed(
    rows: pd.DataFrame, before: pd.DataFrame, sizes: Mapping[str, tuple[int, int]], step: float
) -> pd.DataFrame:
    """Return the rows that belong to a known label, row by row, with what changed."""
    moved = (np.abs(rows[SIDES].to_numpy() - before[SIDES].to_numpy()) > step).any(axis=1)
    masks: list[tuple[int, ...]] = []
    columns = (rows[name].tolist() for name in ("image", "mask_counts"))
    for place, (image, mask, old) in enumerate(zip(*columns, before["mask_counts"].tolist(), strict=True)):
        if mask:
            box = rows.loc[place, SIDES].to_numpy(float)
            moved[place], mask = _redrawn(mask, old, sizes[image], box, moved=moved[place])
        masks.append(mask if mask else () if moved[place] else old)  # no mask outlives a move of its box
    gone = (rows["status"] == REJECTED).to_numpy()
    relabelled = rows["label"].to_numpy() != before["label"].to_numpy()
    change = np.select([gone, moved, relabelled], [REMOVED, MOVED, RELABELLED], KEPT)
    action = np.select([gone, moved, relabelled], [REJECTED, MOVED, RELABELLED], "")
    boxes = np.where(moved[:, None], rows[SIDES].to_numpy(), before[SIDES].to_numpy())
    now = before.assign(change=change, action=action, was=before["label"], says=rows["status"].to_numpy())
    now[SIDES] = boxes
    return now.assign(label=rows["label"].to_numpy(), mask_counts=pd.Series(masks, dtype=object))


def _redrawn(
    mask: Counts, old: Counts, size_hw: tuple[int, int], box: Float64, *, moved: bool
) -> tuple[bool, Counts]:
    """Return whether a label with this mask and box has moved, and the mask that it has now.

    Formats without holes fill them, and formats with one shape say the box of the mask: neither is a
    change that a person made.
    """
    drawn = counts_to_mask(mask, size_hw)
    same = tuple(mask) == tuple(old)
    if not same and old:
        filled = [ndimage.binary_fill_holes(each) for each in (drawn, counts_to_mask(old, size_hw))]
        same = bool(np.array_equal(filled[0], filled[1]))
    if not same:
        return True, tuple(mask)
    whose = np.abs(np.subtract(box_of_mask(drawn), box)).max() < 0.02
    return bool(moved and not whose), tuple(old)


def _new(rows: pd.DataFrame, set_name: str) -> pd.DataFrame:
    """Return the rows that nobody knew, with ids that the same label gets whenever it is read."""
    rows = rows[rows["status"] != REJECTED]
    facts = list(
        zip(rows["image"], rows["kind"], rows["label"], rows[SIDES].to_numpy().tolist(), strict=True)
    )
    copies = rows.assign(box=[str(fact) for fact in facts]).groupby("box", sort=False).cumcount()
    ids = [short_hash("drawn", set_name, *fact, copy) for fact, copy in zip(facts, copies, strict=True)]
    return rows.assign(label_id=ids, run="", change=NEW, action="drawn", was="", says=rows["status"])
