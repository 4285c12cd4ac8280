"""Which proposals of a run true labels can judge: not what it was given, and of what the truth speaks."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import LabelError
from dinonat.evaluation.audits import AuditsTried, try_audits
from dinonat.evaluation.average_precision import agnostic
from dinonat.evaluation.boxes import BoxesJudged, judge_boxes
from dinonat.evaluation.clicks import Prices
from dinonat.evaluation.intervals import RESAMPLES, resampled_together
from dinonat.evaluation.located import nearest_true
from dinonat.evaluation.proposals import LabelsJudged, judge_labels
from dinonat.formats.handover import Warn
from dinonat.formats.tables import read_csv
from dinonat.pipelines.labelled import GIVEN, usable_regions
from dinonat.pipelines.truth import Truth
from dinonat.proposals.abstain import BACKGROUND, UNKNOWN
from dinonat.proposals.table import OBJECT
from dinonat.records import LABEL_COLUMNS, as_table


@dataclass(frozen=True)
class How:
    """How proposals are judged."""

    iou: float = 0.5
    prices: Prices = field(default_factory=Prices)
    resamples: int = RESAMPLES
    seed: int = 0
    audit: int = 0  # items of the audits that are tried on paper; 0: none
    audits: int = 200
    precisions: tuple[float, ...] = (0.9, 0.95)


@dataclass(frozen=True)
class Judgement:
    """What proposals of one run are worth."""

    left_out: int  # images that the run was given labels of, or whose truth is not known
    images: LabelsJudged | None  # labels of whole images
    regions: LabelsJudged | None  # labels of regions, by the true box that they meet
    boxes: BoxesJudged | None
    image_audits: AuditsTried | None = None
    region_audits: AuditsTried | None = None


def given_to(folder: Path) -> pd.DataFrame:
    """Return the labels (LABEL_COLUMNS) that the run in ``folder`` was given; none for one without."""
    file = folder / GIVEN
    return read_csv(file) if file.is_file() else as_table([], LABEL_COLUMNS)


def judge(
    table: pd.DataFrame,
    truth: Truth,
    known: EmbeddingSet,
    given: pd.DataFrame,
    how: How,
    *,
    run: str,
    only: Collection[str] | None = None,
    warn: Warn,
) -> Judgement:
    """Judge the proposals ``table`` (PROPOSAL_COLUMNS) of the set ``known`` by ``truth``.

    Left out are images whose labels were ``given`` to the run, those not in ``only``, and those of which
    the truth does not speak. Raises LabelError where nothing is left, or where truth and proposals are
    of different kinds.
    """
    if table.empty:
        raise LabelError(
            f"{run}: it proposes nothing, so there is nothing to judge. Label fewer, or embed more."
        )
    kinds = [kind for kind in ("image", "region") if (table["kind"] == kind).any()]
    shared = [kind for kind in kinds if kind in truth.kinds]
    if not shared:
        raise LabelError(_other_kind(run, kinds, truth))
    images = known.items[(known.items["kind"] == "image") & (known.items["status"] == "ok")]
    if only is not None:
        images = images[images["image"].isin(list(only))]
    table = _with_recordings(table, images)
    left, labels, regions, boxes = 0, None, None, None
    audits: dict[str, AuditsTried | None] = dict.fromkeys(("image", "region"))
    if "image" in shared:
        rows = _whole(table, truth, given, run=run)
        labels = judge_labels(rows, "image", prices=how.prices, resamples=how.resamples, seed=how.seed)
        audits["image"] = _audits(rows, how)
        left = len(images) - len(rows)
        if len(labels.classes) == 1:
            warn(
                f"{truth.file}: all that is judged is {labels.classes[0]!r}, so what is told apart from it "
                "stays open. Give the truth of several classes."
            )
    if "region" in shared:
        own, real, judged = _regions(table, truth, given, known, images, run=run, warn=warn)
        rows = own.assign(truth=_truth_of(own, real, how.iou))
        if len(rows) and not (own["label"] == OBJECT).all():
            regions = judge_labels(rows, "region", resamples=how.resamples, seed=how.seed)
            audits["region"] = _audits(rows, how)
        boxes = judge_boxes(
            own, real, judged, iou=how.iou, prices=how.prices, resamples=how.resamples, seed=how.seed
        )
        left = max(left, len(images) - len(judged))
    return Judgement(left, labels, regions, boxes, audits["image"], audits["region"])


def _other_kind(run: str, kinds: list[str], truth: Truth) -> str:
    """Say that truth and proposals speak of different things."""
    words = {"image": "labels of whole images", "region": "boxes"}
    proposed, true = (" and ".join(words[kind] for kind in each) for each in (kinds, truth.kinds))
    return (
        f"{truth.file}: holds {true}, but {run} proposes {proposed}. Give the truth of that, or propose from "
        f"{' and '.join(words[kind] for kind in truth.kinds)}."
    )


def _with_recordings(table: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Return the proposals in ``images`` with the recording of their image."""
    own = table[table["image"].isin(images["image"])]
    recording = images.set_index("image")["recording"]
    return own.assign(recording=own["image"].map(recording).astype("str"))


def _whole(table: pd.DataFrame, truth: Truth, given: pd.DataFrame, *, run: str) -> pd.DataFrame:
    """Return the proposals for whole images to judge, with their truth."""
    rows = table[table["kind"] == "image"]
    if rows["cluster"].max() >= 0 and rows["neighbours"].str.len().max() == 0:
        raise LabelError(
            f"{run}: was made without labels, so its groups have numbers and no names that could be right. "
            "Judge a run of `dinotool propose-labels --labels FILE`."
        )
    rows = rows.assign(truth=rows["image"].map(truth.whole.set_index("image")["label"]))
    rows = rows[rows["truth"].notna() & ~rows["image"].isin(given.loc[given["x"].isna(), "image"])]
    if rows.empty:
        raise LabelError(_nothing_left(truth, run, "images"))
    return rows.reset_index(drop=True)


def _nothing_left(truth: Truth, run: str, what: str) -> str:
    return (
        f"{truth.file}: no {what} left to judge {run} by: it speaks only of what the run was given as "
        "labels, or of images that have no proposals. Give the truth of others."
    )


def _regions(
    table: pd.DataFrame,
    truth: Truth,
    given: pd.DataFrame,
    known: EmbeddingSet,
    images: pd.DataFrame,
    *,
    run: str,
    warn: Warn,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return regions to judge, true boxes, and the images of both with their groups.

    An image whose regions the run has passed over is one that people have gone through.
    """
    rows = table[table["kind"] == "region"]
    seen = {*given.loc[given["x"].notna(), "image"]}
    usable = known.items.loc[usable_regions(known.items), "image"]
    passed = set(usable) - set(rows["image"])
    judged = images[
        images["image"].isin(list(truth.listed)) & ~images["image"].isin(list(seen | passed))
    ].reset_index(drop=True)
    real = truth.boxes[truth.boxes["image"].isin(judged["image"])].reset_index(drop=True)
    if real.empty:
        raise LabelError(_nothing_left(truth, run, "true boxes"))
    rows = rows[rows["image"].isin(judged["image"])].reset_index(drop=True)
    rows = rows[~_on_ignored(rows, truth, real)].reset_index(drop=True)
    if len(rows) and (rows["label"] == OBJECT).all():
        warn(f"{run}: was made without labels: its boxes are judged as objects of whatever class.")
        real = agnostic(real)
    strange = sorted(set(real["label"]) - set(rows["label"]) - set(given["label"]) - {OBJECT})
    if strange:
        count = int(real["label"].isin(strange).sum())
        warn(
            f"{count} true boxes are of classes that the run was given no example of ({', '.join(strange)}): "
            "they can only be missed. Leave them out with --set ignore=[...]."
        )
    groups, word = resampled_together(judged)
    return rows, real, judged.assign(group=groups, word=word)


def _on_ignored(rows: pd.DataFrame, truth: Truth, real: pd.DataFrame) -> pd.Series:
    """Mark the regions that meet a box that does not count, and none that does."""
    ignored, _ = nearest_true(rows, truth.ignored)
    counted, _ = nearest_true(rows, real)
    return pd.Series((ignored >= 0.5) & (counted < 0.5), index=rows.index)


def _truth_of(rows: pd.DataFrame, real: pd.DataFrame, iou: float) -> list[str]:
    """Return the label of the true box that each region meets, BACKGROUND where it meets none."""
    overlap, label = nearest_true(rows, real)
    return [str(name) for name in np.where(overlap >= iou, label, BACKGROUND)]


def _audits(rows: pd.DataFrame, how: How) -> AuditsTried | None:
    """Try audits of the proposals that are not left unknown."""
    own = rows[(rows["advice"] != UNKNOWN) & rows["score"].notna()]
    if not how.audit or own.empty:
        return None
    groups, _ = resampled_together(own)
    return try_audits(
        own["score"].to_numpy(np.float64),
        (own["label"].astype(str) == own["truth"].astype(str)).to_numpy(),
        groups,
        size=how.audit,
        precisions=how.precisions,
        times=how.audits,
        seed=how.seed,
    )
