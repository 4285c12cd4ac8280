"""Audits: verdicts on proposals drawn at random, and what they make of the proposals of a run.

Verdicts are labels as any others for people and for export, but they do not vote: a yardstick must not be
cut to fit. Their events carry the audit in their origin. An audited item is judged by the run at hand: the
label that this run proposes for it, right or wrong by the verdict, at the score that this run gives it.
Where the labels are those of the run that was audited, that is the very proposal that a person saw. Where
more labels have come since, the item is proposed anew by labels among which it is not, as all others are,
so the random sample stays one; only of a bare "no" it is not known what would be right, so another label
there counts as wrong.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.files import short_hash, write_bytes, write_json
from dinonat.pages.reliability import reliability_page
from dinonat.pipelines import workspace as places
from dinonat.pipelines.people import ORIGIN, said
from dinonat.proposals.abstain import ACCEPT, REVIEW, UNKNOWN
from dinonat.proposals.calibration import (
    Calibration,
    Threshold,
    allowed,
    expected_error,
    fit,
    lower_bound,
    needed,
    reliability,
    threshold,
    upper_bound,
)
from dinonat.proposals.leave_out import recordings_of
from dinonat.records import REJECTED, Bool, Int64

CALIBRATION = "calibration.json"  # beside the proposals: what their page shows
PAGE = "reliability.html"  # beside the audit: the same
PRECISION = 0.95  # of what is accepted, where nobody asks for another
VOTES = (
    "The {count} audited items vote now, so nothing is left to judge by: no probability, nothing is accepted."
)
EVERY = -1.0  # every score is above it
FEW = 10  # audited items below which no probability is said
WORDS = {"image": "labels of whole images", "region": "boxes"}


@dataclass(frozen=True)
class Judged:
    """What an audit says of the proposals of one kind of a run; a row of CALIBRATION."""

    kind: str
    precision: float  # that was asked for
    audited: int  # items with a verdict that this run proposes a label for
    right: int
    low: float  # bounds of the share that is right, one-sided 95 % each
    high: float
    how: str  # the probability was fitted; "" where it was not
    error: float | None  # expected calibration error, of audited items by models that have not seen them
    above: float | None  # accepted are scores above it; None: nothing is
    tested: int  # audited items above it, or above the strictest threshold that was tried
    wrong: int
    bound: float
    missing: int  # audited items that are lacking for any threshold
    accepted: int  # proposals
    proposals: int  # to be reviewed or accepted, without the audited ones
    bins: tuple[Mapping[str, float], ...] = ()  # of the reliability picture


def apart(events: pd.DataFrame) -> pd.Series:
    """Mark the events (as `labels.last_events` returns them) that are verdicts of an audit."""
    return events["origin"].astype("str").str.startswith(ORIGIN)


def applied(
    table: pd.DataFrame, workspace: Path, known: EmbeddingSet, *, precision: float = PRECISION
) -> tuple[pd.DataFrame, list[str]]:
    """Return the proposals of a run (PROPOSAL_COLUMNS) as audits judge them, and what is to be said.

    Sets ``probability`` where at least 10 of the audited items are proposed, and the advice "accept" above
    the threshold at which ``precision`` is shown (`calibration.threshold`), for images and for regions
    each by their own; unknown stays unknown. Audited items leave the table: people have said what they
    are. Leaves CALIBRATION in the run's folder for its page. Without an audit nothing changes, and
    nothing is judged where the audited items vote: those that are left then are the wrong ones.
    """
    if table.empty:
        return table, []
    file = places.proposals_folder(workspace, str(table["run"].iloc[0])) / CALIBRATION
    file.unlink(missing_ok=True)
    events = said(workspace, known.folder.name)
    verdicts = events[apart(events)]
    if verdicts.empty:
        return table, []
    right = judged(table, verdicts)
    stands = verdicts["action"] != REJECTED
    names = right.index[right.notna()]
    if stands.any() and not table.loc[names, "image"].isin(verdicts.loc[stands, "image"]).any():
        return table, [VOTES.format(count=len(verdicts))]
    groups = _groups(table, known.items)
    done, rows, sentences = [], [], []
    for kind in sorted(set(table["kind"])):
        own = (table["kind"] == kind).to_numpy()
        part, found = _applied(table[own], right[own], groups[own], precision)
        done.append(part)
        if found is not None:
            rows.append(found)
            sentences += sentences_of(found)
    sentences += _lost(table.loc[names, "image"], verdicts)
    if rows:
        kinds = [{**asdict(row), "sentences": sentences_of(row)} for row in rows]
        write_json(file, {"kinds": kinds})
        _write_pages(workspace, verdicts, kinds, run=file.parent.name)
    return pd.concat(done).sort_index().reset_index(drop=True), sentences


def _lost(found: pd.Series, verdicts: pd.DataFrame) -> list[str]:
    """Say how many audited items are no proposals of the run; ``found`` are the images of those that are."""
    gone = verdicts[~verdicts["image"].isin(found)]
    if gone.empty:
        return []
    wrong = int((gone["action"] == REJECTED).sum())
    more = f"; {wrong} of these were wrong, so the others look better than they are" if wrong else ""
    return [
        f"{len(gone)} of {len(verdicts)} audited items are no proposals of this run: somebody labelled them "
        f"otherwise, or the set was made anew{more}. `dinotool select --audit` draws others."
    ]


def calibration_of(folder: Path) -> list[dict[str, Any]]:
    """Return what audits say of the proposals of a run, for its page; nothing where there was none."""
    file = folder / CALIBRATION
    kinds = places.read_object(file).get("kinds") if file.is_file() else None
    return kinds if isinstance(kinds, list) else []


def _write_pages(workspace: Path, verdicts: pd.DataFrame, kinds: list[dict[str, Any]], *, run: str) -> None:
    """Put the reliability picture beside each audit that is still there."""
    page = reliability_page(kinds, title=f"What the scores of proposals {run} are worth").encode()
    for audit in sorted({origin.split(":")[1] for origin in verdicts["origin"]}):
        if audit in places.names(workspace, "selection"):
            write_bytes(places.selections_folder(workspace, audit) / PAGE, page)


def sentences_of(found: Judged) -> list[str]:
    """Say what an audit found, what is accepted for it, or how many more answers that needs."""
    what = WORDS.get(found.kind, found.kind)
    share = f"{found.right} of {found.audited} audited {what} are right"
    first = f"Audit: {share}, so {found.low:.0%} to {found.high:.0%} of all."
    asked = f"a precision of {found.precision:.0%}"
    if found.missing:
        return [
            f"{first} Nothing is accepted: {asked} needs {needed(found.precision)} answers that are all "
            f"right, or {needed(found.precision, 1)} with a wrong one. Audit {found.missing} more at least: "
            f"`dinotool select --audit {found.missing}`."
        ]
    if found.above is None:
        return [
            f"{first} Nothing is accepted: {found.wrong} of the {found.tested} audited ones with the best "
            f"scores are wrong, and {asked} allows {allowed(found.precision, found.tested) or 'none'}. Label "
            "more, or ask for less with --precision."
        ]
    return [
        f"{first} Accepted are {found.accepted} of {found.proposals} {what}, those with a score above "
        f"{max(found.above, 0.0):.3f}: with 95 % confidence at least {found.precision:.0%} of them are right "
        f"({found.wrong} of {found.tested} audited ones there are wrong, so {found.bound:.1%})."
    ]


def judged(table: pd.DataFrame, verdicts: pd.DataFrame) -> pd.Series:
    """Return for each row of proposals if it is right by the ``verdicts`` (last events); None: no verdict.

    An item is known again by the name that the audited run gave its proposal.
    """
    said = zip(verdicts["label_id"], verdicts["action"], verdicts["label"], strict=True)
    truth = {name: None if action == REJECTED else label for name, action, label in said}
    runs = sorted(set(verdicts["run"]) - {""})
    found: list[bool | None] = [None] * len(table)
    for place in np.flatnonzero(table["image"].isin(verdicts["image"]).to_numpy()):
        item, label = table["item"].iloc[place], table["label"].iloc[place]
        key = next((name for run in runs if (name := short_hash(run, item)) in truth), None)
        if key is not None:
            found[place] = truth[key] == label
    return pd.Series(found, index=table.index, dtype=object)


def _groups(table: pd.DataFrame, items: pd.DataFrame) -> Int64:
    """Return a number for the recording of each proposal, of its image where none is known."""
    own = items.drop_duplicates("image").set_index("image")["recording"]
    names = table["image"].astype("str")
    return recordings_of(pd.DataFrame({"image": names, "recording": names.map(own).fillna("")}))[0]


def _applied(
    table: pd.DataFrame, right: pd.Series, groups: Int64, precision: float
) -> tuple[pd.DataFrame, Judged | None]:
    """Return the proposals of one kind as their audit judges them."""
    audited = right.notna().to_numpy()
    asked = (table["advice"] != UNKNOWN).to_numpy()
    sample = audited & asked & table["score"].notna().to_numpy()
    rest = table[~audited]
    if not sample.any():
        return rest, None
    scores, correct = table["score"].to_numpy(np.float64)[sample], right[sample].to_numpy(bool)
    enough = len(scores) >= FEW
    calibration = fit(scores, correct, groups[sample]) if enough else None
    limit = threshold(scores, correct, precision)
    to_do = (rest["advice"] != UNKNOWN).to_numpy()
    taken = to_do & (rest["score"].to_numpy(np.float64) > limit.above)
    advice = np.where(taken, ACCEPT, np.where(to_do, REVIEW, rest["advice"].astype("str")))
    rest = rest.assign(advice=advice)
    if calibration is not None:
        sure = calibration.probability(rest["score"].to_numpy(np.float64))
        rest = rest.assign(probability=np.where(to_do, sure, np.nan).astype(np.float32))
    kind = str(table["kind"].iloc[0])
    return rest, _facts(kind, precision, correct, calibration, limit, taken, to_do)


def _facts(
    kind: str,
    precision: float,
    right: Bool,
    calibration: Calibration | None,
    limit: Threshold,
    taken: Bool,
    to_do: Bool,
) -> Judged:
    good, items = int(right.sum()), len(right)
    unseen = None if calibration is None else calibration.unseen
    return Judged(
        kind=kind,
        precision=precision,
        audited=items,
        right=good,
        low=lower_bound(good, items),
        high=upper_bound(good, items),
        how="" if calibration is None else calibration.how,
        error=None if unseen is None else expected_error(unseen, right),
        above=max(limit.above, EVERY) if limit.accepts else None,
        tested=limit.audited,
        wrong=limit.wrong,
        bound=limit.bound,
        missing=limit.missing,
        accepted=int(taken.sum()),
        proposals=int(to_do.sum()),
        bins=() if unseen is None else tuple(asdict(each) for each in reliability(unseen, right)),
    )
