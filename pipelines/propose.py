"""`dinotool propose-labels`: a few labels become labels and boxes for the rest, each with a reason."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import WorkspaceError
from dinonat.files import short_hash, write_json, write_whole
from dinonat.neighbors.index import search
from dinonat.neighbors.parts import (
    Weights,
    default_weights,
    features_text,
    fit_axes,
    joined,
    parse_features,
)
from dinonat.pipelines import workspace as places
from dinonat.pipelines.coming_in import bring_in
from dinonat.pipelines.labelled import (
    chosen_set,
    image_bank,
    ready_parts,
    region_bank,
    usable_regions,
    write_labels,
)
from dinonat.pipelines.people import digest, reviewed, said, standing
from dinonat.pipelines.progress import track
from dinonat.proposals.abstain import UNKNOWN
from dinonat.proposals.bank import Bank, Chunk, Voting, choose_for, vote_on
from dinonat.proposals.choose import Choice, Compared, compared_lines
from dinonat.proposals.clusters import cluster
from dinonat.proposals.objects import overlap_with, refused, without_repeats
from dinonat.proposals.table import Origin, clustered_rows
from dinonat.records import LABEL_COLUMNS, PROPOSAL_COLUMNS, REJECTED, Bool, Float32, as_table
from dinonat.settings import Settings

TABLE, META = "proposals.parquet", "meta.json"
CHUNK = 8192  # items whose vectors are in memory at once: 100 MB a part
SHOWN = 5  # warnings that the summary names
ARROW = {"str": pa.string(), "float32": pa.float32(), "int32": pa.int32()}
LISTS = {"mask_counts": pa.list_(pa.int32()), "neighbours": pa.list_(pa.string())}
SCHEMA = pa.schema([(name, LISTS.get(name) or ARROW[kind]) for name, kind in PROPOSAL_COLUMNS.items()])


class ProposeSettings(Settings):
    """What `dinotool propose-labels` can be told."""

    set: str | None = None  # set of embeddings; the newest where none is named
    labels: Path | None = None  # a file for import-labels; all labels of the set are used, clusters without
    k: int = Field(20, ge=1)  # labelled neighbours that vote
    temperature: float = Field(0.07, gt=0)
    features: str = "auto"  # or parts with weights: grid=0.7,hog=1
    # Labelled images are labelled completely: their other regions are examples of nothing.
    background: bool | Literal["auto"] = "auto"  # auto: where boxes are labelled
    abstain: float = Field(0.1, ge=0, lt=1)  # share of labelled items that would be left unknown as too far
    overlap: float = Field(0.5, gt=0, le=1)  # IoU at which two regions of one label show the same thing
    clusters: int | None = Field(None, ge=1)  # without labels; None: by the number of items
    name: str | None = None  # of the run; None: a hash of what goes into it
    seed: int = 0  # of the clusters
    again: bool = False


NOT_IN_NAME = {"set", "labels", "name", "again"}  # settings that the inputs stand for, or that change nothing


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
    proposals: int
    review: Mapping[str, int]  # by label
    unknown: int
    clusters: int  # 0 where labels were given
    warnings: tuple[str, ...]
    already_done: bool = False

    def lines(self) -> list[str]:
        """Text for people."""
        more = [f"... and {len(self.warnings) - SHOWN} more"] if len(self.warnings) > SHOWN else []
        examples = ", ".join(f"{count} {label}" for label, count in self.labelled.items())
        labelled = f"Labels: {examples} in {self.labelled_images} images" if self.labelled else "No labels"
        review = ", ".join(f"{count} {label}" for label, count in self.review.items()) or "nothing"
        clusters = f" in {self.clusters} clusters" if self.clusters else ""
        return [
            *self.warnings[:SHOWN],
            *more,
            f"Set {self.set}, network {self.weights} ({self.model})",
            labelled,
            *compared_lines(self.compared),
            f"Features {self.features_reason or self.features}",
            f"To review: {review}{clusters}; {self.unknown} of {self.proposals} left unknown",
            f"Proposals {self.run} -> {self.file}",
            *(["It was done already; --again redoes it."] if self.already_done else []),
        ]


@dataclass(frozen=True, eq=False)
class _Found:
    """Proposals for items of one kind, and what decided them."""

    table: pd.DataFrame
    choice: Choice
    bank: Bank | None
    warnings: tuple[str, ...] = ()
    clusters: int = 0


def run(settings: ProposeSettings, workspace: Path) -> ProposeReport:
    """Propose labels for every item of a set that nobody labelled; write them as one file of a run.

    Raises LabelError where no label can be used, WorkspaceError where the set is missing or the
    named run was made otherwise, UsageError for unknown features.
    """
    known = open_set(places.set_folder(workspace, chosen_set(workspace, settings.set)))
    if settings.features != "auto":
        parse_features(settings.features)
    warnings: list[str] = []
    if settings.labels:
        warnings += bring_in(settings.labels, known, workspace).warnings
    events = said(workspace, known.folder.name)
    labels = _usable(events, known)
    facts = settings.model_dump(mode="json", exclude=NOT_IN_NAME)
    rows = [labels.astype("str").to_numpy().tolist(), _no(events).astype("str").to_numpy().tolist()]
    identity = short_hash(known.folder.name, known.meta["identity"], rows, facts)
    name = settings.name or identity
    folder = places.proposals_folder(workspace, name)
    before = _before(folder, identity, again=settings.again)
    if before is not None:
        places.remember(workspace, "proposals", name)
        return before
    origin = Origin(name, known.folder.name, known.meta["model"], "")
    if labels.empty:
        found = [_by_clusters(known, settings, origin)]
    else:
        write_labels(labels, folder)
        seen = reviewed(events)
        found = list(_by_labels(known, labels, seen, settings, origin, workspace=workspace, folder=folder))
    table = _ordered([each.table for each in found], known, overlap=settings.overlap)
    table = refused(table, _no(events), overlap=settings.overlap)
    report = _report(known, folder, table, found, [*warnings, *(w for each in found for w in each.warnings)])
    _write(folder, table, report, {"identity": identity, "settings": facts, "said": digest(events)})
    places.remember(workspace, "proposals", name)
    return report


def _usable(events: pd.DataFrame, known: EmbeddingSet) -> pd.DataFrame:
    """Return what people vouch for in readable images of the set as LABEL_COLUMNS, without repeats."""
    images = known.items[(known.items["kind"] == "image") & (known.items["status"] == "ok")]
    labels = standing(events)
    labels = labels[labels["image"].isin(images["image"])].sort_values(["image", "label_id"], kind="stable")
    return as_table(labels, LABEL_COLUMNS).drop_duplicates(ignore_index=True)


def _no(events: pd.DataFrame) -> pd.DataFrame:
    """Return what people rejected."""
    columns = ["image", "kind", "label", *"xywh"]
    return events[events["action"] == REJECTED].sort_values("label_id")[columns].reset_index(drop=True)


def _before(folder: Path, identity: str, *, again: bool) -> ProposeReport | None:
    """Return the report of the run in ``folder`` if it is this one, whole, and not to be redone."""
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
    fields["warnings"] = tuple(fields["warnings"])
    return ProposeReport(**{**fields, "already_done": True})


def _by_labels(
    known: EmbeddingSet,
    labels: pd.DataFrame,
    seen: list[str],
    settings: ProposeSettings,
    origin: Origin,
    *,
    workspace: Path,
    folder: Path,
) -> Iterator[_Found]:
    """Yield proposals for images, where images are labelled, and for regions, where boxes are.

    In the images ``seen`` people have gone through the boxes, and left none in some.
    """
    items, whole = known.items, labels[labels["x"].isna()]
    boxes = labels[labels["x"].notna()].reset_index(drop=True)
    if len(whole):
        asked = (items["kind"] == "image") & (items["status"] == "ok") & ~items["image"].isin(whole["image"])
        yield _vote(known, image_bank(known, whole), asked.to_numpy(), "image", settings, origin)
    if len(boxes):
        regions, background = usable_regions(items), settings.background is not False
        if not regions.any():
            raise WorkspaceError(
                f"{known.folder}: boxes are labelled, but the set has no regions. Embed again without "
                "--saliency none."
            )
        complete = sorted({*boxes["image"], *seen})
        bank = region_bank(
            known, boxes, complete=complete if background else (), workspace=workspace, folder=folder
        )
        there = items["image"].isin(complete).to_numpy()
        taken = there if background else there & (overlap_with(items, boxes) >= settings.overlap)
        yield _vote(known, bank, regions & ~taken, "region", settings, origin)


def _vote(
    known: EmbeddingSet, bank: Bank, asked: Bool, kind: str, settings: ProposeSettings, origin: Origin
) -> _Found:
    """Let the bank vote on the rows of the set that are asked about."""
    voting = Voting(settings.k, settings.temperature, settings.abstain)
    if settings.features == "auto":
        choice = choose_for(bank, kind=kind, voting=voting)
    else:
        choice = Choice(parse_features(settings.features), f"{settings.features}, as asked for", ())
    origin = dataclasses.replace(origin, features=choice.features)
    chunks = track(_chunks(known, asked, kind), f"propose {kind}s", total=-(-int(asked.sum()) // CHUNK))
    table, limits = vote_on(bank, chunks, choice.weights, voting=voting, search=search, origin=origin)
    warnings = []
    if settings.abstain and not limits.measured:
        _, word = bank.groups
        warnings.append(
            f"No class has labels in two {word}s: nothing says how alike is alike enough, so no {kind} is "
            "left unknown for being too far from the labels. Label a few more."
        )
    return _Found(table, choice, bank, tuple(warnings))


def _chunks(known: EmbeddingSet, asked: Bool, kind: str) -> Iterator[Chunk]:
    """Yield the rows asked about with their parts, some thousand at a time."""
    rows = np.flatnonzero(asked)
    for start in range(0, len(rows), CHUNK):
        marks = np.zeros(len(asked), bool)
        marks[rows[start : start + CHUNK]] = True
        items = known.items[marks].reset_index(drop=True)
        yield items, ready_parts(known, marks, means=known, kind=kind)


def _by_clusters(known: EmbeddingSet, settings: ProposeSettings, origin: Origin) -> _Found:
    """Group the regions of the set, or its images where it has none; nobody has named anything."""
    regions = usable_regions(known.items)
    kind = "region" if regions.any() else "image"
    asked = regions if kind == "region" else (known.items["status"] == "ok").to_numpy()
    weights = default_weights(kind) if settings.features == "auto" else parse_features(settings.features)
    clusters = cluster(_search_vectors(known, asked, kind, weights), settings.clusters, seed=settings.seed)
    origin = dataclasses.replace(origin, features=features_text(weights))
    table = clustered_rows(known.items[asked].reset_index(drop=True), clusters, origin=origin)
    why = "the default without labels" if settings.features == "auto" else "as asked for"
    choice = Choice(weights, f"{features_text(weights)}, {why}", ())
    return _Found(table, choice, None, clusters=int(clusters.max(initial=-1)) + 1)


def _search_vectors(known: EmbeddingSet, asked: Bool, kind: str, weights: Weights) -> Float32:
    """Return the search vectors of the rows asked about, on their principal axes where there are many."""
    parts = [joined(ready, weights) for _, ready in _chunks(known, asked, kind)]
    if len(parts) < 2:
        return parts[0] if parts else np.zeros((0, 1), np.float32)
    axes = fit_axes(np.concatenate([part[:: len(parts)] for part in parts]))
    return np.concatenate(parts if axes is None else [axes.reduce(part) for part in parts])


def _ordered(tables: list[pd.DataFrame], known: EmbeddingSet, *, overlap: float) -> pd.DataFrame:
    """Put the tables together in the order of the set, and leave one region to review for each thing."""
    filled = [table for table in tables if len(table)]
    table = pd.concat(filled, ignore_index=True) if filled else as_table([], PROPOSAL_COLUMNS)
    place = pd.Series(range(len(known.items)), index=known.items["item"])
    order = np.argsort(place[table["item"]].to_numpy(), kind="stable")
    return as_table(
        without_repeats(table.iloc[order].reset_index(drop=True), overlap=overlap), PROPOSAL_COLUMNS
    )


def _report(
    known: EmbeddingSet, folder: Path, table: pd.DataFrame, found: list[_Found], warnings: list[str]
) -> ProposeReport:
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
        features_reason="; ".join(each.choice.reason for each in found),
        compared=tuple(row for each in found for row in each.choice.compared),
        proposals=len(table),
        review={str(label): int(count) for label, count in sorted(review.value_counts().items())},
        unknown=int((table["advice"] == UNKNOWN).sum()),
        clusters=sum(each.clusters for each in found),
        warnings=tuple(warnings),
    )


def _write(folder: Path, table: pd.DataFrame, report: ProposeReport, made: Mapping[str, Any]) -> None:
    """Write meta.json, then the table: a run exists once its table does."""
    (folder / TABLE).unlink(missing_ok=True)  # an older one must not seem to belong to the new meta.json
    write_json(folder / META, {**dataclasses.asdict(report), **made})
    rows = pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False).replace_schema_metadata(None)
    write_whole(folder / TABLE, lambda stream: pq.write_table(rows, stream, compression="zstd"))
