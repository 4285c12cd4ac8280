"""An audit is drawn: proposals at random, a sheet for the answers, a page to answer them on."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import WorkspaceError
from dinonat.files import short_hash, write_bytes
from dinonat.formats import audit_sheets
from dinonat.pages.audits import audit_page
from dinonat.pipelines import workspace as places
from dinonat.pipelines.people import digest
from dinonat.proposals.abstain import UNKNOWN
from dinonat.proposals.leave_out import recordings_of
from dinonat.proposals.selecting import audited

SHEET, PAGE = audit_sheets.FILE, "audit.html"


@dataclass(frozen=True, eq=False)
class DrawnAudit:
    """What was drawn, and where it lies."""

    name: str
    folder: Path
    sheet: Path
    page: Path
    rows: pd.DataFrame  # PROPOSAL_COLUMNS
    wanted: int
    of: int  # proposals that could have been drawn
    recordings: int  # among the drawn, where any are known
    warnings: tuple[str, ...]


def draw_audit(
    table: pd.DataFrame,
    known: EmbeddingSet,
    events: pd.DataFrame,
    workspace: Path,
    *,
    wanted: int,
    seed: int,
    name: str | None,
) -> DrawnAudit:
    """Draw ``wanted`` of the proposals that are to be reviewed and that nobody has said anything about.

    ``table`` (PROPOSAL_COLUMNS) is a run, ``events`` are the last ones of the set. What is unknown is
    not drawn: it is not accepted either. A sheet that somebody has begun to fill in is left as it is.
    Raises WorkspaceError where nothing is left to draw from, where nobody has named the classes, or where
    the sheet of that name asks about other proposals.
    """
    asked = (
        (table["advice"] != UNKNOWN) & (table["label"] != "") & ~table["proposal"].isin(events["label_id"])
    )
    asked &= ~table["image"].isin(events.loc[events["kind"] == "image", "image"])
    rows = table[asked & (table["cluster"] < 0)].reset_index(drop=True)
    if len(table) and (table["cluster"] >= 0).all():
        raise WorkspaceError(
            "select --audit: these proposals are clusters that nobody has named, so none can be right. Run "
            "`dinotool propose-labels --labels FILE` first."
        )
    if rows.empty:
        raise WorkspaceError(
            "select --audit: no proposal is to be reviewed that nobody has answered yet. Run "
            "`dinotool propose-labels` with more images first."
        )
    recording = known.items.drop_duplicates("image").set_index("image")["recording"]
    images = rows["image"].astype("str")
    facts = pd.DataFrame({"image": images, "recording": images.map(recording).fillna("")})
    drawn = rows.iloc[audited(recordings_of(facts)[0], wanted, seed=seed)]
    of = facts.loc[drawn.index, "recording"]
    run = str(rows["run"].iloc[0])
    labels = drawn["label"].astype("str").tolist()  # a run of the same name may say something else by now
    name = name or f"audit-{wanted}-{short_hash(run, wanted, seed, digest(events), labels)[:6]}"
    folder = places.selections_folder(workspace, name)
    warnings = _write(folder, drawn, known, name, classes=sorted(set(rows["label"].astype("str"))))
    if len(drawn) < wanted:
        warnings = (*warnings, f"Only {len(drawn)} proposals are to be reviewed: all of them are drawn.")
    return DrawnAudit(
        name=name,
        folder=folder,
        sheet=folder / SHEET,
        page=folder / PAGE,
        rows=drawn.reset_index(drop=True),
        wanted=wanted,
        of=len(rows),
        recordings=int(of[of != ""].nunique()),
        warnings=warnings,
    )


def _write(
    folder: Path, drawn: pd.DataFrame, known: EmbeddingSet, name: str, *, classes: list[str]
) -> tuple[str, ...]:
    """Write the sheet, unless it is there already, and the page."""
    sheet = folder / SHEET
    said: tuple[str, ...] = ()
    if sheet.exists():
        if not audit_sheets.asks_about(sheet, drawn):
            raise WorkspaceError(f"{sheet}: asks about other proposals than these. Give another --name.")
        said = (f"{sheet}: was drawn before; it is left as it is, with what is filled in.",)
    else:
        audit_sheets.write(drawn, sheet, audit=name)
    page, lost = audit_page(
        drawn, audit=name, classes=classes, root=Path(known.meta["root"]), shown=known.shown
    )
    write_bytes(folder / PAGE, page.encode())
    return (*said, *lost)
