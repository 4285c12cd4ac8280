"""Labels come in by one door: a file is read, compared with what is known, and becomes events."""

import getpass
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat import labels as store
from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import UsageError
from dinonat.formats.archives import opened
from dinonat.formats.catalog import FORMATS, sniff
from dinonat.pipelines.export_folder import Exported
from dinonat.pipelines.meant import heights_widths, meant
from dinonat.pipelines.people import database, said, standing
from dinonat.pipelines.returned import kinds_of, proposals_named, sizes_by_name, which_export
from dinonat.proposals.corrections import KEPT, KNOWN_COLUMNS, NEW, compare
from dinonat.records import ACCEPTED, EVENT_COLUMNS, PROPOSED, REJECTED, Bool, as_table
from dinonat.settings import unknown_key

Warn = Callable[[str], object]


@dataclass(frozen=True)
class BroughtIn:
    """What a file said, and what became of it."""

    file: str
    format: str
    set: str
    export: str  # the export that the file is a corrected form of; "" for labels of its own
    why: str  # how that was found out
    images: int  # that the file speaks of
    kept: int  # labels that nobody changed
    accepted: int  # of them: a person vouches for them from now on
    relabelled: int
    moved: int  # box or mask drawn anew
    removed: int
    new: int
    known: int  # changes that were known already
    by_class: Mapping[
        str, Mapping[str, int]
    ]  # proposed class -> kept, relabelled, moved, removed where looked at
    events: int  # written to labels.db
    standing: int  # labels of the set that people vouch for now
    warnings: tuple[str, ...]


LEFT_OUT = (
    "{count} labels are of an export that is not of this set or gone: left out, because nothing tells which "
    "of them a person has looked at. --accept all takes them all; --set-name names the set they belong to."
)


@dataclass(frozen=True, eq=False)
class Found:
    """Where a file came from."""

    set_name: str
    exported: Exported | None
    kinds: list[str]  # of labels that it can speak of
    gone: bool  # it says that it is an export, and no record of that is left


def bring_in(
    file: Path,
    known: EmbeddingSet,
    workspace: Path,
    *,
    format_: str | None = None,
    export: str | None = None,
    accept: str = "touched",
    who: str | None = None,
) -> BroughtIn:
    """Read a file of labels and write what it changes as events of the set ``known``; all or nothing.

    A corrected export is found by the name in it, else by its labels' ids, else (formats that have
    neither) it is the newest export of that format; ``export`` names it. Labels that nobody touched
    become accepted in images where something was changed ("touched"), or everywhere ("all"): somebody
    looked at these. Labels that a file of a person's own brought in and that are gone from it are
    removed. Raises LabelError where the file is no labels or belongs to no image of the set.
    """
    warnings: list[str] = []
    set_name, origin = known.folder.name, str(file.resolve())
    with opened(file) as place:
        name = _format(place, format_)
        sizes = sizes_by_name(known, workspace, export, name)
        incoming = FORMATS[name].read(  # of an archive, it is that which the person knows
            place, sizes=sizes, warn=lambda said: warnings.append(said.replace(str(place), str(file)))
        )
        kinds = kinds_of(place, incoming, name)
    exported, why = which_export(workspace, set_name, incoming, name, export, warnings.append)
    told = meant(incoming, exported, known, warnings.append)
    found = Found(set_name, exported, kinds, gone=bool(incoming.export) and exported is None)
    while True:
        events, own, seq = _state(workspace, set_name, origin)
        before, nameless = _before(found, events, own, told.rows, workspace)
        strange = _of_nobody(told.rows, before, found, accept)
        changes = compare(
            told.rows[~strange],
            before,
            listed=sorted(set(told.complete) - set(told.rows["image"][strange])),
            sizes=heights_widths(known),
            set_name=set_name,
            step=incoming.step,
        )
        done, repeated = _as_events(changes, events, accept, nameless)
        if done.empty:
            break
        with store.writing(database(workspace)) as db:
            if store.last_seq(db) == seq:  # else somebody else has said something meanwhile: look again
                named = done.loc[done["action"] != REJECTED, "label"]
                store.number_classes(db, set_name, sorted(set(named)))
                whose = _user() if who is None else who
                store.add_events(db, done, set_name=set_name, who=whose, origin=origin)
                break
    if strange.any():
        warnings.append(LEFT_OUT.format(count=int(strange.sum())))
    counts = Counter(changes["change"])
    return BroughtIn(
        file=str(file),
        format=name,
        set=set_name,
        export=exported.name if exported else "",
        why=why,
        images=len(told.listed),
        kept=counts[KEPT],
        accepted=int((done["action"] == ACCEPTED).sum()),
        relabelled=counts["relabelled"],
        moved=counts["moved"],
        removed=counts["removed"],
        new=counts[NEW],
        known=repeated,
        by_class=_by_class(changes, accept, _proposed(exported)) if exported else {},
        events=len(done),
        standing=len(standing(said(workspace, set_name))),
        warnings=tuple(warnings),
    )


def _format(place: Path, asked: str | None) -> str:
    """Return the format of a path: what was asked for, else what its content says."""
    if asked is None:
        return sniff(place)
    if asked not in FORMATS:
        raise UsageError(unknown_key(asked, list(FORMATS), "--format"))
    return asked


def _state(workspace: Path, set_name: str, origin: str) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return the last events of a set, the last ones that this file brought, and the number of the last."""
    with store.reading(database(workspace)) as db:
        return (
            store.last_events(db, set_name),
            store.last_events(db, set_name, origin),
            store.last_seq(db),
        )


def _before(
    found: Found, events: pd.DataFrame, own: pd.DataFrame, rows: pd.DataFrame, workspace: Path
) -> tuple[pd.DataFrame, set[str]]:
    """Return the labels to compare with (KNOWN_COLUMNS), and the ids of those whose class nobody gave.

    These are, each label once: what the export held; what the same file said when it was last here, so
    that only what changed in it since counts; what people vouch for beside; and proposals that the file
    names and no export that is left held. Only the first two can be gone from the file.
    """
    parts = [] if found.exported is None else [found.exported.labels.assign(removable=True)]
    parts.append(standing(own).assign(removable=True, cluster=-1))
    parts.append(standing(events).assign(removable=False, cluster=-1))
    ids = set(rows["label_id"]) - {"", *(each for part in parts for each in part["label_id"])}
    parts += [part.assign(removable=False) for part in proposals_named(workspace, found.set_name, ids)]
    columns = [*KNOWN_COLUMNS, "cluster"]
    filled = [part[columns] for part in parts if len(part)]
    if not filled:
        return as_table([], KNOWN_COLUMNS), set()
    joined = pd.concat(filled).drop_duplicates("label_id", ignore_index=True)
    joined["removable"] &= joined["kind"].isin(found.kinds)
    return as_table(joined, KNOWN_COLUMNS), set(joined.loc[joined["cluster"] >= 0, "label_id"])


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
    changes: pd.DataFrame, events: pd.DataFrame, accept: str, nameless: set[str]
) -> tuple[pd.DataFrame, int]:
    """Return the changes as events, and how many of them were known already.

    Nobody vouches for a class that nobody gave: labels of clusters, ``nameless``, wait for a name.
    """
    looked_at = _looked_at(changes, accept) & ~changes["label_id"].isin(nameless)
    action = changes["action"].where(changes["change"] != KEPT, "")
    fresh = (changes["change"] == KEPT) & ~changes["label_id"].isin(events["label_id"])
    accepted = fresh & (looked_at | (changes["says"] == ACCEPTED))
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


def _looked_at(changes: pd.DataFrame, accept: str) -> pd.Series:
    """Mark the labels of images that somebody has gone through: where anything changed, or all."""
    if accept == "all":
        return pd.Series(True, index=changes.index)
    touched = set(changes.loc[changes["change"] != KEPT, "image"])
    return changes["image"].isin(touched)


def _by_class(changes: pd.DataFrame, accept: str, ids: pd.Series) -> dict[str, dict[str, int]]:
    """Count what became of the exported labels ``ids`` that were looked at, by the class that they had."""
    seen = changes[_looked_at(changes, accept) & changes["label_id"].isin(ids)]
    counts = seen.groupby(["was", "change"]).size()
    return {
        str(label): {str(k): int(v) for k, v in counts[label].items()} for label in sorted(set(seen["was"]))
    }


def _proposed(exported: Exported) -> pd.Series:
    """Return the ids of what was exported as a proposal, and not as what a person vouched for already."""
    return exported.labels.loc[exported.labels["status"] == PROPOSED, "label_id"]


def _user() -> str:
    """Return the name of the account; a file of labels is often passed on between people."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
