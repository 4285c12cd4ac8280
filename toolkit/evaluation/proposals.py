"""What proposed labels are worth against true ones: accuracy, coverage, how far the score can be believed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dinonat.evaluation.clicks import Bill, Prices, image_bill, image_fates
from dinonat.evaluation.intervals import RESAMPLES, resampled_together
from dinonat.evaluation.rates import (
    Float64,
    Rate,
    at_coverage,
    balanced_share,
    blocks_of,
    bootstrap,
    share,
)
from dinonat.proposals.abstain import ACCEPT, BACKGROUND, UNKNOWN
from dinonat.proposals.calibration import expected_error
from dinonat.records import Bool, Int64

COVERAGES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class OfClass:
    """How one class fares; shares in [0, 1], NaN where nothing is to be counted."""

    label: str
    true: int  # items of the class
    proposed: int  # items that are proposed as it, those left unknown not among them
    right: int
    precision: float  # right / proposed
    recall: float  # right / true


@dataclass(frozen=True)
class LabelsJudged:
    """Proposed labels of images or of regions beside the true ones."""

    kind: str  # "image" or "region"
    items: int  # judged
    groups: int  # recordings (or images), which the intervals draw anew
    word: str
    classes: tuple[str, ...]
    figures: Mapping[str, Rate]  # by the names that `figures_of` lists
    curve: tuple[tuple[float, float], ...]  # coverage, accuracy
    by_class: tuple[OfClass, ...]
    bill: Bill | None = None  # what images cost; regions are paid for as boxes


@dataclass(frozen=True, eq=False)
class _Items:
    """Columns of the judged items (n,) as arrays."""

    right: Bool  # the label is the true one, whatever the advice
    shown: Bool  # not left unknown
    accepted: Bool
    classes: Int64  # true class
    score: Float64
    probability: Float64
    blocks: Int64  # order of confidence
    things: Bool  # not BACKGROUND


def judge_labels(
    rows: pd.DataFrame,
    kind: str,
    *,
    prices: Prices | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LabelsJudged:
    """Judge proposals by their column ``truth``; ``rows`` (n > 0) has PROPOSAL_COLUMNS, truth and recording.

    A label counts as right where it is the true one; that of a region which meets no true box is
    BACKGROUND, and so is a label "". Confidence is the probability where an audit gave all of them one,
    else the score; what is left unknown stands behind everything that is not. The intervals draw whole
    recordings (images where none is known) with replacement. With ``prices``, items are images to be paid
    for.
    """
    label = rows["label"].astype(str).replace("", BACKGROUND).to_numpy(object)
    truth = rows["truth"].astype(str).to_numpy(object)
    names, classes = np.unique(truth.astype(str), return_inverse=True)
    advice = rows["advice"].astype(str).to_numpy(object)
    score, probability = (rows[name].to_numpy(np.float64) for name in ("score", "probability"))
    sure = probability if np.isfinite(probability).all() else score
    shown = advice != UNKNOWN
    items = _Items(
        right=label == truth,
        shown=shown,
        accepted=advice == ACCEPT,
        classes=classes.astype(np.int64),
        score=score,
        probability=probability,
        blocks=blocks_of(np.where(shown, 1.0, -1.0) + np.clip(np.nan_to_num(sure), 0, 1)),
        things=truth != BACKGROUND,
    )
    groups, word = resampled_together(rows)
    whole = _by_class(items)
    fates = image_fates(items.right, shown)

    def figures(times: Float64) -> dict[str, float]:
        own = times[groups]
        paid = {"saved": image_bill(fates * own[:, None], prices).saved} if prices else {}
        return figures_of(items, own, whole) | paid

    once = np.ones(len(rows))
    return LabelsJudged(
        kind=kind,
        items=len(rows),
        groups=int(groups.max()) + 1,
        word=word,
        classes=tuple(str(name) for name in names if name != BACKGROUND),
        figures=bootstrap(figures, groups, resamples=resamples, seed=seed),
        curve=tuple((c, at_coverage(items.right, items.blocks, once, c)) for c in COVERAGES),
        by_class=tuple(_of_class(name, label, truth, shown) for name in names),
        bill=image_bill(fates, prices) if prices else None,
    )


def figures_of(items: _Items, times: Float64, whole: Mapping[str, Float64]) -> dict[str, float]:
    """Return all figures where item i counts ``times[i]``.

    accuracy and balanced take every label as it stands; things and balanced_things leave out what is
    BACKGROUND. coverage is the share not left unknown and precision what is right of it; balanced_shown
    counts what is left unknown as wrong; at_50 is the accuracy of the more confident half. error and
    error_probability are the calibration errors of score and probability; accepted and accepted_right are
    coverage and precision of the advice "accept".
    """
    every = np.ones(len(times), bool)
    return {
        "accuracy": share(items.right, every, times),
        "balanced": balanced_share(items.right, items.classes, times, whole["all"]),
        "things": share(items.right, items.things, times),
        "balanced_things": _balanced_things(items, times, whole["all"]),
        "coverage": share(items.shown, every, times),
        "precision": share(items.right, items.shown, times),
        "balanced_shown": balanced_share(items.right & items.shown, items.classes, times, whole["shown"]),
        "at_50": at_coverage(items.right, items.blocks, times, 0.5),
        "error": expected_error(items.score, items.right, times),
        "error_probability": expected_error(items.probability, items.right, times),
        "accepted": share(items.accepted, every, times),
        "accepted_right": share(items.right, items.accepted, times),
    }


def _balanced_things(items: _Items, times: Float64, whole: Float64) -> float:
    """Return the balanced accuracy over the classes that are things."""
    own = items.things
    kinds, classes = np.unique(items.classes[own], return_inverse=True)
    if not len(kinds):
        return float("nan")
    return balanced_share(items.right[own], classes.astype(np.int64), times[own], whole[kinds])


def _by_class(items: _Items) -> dict[str, Float64]:
    """Return which share of each class is right, and right and shown."""
    counts = np.bincount(items.classes)
    return {
        name: np.bincount(items.classes, weights=right) / counts
        for name, right in (("all", items.right), ("shown", items.right & items.shown))
    }


def _of_class(name: str, label: object, truth: object, shown: Bool) -> OfClass:
    of, said = truth == np.str_(name), shown & (label == np.str_(name))
    right, true, proposed = int((of & said).sum()), int(np.sum(of)), int(np.sum(said))
    none = float("nan")
    return OfClass(
        str(name),
        true,
        proposed,
        right,
        right / proposed if proposed else none,
        right / true if true else none,
    )
