"""`dinotool evaluate regions`: labelled boxes or pictures, told apart by several networks and by none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import LabelError, UsageError
from dinonat.evaluation.classify import AUTO, FLOOR_NAME, Answers, answers
from dinonat.evaluation.samples import Sample
from dinonat.files import short_hash
from dinonat.models.catalog import load_network
from dinonat.neighbors import exact
from dinonat.neighbors.parts import parse_features
from dinonat.pipelines import workspace as places
from dinonat.pipelines.devices import device_named
from dinonat.pipelines.embed import DECIDING, EmbedSettings
from dinonat.pipelines.embed import run as embed
from dinonat.pipelines.figures import remarks
from dinonat.pipelines.regions_report import (
    Judged,
    RegionsReport,
    made_by_hand,
    verdict,
)
from dinonat.pipelines.regions_settings import EvaluateRegionsSettings
from dinonat.pipelines.samples import sample_of, shared_pictures
from dinonat.pipelines.sides import Side, both_sides, what_to_leave_out
from dinonat.settings import read_yaml

HOME = "regions"  # folder of the workspace, one itself: nobody's newest set
PRESET = "crops"
OURS = {"images", "list_file", "regions", "recordings", "name", "weights", "limits_of", "strict"}


@dataclass(frozen=True, eq=False)
class _Network:
    """What one network says of the queries."""

    name: str  # of its rows
    model: str  # fingerprint
    folders: tuple[str, str]  # of the vectors of gallery and query
    answers: Answers


def run(settings: EvaluateRegionsSettings, workspace: Path) -> RegionsReport:
    """Embed the labelled items of gallery and query with each network, classify and compare.

    Sets of vectors lie in ``regions`` of the workspace, where a later call finds what it needs. Raises
    UsageError without a folder or for unknown features, ImageError for a folder without images, LabelError
    where a side has no usable label, CheckpointError for bad weights.
    """
    for feature in settings.compared:
        if feature != AUTO:
            parse_features(feature)
    asked, made = settings.sides, embedding(settings)
    places.create(workspace)
    warnings: list[str] = []
    sides, kind = both_sides(
        *asked, kind=settings.kind, recordings=settings.recordings, workspace=workspace, warn=warnings.append
    )
    leave_out: str | None = settings.leave_out
    if leave_out is None or leave_out == "recording":
        leave_out = what_to_leave_out(sides, warnings.append)
    weights = list(dict.fromkeys(settings.weights))
    if not weights:
        newest, said = places.newest_weights(workspace)
        weights, warnings = [newest], [*warnings, said]
    job = _Job(settings, made, sides, kind, leave_out, workspace, warnings)
    networks = [_asked(job, one, name) for one, name in zip(weights, named(weights), strict=True)]
    return _report(job, networks)


@dataclass(frozen=True, eq=False)
class _Job:
    """What all networks are asked."""

    settings: EvaluateRegionsSettings
    made: EmbedSettings  # how items become vectors
    sides: tuple[Side, Side]
    kind: str
    leave_out: str
    workspace: Path
    warnings: list[str]


def embedding(settings: EvaluateRegionsSettings) -> EmbedSettings:
    """Return how items become vectors; UsageError for a key that is not for the user to say."""
    for key in OURS & set(settings.crops):
        raise UsageError(f"crops: '{key}' is for `evaluate regions` itself to say. Leave it out.")
    own = {name: getattr(settings, name) for name in ("prepare", "workers", "threads", "device", "again")}
    made = EmbedSettings.checked({**read_yaml(PRESET), **own, **settings.crops})
    _ = made.preparation, made.reading  # a slip in them is said before anything is read
    return made


def named(weights: Sequence[str]) -> list[str]:
    """Return short names of weights: of files the file name, where that tells them apart.

    >>> named(["starter", "runs/a/teacher.safetensors"]), named(["a/x.pth", "b/x.pth"])
    (['starter', 'teacher.safetensors'], ['a/x.pth', 'b/x.pth'])
    """
    short = [each if ":" in each else Path(each).name for each in weights]
    return short if len(set(short)) == len(short) else list(weights)


def _asked(job: _Job, weights: str, name: str) -> _Network:
    """Embed both sides with one network and ask about the queries."""
    settings, (gallery, query) = job.settings, job.sides
    file = places.weights_file(job.workspace, weights)
    model = load_network(file)[1]
    own = [gallery] if query is gallery else [gallery, query]
    sets = [_embedded(job, side, file, model) for side in own]
    samples = [_sample(job, side, known) for side, known in zip(own, sets, strict=True)]
    found = answers(
        samples[0],
        samples[-1],
        search=exact.search,
        features=settings.compared,
        ks=tuple(dict.fromkeys(settings.k)),
        temperature=settings.temperature,
        leave_out=job.leave_out,
        kind=job.kind,
        command="evaluate regions",
    )
    return _Network(name, model, (str(sets[0].folder), str(sets[-1].folder)), found)


def _embedded(job: _Job, side: Side, file: str, model: str) -> EmbeddingSet:
    """Return the vectors of a side by one network: those of an earlier call, if nothing differs."""
    home, made = job.workspace / HOME, job.made
    labels, listed = side.write(home)
    deciding = made.model_dump(mode="json", include={*DECIDING, "threads"})
    name = short_hash(side.identity, job.kind, model, deciding, device_named(made.device).type)
    words = re.sub(r"\W+", "-", side.folder.resolve().name).strip("-") or "images"
    report = embed(
        EmbedSettings.checked(
            {
                **made.model_dump(),
                "images": side.folder,
                "list_file": listed,
                "regions": labels if job.kind == "region" else None,
                "recordings": side.recordings_file,
                "name": f"{words}-{name}",
                "weights": file,
            }
        ),
        home,
    )
    job.warnings.extend(report.remarks)
    return open_set(places.set_folder(home, report.set))


def _sample(job: _Job, side: Side, known: EmbeddingSet) -> Sample:
    """Return the labelled items of a set; LabelError where none is usable, with the first reason."""
    items = known.items
    failed = items[(items["status"] != "ok") & ((items["kind"] == job.kind) | (items["kind"] == "image"))]
    reasons = [f"{row.image}: {row.reason}" for row in failed.itertuples()]
    job.warnings.extend(dict.fromkeys(reasons))
    usable = int(((items["status"] == "ok") & (items["kind"] == job.kind)).sum())
    if not usable:
        raise LabelError(
            f"{side.folder}: none of its labelled {job.kind}s can be used ({reasons[0]}). Boxes are x, y, "
            "width, height in pixels of the picture."
        )
    if job.settings.classes and not set(job.settings.classes) & set(side.labels["label"]):
        raise LabelError(
            f"{side.folder}: has no label {' or '.join(job.settings.classes)}. Its labels are "
            f"{', '.join(sorted(set(side.labels['label']))[:6])}."
        )
    files = [side.write(job.workspace / HOME)[0]]
    return sample_of(known, job.kind, files=files, classes=job.settings.classes, warn=job.warnings.append)


def _report(job: _Job, networks: Sequence[_Network]) -> RegionsReport:
    first = networks[0].answers
    basis, gallery, query = first.of.basis(), first.of.gallery, first.of.query
    warnings = [*job.warnings, *remarks(basis)]
    if basis.gallery < max(job.settings.k):
        warnings.append(f"k={max(job.settings.k)} is more than the {basis.gallery} items of the gallery.")
    if query is not gallery and job.leave_out == "none":
        warnings += shared_pictures(gallery, query)
    by_hand = [Judged(**vars(row)) for row in first.rows() if made_by_hand(row.name)]
    rows = [row for each in networks for row in _rows(each, by_hand, networks[0])]
    return RegionsReport(
        gallery=str(job.sides[0].folder),
        query=str(job.sides[1].folder),
        kind=job.kind,
        weights=tuple(each.name for each in networks),
        models=tuple(each.model for each in networks),
        sets=tuple(each.folders for each in networks),
        temperature=job.settings.temperature,
        basis=basis,
        rows=(*by_hand, *rows),
        reasons=tuple(each.answers.auto_reason for each in networks),
        verdicts=tuple(
            verdict(each.name, [row for row in rows if row.network == each.name], each.answers.taken, basis)
            for each in networks
        ),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _rows(network: _Network, by_hand: Sequence[Judged], first: _Network) -> list[Judged]:
    """Return the rows of one network, each with its differences to the floor, the best by hand, the first."""
    found, rows = network.answers, []
    asked, before = found.of.query.items["item"], first.answers.of.query.items["item"]
    if not asked.equals(before):
        raise LabelError(
            f"{network.name}: not the same queries could be read as for {first.name}. Run it again "
            "with --again."
        )
    for row in found.rows():
        if made_by_hand(row.name):
            continue
        # Of equal ones the floor: max takes the first.
        named = sorted(
            (each for each in by_hand if each.k == row.k), key=lambda each: each.name != FLOOR_NAME
        )
        best = max(named, key=lambda each: each.balanced).name
        over = [found.over((row.name, row.k), found, (than, row.k), than)
                for than in dict.fromkeys((FLOOR_NAME, best))]  # fmt: skip
        if network is not first:
            key = row.name, row.k
            over.append(found.over(key, first.answers, key, first.name))
        rows.append(Judged(**{**vars(row), "over": tuple(over)}, network=network.name))
    return rows
