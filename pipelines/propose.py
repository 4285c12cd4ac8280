"""`dinotool propose-labels`: a few labels become labels and boxes for the rest, each with a reason."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import WorkspaceError
from dinonat.files import short_hash
from dinonat.neighbors.graph import symmetric
from dinonat.neighbors.index import search
from dinonat.neighbors.parts import default_weights, features_text, parse_features
from dinonat.pipelines import workspace as places
from dinonat.pipelines.audits import apart, applied
from dinonat.pipelines.coming_in import bring_in
from dinonat.pipelines.doubts_file import write_doubts
from dinonat.pipelines.labelled import (
    chosen_set,
    image_bank,
    region_bank,
    uncentred,
    usable_regions,
    write_labels,
)
from dinonat.pipelines.odd_labels import contradictions, missing
from dinonat.pipelines.people import complete_images, digest, not_told, said, standing
from dinonat.pipelines.progress import track
from dinonat.pipelines.propose_doubts import looked_at
from dinonat.pipelines.propose_graph import CHUNK, Place, chunks, net_of, place_of
from dinonat.pipelines.propose_report import TABLE, Found, ProposeReport, before, report_of, write
from dinonat.pipelines.propose_settings import NOT_IN_NAME, ProposeSettings
from dinonat.pipelines.propose_worth import worth_of
from dinonat.proposals.bank import Bank, choose_for, settled
from dinonat.proposals.box_scale import Scales, corrected, measured
from dinonat.proposals.choose import Choice
from dinonat.proposals.communities import communities, members
from dinonat.proposals.deciding import Decided, Voting, decided, propose
from dinonat.proposals.methods import DIFFUSE, needed
from dinonat.proposals.objects import overlap_with, ranked, refused, without_repeats
from dinonat.proposals.table import Origin, became_labels, clustered_rows
from dinonat.proposals.worth import Worth, shown
from dinonat.records import LABEL_COLUMNS, PROPOSAL_COLUMNS, REJECTED, Bool, Int64, as_table

__all__ = ["TABLE", "ProposeReport", "ProposeSettings", "run"]


def run(settings: ProposeSettings, workspace: Path) -> ProposeReport:
    """Propose labels for every item of a set that nobody labelled; write them as one file of a run.

    Raises LabelError where no label can be used, WorkspaceError where the set is missing or the
    named run was made otherwise, UsageError for unknown features.
    """
    known = open_set(places.set_folder(workspace, chosen_set(workspace, settings.set)))
    if settings.features != "auto":
        parse_features(settings.features)
    known = uncentred(known) if settings.centring == "none" else known
    warnings: list[str] = []
    if settings.labels:
        warnings += bring_in(settings.labels, known, workspace).warnings
    every = said(workspace, known.folder.name)
    events = every if settings.audit_votes else every[~apart(every)].reset_index(drop=True)
    labels, complete = _usable(events, known), complete_images(workspace, known.folder.name)
    already = became_labels(known.items, standing(events))
    warnings += [*missing(standing(events), known.items), *contradictions(labels)]
    facts = settings.model_dump(mode="json", exclude=NOT_IN_NAME)
    rows = [labels.astype("str").to_numpy().tolist(), _no(events).astype("str").to_numpy().tolist()]
    more = [not_told(events, complete), _open_items(known, already, complete)]
    told = [digest(every[apart(every)]), *(more if any(more) else [])]
    identity = short_hash(known.folder.name, known.meta["identity"], rows, facts, *told)
    name = settings.name or identity
    folder = places.proposals_folder(workspace, name)
    done = before(folder, identity, again=settings.again)
    if done is not None:
        places.remember(workspace, "proposals", name)
        return done
    origin = Origin(name, known.folder.name, known.meta["model"], "")
    if labels.empty:
        found = [_by_clusters(known, settings, origin)]
    else:
        write_labels(labels, folder)
        where = {"workspace": workspace, "folder": folder}
        found = list(_by_labels(known, labels, _no(events), complete, already, settings, origin, **where))
    table = _ordered([each.table for each in found], known, overlap=settings.overlap)
    table = refused(table, _no(events), overlap=settings.overlap)
    for each in found:
        table = shown(table, each.worth) if each.worth else table
    table, audit = applied(table, workspace, known, precision=settings.precision)
    warnings += [word for each in found for word in each.warnings]
    report = report_of(known, folder, table, found, audit=audit, warnings=warnings)
    doubts = write_doubts(folder, [each.looked for each in found if each.looked])
    made = {"identity": identity, "settings": facts, "said": digest(every), "doubts": doubts}
    write(folder, table, report, made)
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


def _open_items(known: EmbeddingSet, marks: Bool, complete: Sequence[str]) -> list[str]:
    """Return the marked items of images that nobody has gone through."""
    return known.items.loc[marks & ~known.items["image"].isin(complete), "item"].to_list()


def _by_labels(
    known: EmbeddingSet,
    labels: pd.DataFrame,
    rejected: pd.DataFrame,
    complete: Sequence[str],
    already: Bool,
    settings: ProposeSettings,
    origin: Origin,
    *,
    workspace: Path,
    folder: Path,
) -> Iterator[Found]:
    """Yield proposals for images, where images are labelled, and for regions, where boxes are.

    In the images that are labelled ``complete``, perhaps without any box, nothing is proposed any more, and
    in others nothing for regions that are labels ``already``.
    """
    items, whole = known.items, labels[labels["x"].isna()]
    boxes = labels[labels["x"].notna()].reset_index(drop=True)
    if len(whole):
        usable = ((items["kind"] == "image") & (items["status"] == "ok")).to_numpy()
        asked = usable & ~items["image"].isin(whole["image"]).to_numpy()
        yield _vote(known, image_bank(known, whole), usable, asked, "image", settings, origin)
    if len(boxes):
        regions, background = usable_regions(items), settings.background is not False
        if not regions.any():
            raise WorkspaceError(
                f"{known.folder}: boxes are labelled, but the set has no regions. Embed again without "
                "--saliency none."
            )
        bank = region_bank(
            known,
            boxes,
            complete=complete if background else (),
            workspace=workspace,
            folder=folder,
            rejected=rejected if background else None,
        )
        done = items["image"].isin(complete if background else []).to_numpy()
        taken = done | already | (overlap_with(items, boxes) >= settings.overlap)
        found = _vote(known, bank, regions, regions & ~taken, "region", settings, origin)
        scales = measured(items, boxes)
        table = ranked(corrected(found.table, scales)) if len(found.table) else found.table
        found = dataclasses.replace(found, table=table, warnings=(*found.warnings, *scales.lines()))
        yield dataclasses.replace(found, worth=_worth(known, boxes, regions, done, found, scales, settings))


def _vote(
    known: EmbeddingSet,
    bank: Bank,
    usable: Bool,
    asked: Bool,
    kind: str,
    settings: ProposeSettings,
    origin: Origin,
) -> Found:
    """Let the bank decide about the rows of the set that are asked about, of those that are usable."""
    choice = _choice(bank, kind, settings)
    bank, known = settled(bank, centred=choice.centred), known if choice.centred else uncentred(known)
    origin = dataclasses.replace(origin, features=choice.features)
    voting = Voting(settings.method, settings.k, settings.temperature, settings.abstain, settings.alpha)
    place, net = None, None
    if DIFFUSE in needed(settings.method):
        place = place_of(known, usable, kind, choice.weights, settings.graph_neighbours)
        net = net_of(place, bank, choice.weights)
    about = decided(bank, choice.weights, voting, search=search, net=net)
    rows = chunks(known, asked, kind, usable)
    rows = track(rows, f"propose {kind}s", total=-(-int(asked.sum()) // CHUNK))
    table = propose(about, rows, search=search, origin=origin)
    return Found(
        table,
        choice,
        bank,
        about.method,
        about.temperature,
        about.judged,
        warnings=_untold(about, kind, settings),
        looked=looked_at(place, about),
        about=about,
        net=net,
    )


def _choice(bank: Bank, kind: str, settings: ProposeSettings) -> Choice:
    """Choose what is compared, as far as it was not asked for."""
    centred = settings.centring != "none"
    if settings.features != "auto":
        weights = parse_features(settings.features)
        return Choice(weights, f"{settings.features}, as asked for", (), centred)
    asked = bank if settings.centring == "auto" else dataclasses.replace(bank, bare=None)
    choice = choose_for(asked, kind=kind, k=settings.k, temperature=settings.temperature)
    return choice if centred else dataclasses.replace(choice, centred=False)


def _worth(
    known: EmbeddingSet,
    boxes: pd.DataFrame,
    regions: Bool,
    complete: Bool,
    found: Found,
    scales: Scales,
    settings: ProposeSettings,
) -> Worth | None:
    """Return which regions are worth showing, where images are labelled completely and tell."""
    if not settings.worth or settings.background is False or found.about is None:
        return None
    known = known if found.choice.centred else uncentred(known)
    more = {"alpha": settings.alpha, "overlap": settings.overlap}
    return worth_of(known, boxes, regions, complete, found.about, found.net, scales, **more)


def _untold(about: Decided, kind: str, settings: ProposeSettings) -> tuple[str, ...]:
    """Say what these labels cannot tell."""
    _, word = about.bank.groups
    counts = np.bincount(about.bank.classes, minlength=len(about.bank.names))
    single = [name for name, count in zip(about.bank.names, counts, strict=True) if count == 1]
    each = " each" if len(single) > 1 else ""
    words = []
    if settings.abstain and not about.limits.measured:
        words.append(
            f"No class has labels in two {word}s: nothing says how alike is alike enough, so no {kind} is "
            "left unknown for being too far from the labels. Label a few more."
        )
    if len(about.bank.names) == 1:
        words.append(
            f"'{about.bank.names[0]}' is the only class: every {kind} is that or unknown. Label others too."
        )
    elif single and about.limits.measured:
        words.append(
            f"{_named(single)} with one label{each}: whether such a {kind} is found again cannot be checked. "
            f"Label one more{' of' + each if each else ''}."
        )
    if about.alike:
        words.append(
            f"All labelled {kind}s have one and the same vector: nothing tells classes apart, and nothing is "
            "proposed. Look at what the images show, or embed with other weights."
        )
    return tuple(words)


def _named(names: Sequence[str]) -> str:
    """Name the first few."""
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _by_clusters(known: EmbeddingSet, settings: ProposeSettings, origin: Origin) -> Found:
    """Group the regions of the set, or its images where it has none; nobody has named anything."""
    regions = usable_regions(known.items)
    kind = "region" if regions.any() else "image"
    asked = regions if kind == "region" else (known.items["status"] == "ok").to_numpy()
    weights = default_weights(kind) if settings.features == "auto" else parse_features(settings.features)
    place = place_of(known, asked, kind, weights, settings.graph_neighbours)
    clusters, how = communities(
        symmetric(place.graph), place.vectors, clusters=settings.clusters, seed=settings.seed
    )
    why = "the default without labels" if settings.features == "auto" else "as asked for"
    choice = Choice(weights, f"{features_text(weights)}, {why}; {how}", (), settings.centring != "none")
    origin = dataclasses.replace(origin, features=choice.features)
    table = clustered_rows(place.items, clusters, origin=origin)
    table["neighbours"] = _medoids(place, clusters)
    count = int(clusters.max(initial=-1)) + 1
    return Found(table, choice, None, clusters=count, looked=looked_at(place, None))


def _medoids(place: Place, clusters: Int64) -> list[list[str]]:
    """Name for each item the most typical one of its cluster."""
    names = place.items["item"].to_numpy(object)
    typical = [names[each.medoid] for each in members(clusters, place.vectors, n=0)]
    return [[typical[c]] for c in clusters]


def _ordered(tables: list[pd.DataFrame], known: EmbeddingSet, *, overlap: float) -> pd.DataFrame:
    """Put the tables together in the order of the set, and leave one region to review for each thing."""
    filled = [table for table in tables if len(table)]
    table = pd.concat(filled, ignore_index=True) if filled else as_table([], PROPOSAL_COLUMNS)
    place = pd.Series(range(len(known.items)), index=known.items["item"])
    order = np.argsort(place[table["item"]].to_numpy(), kind="stable")
    return as_table(
        without_repeats(table.iloc[order].reset_index(drop=True), overlap=overlap), PROPOSAL_COLUMNS
    )
