"""From labels to a bank of examples: whole images of a set, or boxes that get their own vectors."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import DinonatError, LabelError, WorkspaceError
from dinonat.files import short_hash, write_bytes
from dinonat.formats.tables import read_csv
from dinonat.neighbors.parts import Vectors, centred
from dinonat.pipelines import workspace as places
from dinonat.pipelines.progress import say
from dinonat.proposals.abstain import BACKGROUND
from dinonat.proposals.bank import Bank, make_bank, stacked
from dinonat.proposals.objects import APART, overlap_with, shown_by
from dinonat.records import LABEL_COLUMNS, PARTS, Bool

MARK = ".labelled-"  # in the name of a set of labelled boxes, after the name of the set they belong to
MET, TAKEN = (
    0.5,
    0.95,
)  # IoU with a labelled box at which a region shows the same thing; at which it is that box
FEW = 20  # examples of nothing that are kept however few there are of things
GIVEN, LISTED = "labels.csv", "images.txt"  # kept beside the proposals: all labels, and who has boxes


def ready_parts(known: EmbeddingSet, marks: Bool, *, means: EmbeddingSet, kind: str) -> Vectors:
    """Return the parts of the marked rows of a set, centred on the items of ``kind`` of the set ``means``."""
    return centred(
        {name: known.part(name, marks) for name in PARTS},
        {name: means.mean(name, kind) for name in PARTS},
    )


def uncentred(known: EmbeddingSet) -> EmbeddingSet:
    """Return the set with no means, so that its vectors are compared as they are."""
    return replace(known, meta={**known.meta, "means": {}})


def image_bank(known: EmbeddingSet, labels: pd.DataFrame) -> Bank:
    """Return the bank of labelled images; an image with two labels is an example of both."""
    items = known.items
    marks = ((items["kind"] == "image") & items["image"].isin(labels["image"])).to_numpy()
    own = items[marks].reset_index(drop=True)
    at = pd.Series(range(len(own)), index=own["image"])
    rows = at[labels["image"]].to_numpy()
    ready, bare = (
        {name: part[rows] for name, part in parts.items()}
        for parts in _both([(known, marks)], means=known, kind="image")
    )
    return make_bank(own.iloc[rows], ready, labels["label"].to_list(), bare=bare)


def _both(
    places: Sequence[tuple[EmbeddingSet, Bool]], *, means: EmbeddingSet, kind: str
) -> Iterator[Vectors]:
    """Yield the parts of the marked rows of sets, one under the other: centred on ``means``, and not."""
    for own in (means, uncentred(means)):
        yield stacked([ready_parts(known, marks, means=own, kind=kind) for known, marks in places])


def region_bank(
    known: EmbeddingSet,
    labels: pd.DataFrame,
    *,
    complete: Sequence[str],
    workspace: Path,
    folder: Path,
    rejected: pd.DataFrame | None = None,
) -> Bank:
    """Return the bank of labelled boxes, of regions that show them, and of regions that are nothing.

    The boxes get vectors as the regions of the set have them, by `dinotool embed --regions` in a
    process of its own (torch and faiss must not meet). A region that meets a labelled box by IoU 0.5 is
    one more example of its class: what is asked about are regions too, never as tight as a person draws.
    Nothing are the regions of ``rejected`` (image, kind, x, y, w, h of labels that people said no to),
    and of those of images ``complete``, labelled completely, so many that nothing has as many examples as
    the largest class (20 at least); all of these overlap every labelled box by an IoU below 0.2.
    """
    boxes = embed_boxes(known, labels, workspace=workspace, folder=folder)
    items = boxes.items
    marks = ((items["kind"] == "region") & (items["status"] == "ok")).to_numpy()
    given = items[marks].reset_index(drop=True)
    if given.empty:
        raise LabelError(
            f"{folder / GIVEN}: every labelled box lies outside its image. Boxes are x, y, width, height in "
            "pixels of the original image."
        )
    found, shown = [given], [(boxes, marks)]
    names = given["label"].to_list()
    met, meant = regions_met(known.items, labels)
    no = rejected_rows(known.items, labels, rejected)
    limit = pd.Series([*names, *meant]).value_counts().max()
    far = thinned_background(no, background_rows(known, labels, complete), max(FEW, int(limit)))
    for rows, called in ((met, meant), (far, [BACKGROUND] * int(far.sum()))):
        if rows.any():
            found.append(known.items[rows])
            shown.append((known, rows))
            names += called
    ready, bare = _both(shown, means=known, kind="region")
    return make_bank(pd.concat(found, ignore_index=True), ready, names, background=BACKGROUND, bare=bare)


def regions_met(items: pd.DataFrame, labels: pd.DataFrame) -> tuple[Bool, list[str]]:
    """Mark the regions that meet a labelled box by IoU 0.5, and name the class of each.

    None where a single image is labelled: nothing could be left out then but the item itself, and its
    copy would speak for it. A region that a person took as it is (IoU 0.95) is a labelled box already.
    """
    marks: Bool = np.zeros(len(items), bool)
    if labels["image"].nunique() < 2:
        return marks, []
    there = items[usable_regions(items) & (overlap_with(items, labels) < TAKEN)]
    rows = shown_by(labels, there, least=MET)
    marks[there.index[rows >= 0]] = True
    return marks, labels["label"].iloc[rows[rows >= 0]].to_list()


def background_rows(known: EmbeddingSet, labels: pd.DataFrame, complete: Sequence[str]) -> Bool:
    """Mark the regions of completely labelled images that lie apart from every labelled box."""
    items = known.items
    there = usable_regions(items) & items["image"].isin(list(complete)).to_numpy()
    marks: Bool = there & (overlap_with(items, labels) < APART)
    return marks


def rejected_rows(items: pd.DataFrame, labels: pd.DataFrame, rejected: pd.DataFrame | None) -> Bool:
    """Mark the regions that show what people rejected, where no labelled box lies.

    A rejected box shows most what the region does that overlaps it most: it may have been corrected.
    """
    marks: Bool = np.zeros(len(items), bool)
    if rejected is None or rejected.empty:
        return marks
    there = items[usable_regions(items)]
    rows = shown_by(there, rejected[rejected["kind"] == "region"])
    marks[there.index[rows[rows >= 0]]] = True
    marks &= overlap_with(items, labels) < APART
    return marks


def thinned_background(no: Bool, far: Bool, limit: int) -> Bool:
    """Mark what people rejected (``no``) and, evenly over the rest of ``far``, as many as reach ``limit``.

    Each class scores the mean of its few nearest examples; of a class with ten times the examples these
    are nearer by chance alone, and background is what there is most of.
    """
    rest = np.flatnonzero(far & ~no)
    count = min(len(rest), max(0, limit - int(no.sum())))
    marks = no.copy()
    marks[rest[np.linspace(0, len(rest) - 1, count).astype(np.int64)]] = True
    return marks


def usable_regions(items: pd.DataFrame) -> Bool:
    """Mark the regions (ITEM_COLUMNS) that have vectors."""
    marks: Bool = ((items["kind"] == "region") & (items["status"] == "ok")).to_numpy()
    return marks


def embed_boxes(known: EmbeddingSet, labels: pd.DataFrame, *, workspace: Path, folder: Path) -> EmbeddingSet:
    """Embed the labelled boxes by a child process, with network and settings of the set.

    ``labels`` are those with a box among the labels that `write_labels` put into ``folder``. Boxes that a
    run before has embedded with the same network are read: loading the network takes longer than the rest.
    Raises DinonatError where the child fails (it says itself why) and WorkspaceError where its network
    is no longer that of the set.
    """
    name = _name_of_boxes(known, labels)
    with suppress(WorkspaceError):
        before = open_set(places.set_folder(workspace, name))
        if before.meta["model"] == known.meta["model"]:
            return before
    given, listed = folder / GIVEN, folder / LISTED
    # NUL after each name: the names may hold line breaks.
    write_bytes(listed, b"".join(image.encode() + b"\0" for image in sorted(set(labels["image"]))))
    meta = known.meta
    settings: Mapping[str, Any] = {
        **meta["settings"],
        "weights": meta["weights"],
        "threads": meta.get("threads"),
        "device": meta.get("device"),
        "recordings": meta.get("recordings_file"),
        "limits_of": known.folder.name,  # the same pixels, whoever shares their limits
        "regions": str(given.resolve()),
        "list_file": str(listed.resolve()),
        "name": name,
    }
    pairs = [f"{key}={json.dumps(value)}" for key, value in settings.items() if value is not None]
    options = [word for pair in pairs for word in ("--set", pair)]
    say(f"Vectors of {len(labels)} labelled boxes -> set {name}")
    command = [sys.executable, "-P", "-m", "dinonat.pipelines", "embed"]
    child = subprocess.run(
        [*command, meta["root"], *options, "--json", "--workspace", str(workspace)],
        stdout=subprocess.DEVNULL,
        check=False,
    )
    places.remember(workspace, "set", known.folder.name)  # the child's set is not what comes next
    if child.returncode:
        raise DinonatError(
            f"{given}: the labelled boxes could not be embedded (exit code {child.returncode}); the line "
            "above says why. The same command goes on here."
        )
    boxes = open_set(places.set_folder(workspace, name))
    if boxes.meta["model"] != meta["model"]:
        raise WorkspaceError(
            f"weights '{meta['weights']}' are now {boxes.meta['model']}, but set '{known.folder.name}' was "
            f"made with {meta['model']}. Embed the images again with --again."
        )
    return boxes


def _name_of_boxes(known: EmbeddingSet, labels: pd.DataFrame) -> str:
    """Name the set of labelled boxes: by the set they belong to, and by what was labelled."""
    return f"{known.folder.name}{MARK}{short_hash(known.meta['identity'], labels.to_dict('records'))[:6]}"


def given_boxes(file: Path, known: EmbeddingSet) -> str:
    """Return the name of the set with the vectors of the boxes that a run was given (its GIVEN)."""
    labels = read_csv(file)
    return _name_of_boxes(known, labels[labels["x"].notna()].reset_index(drop=True))


def chosen_set(workspace: Path, name: str | None) -> str:
    """Return the set that was asked for, else the newest; of one that holds labelled boxes only, its own."""
    return places.chosen(workspace, "set", name or base_of(places.newest(workspace, "set")))


def base_of(name: str) -> str:
    """Return the set that a set of labelled boxes belongs to, or the name itself.

    >>> base_of("thermal.labelled-1a2b3c"), base_of("thermal")
    ('thermal', 'thermal')
    """
    return name.partition(MARK)[0]


def write_labels(labels: pd.DataFrame, folder: Path) -> None:
    """Keep the labels that were used beside the proposals: the child and `dinotool export` read them."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(LABEL_COLUMNS)
    for image, label, *box in labels[list(LABEL_COLUMNS)].itertuples(index=False):
        writer.writerow([image, label, *("" if side != side else f"{float(side):.9g}" for side in box)])
    write_bytes(folder / GIVEN, stream.getvalue().encode())
