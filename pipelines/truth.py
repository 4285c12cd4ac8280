"""True labels that proposals are judged by: read by the door of `import-labels`, and written nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import LabelError
from dinonat.formats.archives import opened
from dinonat.formats.catalog import FORMATS, sniff
from dinonat.formats.handover import Warn
from dinonat.pipelines.meant import heights_widths, meant
from dinonat.records import LABEL_COLUMNS, as_table


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of images of a set."""

    file: Path
    whole: pd.DataFrame  # LABEL_COLUMNS, one row an image: its only label
    boxes: pd.DataFrame  # LABEL_COLUMNS: true boxes
    ignored: pd.DataFrame  # LABEL_COLUMNS: boxes that nothing is judged by
    listed: tuple[str, ...]  # images that the file speaks of; without boxes they hold nothing

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can be judged by it."""
        there = (("image", len(self.whole)), ("region", len(self.boxes)))
        return tuple(kind for kind, count in there if count)


def read_truth(
    file: Path, known: EmbeddingSet, *, classes: Sequence[str] = (), ignore: Sequence[str] = (), warn: Warn
) -> Truth:
    """Read the true labels of images of a set; nothing becomes known to the workspace.

    ``classes`` are all that count, where any are named; boxes of the classes ``ignore`` are neither to
    be found nor wrong to be found. An image with several labels of its own is left out of ``whole``.
    Raises LabelError where the file is no labels, or of no image of the set.
    """
    with opened(file) as place:
        incoming = FORMATS[sniff(place)].read(
            place, sizes=heights_widths(known), warn=lambda said: warn(said.replace(str(place), str(file)))
        )
    try:
        what = meant(incoming, None, known, warn)
    except LabelError as error:
        raise LabelError(str(error) if str(file) in str(error) else f"{file}: {error}") from error
    rows = what.rows[what.rows["status"] != "rejected"].sort_values("image", kind="stable")
    boxes = rows[rows["kind"] == "region"]
    skipped = boxes["label"].isin(list(ignore))
    if classes:
        rows = rows[rows["label"].isin(list(classes))]
    kept = rows[(rows["kind"] == "region") & ~rows["label"].isin(list(ignore))]
    truth = Truth(
        file,
        _one_each(as_table(rows[rows["kind"] == "image"], LABEL_COLUMNS), warn),
        as_table(kept, LABEL_COLUMNS),
        as_table(boxes[skipped], LABEL_COLUMNS),
        tuple(what.listed),
    )
    if not truth.kinds:
        raise LabelError(
            f"{file}: no label that counts in images of the set '{known.folder.name}'"
            + (f" (classes {', '.join(classes)})" if classes else "")
            + ". Give true labels of its images."
        )
    return truth


def _one_each(whole: pd.DataFrame, warn: Warn) -> pd.DataFrame:
    """Return the images with one label; ``warn`` hears of those with several."""
    whole = whole.drop_duplicates(["image", "label"])
    several = sorted(set(whole.loc[whole["image"].duplicated(), "image"]))
    if several:
        warn(f"{len(several)} images have several true labels ({several[0]!r} first): left out.")
    return whole[~whole["image"].isin(several)].reset_index(drop=True)
