"""What a person changed in a file of labels: found by the labels' ids, then by place."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dinonat.files import short_hash
from dinonat.geometry import Float64, box_of_mask, counts_to_mask, iou_xywh
from dinonat.records import EVENT_COLUMNS, REJECTED, Bool, Int64, as_table

KEPT, RELABELLED, MOVED, REMOVED, NEW = "kept", "relabelled", "moved", "removed", "new"
CHANGES = (KEPT, RELABELLED, MOVED, REMOVED, NEW)
SAME_PLACE = 0.5  # IoU from which a box of the file may be one that was moved
EXACT = 1e-6  # pixels: what the sum of two numbers in hundredths is unsure of
AT_ONCE = 500_000  # pairs of boxes that are measured at once
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
    file gives. A box has moved where an edge differs by more than ``step`` pixels, or its mask differs in
    more than filled holes; one that the file says is rejected counts as removed, as what it was.
    """
    rows = said.reset_index(drop=True)
    before = known.reset_index(drop=True)
    owner = _by_id(rows, before)
    for match in (_by_equality, _by_place, _by_image):
        free = np.setdiff1d(np.arange(len(before)), owner[owner >= 0])
        match(rows, before, owner, free, step)
    found = owner >= 0
    taken = before.iloc[owner[found]].reset_index(drop=True)
    changed = _changed(rows[found].reset_index(drop=True), taken, sizes, step)
    new = _new(rows[~found], set_name, before["label_id"].tolist())
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
    often = here[pd.Series(at[here]).duplicated(keep=False).to_numpy()]
    at[often[~_nearest(rows.loc[often], before.loc[at[often]])]] = -1
    return at


def _nearest(copies: pd.DataFrame, labels: pd.DataFrame) -> Bool:
    """Mark the copy of each label that is the label itself; ``labels`` are the labels, row by row.

    It overlaps most, has the label's class, or is the least far; what is alike in all of it is told
    apart by class and box, so that the order of the file does not decide.
    """
    copies, labels = copies.reset_index(drop=True), labels.reset_index(drop=True)
    one, other = _edges(copies), _edges(labels)
    shared = np.clip(np.minimum(one, other)[:, 2:] - np.maximum(one, other)[:, :2], 0, None).prod(axis=1)
    area = copies["w"] * copies["h"] + labels["w"] * labels["h"]
    ranks = pd.DataFrame(
        {
            "id": labels["label_id"],
            "overlap": (-shared / (area - shared)).fillna(0.0),
            "other": copies["label"] != labels["label"],
            "far": np.hypot(*(one[:, :2] + one[:, 2:] - other[:, :2] - other[:, 2:]).T),
            "label": copies["label"],
            **{side: copies[side] for side in SIDES},
        }
    )
    first: Bool = np.zeros(len(copies), bool)
    first[ranks.sort_values([str(name) for name in ranks], kind="stable").drop_duplicates("id").index] = True
    return first


def _edges(boxes: pd.DataFrame) -> Float64:
    """Return left, top, right and bottom (n, 4) of boxes with the columns x, y, w, h."""
    sides = boxes[SIDES].to_numpy(float)
    return np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)


def _by_equality(rows: pd.DataFrame, before: pd.DataFrame, owner: Int64, free: Int64, _: float) -> None:
    """Give rows the labels with the very image, kind, class and box; of equal ones each its own."""
    key = ["image", "kind", "label", *SIDES]
    open_rows = rows[owner < 0]
    left, right = open_rows[key].copy(), before.loc[free, key].copy()
    for table in (left, right):
        table[SIDES] = table[SIDES].round(2).fillna(-1.0)
        table["copy"] = table.groupby(key, sort=False).cumcount()
    pairs = left.reset_index(names="row").merge(right.reset_index(names="place"), on=[*key, "copy"])
    owner[pairs["row"].to_numpy()] = pairs["place"].to_numpy()


def _by_place(rows: pd.DataFrame, before: pd.DataFrame, owner: Int64, free: Int64, step: float) -> None:
    """Give boxes the free labels that they overlap most, image by image.

    What overlaps too little counts nothing: it must not take a box from a pair that belongs together. A
    box that the format's whole pixels alone can have changed is in its place, however small it is.
    """
    left = np.flatnonzero((owner < 0) & (rows["kind"] == "region").to_numpy())
    boxes = free[(before.loc[free, "kind"] == "region").to_numpy()]
    there = before.loc[boxes].groupby("image", sort=False).indices
    said, known = rows[SIDES].to_numpy(), before[SIDES].to_numpy()
    edges = _edges(rows), _edges(before)
    classes = rows["label"].to_numpy(object), before["label"].to_numpy(object)
    found = []
    for image, own in rows.loc[left].groupby("image", sort=False).indices.items():
        if image not in there:
            continue
        theirs = boxes[there[image]]
        lines = max(1, AT_ONCE // len(theirs))
        for ours in (left[own[start : start + lines]] for start in range(0, len(own), lines)):
            overlap = iou_xywh(said[ours], known[theirs])
            apart = np.abs(edges[0][ours][:, None] - edges[1][theirs][None, :]).max(axis=2)
            overlap = np.where(apart <= step + EXACT, np.maximum(overlap, SAME_PLACE), overlap)
            same_class = classes[0][ours][:, None] == classes[1][theirs][None, :]
            worth = np.where(overlap >= SAME_PLACE, overlap + 0.01 * same_class, 0.0)
            one, other = np.nonzero(worth)
            found.append((ours[one], theirs[other], worth[one, other]))
    if found:
        one, other = _assigned(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        owner[one] = other


def _assigned(one: Int64, other: Int64, worth: Float64) -> tuple[Int64, Int64]:
    """Return which pairs to take, each row and place at most once, so that their worth is the largest.

    Pairs (p,) that share neither row nor place with others are taken; groups that hang together are
    solved each by itself, which is the same as all at once.
    """
    rows, row = np.unique(one, return_inverse=True)
    places, place = np.unique(other, return_inverse=True)
    size = len(rows) + len(places)
    graph = coo_array((worth, (row, len(rows) + place)), shape=(size, size))
    group = connected_components(graph, directed=False)[1][row]
    alone = np.bincount(group)[group] == 1 if len(group) else np.zeros(0, bool)
    taken = [np.stack([one[alone], other[alone]])]
    for _, pairs in pd.Series(np.flatnonzero(~alone)).groupby(group[~alone]):
        own_rows, i = np.unique(one[pairs], return_inverse=True)
        own_places, j = np.unique(other[pairs], return_inverse=True)
        table = np.zeros((len(own_rows), len(own_places)))
        table[i, j] = worth[pairs]
        i, j = linear_sum_assignment(-table)
        good = table[i, j] > 0
        taken.append(np.stack([own_rows[i[good]], own_places[j[good]]]))
    best: Int64 = np.concatenate(taken, axis=1)
    return best[0], best[1]


def _by_image(rows: pd.DataFrame, before: pd.DataFrame, owner: Int64, free: Int64, _: float) -> None:
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
    moved = np.asarray((np.abs(_edges(rows) - _edges(before)) > step + EXACT).any(axis=1))
    given = rows[SIDES].to_numpy(float)
    masks: list[tuple[int, ...]] = []
    columns = (rows[name].tolist() for name in ("image", "mask_counts"))
    for place, (image, mask, old) in enumerate(zip(*columns, before["mask_counts"].tolist(), strict=True)):
        if mask:
            moved[place], mask = _redrawn(mask, old, sizes[image], given[place], moved=bool(moved[place]))
        masks.append(mask if mask else () if moved[place] else old)  # no mask outlives a move of its box
    gone = (rows["status"] == REJECTED).to_numpy()
    moved &= ~gone  # what is gone is gone as what it was
    labels = np.where(gone, before["label"].to_numpy(object), rows["label"].to_numpy(object))
    relabelled = labels != before["label"].to_numpy(object)
    change = np.select([gone, moved, relabelled], [REMOVED, MOVED, RELABELLED], KEPT)
    action = np.select([gone, moved, relabelled], [REJECTED, MOVED, RELABELLED], "")
    boxes = np.where(moved[:, None], given, before[SIDES].to_numpy())
    masks = [old if no else new for no, old, new in zip(gone, before["mask_counts"], masks, strict=True)]
    now = before.assign(change=change, action=action, was=before["label"], says=rows["status"].to_numpy())
    now[SIDES] = boxes
    return now.assign(label=labels, mask_counts=pd.Series(masks, dtype=object))


def _redrawn(
    mask: Counts, old: Counts, size_hw: tuple[int, int], box: Float64, *, moved: bool
) -> tuple[bool, Counts]:
    """Return whether a label with this mask and box has moved, and the mask that it has now.

    Formats without holes fill them, formats with one shape say the box of the mask, and formats of
    polygons draw a box as one: none is a change that a person made.
    """
    same = tuple(mask) == tuple(old)
    if same and not moved:
        return False, old
    drawn = counts_to_mask(mask, size_hw)
    if not old and _is_box(drawn, box):
        return moved, ()
    if not same and old:
        filled = [ndimage.binary_fill_holes(each) for each in (drawn, counts_to_mask(old, size_hw))]
        same = bool(np.array_equal(filled[0], filled[1]))
    if not same:
        return True, tuple(mask)
    whose = np.abs(np.subtract(box_of_mask(drawn), box)).max() < 0.02
    return bool(moved and not whose), tuple(old)


def _is_box(mask: Bool, box: Float64) -> bool:
    """Say whether a mask is no more than its label's box in whole pixels."""
    own = np.array(box_of_mask(mask))
    near = np.abs(np.add(own[:2], own[2:]) - box[:2] - box[2:]).max() <= 1
    return bool(near and np.abs(own[:2] - box[:2]).max() <= 1 and mask.sum() == own[2] * own[3])


def _new(rows: pd.DataFrame, set_name: str, ids: Sequence[str]) -> pd.DataFrame:
    """Return the rows that nobody knew, with ids that the same label gets whenever it is read.

    Equal labels are counted. So is one that was moved since it got its id: what is drawn where it had
    been is another label, and none of the known ``ids`` is given again.
    """
    rows = rows[rows["status"] != REJECTED]
    columns = [rows[name].tolist() for name in ("image", "kind", "label", *SIDES)]
    taken, copies, new = set(ids), Counter[tuple[object, ...]](), list[str]()
    for fact in zip(*columns, strict=True):
        key = tuple(str(part) for part in fact)  # NaN is not equal to itself
        while (name := short_hash("drawn", set_name, *fact, copies[key])) in taken:
            copies[key] += 1
        taken.add(name)
        new.append(name)
    return rows.assign(label_id=new, run="", change=NEW, action="drawn", was="", says=rows["status"])
