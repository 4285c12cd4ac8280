"""Labels come in by one door: a file is read, compared with what is known, and becomes events."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import UsageError
from dinonat.formats import audit_sheets
from dinonat.formats.archives import opened
from dinonat.formats.catalog import FORMATS, sniff
from dinonat.formats.handover import Incoming, Warn
from dinonat.pipelines.differences import Difference, Found, difference, looked_at, write
from dinonat.pipelines.export_folder import Exported
from dinonat.pipelines.meant import heights_widths, meant
from dinonat.pipelines.people import account, origin_of, said, standing
from dinonat.pipelines.returned import kinds_of, sizes_by_name, which_export
from dinonat.proposals.corrections import KEPT, NEW
from dinonat.records import ACCEPTED, PROPOSED
from dinonat.settings import unknown_key


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
    by_class: Mapping[str, Mapping[str, int]]  # proposed class -> what became of those that were looked at
    events: int  # written to labels.db
    standing: int  # labels of the set that people vouch for now
    warnings: tuple[str, ...]


AUDIT = "audit"  # the format of the sheet that `dinotool select --audit` wrote
LEFT_OUT = (
    "{count} labels are of an export that is not of this set or gone: left out, because nothing tells which "
    "of them a person has looked at. --accept all takes them all; --set-name names the set they belong to."
)


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
    removed. The sheet of an audit brings its verdicts, and nothing is removed for not being in it: it is a
    sample. Raises LabelError where the file is no labels or belongs to no image of the set.
    """
    warnings: list[str] = []
    audit = ""
    if format_ in (None, AUDIT) and audit_sheets.is_sheet(file):
        sheet = audit_sheets.read(file, warn=warnings.append)
        name, incoming, kinds, audit = AUDIT, sheet.incoming, ["region", "image"], sheet.audit
        exported, why = None, f"verdicts on {len(sheet.incoming.labels)} of {sheet.rows}, audit {audit}"
    else:
        name, incoming, kinds = _heard(file, known, workspace, format_, export, warnings.append)
        exported, why = which_export(workspace, known.folder.name, incoming, name, export, warnings.append)
    found = Found(
        known.folder.name,
        origin_of(audit, file) if audit else str(file.resolve()),
        meant(incoming, exported, known, warnings.append),
        heights_widths(known),
        incoming.step,
        exported,
        kinds,
        gone=bool(incoming.export) and exported is None,
    )
    whose = account() if who is None else who
    what = difference(found, workspace, accept)
    while len(what.events) and not write(found, what, workspace, whose):
        what = difference(found, workspace, accept)
    if what.of_nobody:
        warnings.append(LEFT_OUT.format(count=what.of_nobody))
    return _report(file, name, why, found, what, workspace, accept, warnings)


def _heard(
    file: Path, known: EmbeddingSet, workspace: Path, format_: str | None, export: str | None, warn: Warn
) -> tuple[str, Incoming, list[str]]:
    """Return the format of a file, what it says, and the kinds of labels of which it can speak."""
    with opened(file) as place:
        name = _format(place, format_)
        sizes = sizes_by_name(known, workspace, export, name)
        # Of an archive, it is that which the person knows.
        incoming = FORMATS[name].read(
            place, sizes=sizes, warn=lambda said: warn(said.replace(str(place), str(file)))
        )
        return name, incoming, kinds_of(place, incoming, name)


def _report(
    file: Path,
    name: str,
    why: str,
    found: Found,
    what: Difference,
    workspace: Path,
    accept: str,
    warnings: list[str],
) -> BroughtIn:
    """Count what became of the labels."""
    counts, exported = Counter(what.changes["change"]), found.exported
    return BroughtIn(
        file=str(file),
        format=name,
        set=found.set_name,
        export=exported.name if exported else "",
        why=why,
        images=len(found.told.listed),
        kept=counts[KEPT],
        accepted=int((what.events["action"] == ACCEPTED).sum()),
        relabelled=counts["relabelled"],
        moved=counts["moved"],
        removed=counts["removed"],
        new=counts[NEW],
        known=what.known,
        by_class=_by_class(what.changes, accept, _proposed(exported))
        if exported
        else _by_class(what.changes, "all", what.changes["label_id"])
        if name == AUDIT
        else {},
        events=len(what.events),
        standing=len(standing(said(workspace, found.set_name))),
        warnings=tuple(warnings),
    )


def _format(place: Path, asked: str | None) -> str:
    """Return the format of a path: what was asked for, else what its content says."""
    if asked is None:
        return sniff(place)
    if asked not in FORMATS:
        raise UsageError(unknown_key(asked, list(FORMATS), "--format"))
    return asked


def _by_class(changes: pd.DataFrame, accept: str, ids: pd.Series) -> dict[str, dict[str, int]]:
    """Count what became of the exported labels ``ids`` that were looked at, by the class that they had."""
    seen = changes[looked_at(changes, accept) & changes["label_id"].isin(ids)]
    counts = seen.groupby(["was", "change"]).size()
    return {
        str(label): {str(k): int(v) for k, v in counts[label].items()} for label in sorted(set(seen["was"]))
    }


def _proposed(exported: Exported) -> pd.Series:
    """Return the ids of what was exported as a proposal, and not as what a person vouched for already."""
    return exported.labels.loc[exported.labels["status"] == PROPOSED, "label_id"]
