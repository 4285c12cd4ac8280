"""What `dinotool propose-labels` says of a run, and where a run is kept."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import WorkspaceError
from dinonat.files import write_json, write_whole
from dinonat.pipelines import workspace as places
from dinonat.pipelines.doubts_file import Looked
from dinonat.proposals.abstain import ACCEPT, UNKNOWN
from dinonat.proposals.bank import Bank
from dinonat.proposals.choose import Choice, Compared, compared_lines
from dinonat.proposals.deciding import Decided, Net
from dinonat.proposals.methods import SAID, Judged, judged_lines
from dinonat.proposals.worth import Worth
from dinonat.records import PROPOSAL_COLUMNS

TABLE, META = "proposals.parquet", "meta.json"
SHOWN = 5  # warnings that the summary names
KINDS = ("images", "regions")  # in the order in which they are decided where both are labelled
ARROW = {"str": pa.string(), "float32": pa.float32(), "int32": pa.int32()}
LISTS = {"mask_counts": pa.list_(pa.int32()), "neighbours": pa.list_(pa.string())}
SCHEMA = pa.schema([(name, LISTS.get(name) or ARROW[kind]) for name, kind in PROPOSAL_COLUMNS.items()])


@dataclass(frozen=True)
class ProposeReport:
    """What was proposed, from what, and why."""

    run: str
    set: str
    weights: str
    model: str
    folder: str
    file: str
    labelled: Mapping[str, int]  # examples by class; background with them
    labelled_images: int
    features: str
    features_reason: str
    compared: tuple[Compared, ...]
    method: str  # which decided; two where images and regions were decided otherwise
    temperature: float | None  # of the vote; None without labels
    judged: tuple[Judged, ...]
    proposals: int
    review: Mapping[str, int]  # by label, accepted ones too
    accepted: int  # of these, by an audit
    unknown: int
    clusters: int  # 0 where labels were given
    worth: str  # which regions are shown, and what that does to the labelled images; "" where nothing tells
    audit: tuple[str, ...]  # what audits say, in sentences
    warnings: tuple[str, ...]
    already_done: bool = False

    def lines(self) -> list[str]:
        """Text for people."""
        more = [f"... and {len(self.warnings) - SHOWN} more"] if len(self.warnings) > SHOWN else []
        examples = ", ".join(f"{count} {label}" for label, count in self.labelled.items())
        labelled = f"Labels: {examples} in {self.labelled_images} images" if self.labelled else "No labels"
        review = ", ".join(f"{count} {label}" for label, count in self.review.items())
        if not review:
            none = " (each row says why under `reason`; more labels help)"
            review = f"nothing{none if self.labelled and self.unknown else ''}"
        clusters = f" in {self.clusters} clusters" if self.clusters else ""
        accepted = f", {self.accepted} of them accepted" if self.accepted else ""
        return [
            *self.warnings[:SHOWN],
            *more,
            f"Set {self.set}, network {self.weights} ({self.model})",
            labelled,
            *compared_lines(self.compared),
            f"Features {self.features_reason or self.features}",
            *judged_lines(self.judged),
            *([f"Method {self._methods()}"] if self.method else []),
            *([self.worth] if self.worth else []),
            *self.audit,
            f"To review: {review}{clusters}{accepted}; {self.unknown} of {self.proposals} left unknown",
            f"Proposals {self.run} -> {self.file}",
            *(["It was done already; --again redoes it."] if self.already_done else []),
        ]

    def _methods(self) -> str:
        names = self.method.split("; ")
        said = "; ".join(f"{name}: {SAID[name]}" for name in dict.fromkeys(names))
        # Where images and regions are decided, each by its own temperature, one number would be wrong.
        return said if len(names) > 1 else f"{said}; temperature {self.temperature:g}"


@dataclass(frozen=True, eq=False)
class Found:
    """Proposals for items of one kind, and what decided them."""

    table: pd.DataFrame
    choice: Choice
    bank: Bank | None
    method: str = ""
    temperature: float | None = None
    judged: tuple[Judged, ...] = ()
    warnings: tuple[str, ...] = ()
    clusters: int = 0
    looked: Looked | None = None
    about: Decided | None = None
    net: Net | None = None
    worth: Worth | None = None


def report_of(
    known: EmbeddingSet,
    folder: Path,
    table: pd.DataFrame,
    found: list[Found],
    *,
    audit: list[str],
    warnings: list[str],
) -> ProposeReport:
    """Sum up a run."""
    banks = [each.bank for each in found if each.bank is not None]
    names = [bank.names[c] for bank in banks for c in bank.classes]
    review = table.loc[table["advice"] != UNKNOWN, "label"]
    return ProposeReport(
        run=folder.name,
        set=known.folder.name,
        weights=str(known.meta.get("weights", "")),
        model=known.meta["model"],
        folder=str(folder),
        file=str(folder / TABLE),
        labelled={name: names.count(name) for name in sorted(set(names))},
        labelled_images=len({image for bank in banks for image in bank.items["image"]}),
        features="; ".join(each.choice.features for each in found),
        features_reason=_reasons(found),
        compared=tuple(row for each in found for row in each.choice.compared),
        method="; ".join(each.method for each in found if each.method),
        temperature=found[0].temperature,
        judged=tuple(row for each in found for row in each.judged),
        proposals=len(table),
        review={str(label): int(count) for label, count in sorted(review.value_counts().items())},
        accepted=int((table["advice"] == ACCEPT).sum()),
        unknown=int((table["advice"] == UNKNOWN).sum()),
        clusters=sum(each.clusters for each in found),
        worth="; ".join(each.worth.line() for each in found if each.worth),
        audit=tuple(audit),
        warnings=tuple(warnings),
    )


def _reasons(found: list[Found]) -> str:
    """Say why what is compared, of images and of regions where both are asked about."""
    if len(found) == 1:
        return found[0].choice.reason
    return "; ".join(f"of {kind}: {each.choice.reason}" for kind, each in zip(KINDS, found, strict=True))


def before(folder: Path, identity: str, *, again: bool) -> ProposeReport | None:
    """Return the report of the run in ``folder`` if it is this one, whole, and not to be redone.

    Raises WorkspaceError where the folder holds a run that was made otherwise.
    """
    if again or not (folder / TABLE).exists():
        return None
    made = places.read_object(folder / META)
    if made.get("identity") != identity:
        raise WorkspaceError(
            f"{folder}: holds a run made of other labels or settings. Give another --name, or --again to "
            "replace it."
        )
    fields: dict[str, Any] = {field.name: made[field.name] for field in dataclasses.fields(ProposeReport)}
    fields["compared"] = tuple(Compared(**row) for row in fields["compared"])
    fields["judged"] = tuple(Judged(**row) for row in fields["judged"])
    for name in ("audit", "warnings"):
        fields[name] = tuple(fields[name])
    return ProposeReport(**{**fields, "already_done": True})


def write(folder: Path, table: pd.DataFrame, report: ProposeReport, made: Mapping[str, Any]) -> None:
    """Write meta.json, then the table: a run exists once its table does."""
    (folder / TABLE).unlink(missing_ok=True)  # an older one must not seem to belong to the new meta.json
    write_json(folder / META, {**dataclasses.asdict(report), **made})
    rows = pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False).replace_schema_metadata(None)
    write_whole(folder / TABLE, lambda stream: pq.write_table(rows, stream, compression="zstd"))
