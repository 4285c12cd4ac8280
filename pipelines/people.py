"""What people said about the labels of a set: where it is kept, and what it makes of proposals."""

import getpass
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat import acts, labels
from dinonat.files import short_hash
from dinonat.formats.own_labels import GIVEN
from dinonat.records import ACCEPTED, REJECTED, TEMPERATURE_COLUMNS, Bool

DATABASE = "labels.db"
ORIGIN = "audit:"  # begins the origin of events that an audit brought; no path begins so
REVIEW = "review:"  # and of those that the review page wrote, for a run

SAME_SIDE = 0.02  # pixels: files round boxes by less, and nobody moves one by so little
OF_THE_VOTE = ("score", "margin", "similarity", "probability")  # they belong to the class that was proposed


def account() -> str:
    """Return the name of the account; "" where there is none. A file of labels is often passed on."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def database(workspace: Path) -> Path:
    """Return where the workspace keeps what people said."""
    return workspace / DATABASE


def said(workspace: Path, set_name: str) -> pd.DataFrame:
    """Return the last event of each label of a set that anybody said anything about."""
    with labels.reading(database(workspace)) as db:
        return labels.last_events(db, set_name)


def origin_of(audit: str, file: Path) -> str:
    """Return what the events of an audit carry as their origin; ``file`` is its sheet."""
    return f"{ORIGIN}{audit}:{file.resolve()}"


def standing(events: pd.DataFrame) -> pd.DataFrame:
    """Return those of the last events whose labels still stand."""
    return events[events["action"] != REJECTED].reset_index(drop=True)


def complete_images(workspace: Path, set_name: str) -> list[str]:
    """Return the images whose boxes somebody has gone through: what is not labelled there is nothing.

    A file holds all boxes of its images, so these are complete, whatever is answered about them later. One
    answer on the review page or in an audit says nothing of the rest of its image; a person says so there.
    """
    with labels.reading(database(workspace)) as db:
        by_file = labels.images_with_events(db, set_name, "region", not_from=(ORIGIN, REVIEW))
        return sorted({*by_file, *acts.finished_images(db, set_name)})


def not_told(events: pd.DataFrame, complete: Sequence[str]) -> list[str]:
    """Return the images that are ``complete`` without any box, or are not in spite of one.

    What was said of boxes does not show that, so names made of ``events`` need it beside them.
    """
    return sorted({*complete} ^ {*events.loc[events["kind"] == "region", "image"]})


def digest(events: pd.DataFrame) -> str:
    """Return a name for all that people said of a set: other words, another name."""
    columns = ["label_id", "image", "kind", "label", *"xywh"]
    rows = events[columns].assign(
        stands=events["action"] != REJECTED, mask=[str(counts) for counts in events["mask_counts"]]
    )
    return short_hash(sorted(pd.util.hash_pandas_object(rows, index=False).tolist())) if len(rows) else ""


def with_events(rows: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Return proposals as what people made of them: their class, box, mask and status.

    ``rows`` are rows of PROPOSAL_COLUMNS (neighbours may be missing), ``events`` last events. What a
    person vouches for is not left unknown; scores of another class and temperatures of another box go.
    """
    at = pd.Index(events["label_id"]).get_indexer(pd.Index(rows["proposal"]))
    here = np.flatnonzero(at >= 0)
    if not len(here):
        return rows
    event = events.iloc[at[here]].reset_index(drop=True)
    own = rows.iloc[here].reset_index(drop=True)
    was, anew = own["label"].astype("str"), drawn_anew(own, event)
    own = own.assign(
        status=np.where(event["action"] == REJECTED, REJECTED, ACCEPTED),
        advice=np.where(event["action"] == REJECTED, own["advice"].astype("str"), GIVEN),
        reason=[
            _reason(*each)
            for each in zip(event["action"], was, own["reason"].astype("str"), anew, strict=True)
        ],
        label=event["label"],
        mask_counts=event["mask_counts"],
        **{side: event[side] for side in "xywh"},
    )
    other = (event["label"] != was).to_numpy()
    own.loc[other, list(OF_THE_VOTE)] = np.nan
    own.loc[anew, list(TEMPERATURE_COLUMNS)] = np.nan
    rest = rows.drop(index=rows.index[here])
    joined = stacked([rest, own])
    order = np.argsort(np.concatenate([np.flatnonzero(at < 0), here]), kind="stable")
    return joined.iloc[order].reset_index(drop=True)


def drawn_anew(rows: pd.DataFrame, events: pd.DataFrame) -> Bool:
    """Mark the proposals (rows,) whose box or mask is another since; ``events`` are theirs, row by row.

    The last event need not be the one that moved it: what was moved may have been relabelled after that.
    """
    boxes = [table[list("xywh")].to_numpy(np.float64) for table in (rows, events)]
    whole = np.isnan(boxes[1][:, 0])  # a label of the whole image has no box of its own
    found: Bool = ~whole & (np.abs(boxes[0] - boxes[1]) > SAME_SIDE).any(axis=1)
    masks = zip(rows["mask_counts"], events["mask_counts"], strict=True)
    found |= np.array([tuple(was) != tuple(now) for was, now in masks], bool)
    return found


def stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of labels under each other; repeated texts stay categories, whichever each one holds."""
    filled = [table for table in tables if len(table)] or tables[:1]
    if len(filled) == 1:
        return filled[0].reset_index(drop=True)
    texts = [name for name in filled[0] if any(_is_category(table[name]) for table in filled)]
    united: dict[str, pd.Categorical] = {
        str(name): pd.api.types.union_categoricals([table[name].astype("category") for table in filled])
        for name in texts
    }
    rest = pd.concat([table.drop(columns=texts) for table in filled], ignore_index=True)
    return rest.assign(**united)[list(filled[0].columns)]


def _is_category(values: pd.Series) -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype)


def _reason(action: str, was: str, reason: str, anew: bool) -> str:
    """Say in words how a label came to be what it is."""
    if action == "accepted" and anew:
        action = "moved"
    if action == "relabelled":
        return f"relabelled by a person, proposed was {was}: {reason}"
    return {
        "accepted": f"accepted by a person: {reason}",
        "moved": "drawn anew by a person",
        "rejected": "rejected by a person",
    }.get(action, reason)
