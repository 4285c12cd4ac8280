"""The labelled items of a set, as `dinotool evaluate` compares them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import field_validator

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import LabelError
from dinonat.evaluation.samples import Sample, Words
from dinonat.formats.catalog import read_labels
from dinonat.formats.matching import Warn, match_labels
from dinonat.pipelines import workspace as places
from dinonat.pipelines.labelled import base_of, ready_parts
from dinonat.records import LABEL_COLUMNS, Bool, as_table
from dinonat.settings import Settings


class ComparisonSettings(Settings):
    """What every comparison of labelled items can be told."""

    gallery: str | None = None  # set whose labelled items are learned from; the newest where none is named
    query: str | None = None  # set that is classified; None: the gallery, each item without itself
    labels: tuple[Path, ...] = ()  # label files; none: the labels of given boxes, else the first folder
    leave_out: Literal["recording", "image", "none"] | None = (
        None  # None: recording within one set, else none
    )
    kind: Literal["image", "region"] | None = None  # None: region where the gallery holds labelled boxes
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()  # only these; none: all

    @field_validator("features", "labels", "classes", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """Take one value for a list of one, as ``--set features=hog`` gives it."""
        return value if isinstance(value, list | tuple) else (value,)


@dataclass(frozen=True, eq=False)
class Gathered:
    """The two sides of a comparison; of one set both are the same object."""

    sets: tuple[EmbeddingSet, EmbeddingSet]
    samples: tuple[Sample, Sample]
    kind: str
    leave_out: str  # "recording", "image" or "none"
    warnings: list[str]

    def shared(self) -> list[str]:
        """Warn of pictures that are in both sets, where nothing keeps a query from its own picture."""
        gallery, query = self.samples
        return [] if query is gallery or self.leave_out != "none" else shared_pictures(gallery, query)

    @property
    def names(self) -> tuple[str, str]:
        """Of the sets."""
        return self.sets[0].folder.name, self.sets[1].folder.name

    @property
    def models(self) -> tuple[str, str]:
        """Fingerprints of the networks that made the sets."""
        return self.sets[0].meta["model"], self.sets[1].meta["model"]


def gather(settings: ComparisonSettings, workspace: Path) -> Gathered:
    """Open the sets and collect their labelled items.

    Raises WorkspaceError for a missing set, LabelError without labels.
    """
    gallery = opened(workspace, settings.gallery)
    query = gallery if settings.query in (None, gallery.folder.name) else opened(workspace, settings.query)
    warnings: list[str] = []
    kind = settings.kind or ("region" if labelled_regions(gallery).any() else "image")
    samples = [
        sample_of(each, kind, files=settings.labels, classes=settings.classes, warn=warnings.append)
        for each in ([gallery] if query is gallery else [gallery, query])
    ]
    leave_out = settings.leave_out or ("recording" if query is gallery else "none")
    return Gathered((gallery, query), (samples[0], samples[-1]), kind, leave_out, warnings)


def opened(workspace: Path, name: str | None) -> EmbeddingSet:
    """Open the named set, the newest where none is named (not one of labelled boxes, but its own)."""
    chosen = name or base_of(places.newest(workspace, "set"))
    return open_set(places.set_folder(workspace, places.chosen(workspace, "set", chosen)))


def labelled_regions(known: EmbeddingSet) -> Bool:
    """Mark the regions that came with a label."""
    items = known.items
    marks: Bool = ((items["kind"] == "region") & (items["label"] != "")).to_numpy()
    return marks


def sample_of(
    known: EmbeddingSet, kind: str, *, files: Sequence[Path], classes: Sequence[str], warn: Warn
) -> Sample:
    """Return the labelled items of ``kind`` of a set: only those of ``classes``, if any are named.

    A region's label came with its box; an image's comes from the label ``files``, or is its first
    folder where none is given. Raises LabelError where nothing is labelled.
    """
    items = known.items
    labels = items["label"].to_numpy(object) if kind == "region" else _image_labels(known, files, warn)
    marks = ((items["kind"] == kind) & (items["status"] == "ok")).to_numpy() & (labels != "")
    if classes:
        marks &= np.isin(labels.astype(str), classes)
    if not marks.any():
        raise LabelError(
            f"{known.folder}: no labelled {kind} in this set. "
            + (
                "Embed labelled boxes with `dinotool embed FOLDER --regions LABELS`."
                if kind == "region"
                else "Give --labels FILE (CSV with image,label), or embed a folder per class."
            )
        )
    return Sample(
        items[marks].reset_index(drop=True),
        ready_parts(known, marks, means=known, kind=kind),
        labels[marks],
    )


def _image_labels(known: EmbeddingSet, files: Sequence[Path], warn: Warn) -> Words:
    """Return the label of each row's image: from the files, else its first folder; "" without one."""
    items = known.items
    if not files:
        folders = items["image"].str.partition("/")
        return folders[0].where(folders[1] != "", "").to_numpy(object)
    tables = [read_labels(file, warn=warn) for file in files]
    # A file may speak of the images of both sets: what is not in this one is no mistake.
    whole = as_table(pd.concat(tables, ignore_index=True), LABEL_COLUMNS)
    whole = whole[whole["x"].isna()]
    found = match_labels(whole, items.loc[items["kind"] == "image", "image"].to_list(), warn=lambda _: None)
    found = found.drop_duplicates(["image", "label"])
    several = sorted(set(found.loc[found["image"].duplicated(), "image"]))
    if several:
        warn(f"{len(several)} images have several labels ({several[0]!r} first); they are left out.")
    known_labels = found[~found["image"].isin(several)].set_index("image")["label"]
    return items["image"].map(known_labels).fillna("").to_numpy(object)


def shared_pictures(gallery: Sample, query: Sample) -> list[str]:
    """Warn where a query has its own picture in the gallery: it finds itself."""
    shared = set(gallery.items["sha256"]) & set(query.items["sha256"]) - {""}
    if not shared:
        return []
    return [
        f"{len(shared)} pictures are in the gallery and in the query: they find themselves. Use "
        "--leave-out image, or sets without common pictures."
    ]
