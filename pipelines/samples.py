"""The labelled items of a set, as `dinotool evaluate` compares them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import LabelError
from dinonat.evaluation.samples import Sample, Words
from dinonat.formats.catalog import read_labels
from dinonat.formats.matching import Warn, match_labels
from dinonat.pipelines.labelled import ready_parts
from dinonat.records import LABEL_COLUMNS, Bool, as_table


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
