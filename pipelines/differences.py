"""What a file of labels changes: compared with what is known of the set, and written as events."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat import labels as store
from dinonat.pipelines.export_folder import Exported
from dinonat.pipelines.meant import Meant
from dinonat.pipelines.people import database, standing
from dinonat.pipelines.returned import proposals_named
from dinonat.proposals.corrections import KEPT, KNOWN_COLUMNS, compare
from dinonat.records import ACCEPTED, EVENT_COLUMNS, PROPOSED, REJECTED, Bool, as_table


@dataclass(frozen=True, eq=False)
class Found:
    """Where a file came from, and what it says."""

    set_name: str
    origin: str  # the file, by its whole path
    told: Meant
    sizes: Mapping[str, tuple[int, int]]  # image of the set -> (height, width)
    step: float  # pixels by which a box can differ that nobody has touched
    exported: Exported | None
    kinds: list[str]  # of labels that it can speak of
    gone: bool  # it says that it is an export, and no record of that is left


@dataclass(frozen=True, eq=False)
class Difference:
    """What a file changes in what is known at one moment."""

    changes: pd.DataFrame  # a row for each label, as `compare` gives them
    events: pd.DataFrame  # EVENT_COLUMNS, to be added
    known: int  # changes that were known already
    of_nobody: int  # rows that were left out: nothing tells if a person has looked at them
    seq: int  # the last event that was there


def difference(found: Found, workspace: Path, accept: str) -> Difference:
    """Compare a file with what is known of its set now; ``accept`` is "touched" or "all"."""
    events, own, seq = _state(workspace, found.set_name, found.origin)
    rows = found.told.rows
    before, nameless = _before(found, events, own, workspace)
    strange = _of_nobody(rows, before, found, accept)
    changes = compare(
        rows[~strange],
        before,
        listed=sorted(set(found.told.complete) - set(rows["image"][strange])),
        sizes=found.sizes,
        set_name=found.set_name,
        step=found.step,
    )
    done, known = _as_events(changes, events, _removed(own), accept, nameless)
    return Difference(changes, done, known, int(strange.sum()), seq)


def write(found: Found, what: Difference, workspace: Path, who: str) -> bool:
    """Add the events of a difference, all or none; False where somebody said something meanwhile."""
    with store.writing(database(workspace)) as db:
        if store.last_seq(db) != what.seq:
            return False
        standing_now = what.events.loc[what.events["action"] != REJECTED, "label"]
        store.number_classes(db, found.set_name, sorted(set(standing_now)))
        store.add_events(db, what.events, set_name=found.set_name, who=who, origin=found.origin)
    return True


def looked_at(changes: pd.DataFrame, accept: str) -> pd.Series:
    """Mark the labels of images that somebody has gone through: where anything changed, or all."""
    if accept == "all":
        return pd.Series(True, index=changes.index)
    touched = set(changes.loc[changes["change"] != KEPT, "image"])
    return changes["image"].isin(touched)


def _state(workspace: Path, set_name: str, origin: str) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return the last events of a set, the last ones that this file brought, and the number of the last."""
    with store.reading(database(workspace)) as db:
        return (
            store.last_events(db, set_name),
            store.last_events(db, set_name, origin),
            store.last_seq(db),
        )


def _before(
    found: Found, events: pd.DataFrame, own: pd.DataFrame, workspace: Path
) -> tuple[pd.DataFrame, set[str]]:
    """Return the labels to compare with (KNOWN_COLUMNS), and the ids of those whose class nobody gave.

    These are, each label once: what the same file said when it was last here, so that only what changed
    in it since counts; what the export held; what people vouch for beside; and proposals that the file
    names and no export that is left held. Only the first two can be gone from the file, and not again.
    """
    parts = [standing(own).assign(removable=True, cluster=-1)]
    if found.exported is not None:
        held = found.exported.labels
        parts.append(held.assign(removable=~held["label_id"].isin(_removed(own))))
    parts.append(standing(events).assign(removable=False, cluster=-1))
    ids = set(found.told.rows["label_id"]) - {"", *(each for part in parts for each in part["label_id"])}
    parts += [part.assign(removable=False) for part in proposals_named(workspace, found.set_name, ids)]
    columns = [*KNOWN_COLUMNS, "cluster"]
    filled = [part[columns] for part in parts if len(part)]
    if not filled:
        return as_table([], KNOWN_COLUMNS), set()
    joined = pd.concat(filled).drop_duplicates("label_id", ignore_index=True)
    joined["removable"] &= joined["kind"].isin(found.kinds)
    return as_table(joined, KNOWN_COLUMNS), set(joined.loc[joined["cluster"] >= 0, "label_id"])


def _removed(own: pd.DataFrame) -> pd.Series:
    """Return the ids of the labels that were not in the file when it was last here."""
    return own.loc[own["action"] == REJECTED, "label_id"]


def _of_nobody(rows: pd.DataFrame, before: pd.DataFrame, found: Found, accept: str) -> pd.Series:
    """Mark the rows of an export that is not known here: nothing tells if a person has looked at them."""
    if accept == "all":
        return pd.Series(False, index=rows.index)
    known, without = rows["label_id"].isin(before["label_id"]), rows["label_id"] == ""
    if found.gone and without.all():
        return rows["status"] != ACCEPTED
    # Beside rows with ids, one without was drawn by a person.
    return ~known & ~without & ((rows["status"] == PROPOSED) | (found.gone & (rows["status"] == "")))


def _as_events(
    changes: pd.DataFrame, events: pd.DataFrame, removed: pd.Series, accept: str, nameless: set[str]
) -> tuple[pd.DataFrame, int]:
    """Return the changes as events, and how many of them were known already.

    Nobody vouches for a class that nobody gave: labels of clusters, ``nameless``, wait for a name. A
    label that the file had ``removed`` and holds again is accepted.
    """
    seen = looked_at(changes, accept) & ~changes["label_id"].isin(nameless)
    action = changes["action"].where(changes["change"] != KEPT, "")
    fresh = (changes["change"] == KEPT) & ~changes["label_id"].isin(events["label_id"])
    accepted = fresh & (seen | (changes["says"] == ACCEPTED))
    accepted |= (changes["change"] == KEPT) & changes["label_id"].isin(removed)
    done = changes.assign(action=action.mask(accepted, ACCEPTED))
    done = done[done["action"] != ""]
    if events.empty:
        return as_table(done, EVENT_COLUMNS), 0
    now = events.iloc[pd.Index(events["label_id"]).get_indexer(pd.Index(done["label_id"]))]
    same = done["label_id"].isin(events["label_id"]).to_numpy() & _equal(done, now)
    return as_table(done[~same], EVENT_COLUMNS), int(same.sum())


def _equal(done: pd.DataFrame, now: pd.DataFrame) -> Bool:
    """Say of each change whether the label is that already; ``now`` are the last events, row by row."""
    gone = (done["action"] == REJECTED).to_numpy(), (now["action"] == REJECTED).to_numpy()
    sides = [np.nan_to_num(table[list("xywh")].to_numpy(float), nan=-1.0) for table in (done, now)]
    same = (done["label"].to_numpy() == now["label"].to_numpy()) & (sides[0] == sides[1]).all(axis=1)
    same &= np.array([a == b for a, b in zip(done["mask_counts"], now["mask_counts"], strict=True)], bool)
    known: Bool = (gone[0] & gone[1]) | (same & ~(gone[0] ^ gone[1]))
    return known
