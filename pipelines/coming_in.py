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
from dinonat.pipelines.people import database, said, standing
from dinonat.pipelines.returned import heights_widths, kinds_of, named, sizes_by_name, which_export
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
    with opened(file) as place:
        name = _format(place, format_)
        incoming = FORMATS[name].read(
            place, sizes=sizes_by_name(known, workspace, export, name), warn=warnings.append
        )
    origin = str(file.resolve())
    exported, why = which_export(workspace, known.folder.name, incoming, name, export)
    rows, listed = named(incoming, exported, known, warnings.append)
    events = said(workspace, known.folder.name)
    before = _before(exported, events, origin)
    before["removable"] &= before["kind"].isin(kinds_of(incoming, name))
    if accept != "all":
        rows = _vouched_for(rows, before, warnings.append)
    changes = compare(
        rows,
        before,
        listed=listed,
        sizes=heights_widths(known),
        set_name=known.folder.name,
        step=incoming.step,
    )
    done, repeated = _as_events(changes, events, accept)
    count = 0
    if len(done):
        with store.writing(database(workspace)) as db:
            store.number_classes(db, known.folder.name, sorted(set(done["label"])))
            whose = _user() if who is None else who
            count = store.add_events(db, done, set_name=known.folder.name, who=whose, origin=origin)
    counts = Counter(changes["change"])
    return BroughtIn(
        file=str(file),
        format=name,
        set=known.folder.name,
        export=exported.name if exported else "",
        why=why,
        images=len(listed),
        kept=counts[KEPT],
        accepted=int((done["action"] == ACCEPTED).sum()),
        relabelled=counts["relabelled"],
        moved=counts["moved"],
        removed=counts["removed"],
        new=counts[NEW],
        known=repeated,
        by_class=_by_class(changes, accept, _proposed(exported)) if exported else {},
        events=count,
        standing=len(standing(said(workspace, known.folder.name))),
        warnings=tuple(warnings),
    )


def _format(place: Path, asked: str | None) -> str:
    """Return the format of a path: what was asked for, else what its content says."""
    if asked is None:
        return sniff(place)
    if asked not in FORMATS:
        raise UsageError(unknown_key(asked, list(FORMATS), "--format"))
    return asked


def _before(exported: Exported | None, events: pd.DataFrame, origin: str) -> pd.DataFrame:
    """Return the labels to compare with: those of the export, and what people vouch for beside them.

    What the same file brought in before is gone when it is not in it any more.
    """
    columns = list(KNOWN_COLUMNS)
    people = standing(events)
    people = people.assign(removable=(people["origin"] == origin) & (people["run"] == ""))
    if exported is None:
        return as_table(people[columns], KNOWN_COLUMNS)
    people = people[~people["label_id"].isin(exported.labels["label_id"])]
    held = exported.labels.assign(removable=True)
    parts = [part[columns] for part in (held, people) if len(part)]
    return as_table(pd.concat(parts) if parts else [], KNOWN_COLUMNS)


def _vouched_for(rows: pd.DataFrame, before: pd.DataFrame, warn: Warn) -> pd.DataFrame:
    """Return the rows without proposals of an export that is not known here: nobody has looked at them."""
    strange = (rows["status"] == PROPOSED) & ~rows["label_id"].isin(["", *before["label_id"]])
    if strange.any():
        warn(
            f"{int(strange.sum())} labels are proposals of an export that is not of this set or gone: left "
            "out, because nothing tells which of them a person has looked at. --accept all takes them all; "
            "--set-name names the set that they belong to."
        )
    kept: pd.DataFrame = rows[~strange].reset_index(drop=True)
    return kept


def _as_events(changes: pd.DataFrame, events: pd.DataFrame, accept: str) -> tuple[pd.DataFrame, int]:
    """Return the changes as events, and how many of them were known already."""
    looked_at = _looked_at(changes, accept)
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
