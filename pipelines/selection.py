"""`dinotool select`: which images to label next, a small part that stands for all, or an audit by lot."""

import csv
import io
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import UsageError, WorkspaceError
from dinonat.files import short_hash, write_bytes
from dinonat.geometry import Float64
from dinonat.neighbors.parts import Weights, centred, default_weights, fit_axes, joined, parse_features
from dinonat.pipelines import workspace as places
from dinonat.pipelines.audit_drawing import DrawnAudit, draw_audit
from dinonat.pipelines.audits import apart
from dinonat.pipelines.labelled import chosen_set
from dinonat.pipelines.people import complete_images, digest, not_told, said, standing
from dinonat.proposals.leave_out import recordings_of
from dinonat.proposals.selecting import (
    CANDIDATES,
    Pick,
    Room,
    by_doubt,
    by_lot,
    covering,
    sampled,
    typical,
)
from dinonat.records import Bool, Float32, read_proposals
from dinonat.settings import Settings

LIST, TABLE = "list.txt", "selected.csv"
WANTED = 50
MANY = 200  # images of a share from which on typical ones stand for the rest; measured, docs/selecting.md
MOST_LABELLED = 5000  # labelled items that are compared with
Strategy = Literal["typical", "coverage", "random", "uncertain"]


class SelectSettings(Settings):
    """What `dinotool select` can be told."""

    set: str | None = None  # set of embeddings; the newest where none is named
    n: int | None = Field(None, ge=1)  # images; 50 where neither share nor audit is asked for
    share: float | None = Field(None, gt=0, le=1)  # of the images of the set, instead
    audit: int | None = Field(None, ge=1)  # proposals to judge by, drawn at random, instead
    strategy: Strategy | None = None  # None: coverage; of a share of more than MANY images, typical
    kind: Literal["image", "region"] = "image"  # items that are compared; images are what is chosen
    features: str = "auto"  # auto: the mean for images, all parts for regions
    proposals: str | None = None  # run whose margins or proposals are meant; the newest
    name: str | None = None  # of the selection; None: by what it is
    seed: int = 0


@dataclass(frozen=True)
class SelectReport:
    """What was chosen, and from what."""

    name: str
    set: str
    strategy: str
    chosen: tuple[str, ...]  # images, the first first
    asked: int
    candidates: int  # items that were looked at
    items: int  # that could have been
    labelled: int  # images that people have labelled: never chosen
    recordings: int  # among the chosen
    folder: str
    files: tuple[str, ...]
    next: str
    warnings: tuple[str, ...] = field(default=())

    def lines(self) -> list[str]:
        """Text for people."""
        sample = "" if self.candidates == self.items else f" (a sample of {self.items:,})"
        across = f" of {self.recordings} recordings" if self.recordings else ""
        chosen = (
            f"{len(self.chosen)} images{across}, by {self.strategy}, from {self.candidates:,} items{sample}"
        )
        if self.strategy == "audit":
            chosen = f"{len(self.chosen)} of {self.items:,} proposals{across}, drawn at random"
        return [
            *self.warnings,
            f"Set {self.set}: {chosen}; {self.labelled} labelled images are left out",
            *(f"  {file}" for file in self.files),
            f"Next: {self.next}",
        ]


def run(settings: SelectSettings, workspace: Path) -> SelectReport:
    """Choose images to label, or proposals to audit, and write their list.

    Raises UsageError for contradictory wishes, WorkspaceError where the set, or for "uncertain" and an
    audit a run of proposals of it, is missing, or nothing is left to choose from.
    """
    if sum(value is not None for value in (settings.n, settings.share, settings.audit)) > 1:
        raise UsageError("select: give one of --n, --share and --audit.")
    if settings.audit is not None and (asked := _not_for_audits(settings)):
        raise UsageError(
            f"select --audit: an audit is drawn by lot from all proposals, so {asked} can have no part in "
            "it. Leave one of them out."
        )
    known = open_set(places.set_folder(workspace, chosen_set(workspace, settings.set)))
    events = said(workspace, known.folder.name)
    if settings.audit is not None:
        table = _proposals(settings, workspace, known)
        drawn = draw_audit(
            table, known, events, workspace, wanted=settings.audit, seed=settings.seed, name=settings.name
        )
        return _audit_report(drawn, known, events, workspace)
    return _chosen(settings, workspace, known, events)


def _not_for_audits(settings: SelectSettings) -> str:
    """Name the first setting that says how images are chosen."""
    given = {
        "--strategy": settings.strategy,
        "--kind": None if settings.kind == "image" else settings.kind,
        "--features": None if settings.features == "auto" else settings.features,
    }
    return next((f"{option} {value}" for option, value in given.items() if value), "")


def _chosen(
    settings: SelectSettings, workspace: Path, known: EmbeddingSet, events: pd.DataFrame
) -> SelectReport:
    """Choose images and write them down."""
    items = known.items
    usable = ((items["kind"] == settings.kind) & (items["status"] == "ok")).to_numpy()
    done, audited = complete_images(workspace, known.folder.name), apart(events)
    taken = {*standing(events)["image"], *done, *events.loc[audited, "image"]}
    labelled = items["image"].isin(taken).to_numpy()
    free = usable & ~labelled
    if not free.any():
        raise WorkspaceError(
            f"{known.folder}: no {settings.kind} is left to choose from; {len(taken)} images are labelled, "
            f"{int(usable.sum())} {settings.kind}s are there. Embed more images first."
        )
    images = int(((items["kind"] == "image") & (items["status"] == "ok")).sum())
    wanted = max(1, round(settings.share * images)) if settings.share else settings.n or WANTED
    by_default = "typical" if settings.share and wanted > MANY else "coverage"
    strategy = settings.strategy or by_default
    marks = np.zeros(len(items), bool)
    marks[np.flatnonzero(free)[sampled(int(free.sum()), seed=settings.seed)]] = True
    compared = np.flatnonzero(usable & labelled)
    marks[compared[:: -(-len(compared) // MOST_LABELLED) or 1]] = True
    own = items[marks].reset_index(drop=True)
    picks = _picks(settings, strategy, wanted, own, labelled[marks], known, marks, workspace)
    told = [digest(events), *not_told(events[~audited], done)]
    name = settings.name or _name(settings, strategy, wanted, known, told)
    folder = places.selections_folder(workspace, name)
    rows = own.iloc[[pick.row for pick in picks]].assign(reason=[pick.reason for pick in picks])
    chosen = tuple(dict.fromkeys(rows["image"].astype("str")))
    _write(folder, chosen, rows, strategy, settings.kind)
    listed = folder / LIST
    return SelectReport(
        name=name,
        set=known.folder.name,
        strategy=strategy,
        chosen=chosen,
        asked=wanted,
        candidates=int((marks & free).sum()),
        items=int(free.sum()),
        labelled=len(taken),
        recordings=rows.loc[rows["recording"] != "", "recording"].nunique(),
        folder=str(folder),
        files=(str(listed), str(folder / TABLE)),
        next=_next(settings, workspace, known, listed),
        warnings=_warnings(wanted, len(chosen), int((marks & free).sum()), int(free.sum())),
    )


def _picks(
    settings: SelectSettings,
    strategy: str,
    wanted: int,
    own: pd.DataFrame,
    labelled: Bool,
    known: EmbeddingSet,
    marks: Bool,
    workspace: Path,
) -> list[Pick]:
    """Let the strategy choose among the marked rows ``own`` of the set."""
    vectors = _vectors(settings, known, marks)
    images = pd.factorize(own["image"])[0].astype(np.int64)
    room = Room(vectors, recordings_of(own)[0], labelled, wanted, images=images)
    if strategy == "uncertain":
        table = _proposals(settings, workspace, known)
        if len(table) and (table["cluster"] >= 0).all():
            raise WorkspaceError(
                "select --strategy uncertain: these proposals are clusters that nobody has named, so none is "
                "in doubt between classes. Run `dinotool propose-labels --labels FILE` first, or take "
                "another strategy."
            )
        margins, between = _margins(table, own)
        return by_doubt(room, margins, wanted, seed=settings.seed, between=between)
    ways: dict[str, Callable[[], list[Pick]]] = {
        "typical": lambda: typical(room, labelled, wanted, seed=settings.seed),
        "coverage": lambda: covering(room, labelled, wanted, seed=settings.seed),
        "random": lambda: by_lot(room, wanted, seed=settings.seed),
    }
    return ways[strategy]()


def _vectors(settings: SelectSettings, known: EmbeddingSet, marks: Bool) -> Float32:
    """Return the search vectors of the marked rows, on their principal axes where there are many."""
    auto = settings.features == "auto"
    weights: Weights = default_weights(settings.kind) if auto else parse_features(settings.features)
    parts = {name: known.part(name, marks) for name in weights}
    means = {name: known.mean(name, settings.kind) for name in weights}
    vectors = joined(centred(parts, means), weights)
    axes = fit_axes(vectors)
    return vectors if axes is None else axes.reduce(vectors)


def _margins(table: pd.DataFrame, own: pd.DataFrame) -> tuple[Float64, list[str]]:
    """Return the margin of each item (n,), NaN without a proposal, and its two classes in words.

    Of an image without a proposal of its own it is the least margin of its regions.
    """
    classes = table["label"].astype("str") + " and " + table["second"].astype("str")
    rows = table[["item", "image", "margin", "proposal"]].assign(between=classes)
    rows = rows.sort_values(["margin", "proposal"], kind="stable")
    found = own[["item", "image"]].merge(
        rows.drop_duplicates("item")[["item", "margin", "between"]], how="left"
    )
    least = rows.drop_duplicates("image").set_index("image")
    margins = found["margin"].fillna(found["image"].map(least["margin"]))
    between = found["between"].fillna(found["image"].map(least["between"])).fillna("")
    return margins.to_numpy(np.float64), between.tolist()


def _proposals(settings: SelectSettings, workspace: Path, known: EmbeddingSet) -> pd.DataFrame:
    """Return the proposals of the run that is meant; WorkspaceError where it is of another set."""
    run_name = places.chosen(workspace, "proposals", settings.proposals)
    folder = places.proposals_folder(workspace, run_name)
    made = places.read_object(folder / "meta.json")
    if made.get("set") != known.folder.name:
        raise WorkspaceError(
            f"Proposals {run_name}: of the set '{made.get('set')}', not of '{known.folder.name}'. Run "
            f"`dinotool propose-labels {known.folder.name}`, or name a run with --proposals."
        )
    return read_proposals(folder / "proposals.parquet")


def _name(
    settings: SelectSettings, strategy: str, wanted: int, known: EmbeddingSet, told: Sequence[str]
) -> str:
    """Name a selection by what it is, and by what people had ``told``."""
    facts = settings.model_dump(mode="json", exclude={"set", "name", "share", "n", "strategy"})
    return f"{strategy}-{wanted}-{short_hash(known.meta['identity'], wanted, facts, *told)[:6]}"


def _write(folder: Path, chosen: Sequence[str], rows: pd.DataFrame, strategy: str, kind: str) -> None:
    """Write the list of names, and the table with the reason of each."""
    write_bytes(folder / LIST, _listed(chosen).encode())
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("number", "image", "recording", "strategy", "reason", *"xywh"))
    for number, row in enumerate(rows.to_dict("records"), start=1):
        box = [f"{float(row[side]):.2f}" if kind == "region" else "" for side in "xywh"]
        writer.writerow([number, row["image"], row["recording"], strategy, row["reason"], *box])
    write_bytes(folder / TABLE, stream.getvalue().encode())


def _listed(names: Sequence[str]) -> str:
    r"""Return a list as it is read: a name a line, each ended by NUL where lines or spaces would be misread.

    >>> _listed(["a.png", "b.png"]), _listed(["a.png", " b.png"])
    ('a.png\nb.png\n', 'a.png\x00 b.png\x00')
    """
    odd = any(name.splitlines() != [name] or name.strip() != name for name in names)
    # The first line of a list may be the header of a table.
    odd |= any(sign in name for name in names[:1] for sign in ',;\t"')
    return "".join(name + ("\0" if odd else "\n") for name in names)


def _warnings(wanted: int, taken: int, candidates: int, items: int) -> tuple[str, ...]:
    """Say what is not as asked for."""
    said = []
    if candidates < items:
        said.append(
            f"{items:,} items: {candidates:,} of them, drawn at random, are compared ({CANDIDATES:,})."
        )
    if taken < wanted:
        said.append(f"{taken} of {wanted} images: all others are labelled, or look the same as one of these.")
    return tuple(said)


def _next(settings: SelectSettings, workspace: Path, known: EmbeddingSet, listed: Path) -> str:
    """Say the command that comes next."""
    try:
        _proposals(settings, workspace, known)
        first = ""
    except WorkspaceError:
        first = f"`dinotool propose-labels{_set_unless_newest(workspace, known)}`, then "
    only = shlex.quote(str(listed))
    if settings.share:
        return f"{first}`dinotool export --only {only} --copies`: a data set of its own"
    return (
        f"{first}`dinotool export --only {only} --proxies --format cvat`; label these images there, then "
        f"`dinotool import-labels FILE{_set_unless_newest(workspace, known, ' --set-name')}`"
    )


def _set_unless_newest(workspace: Path, known: EmbeddingSet, option: str = "") -> str:
    """Return what a command must be told to take the set of ``known``: nothing where it is the newest."""
    with suppress(WorkspaceError):
        if places.newest(workspace, "set") == known.folder.name:
            return ""
    return f"{option} {shlex.quote(known.folder.name)}"


def _audit_report(
    drawn: DrawnAudit, known: EmbeddingSet, events: pd.DataFrame, workspace: Path
) -> SelectReport:
    """Say what was drawn."""
    return SelectReport(
        name=drawn.name,
        set=known.folder.name,
        strategy="audit",
        chosen=tuple(drawn.rows["image"].astype("str")),
        asked=drawn.wanted,
        candidates=drawn.of,
        items=drawn.of,
        labelled=standing(events)["image"].nunique(),
        recordings=drawn.recordings,
        folder=str(drawn.folder),
        files=(str(drawn.page), str(drawn.sheet)),
        next=(
            f"open {drawn.page.name}, answer, save (or fill the column verdict of {drawn.sheet.name}), then "
            f"`dinotool import-labels audit.csv{_set_unless_newest(workspace, known, ' --set-name')}`, then "
            f"`dinotool propose-labels{_set_unless_newest(workspace, known)} --precision 0.95`"
        ),
        warnings=drawn.warnings,
    )
